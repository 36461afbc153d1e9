"""The functions as methods of ``Tensor``: one table, and one rule for the methods that work in place.

A function of the API takes the tensor as its first argument, so it is a method as it stands. The in-place method of a
function (``exp_`` of ``exp``) computes the function and makes the result the tensor's new value. Methods that were
installed before, because they are faster or share memory, are left alone.

In: the function modules. Out: methods of ``Tensor``; and ``IN_PLACE_FUNCTIONS``, which ``torch`` has too. Read next:
``nn/functional.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import (
    arithmetic,
    comparison,
    creation,
    floats,
    gathering,
    histograms,
    joining,
    pointwise,
    products,
    random,
    reduction,
    scans,
    scattering,
    sorting,
    special,
)
from .arguments import scalar_type
from .mutation import assign, original
from .recording import node_of
from .tensor import SparseOperand, Tensor, sparse_call

METHODS: dict[Any, str] = {
    floats: "frexp nextafter",
    histograms: "histogram",
    scattering: "index_reduce scatter_reduce",
    pointwise: """
        abs absolute acos acosh arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh ceil cos cosh
        deg2rad erf exp exp2 expm1 fix floor frac log log10 log1p log2 logit nan_to_num neg negative positive rad2deg
        reciprocal relu round rsqrt sgn sigmoid sign sin sinc sinh sqrt square tan tanh trunc
    """,
    arithmetic: """
        add addcdiv addcmul arctan2 atan2 clamp clamp_max clamp_min clip copysign div divide float_power floor_divide
        fmax fmin fmod gcd heaviside hypot lcm ldexp lerp logaddexp logaddexp2 maximum minimum mul multiply pow
        remainder sub subtract true_divide xlogy
    """,
    comparison: """
        allclose bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor eq equal ge
        greater greater_equal gt isclose isfinite isinf isnan isneginf isposinf isreal le less less_equal logical_and
        logical_not logical_or logical_xor lt ne not_equal signbit
    """,
    reduction: """
        all amax amin aminmax any argmax argmin count_nonzero dist logsumexp max mean min nanmean nansum norm prod std
        sum var
    """,
    special: "digamma erfc erfinv i0 igamma igammac lgamma mvlgamma",
    scans: "cummax cummin cumprod cumsum diff log_softmax logcumsumexp softmax",
    products: """
        addbmm addmm addmv addr baddbmm bmm cross dot ger inner kron matmul mm mv outer trace vdot
    """,
    joining: """
        diag diag_embed diagflat dsplit flip fliplr flipud hsplit repeat repeat_interleave roll rot90 tensor_split tile
        tril triu vsplit
    """,
    gathering: """
        argwhere gather index_add index_copy index_fill index_select masked_scatter masked_select nonzero nonzero_static
        put scatter scatter_add take take_along_dim
    """,
    sorting: """
        argsort bincount histc kthvalue median mode msort nanmedian nanquantile quantile sort topk unique
        unique_consecutive
    """,
    creation: "new_empty new_empty_strided new_full new_ones new_tensor new_zeros",
    random: """
        bernoulli bernoulli_ cauchy_ exponential_ geometric_ log_normal_ multinomial normal_ random_ uniform_
    """,
}

IN_PLACE: dict[Any, str] = {
    floats: "nextafter",
    scattering: "index_reduce scatter_reduce",
    pointwise: """
        abs absolute acos acosh arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh ceil cos cosh
        deg2rad erf exp exp2 expm1 fix floor frac log log10 log1p log2 logit nan_to_num neg negative rad2deg reciprocal
        relu round rsqrt sgn sigmoid sign sin sinc sinh sqrt square tan tanh trunc
    """,
    arithmetic: """
        add addcdiv addcmul arctan2 atan2 clamp clamp_max clamp_min clip copysign div divide floor_divide
        fmod gcd heaviside hypot lcm ldexp lerp mul multiply pow remainder sub subtract true_divide xlogy
    """,
    comparison: """
        bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor eq ge greater
        greater_equal gt le less less_equal logical_and logical_not logical_or logical_xor lt ne not_equal
    """,
    special: "digamma erfc erfinv i0 igamma igammac lgamma mvlgamma",
    scans: "cumprod cumsum",
    products: "addbmm addmm addmv addr baddbmm",
    joining: "tril triu",
    gathering: "index_add index_copy index_fill masked_scatter put scatter scatter_add",
}


def in_place(function: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    """The method that makes a function's result the new value of its first argument."""

    def method(self: Tensor, *args: Any, **options: Any) -> Tensor:
        try:
            value = function(original(self, *args, *options.values()), *args, **options)
            if self.is_complex() and value.is_floating_point():
                raise RuntimeError(f"In-place {name[:-1]} is not supported for complex tensors.")
            return assign(self, node_of(value))
        except SparseOperand:
            return sparse_call(name, (self, *args), options)

    method.__name__ = method.__qualname__ = name
    # whose annotations say what it takes
    method.__wrapped__ = function
    method.__doc__ = f":func:`{function.__name__}`, in place. As ``Tensor.{name}``."
    return method


