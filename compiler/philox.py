"""Philox4x32-10, the counter-based generator behind randomness inside kernels, on NumPy arrays.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Here one 64-bit counter and
one 64-bit key give one 32-bit word: the low two words of the counter are the position, the block's other two words
are zero, and the first word of the block is the result. ``kernels/`` holds the same function for generated code.
"""

from __future__ import annotations

import numpy as np

MULTIPLIER_0, MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10


def philox_u32(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """32 random bits for each (int64) counter value under the (int64) key, as int32."""
    mask = np.uint64(0xFFFFFFFF)
    counter = np.asarray(counter, np.int64).astype(np.uint64)
    key = np.asarray(key, np.int64).astype(np.uint64)
    half = np.uint64(32)
    c0, c1 = counter & mask, counter >> half
    c2 = c3 = np.zeros_like(c0)
    k0, k1 = key & mask, key >> half
    for _ in range(ROUNDS):
        low = c0 * np.uint64(MULTIPLIER_0)
        high = c2 * np.uint64(MULTIPLIER_1)
        c0, c1, c2, c3 = (high >> half) ^ c1 ^ k0, high & mask, (low >> half) ^ c3 ^ k1, low & mask
        k0, k1 = (k0 + np.uint64(WEYL_0)) & mask, (k1 + np.uint64(WEYL_1)) & mask
    return c0.astype(np.uint32).view(np.int32)
