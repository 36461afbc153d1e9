"""Buffers and the cache of freed blocks."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from flamework.runtime import allocator
from flamework.runtime.allocator import Buffer, allocate, cached_bytes, empty_cache, size_class
from flamework.runtime.counters import counters

MEBIBYTE = 1 << 20


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    empty_cache()
    monkeypatch.setattr(allocator._cache, "bound", None)
    yield
    empty_cache()


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 1000, 4096, 100_000, MEBIBYTE, 3 * MEBIBYTE + 1])
def test_buffers_are_aligned_and_wholly_usable(nbytes):
    buffer = allocate(nbytes)
    assert buffer.address % 64 == 0
    assert buffer.nbytes == nbytes
    view = buffer.as_numpy(np.uint8, (nbytes,))
    view[...] = 7
    assert view.sum() == 7 * nbytes


def test_size_classes_cover_the_request_and_lose_an_eighth_at_most():
    for nbytes in [*range(5000), 10**6 - 1, 10**6, 2**20, 2**20 + 1, 10**9 + 7, 2**40 + 1]:
        size = size_class(nbytes)
        assert size >= nbytes
        assert size % 64 == 0
        assert size <= max(nbytes + nbytes // 8 + 64, 64)
        assert size_class(size) == size


@pytest.mark.parametrize("nbytes", [100, 5000, 2 * MEBIBYTE])
def test_a_freed_block_serves_the_next_request_of_its_class(nbytes):
    buffer = allocate(nbytes)
    address = buffer.address
    del buffer
    assert allocate(nbytes).address == address


def test_live_buffers_never_overlap():
    generator = np.random.default_rng(0)
    live = []
    for _ in range(2000):
        if live and generator.random() < 0.5:
            live.pop(generator.integers(len(live)))
        live.append(allocate(int(generator.integers(0, 20_000))))
    spans = sorted((buffer.address, buffer.address + max(buffer.nbytes, 1)) for buffer in live)
    assert all(stop <= start for (_, stop), (start, _) in zip(spans, spans[1:], strict=False))


def test_a_somewhat_larger_free_block_serves_a_large_request():
    buffer = allocate(10 * MEBIBYTE)
    address = buffer.address
    del buffer
    assert allocate(9 * MEBIBYTE).address == address
    assert allocate(4 * MEBIBYTE).address != address


def test_an_array_keeps_its_buffer_alive():
    buffer = allocate(4000)
    reference = weakref.ref(buffer)
    array = buffer.as_numpy(np.float32, (10, 100))
    array[...] = 3
    part = array[2:4].T
    del buffer, array
    assert reference() is not None
    assert allocate(4000).address != reference().address
    assert (part == 3).all()
    del part
    gc.collect()
    assert reference() is None


def test_views_take_offsets_and_strides_and_stay_inside():
    buffer = allocate(48)
    buffer.as_numpy(np.int32, (12,))[...] = np.arange(12)
    np.testing.assert_array_equal(buffer.as_numpy(np.int32, (4,), offset=16), [4, 5, 6, 7])
    np.testing.assert_array_equal(buffer.as_numpy(np.int32, (3, 2), strides=(4, 12)), [[0, 3], [1, 4], [2, 5]])
    assert buffer.as_numpy(np.float64, ()).shape == ()
    assert buffer.as_numpy(np.float32, (0, 5)).shape == (0, 5)
    with pytest.raises(TypeError, match="too small"):
        buffer.as_numpy(np.int32, (13,))
    with pytest.raises(ValueError, match="strides"):
        buffer.as_numpy(np.int32, (3, 2), strides=(4, 40))


def test_a_foreign_buffer_shares_the_memory_of_its_array_and_keeps_it():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    buffer = Buffer.from_numpy(array)
    assert (buffer.address, buffer.nbytes) == (array.ctypes.data, 24)
    buffer.as_numpy(np.float32, (6,))[0] = 10
    assert array[0, 0] == 10
    reference = weakref.ref(array)
    del array
    assert reference() is not None
    before = cached_bytes()
    del buffer
    assert reference() is None
    assert cached_bytes() == before


def test_a_foreign_buffer_spans_strided_and_reversed_arrays():
    base = np.arange(24, dtype=np.int64).reshape(4, 6)
    for array in (base[::-1], base[:, ::-2], base.T, base[1:3, 2:4], np.broadcast_to(base[0], (5, 6))):
        buffer = Buffer.from_numpy(array)
        offset = array.ctypes.data - buffer.address
        seen = buffer.as_numpy(np.int64, array.shape, offset, array.strides)
        np.testing.assert_array_equal(seen, array)


@pytest.mark.parametrize("nbytes", [-1, 2**46, 2**62, 2**63, 2**64, 2**100])
def test_an_impossible_size_is_refused_in_pytorchs_words(nbytes):
    with pytest.raises(RuntimeError) as caught:
        allocate(nbytes)
    assert f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {nbytes} bytes." in str(caught.value)
    assert type(caught.value) is RuntimeError
    assert caught.value.__cause__ is None


def test_memory_is_released_before_a_request_fails(monkeypatch):
    allocate(8 * MEBIBYTE)
    assert cached_bytes() >= 8 * MEBIBYTE
    original, attempts = allocator._from_system, []

    def scarce(size):
        attempts.append(cached_bytes())
        return None if cached_bytes() else original(size)

    monkeypatch.setattr(allocator, "_from_system", scarce)
    assert allocate(100 * MEBIBYTE).nbytes == 100 * MEBIBYTE
    assert attempts[0] >= 8 * MEBIBYTE
    assert attempts[1] == 0


def test_kept_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(allocator._cache, "bound", 8 * MEBIBYTE)
    for size in range(1, 30):
        allocate(size * MEBIBYTE // 2)
    assert cached_bytes() <= 8 * MEBIBYTE + allocator.LARGE
    monkeypatch.setattr(allocator._cache, "bound", 0)
    allocate(2 * MEBIBYTE)
    assert cached_bytes() < 2 * MEBIBYTE


def test_old_blocks_are_released(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(allocator.time, "monotonic", lambda: now[0])
    allocate(5 * MEBIBYTE)
    now[0] += allocator.KEEP_SECONDS + 1
    allocate(20 * MEBIBYTE)
    allocator._cache.trim()
    assert 20 * MEBIBYTE <= cached_bytes() < 25 * MEBIBYTE


def test_empty_cache_releases_everything_unused():
    kept = allocate(2 * MEBIBYTE)
    allocate(3 * MEBIBYTE)
    allocate(100)
    assert cached_bytes() > 3 * MEBIBYTE
    empty_cache()
    assert cached_bytes() == 0
    kept.as_numpy(np.uint8, (kept.nbytes,))[...] = 1


def test_allocated_bytes_are_counted():
    before = counters()["bytes_allocated"]
    allocate(1000)
    allocate(1000)
    assert counters()["bytes_allocated"] == before + 2000


def test_threads_never_share_a_block():
    faults = []

    def work(number):
        generator = np.random.default_rng(number)
        for _ in range(300):
            size = int(generator.choice([100, 1000, 2 * MEBIBYTE]))
            view = allocate(size).as_numpy(np.uint8, (size,))
            view[:64] = number
            view[-1] = number
            if not ((view[:64] == number).all() and view[-1] == number):
                faults.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_buffers_left_at_exit_are_silent():
    script = """
import json
from flamework.runtime import allocator
json.keep = allocator.allocate(100)
allocator._keep = allocator.allocate(5 << 20)
class Loop: pass
loop = Loop(); loop.itself = loop; loop.buffer = allocator.allocate(1 << 21)
loop.view = loop.buffer.as_numpy("f4", (3,))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
