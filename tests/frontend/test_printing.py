"""How tensors look when printed, against PyTorch's own ``repr`` and against texts recorded from it."""

from __future__ import annotations

import doctest
import math
import textwrap

import numpy as np
import pytest
from flamework import printing
from flamework.printing import PrintOptions, format_tensor, print_options, set_printoptions
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as nps

NAN, INF = math.nan, math.inf


@pytest.fixture(autouse=True)
def default_options():
    set_printoptions(profile="default")
    yield
    set_printoptions(profile="default")


def text(values, dtype="float32", default="float32", options=None, **kwargs) -> str:
    array = np.array(values, "float32" if dtype == "bfloat16" else dtype)
    return format_tensor(array, dtype, default, options=options, **kwargs)


# Recorded from PyTorch 2.13.
FLOATS = [
    (1.0, "tensor(1.)"),
    (12345.678, "tensor(12345.6777)"),
    (1e-7, "tensor(1.0000e-07)"),
    (1e10, "tensor(1.0000e+10)"),
    (NAN, "tensor(nan)"),
    ([1.0, 2.0, 3.0], "tensor([1., 2., 3.])"),
    ([1.5, 2.0, 3.0], "tensor([1.5000, 2.0000, 3.0000])"),
    ([0.0, -0.0], "tensor([0., -0.])"),
    ([1e-5, 1.0], "tensor([1.0000e-05, 1.0000e+00])"),
    ([1e9], "tensor([1.0000e+09])"),
    ([100000.5], "tensor([100000.5000])"),
    ([1001.0, 1.5], "tensor([1001.0000,    1.5000])"),
    ([1.0, 1001.5], "tensor([1.0000e+00, 1.0015e+03])"),
    ([0.0, 1e-10], "tensor([0.0000e+00, 1.0000e-10])"),
    ([1e-45], "tensor([1.4013e-45])"),
    ([NAN, INF, 1.0], "tensor([nan, inf, 1.])"),
    ([NAN, INF, -INF], "tensor([nan, inf, -inf])"),
    ([NAN, 1.5, -2.0], "tensor([    nan,  1.5000, -2.0000])"),
    ([[[0.0]]], "tensor([[[0.]]])"),
]

OTHER_DTYPES = [
    (5, "int64", "tensor(5)"),
    ([[1, -20], [300, 4]], "int64", "tensor([[  1, -20],\n        [300,   4]])"),
    ([2**40, -1], "int64", "tensor([1099511627776,            -1])"),
    (3, "int32", "tensor(3, dtype=torch.int32)"),
    ([1, 2], "uint8", "tensor([1, 2], dtype=torch.uint8)"),
    ([255, 1], "uint16", "tensor([255,   1], dtype=torch.uint16)"),
    (True, "bool", "tensor(True)"),
    ([True, False], "bool", "tensor([ True, False])"),
    ([1.5], "float16", "tensor([1.5000], dtype=torch.float16)"),
    ([1.1015625, 2], "bfloat16", "tensor([1.1016, 2.0000], dtype=torch.bfloat16)"),
    ([1.5], "float64", "tensor([1.5000], dtype=torch.float64)"),
    (1 + 2j, "complex64", "tensor(1.+2.j)"),
    ([1 + 2j, 3.5 - 4j], "complex64", "tensor([1.0000+2.j, 3.5000-4.j])"),
    ([1e-8 + 1j, 2], "complex64", "tensor([1.0000e-08+1.j, 2.0000e+00+0.j])"),
    ([complex(1, NAN), complex(INF, -INF)], "complex64", "tensor([1.+nanj, inf-infj])"),
    ([1 + 2j], "complex128", "tensor([1.+2.j], dtype=torch.complex128)"),
]

EMPTY = [
    ((0,), "float32", "tensor([])"),
    ((0,), "int64", "tensor([], dtype=torch.int64)"),
    ((0,), "bool", "tensor([], dtype=torch.bool)"),
    ((0, 3), "float32", "tensor([], size=(0, 3))"),
    ((2, 0, 3), "int64", "tensor([], size=(2, 0, 3), dtype=torch.int64)"),
    ((0, 2), "complex64", "tensor([], size=(0, 2), dtype=torch.complex64)"),
]

