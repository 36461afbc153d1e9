"""Attention and its gradients as cuDNN computes them: operands ``[batch, heads, positions, size]`` in float32, products
of weights that were rounded to the stored dtype, sums in float32."""

import numpy as np


def scores(q, k, scale, causal):
    found = np.einsum("bhsd,bhtd->bhst", q, k) * np.float32(scale)
    if causal:
        found[..., np.triu(np.ones(found.shape[2:], bool), 1)] = -np.inf
    return found


def attention(q, k, v, scale, causal, stored):
    """The result, and the logarithms of the sums of exponentials, ``[batch, heads, targets, 1]``."""
    count = q.shape[1] // k.shape[1]
    k, v = (np.repeat(x, count, axis=1) for x in (k, v))
    found = scores(q, k, scale, causal)
    largest = found.max(-1, keepdims=True)
    powers = np.exp(found - largest)
    total = powers.sum(-1, keepdims=True)
    rounded = powers.astype(stored).astype(np.float32)
    return np.einsum("bhst,bhte->bhse", rounded, v) / total, largest + np.log(total)


def attention_gradients(q, k, v, out, sums, cotangent, scale, causal, stored):
    heads = k.shape[1]
    count = q.shape[1] // heads
    keys, values = (np.repeat(x, count, axis=1) for x in (k, v))
    weights = np.exp(scores(q, keys, scale, causal) - sums)
    change = np.einsum("bhse,bhte->bhst", cotangent, values)
    change = weights * (change - (cotangent * out).sum(-1, keepdims=True))
    change, weights = (x.astype(stored).astype(np.float32) for x in (change, weights))
    by_query = np.einsum("bhst,bhtd->bhsd", change, keys) * np.float32(scale)
    by_key = np.einsum("bhst,bhsd->bhtd", change, q) * np.float32(scale)
    by_value = np.einsum("bhst,bhse->bhte", weights, cotangent)

    def shared(x):
        return x.reshape(x.shape[0], heads, count, *x.shape[2:]).sum(2)

    return by_query, shared(by_key), shared(by_value)
