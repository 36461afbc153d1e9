"""Elementwise functions, arithmetic, comparison and logic against PyTorch: values, dtypes, gradients, errors."""

import pytest
from rows import check, check_error

FUNCTIONS_ANYWHERE = """
    abs neg exp expm1 exp2 sin cos tan atan sinh cosh tanh sigmoid erf floor ceil trunc round square sign relu asinh
    frac sinc deg2rad rad2deg positive
""".split()
FUNCTIONS_POSITIVE = "log log1p log2 log10 sqrt rsqrt reciprocal".split()
FUNCTIONS_UNIT = "asin acos atanh".split()

VALUES = [
    *(f"torch.{name}(x)" for name in FUNCTIONS_ANYWHERE),
    *(f"torch.{name}(pos)" for name in FUNCTIONS_POSITIVE),
    *(f"torch.{name}(unit)" for name in FUNCTIONS_UNIT),
    *(f"torch.{name}(wild.detach())" for name in (*FUNCTIONS_ANYWHERE, *FUNCTIONS_POSITIVE, *FUNCTIONS_UNIT)
      if name not in ("sin", "cos", "tan", "sinc")),
    *(f"torch.{name}(f)" for name in FUNCTIONS_ANYWHERE if name != "frac"),
    *(f"torch.{name}(i)" for name in (*FUNCTIONS_ANYWHERE, *FUNCTIONS_POSITIVE) if name != "frac"),
    *(f"torch.{name}(scalar)" for name in ("exp", "abs", "relu", "sqrt")),
    *(f"torch.{name}(empty)" for name in ("exp", "abs", "floor")),
    *(f"x.detach().clone().{name}_()" for name in ("exp", "abs", "neg", "sin", "relu", "sigmoid", "tanh", "floor")),
    "torch.exp(b)", "torch.sin(u8)", "torch.sqrt(zero_i)", "torch.square(b)", "torch.sign(b)", "torch.abs(i8)",
    "torch.sgn(i)", "torch.acosh(pos + 1)", "torch.acosh(wild.detach())", "torch.asinh(x * 1e12)",
    "torch.round(x, decimals=2)", "torch.round(x * 100, decimals=-1)", "torch.logit(prob)", "torch.logit(x, eps=0.1)",
    "torch.nan_to_num(wild)", "torch.nan_to_num(wild, nan=1.0, posinf=2.0, neginf=-2.0)", "torch.nan_to_num(i)",
    "torch.relu(ties)", "torch.abs(ties)", "torch.reciprocal(ties.detach())", "torch.sinc(edge)", "torch.asinh(edge)",
    # arithmetic and promotion
    "torch.add(x, y)", "torch.add(x, y, alpha=2)", "torch.add(x, vec, alpha=0.5)", "torch.add(x, 3)", "x.add(col)",
    "torch.add(i, 2.5)", "torch.add(i, 2)", "torch.add(i, i32)", "torch.add(u8, i8)", "torch.add(b, b)",
    "torch.add(b, 1)", "torch.add(b, 1.5)", "torch.add(f, i)", "torch.add(f, scalar.detach())", "torch.add(f1, f)",
    "torch.add(i, scalar.detach())", "torch.add(i32, zero_i)", "torch.add(u8, 300)", "torch.add(b, b, alpha=2)",
    "torch.add(i, j, alpha=3)", "torch.sub(x, y)", "torch.sub(x, y, alpha=2)", "torch.sub(i, 7)", "torch.rsub(x, 2)",
    "torch.rsub(x, y, alpha=3)", "5 - x", "torch.mul(x, y)", "torch.mul(i, 2.5)", "torch.mul(b, b)",
    "torch.mul(x, col)", "torch.div(x, pos)", "torch.div(i, j)", "torch.div(i, 2)",
    "torch.div(x, 2, rounding_mode='floor')", "torch.div(x, pos, rounding_mode='trunc')",
    "torch.div(i, j, rounding_mode='floor')", "torch.div(i, j, rounding_mode='trunc')",
    "torch.div(i, 2.5, rounding_mode='trunc')", "torch.true_divide(i, j)", "torch.floor_divide(i, j)",
    "torch.floor_divide(x.detach(), pos.detach())", "torch.remainder(x, pos)", "torch.remainder(i, j)",
    "torch.remainder(i, -3)", "torch.remainder(x, -0.7)", "torch.fmod(x, pos)", "torch.fmod(i, j)",
    "torch.fmod(x, -0.7)", "torch.remainder(5, j)", "3 % j", "torch.pow(x, 2)", "torch.pow(x, 3)",
    "torch.pow(pos, 0.5)", "torch.pow(pos, -0.5)", "torch.pow(pos, -1)", "torch.pow(pos, -2)", "torch.pow(pos, 2.3)",
    "torch.pow(x, 0)", "torch.pow(x, 1)", "torch.pow(pos, y)", "torch.pow(2, x)", "torch.pow(2.5, i)",
    "torch.pow(i, 2)", "torch.pow(i, 3)", "torch.pow(j, j)", "torch.pow(i, 0.5)", "torch.pow(2, j)",
    "torch.pow(b, i.abs())", "torch.pow(ties, 2)", "torch.float_power(i, 2)", "torch.float_power(f, 1.5)",
    "torch.addcmul(x, y, col)", "torch.addcmul(x, y, vec, value=0.3)", "torch.addcmul(i, j, j, value=2)",
    "torch.addcdiv(x, y, pos)", "torch.addcdiv(x, y, pos, value=-0.1)", "torch.lerp(x, y, 0.3)",
    "torch.lerp(x, y, 0.8)", "torch.lerp(x, y, prob)", "torch.lerp(f, f1, 0.3)", "torch.maximum(x, y)",
    "torch.maximum(ties, ties.detach())", "torch.minimum(x, vec)", "torch.minimum(ties, ties)", "torch.maximum(i, j)",
    "torch.fmax(wild, torch.zeros(8, dtype=torch.float64))", "torch.fmin(wild, torch.zeros(8, dtype=torch.float64))",
    "torch.fmax(ties, ties.flip(1))", "torch.fmin(x, y)", "torch.fmax(i, j)",
    "torch.maximum(wild.detach(), wild.detach().flip(0))", "torch.clamp(x, -0.5, 0.5)", "torch.clamp(edge, -1, 1)",
    "torch.clamp(x, min=0.1)", "torch.clamp(x, max=0.1)", "torch.clamp(x, y, pos)", "torch.clamp(x, min=y)",
    "torch.clamp(i, -2, 2)", "torch.clamp(i, 1.5)", "torch.clamp(wild.detach(), -1, 1)", "torch.clamp(edge, min=nan)",
    "torch.clamp(edge, wild.detach())", "torch.clamp(x, 1, -1)", "torch.clip(x, 0, 1)", "torch.clamp_min(x, 0)",
    "torch.clamp_max(x, 0.5)", "torch.atan2(x, y)", "torch.atan2(i, j)", "torch.hypot(x, y)", "torch.hypot(f, f)",
    "torch.hypot(x * 1e200, y)", "torch.copysign(x, y)", "torch.copysign(x, -1.0)", "torch.copysign(i, -2)",
    "torch.logaddexp(x, y)", "torch.logaddexp(x * 1000, y)", "torch.logaddexp(ties, ties.detach())",
    "torch.logaddexp(wild.detach(), wild.detach())", "torch.xlogy(prob, pos)", "torch.xlogy(ties, pos)",
    "torch.xlogy(i, j)", "torch.heaviside(edge.detach(), edge.detach() + 7)", "torch.ldexp(x, j)",
    "torch.ldexp(x.detach(), i)", "torch.ldexp(x, zero_i)",
    # in place and out=
    "a = x.clone(); a.add_(y, alpha=2); a.mul_(vec); a.pow_(2); result = a",
    "a = x.clone(); a.clamp_(-0.5, 0.5); a.lerp_(y, 0.3); a.addcmul_(y, y, value=0.1); result = a",
    "a = x.clone(); a.addcdiv_(y, pos, value=0.1); a.sub_(1); a.div_(2.0); result = a",
    "a = i.clone(); a.add_(2); a.remainder_(3); a.floor_divide_(2); result = a",
    "a = f.clone(); a.eq_(f); result = a", "a = i.clone(); a.bitwise_and_(j); result = a",
    "a = torch.empty(0); torch.add(f, f, out=a); result = a",
    "a = torch.zeros(3, 4); torch.exp(f, out=a); result = a",
    "a = torch.zeros(3, 4, dtype=torch.float64); torch.mul(f, 2, out=a); result = a",
    # comparison and logic
    *(f"torch.{name}({args})" for name in ("eq", "ne", "lt", "le", "gt", "ge")
      for args in ("x, y", "i, 2", "i, 2.5", "f, i", "wild, wild", "ties, 0.0", "b, b", "x, scalar")),
    "torch.isnan(wild)", "torch.isinf(wild)", "torch.isfinite(wild)", "torch.isposinf(wild)", "torch.isneginf(wild)",
    "torch.isnan(i)", "torch.isinf(i)", "torch.isfinite(i)", "torch.isreal(x)", "torch.signbit(wild)",
    "torch.signbit(i)", "torch.isclose(x, x + 1e-9)", "torch.isclose(wild, wild)",
    "torch.isclose(wild, wild, equal_nan=True)", "torch.isclose(i, j, atol=1.5)", "torch.isclose(x, y, rtol=0.5)",
    "torch.allclose(x, x + 1e-9)", "torch.allclose(x, y)", "torch.equal(x, x)", "torch.equal(x, y)",
    "torch.equal(x, vec)", "torch.equal(i, i.double())", "torch.logical_and(i, x)", "torch.logical_or(i, u8)",
    "torch.logical_xor(b, i)", "torch.logical_not(i)", "torch.logical_not(b)", "torch.logical_not(x)",
    "torch.bitwise_and(i, j)", "torch.bitwise_or(i, 5)", "torch.bitwise_xor(u8, i8)", "torch.bitwise_not(i)",
    "torch.bitwise_not(b)", "torch.bitwise_and(b, b)", "torch.bitwise_left_shift(j, 2)",
    "torch.bitwise_right_shift(i, 1)", "torch.bitwise_or(b, i)", "torch.where(b, x, y)", "torch.where(b, x, 1.0)",
    "torch.where(b, 1, i)", "torch.where(b, 1.0, 2)", "torch.where(b, f, x.detach())", "torch.where(b1, x, scalar)",
    "x.where(b, y)", "torch.where(b)",
]