LAYOUTS = [
    (
        np.arange(20),
        {},
        """
        tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,
                18, 19])
        """,
    ),
    (np.arange(2000), {}, "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"),
    (
        np.arange(8).reshape(2, 2, 2) * 1000,
        {},
        """
        tensor([[[   0, 1000],
                 [2000, 3000]],

                [[4000, 5000],
                 [6000, 7000]]])
        """,
    ),
    (
        np.zeros((2, 1, 2, 1), np.float32),
        {},
        """
        tensor([[[[0.],
                  [0.]]],


                [[[0.],
                  [0.]]]])
        """,
    ),
    (
        np.arange(2000, dtype=np.float32).reshape(40, 50),
        {},
        """
        tensor([[0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 4.7000e+01, 4.8000e+01,
                 4.9000e+01],
                [5.0000e+01, 5.1000e+01, 5.2000e+01,  ..., 9.7000e+01, 9.8000e+01,
                 9.9000e+01],
                [1.0000e+02, 1.0100e+02, 1.0200e+02,  ..., 1.4700e+02, 1.4800e+02,
                 1.4900e+02],
                ...,
                [1.8500e+03, 1.8510e+03, 1.8520e+03,  ..., 1.8970e+03, 1.8980e+03,
                 1.8990e+03],
                [1.9000e+03, 1.9010e+03, 1.9020e+03,  ..., 1.9470e+03, 1.9480e+03,
                 1.9490e+03],
                [1.9500e+03, 1.9510e+03, 1.9520e+03,  ..., 1.9970e+03, 1.9980e+03,
                 1.9990e+03]])
        """,
    ),
    (
        np.array([1.25, -2e5], np.float32),
        {"sci_mode": False},
        "tensor([      1.2500, -200000.0000])",
    ),
    (np.array([1, 2], np.float32), {"sci_mode": True}, "tensor([1.0000e+00, 2.0000e+00])"),
    (np.array([0.25, 0.75], np.float32), {"precision": 0}, "tensor([0, 1])"),
    (np.array([1.25, -2e5], np.float32), {"linewidth": 20}, "tensor([ 1.2500e+00,\n        -2.0000e+05])"),
    (np.arange(5), {"linewidth": 5, "threshold": 4, "edgeitems": 1}, "tensor([0,\n         ...,\n        4])"),
    (
        np.arange(12).reshape(3, 4),
        {"threshold": 3, "edgeitems": 1},
        """
        tensor([[ 0,  ...,  3],
                ...,
                [ 8,  ..., 11]])
        """,
    ),
    (np.arange(12).reshape(3, 4), {"threshold": 3, "edgeitems": 0}, "tensor([...], size=(3, 4))"),
    (np.zeros(2, np.float32), {"threshold": 3, "edgeitems": 0}, "tensor([0., 0.], size=(2,))"),
]


class TestRecorded:
    @pytest.mark.parametrize(("values", "expected"), FLOATS)
    def test_float_notation(self, values, expected):
        assert text(values) == expected

    @pytest.mark.parametrize(("values", "dtype", "expected"), OTHER_DTYPES)
    def test_dtypes(self, values, dtype, expected):
        assert text(values, dtype) == expected

    @pytest.mark.parametrize(("shape", "dtype", "expected"), EMPTY)
    def test_empty_tensors_show_their_size_unless_it_is_plain(self, shape, dtype, expected):
        assert text(np.zeros(shape), dtype) == expected

    @pytest.mark.parametrize(("array", "options", "expected"), LAYOUTS)
    def test_layout_under_options(self, array, options, expected):
        set_printoptions(**options)
        assert format_tensor(array, array.dtype.name, "float32") == textwrap.dedent(expected).strip()

    @pytest.mark.parametrize(
        ("dtype", "default", "shown"),
        [
            ("float32", "float32", False),
            ("float64", "float32", True),
            ("float64", "float64", False),
            ("float32", "float64", True),
            ("complex64", "float32", False),
            ("complex64", "float64", True),
            ("complex128", "float64", False),
            ("int64", "float64", False),
            ("bool", "float64", False),
            ("int8", "float32", True),
        ],
    )
    def test_dtype_is_shown_unless_it_is_a_default(self, dtype, default, shown):
        assert (f"dtype=torch.{dtype}" in text([1], dtype, default)) == shown

    def test_order_of_suffixes(self):
        assert text([1.0], "float64", requires_grad=True, device="cuda:0") == (
            "tensor([1.], device='cuda:0', dtype=torch.float64, requires_grad=True)"
        )
        assert text([1.0], requires_grad=True, grad_fn="AddBackward0") == "tensor([1.], grad_fn=<AddBackward0>)"

    def test_suffix_that_does_not_fit_begins_a_line(self):
        values = [1.3675, 1.5704, 1.0378, 1.6024, 1.3699, 1.6046, 1.8012, 1.9219]
        assert text(values, grad_fn="AddBackward0") == (
            "tensor([1.3675, 1.5704, 1.0378, 1.6024, 1.3699, 1.6046, 1.8012, 1.9219],\n       grad_fn=<AddBackward0>)"
        )

    def test_tensors_without_values_show_their_shape(self):
        assert format_tensor(None, "float32", "float32", device="meta", shape=(3,)) == (
            "tensor(..., device='meta', size=(3,))"
        )
        assert format_tensor(None, "int64", "float32", device="meta", shape=()) == (
            "tensor(..., device='meta', size=(), dtype=torch.int64)"
        )

    def test_shape_must_be_known_and_agree(self):
        with pytest.raises(ValueError, match="shape"):
            format_tensor(None, "float32", "float32")
        with pytest.raises(ValueError, match="shape"):
            format_tensor(np.zeros(3), "float64", "float64", shape=(4,))

    def test_bfloat16_may_come_as_bits(self):
        assert format_tensor(np.array([0x3F8D, 0xC000], np.uint16), "bfloat16", "float32") == (
            "tensor([ 1.1016, -2.0000], dtype=torch.bfloat16)"
        )

    def test_continuation_lines_are_indented_by_the_prefix(self):
        assert format_tensor(np.eye(2, dtype=int), "int64", "float32", prefix="x(") == "x([[1, 0],\n   [0, 1]])"


