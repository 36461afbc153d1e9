"""The sorting kernels against NumPy's stable sort: every dtype, every way to divide the work, ties, NaN, both zeros."""

import numpy as np
import pytest
from flamework.kernels.cpu import sort
from flamework.kernels.cpu.programs import Program
from flamework.runtime.kernels import KERNELS
from flamework.runtime.threads import get_num_threads, set_num_threads

DTYPES = {
    "f32": np.float32, "f64": np.float64, "i64": np.int64, "i32": np.int32, "i16": np.int16, "i8": np.int8,
    "u8": np.uint8, "b8": np.bool_,
}  # fmt: skip


def elements(code: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values with many ties, among them NaN of both signs, both zeros, infinities and the ends of the range."""
    rng = np.random.default_rng(len(shape) + shape[-1])
    dtype = DTYPES[code]
    if code == "b8":
        return rng.random(shape) < 0.5
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        x = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        x.reshape(-1)[::3] = rng.integers(0, 5, x.reshape(-1)[::3].shape)
        return x
    x = np.round(rng.standard_normal(shape), 2).astype(dtype)
    for place, value in enumerate((np.nan, -np.nan, -0.0, 0.0, np.inf, -np.inf)):
        x.reshape(-1)[place + 3 :: 17 + place] = value
    return x


def positions(x: np.ndarray, keep: int, descending: bool) -> np.ndarray:
    """What the kernels find, between two words that nothing may touch."""
    code = next(c for c, dtype in DTYPES.items() if x.dtype == dtype)
    length = x.shape[-1]
    rows = x.size // length
    call = sort.describe(code, rows, length, keep, descending)
    room = np.full(rows * keep + 2, -7, np.int64)
    scratch = np.full(call.scratch + 8, 0xA5, np.uint8)
    loaded = KERNELS.get(Program(sort.source(code), sort.FUNCTIONS))
    bases = {"x": x.ctypes.data, "out": room.ctypes.data + 8, "scratch": scratch.ctypes.data}
    tape = np.zeros((len(call.steps), 8), np.int64)
    blocks = [np.array(step.words, np.int64) for step in call.steps]
    for entry, block, step in zip(tape, blocks, call.steps):
        for word, name, offset in step.addresses:
            block[word] = bases[name] + offset
        entry[:4] = loaded[step.function], block.ctypes.data, step.units, step.work
    assert KERNELS.pool.run(tape.ctypes.data, len(tape)) == len(tape)
    assert room[0] == room[-1] == -7
    assert (scratch[call.scratch :] == 0xA5).all()
    return room[1:-1].reshape(*x.shape[:-1], keep)


def expected(x: np.ndarray, keep: int, descending: bool) -> np.ndarray:
    if not descending:
        return np.argsort(x, -1, kind="stable")[..., :keep]
    return (x.shape[-1] - 1 - np.argsort(x[..., ::-1], -1, kind="stable")[..., ::-1])[..., :keep]


# rows that are sorted one by one, more of them than there are slots, and long ones in chunks, whole and not
SHAPES = [(1,), (3, 7), (130, 33), (5, 1000), (70001,), (2, 65536), (9, 66000)]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("code", DTYPES)
def test_order_is_numpys_stable_order(code, descending):
    for shape in SHAPES:
        x = elements(code, shape)
        np.testing.assert_array_equal(positions(x, shape[-1], descending), expected(x, shape[-1], descending))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("code", DTYPES)
def test_first_few_are_the_beginning_of_the_stable_order(code, descending):
    for shape in (*SHAPES, (4, 3000), (140000,)):
        x = elements(code, shape)
        for keep in (1, 2, sort.FEW, sort.FEW + 1, 200, 700, 20000):
            if keep <= shape[-1]:
                np.testing.assert_array_equal(positions(x, keep, descending), expected(x, keep, descending))


@pytest.mark.parametrize("keep", [5, 100, 3000])
def test_orders_of_the_input_that_are_worst_for_selection(keep):
    ascending = np.arange(200_000, dtype=np.float32)
    same = np.zeros(200_000, np.float32)
    # all in one bucket of the highest bits
    close = (1 + np.arange(200_000) % 1000 * 2e-7).astype(np.float32)
    nothing = np.full(200_000, np.nan, np.float32)
    for x in (ascending, ascending[::-1].copy(), same, close, nothing):
        for descending in (False, True):
            np.testing.assert_array_equal(positions(x, keep, descending), expected(x, keep, descending))


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_any_number_of_threads_finds_the_same(threads):
    before = get_num_threads()
    set_num_threads(threads)
    try:
        for x in (elements("f32", (300_000,)), elements("f64", (500, 300))):
            for keep in (x.shape[-1], 10, 60):
                np.testing.assert_array_equal(positions(x, keep, True), expected(x, keep, True))
    finally:
        set_num_threads(before)


def test_unaligned_input_is_sorted():
    held = elements("f64", (70_002,))
    for start in (1, 2):
        x = held[start:]
        np.testing.assert_array_equal(positions(x, x.size, False), expected(x, x.size, False))


def test_a_row_that_is_too_long_is_refused():
    with pytest.raises(RuntimeError, match="positions have 32 bits"):
        sort.describe("f32", 1, 1 << 32, 1, False)