def float_power_(self: Tensor, exponent: Tensor | float) -> Tensor:
    """:func:`float_power`, in place: of float64 or complex128 only. As ``Tensor.float_power_``."""
    result = arithmetic.float_power(original(self, exponent), exponent)
    if result.dtype is not self.dtype:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {scalar_type(self.dtype)} but the operation's result requires "
            f"dtype {scalar_type(result.dtype)}"
        )
    return assign(self, node_of(result))


def where(self: Tensor, condition: Tensor, other: Tensor | float) -> Tensor:
    """This tensor where the condition holds, ``other`` elsewhere. As ``Tensor.where``."""
    return gathering.where(condition, self, other)


def norm(
    self: Tensor, p: float | str | None = "fro", dim: int | None = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """:func:`norm`. As ``Tensor.norm``."""
    return reduction.norm(self, p, dim, keepdim, None, dtype)


def polygamma(self: Tensor, n: int) -> Tensor:
    """:func:`polygamma` of order ``n``. As ``Tensor.polygamma``."""
    return special.polygamma(n, self)


def __matmul__(self: Tensor, other: Tensor) -> Tensor:
    return products.matmul(self, other) if isinstance(other, Tensor) else NotImplemented


def __rmatmul__(self: Tensor, other: Tensor) -> Tensor:
    return products.matmul(other, self) if isinstance(other, Tensor) else NotImplemented


def install() -> None:
    """Give ``Tensor`` the methods of the tables that it does not have."""
    own = Tensor.__dict__
    for function in (where, norm, float_power_, polygamma, in_place(polygamma, "polygamma_"), __matmul__, __rmatmul__):
        if function.__name__ not in own:
            setattr(Tensor, function.__name__, function)
    for module, names in METHODS.items():
        for name in names.split():
            if name not in own:
                setattr(Tensor, name, getattr(module, name))
    for module, names in IN_PLACE.items():
        for name in names.split():
            if name + "_" not in own:
                setattr(Tensor, name + "_", in_place(getattr(module, name), name + "_"))


install()

# torch.exp_(x) is x.exp_(); these are the names that PyTorch has.
IN_PLACE_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    name + "_": getattr(Tensor, name + "_")
    for name in """
        abs acos acosh addmv arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh ceil clamp clamp_max
        clamp_min clip cos cosh deg2rad erf erfc exp exp2 expm1 fill fix floor frac gcd i0 index_put lcm ldexp log log10
        log1p
        log2 logit nan_to_num neg negative rad2deg reciprocal relu round rsqrt sigmoid sin sinc sinh sqrt square tan
        tanh trunc xlogy zero
    """.split()
    if hasattr(Tensor, name + "_")
}