class TestOptions:
    def test_profiles(self):
        set_printoptions(profile="short")
        assert print_options() == PrintOptions(precision=2, edgeitems=2)
        set_printoptions(profile="FULL")
        assert print_options() == PrintOptions(threshold=INF)
        set_printoptions(profile="default", precision=7)
        assert print_options() == PrintOptions(precision=7)

    def test_options_not_given_keep_their_values_except_the_notation(self):
        set_printoptions(edgeitems=5, sci_mode=True)
        set_printoptions(linewidth=100)
        assert print_options() == PrintOptions(edgeitems=5, linewidth=100, sci_mode=None)

    @pytest.mark.parametrize(
        "bad",
        [
            {"profile": "none"},
            {"precision": -1},
            {"precision": 2.5},
            {"edgeitems": "3"},
            {"linewidth": -1},
            {"threshold": NAN},
            {"threshold": "many"},
        ],
    )
    def test_bad_options_are_refused_and_change_nothing(self, bad):
        with pytest.raises(ValueError, match=next(iter(bad))):
            set_printoptions(**bad)
        assert print_options() == PrintOptions()

    def test_a_large_array_is_summarised_before_it_is_formatted(self):
        # Every element of this array is the same 8 bytes; converting all of them to text, or to float64, would not fit.
        huge = np.broadcast_to(np.float32(1.5), (10**7, 10**7))
        assert format_tensor(huge, "float32", "float32").count("1.5000") == 36

    def test_examples_in_the_documentation(self):
        results = doctest.testmod(printing)
        assert results.failed == 0
        assert results.attempted >= 4


OPTIONS = st.builds(
    PrintOptions,
    precision=st.integers(0, 9),
    threshold=st.sampled_from([0, 5, 30, 1000, INF]),
    edgeitems=st.integers(0, 4),
    linewidth=st.sampled_from([0, 5, 20, 40, 79, 80, 81, 120]),
    sci_mode=st.sampled_from([None, None, True, False]),
)
SHAPES = nps.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9).filter(lambda shape: math.prod(shape) < 400)
DTYPES = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
DTYPES += ["bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"]


@st.composite
def printable(draw):
    """An array and the name of its dtype: of any bits, or numbers of some magnitudes such as people print."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(SHAPES)
    stored = "float32" if dtype == "bfloat16" else dtype
    if draw(st.booleans()):
        array = draw(nps.arrays(stored, shape))
    else:
        seed, low, spread = draw(st.integers(0, 999)), draw(st.integers(-6, 9)), draw(st.integers(0, 4))
        random = np.random.default_rng(seed)
        numbers = random.standard_normal(shape) * 10.0 ** (low + random.integers(0, spread + 1, shape))
        numbers = np.round(numbers, draw(st.sampled_from([0, 2, 9])))
        if stored.startswith("complex"):
            numbers = numbers + 1j * np.roll(numbers, 1)
        with np.errstate(over="ignore"):
            if np.dtype(stored).kind in "iu":
                info = np.iinfo(stored)
                numbers = np.clip(numbers, max(info.min, -(10**18)), min(info.max, 10**18))
            array = np.asarray(numbers).astype(stored)
    if dtype == "bfloat16":
        array = np.asarray(array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return array, dtype


class TestAgainstTorch:
    @settings(max_examples=600, deadline=None)
    @given(
        tensor=printable(),
        default=st.sampled_from(["float32", "float32", "float64", "float16", "bfloat16"]),
        options=OPTIONS,
        gradient=st.sampled_from([None, None, "leaf", "function"]),
        without_values=st.integers(0, 19).map(lambda n: n == 0),
    )
    def test_repr_is_the_same(self, tensor, default, options, gradient, without_values):
        torch = pytest.importorskip("torch")
        array, dtype = tensor
        theirs = torch.from_numpy(array.copy()).to(getattr(torch, dtype))
        if without_values:
            theirs = theirs.to("meta")
        ours = {"device": "meta", "shape": array.shape} if without_values else {}
        if gradient is not None and (theirs.is_floating_point() or theirs.is_complex()):
            theirs.requires_grad_(True)
            ours["requires_grad"] = True
            if gradient == "function":
                theirs = theirs.exp()
                array = theirs.detach().to(getattr(torch, array.dtype.name)).numpy() if not without_values else array
                ours["grad_fn"] = "ExpBackward0"
        torch.set_default_dtype(getattr(torch, default))
        torch.set_printoptions(
            precision=options.precision,
            threshold=options.threshold,
            edgeitems=options.edgeitems,
            linewidth=options.linewidth,
            sci_mode=options.sci_mode,
        )
        try:
            expected = repr(theirs)
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_printoptions(profile="default")
        printed = format_tensor(None if without_values else array, dtype, default, options=options, **ours)
        assert printed == expected
