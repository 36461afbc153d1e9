"""Every public function and method, called with a few sets of arguments of each dtype, next to PyTorch.

Both must accept the same calls and give the same values; where PyTorch raises, what catches its error catches ours. The
calls are not chosen with care: most are wrong, which is what they are for.
"""

import warnings

import flamework
import numpy as np
import pytest

torch = pytest.importorskip("torch")

# Uninitialised or random results, and functions that change what later calls give.
SKIPPED = set(
    """
    bernoulli bernoulli_ binomial cauchy_ compile counters data_ptr empty empty_like explain exponential_ from_dlpack
    geometric_ initial_seed fft load log_normal_ manual_seed multinomial new_empty normal normal_ numpy rand_like
    randint_like randn_like random_ realize save seed set_default_dtype set_default_tensor_type set_grad_enabled
    set_num_threads set_printoptions set_rng_state get_num_threads get_rng_state pca_lowrank svd_lowrank
    uniform_ backward share_memory_
    """.split()
)

# What is known to differ, by name, and why.
DEVIATIONS = {
    "sizes and axes come one by one as well, as they do to methods": """
        broadcast_shapes broadcast_to layer_norm ones permute rand randn reshape rms_norm zeros
    """,
    "dtypes are not told by a type of their own name, and one operand is enough": "result_type",
    "a tensor of several elements is refused where its number is taken, not as an argument": """
        arange celu elu leaky_relu logit nan_to_num rrelu tensor_split
    """,
    "the number of axes is found wrong by the part that needs it": "unfold",
    "the dtype is told before what is missing": "repeat_interleave",
    "of two wrong things the other one is told": """
        adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d
        avg_pool1d avg_pool2d binary_cross_entropy binary_cross_entropy_with_logits einsum group_norm
        hardsigmoid hardswish hardtanh huber_loss instance_norm interpolate l1_loss local_response_norm
        max_pool1d mish mse_loss normalize relu relu6 selu silu smooth_l1_loss tensordot unique_consecutive
    """,
    "the error of the factorisation is a class of ours": "cholesky",
    "what is neither True nor False is taken for one": "set_flush_denormal",
    "a tensor is no number of samples": "stft",
    "there is no GPU, which PyTorch tells by an AssertionError": "cuda",
    "an eigenvector has two signs": "linalg.eigh",
    "integers are round already": "special.round",
    "16-bit floats are refused before the axes are looked at, or with another error": """
        fft.fft2 fft.hfft2 fft.ifft2 fft.ihfft2 fft.irfft2 fft.rfft2 linalg.matrix_rank linalg.solve linalg.solve_ex
    """,
    "a tolerance is one number for each matrix, not several": "linalg.pinv",
}

# What differs for some dtypes only.
DTYPE_DEVIATIONS = {
    "indices of a wrong dtype are told before the ends of bags are counted in it": {
        "embedding_bag": ("bool", "complex64")
    },
    "at its poles it is infinite, not a large number": {"polygamma": ("int64",)},
    "there are no losses of complex numbers": dict.fromkeys(("poisson_nll_loss", "soft_margin_loss"), ("complex64",)),
    "there are no complex numbers of 16-bit floats": dict.fromkeys(("complex", "polar"), ("float16",)),
    "the diagonal of a factor is complex here": {"cholesky_inverse": ("complex64",)},
    "PyTorch's result is NaN": {"matrix_exp": ("float16", "bfloat16")},
    "PyTorch rounds the ends of the intervals": {"histc": ("float16", "bfloat16")},
}
KNOWN = {name for names in DEVIATIONS.values() for name in names.split()}

_rng = np.random.default_rng(0)
BASE = _rng.standard_normal((4, 4))
# No two integers of a row or column are equal: PyTorch does not say which of them an order statistic tells.
_whole = _rng.permutation(16).reshape(4, 4)
BASES = {
    "float64": BASE, "float16": BASE, "bfloat16": BASE, "complex64": BASE + 1j * _rng.standard_normal((4, 4)),
    "int64": _whole - 5, "uint8": _whole, "bool": BASE > 0,
}
ROUNDING = {"float16": 2e-3, "bfloat16": 2e-2}