ERRORS = [
    "torch.add(x, torch.ones(5))", "torch.add(i, 1, alpha=1.5)", "torch.sub(b, b)", "torch.sub(b, 1)", "torch.neg(b)",
    "torch.clamp(x)", "torch.div(x, 2, rounding_mode='x')", "torch.pow(i, -1)", "torch.where(i, 1.0, 2.0)",
    "torch.isclose(i, x)", "-b", "torch.div(i, 0, rounding_mode='floor')", "torch.remainder(i, 0)", "torch.exp(1.0)",
    "torch.maximum(x, 1)", "torch.atan2(x, 1.0)", "torch.abs(b)", "torch.relu(b)", "torch.frac(i)",
    "torch.bitwise_and(x, 1)", "torch.bitwise_not(f)", "torch.addcdiv(i, i, i)", "torch.lerp(i, i, 0.5)",
    "torch.lerp(f, x, 0.5)", "torch.hypot(i, i)", "torch.logaddexp(i, i)", "torch.heaviside(x, f)",
    "torch.round(i, decimals=1)", "i.clone().add_(1.5)", "i.clone().div_(2)",
    "torch.zeros(3).add_(torch.zeros(2, 3))", "x.add_(1)", "torch.add(f, f, out=i.clone())",
    "torch.exp(x, out=torch.empty(3, 4, dtype=torch.float64))", "torch.add(x, None)", "torch.mul(x, 'a')",
]
SAME_TEXT = [
    "torch.add(x, torch.ones(5))", "torch.add(i, 1, alpha=1.5)", "torch.sub(b, b)", "torch.sub(b, 1)", "torch.neg(b)",
    "torch.clamp(x)", "torch.div(x, 2, rounding_mode='x')", "torch.pow(i, -1)", "torch.where(i, 1.0, 2.0)",
    "torch.isclose(i, x)", "i.clone().add_(1.5)", "torch.zeros(3).add_(torch.zeros(2, 3))", "x.add_(1)",
]


@pytest.mark.parametrize("expression", VALUES)
def test_pointwise_function_equals_torch(expression):
    check(expression)


@pytest.mark.parametrize("expression", ERRORS)
def test_pointwise_function_refuses_what_torch_refuses(expression):
    check_error(expression)


@pytest.mark.parametrize("expression", SAME_TEXT)
def test_pointwise_error_says_what_torch_says(expression):
    check_error(expression, text=True)