# Each takes a function that makes a tensor of an array.
ARGUMENTS = {
    "tensor": lambda made, base: (made(base),),
    "tensor, 1": lambda made, base: (made(base), 1),
    "two tensors": lambda made, base: (made(base), made(base.T)),
    "vector": lambda made, base: (made(base[0]),),
    "tensor, 2": lambda made, base: (made(base), 2),
}


def given(package, dtype, arguments):
    return ARGUMENTS[arguments](
        lambda array: package.from_numpy(array.copy()).to(getattr(package, dtype)), BASES[dtype]
    )


def functions():
    """The functions that both packages have, as a path from the package."""
    for path in ("", "nn.functional.", "Tensor.", "linalg.", "fft.", "special."):
        ours, theirs = resolved(flamework, path[:-1]), resolved(torch, path[:-1])
        for name in sorted(dir(ours)):
            there = not name.startswith("_") and name not in SKIPPED and hasattr(theirs, name)
            if there and callable(getattr(ours, name)) and not isinstance(getattr(ours, name), type):
                if path != "nn.functional." or not any(part in name for part in ("drop", "gumbel", "rrelu")):
                    yield path + name


def resolved(package, path):
    for part in filter(None, path.split(".")):
        package = getattr(package, part)
    return package


def plain(value):
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if hasattr(value, "detach"):
        return str(value.dtype), tuple(value.shape), np.asarray(value.detach().resolve_conj().tolist())
    return value if isinstance(value, (int, float, bool, complex, str)) else None


def outcome(package, path, arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return plain(resolved(package, path)(*arguments))
        except Exception as error:
            return error


def difference(ours, theirs, rtol=1e-4):
    """In a word how two outcomes differ; None if they do not."""
    if isinstance(theirs, Exception):
        if not isinstance(ours, Exception):
            return f"accepted, but {theirs!r:.120}"
        return None if isinstance(ours, type(theirs)) else f"{ours!r:.120} instead of {theirs!r:.120}"
    if isinstance(ours, Exception):
        return f"refused: {ours!r:.120}"
    return None if same(ours, theirs, rtol) else "other values"


def same(ours, theirs, rtol):
    if isinstance(theirs, list):
        alike = isinstance(ours, list) and len(ours) == len(theirs)
        return alike and all(same(one, other, rtol) for one, other in zip(ours, theirs))
    if isinstance(theirs, tuple):
        alike = isinstance(ours, tuple) and ours[:2] == theirs[:2]
        return alike and np.allclose(ours[2], theirs[2], rtol, max(rtol, 1e-3), equal_nan=True)
    return ours == theirs or theirs != theirs


@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("dtype", BASES)
def test_functions_accept_and_refuse_what_torch_does(dtype, arguments):
    known = KNOWN.union(*(names for names in DTYPE_DEVIATIONS.values() for of in names.values() if dtype in of))
    found = {}
    for path in functions():
        name = path.rpartition(".")[2]
        if known.isdisjoint((name, name.rstrip("_"), path)):
            ours, theirs = (outcome(t, path, given(t, dtype, arguments)) for t in (flamework, torch))
            differs = difference(ours, theirs, ROUNDING.get(dtype, 1e-4))
            if differs is not None:
                found[path] = differs
    assert not found, "\n".join(f"{path}: {differs}" for path, differs in found.items())


def test_errors_name_the_argument():
    x = flamework.ones(4, 4)
    for call, text in (
        (lambda: flamework.stack(x), r"stack\(\): argument 'tensors' \(position 1\) must be tuple of Tensors, not "),
        (lambda: flamework.topk(x, x), r"topk\(\): argument 'k' \(position 2\) must be int, not Tensor"),
        (lambda: x.topk(x), r"topk\(\): argument 'k' \(position 1\) must be int, not Tensor"),
        (lambda: x.ldexp_(1), r"ldexp_\(\): argument 'other' \(position 1\) must be Tensor, not int"),
        (lambda: x.flip(), r'flip\(\) missing 1 required positional arguments: "dims"'),
        (lambda: x.requires_grad_(1), r"requires_grad_\(\): argument 'requires_grad' \(position 1\) must be bool"),
    ):
        with pytest.raises(TypeError, match=text):
            call()


def test_an_error_of_right_arguments_is_left_alone():
    with pytest.raises(IndexError, match="Dimension out of range"):
        flamework.ones(2).softmax(5)
    with pytest.raises(RuntimeError, match="size"):
        flamework.dist(flamework.ones(2), flamework.ones(3))
