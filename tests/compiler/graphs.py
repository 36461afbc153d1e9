"""Programs for the tests of the compiler, written from primitives, and ways to run and to look at them.

Nothing here comes from the frontend: a test of the compiler says what graph it means. ``variable`` makes an input,
the functions after it are what models are made of, and ``computed``, ``expected``, ``plan_of`` and ``kernels`` say what
became of a graph: its values, its values by NumPy, its plan, and its kernels.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence

import flamework  # noqa: F401  (all rows of the table exist once the package is imported)
import numpy as np
from flamework.compiler import autodiff, dtypes, primitives as p, primitives_shape as s
from flamework.compiler.cluster import Cluster, find
from flamework.compiler.fusion import Fusion, fuse
from flamework.compiler.ir import Node, tensor_type, verify
from flamework.compiler.lowering import Lowered, lower
from flamework.compiler.reference import evaluate
from flamework.compiler.rewrite import rewrite
from flamework.runtime import engine
from flamework.runtime.plan import Plan

# ------------------------------------------------------------------------------------------------------------ leaves


def variable(array, requires_grad: bool = False) -> Node:
    """An input with these values."""
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    type = tensor_type(array.shape, dtypes.from_numpy(array.dtype))
    return Node(p.input_, (), (), type, engine.buffer_from_numpy(array), requires_grad)


def normal(*shape: int, dtype="float32", seed: int = 0) -> Node:
    """An input that requires a gradient, with values from the normal distribution."""
    return variable(np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype), True)


def indices(*shape: int, below: int, seed: int = 0) -> Node:
    return variable(np.random.default_rng([seed, *shape]).integers(0, below, shape))


def number(value, shape: Sequence[int] = (), dtype: dtypes.DType = dtypes.float32) -> Node:
    """A Python number that the program takes as an argument."""
    params = (tuple(shape), dtype, "cpu")
    return Node(p.scalar, (), params, tensor_type(*params), value)


def const(like: Node, value) -> Node:
    return p.full_like(like, value)


def iota(shape: Sequence[int], axis: int, dtype: dtypes.DType = dtypes.int64) -> Node:
    return p.iota(params=(tuple(shape), dtype, "cpu", axis))


# ---------------------------------------------------------------------------------------------------------- programs


def total(x: Node) -> Node:
    return s.reduce_sum(x, params=tuple(range(x.ndim))) if x.ndim else x


def mean(x: Node, axes: Sequence[int]) -> Node:
    """The number of elements is an argument, so that another batch size is no other kernel."""
    result = s.reduce_sum(x, params=tuple(axes))
    return p.div(result, number(math.prod(x.shape[a] for a in axes), result.shape, result.dtype))


def affine(x: Node, weight: Node | None, bias: Node | None) -> Node:
    """``x * weight + bias``, both along the last axes."""
    if weight is not None:
        x = p.mul(x, s.broadcast_to(weight, x.shape))
    return x if bias is None else p.add(x, s.broadcast_to(bias, x.shape))


def shifted(x: Node, axis: int) -> Node:
    """``x`` less its largest element along an axis."""
    largest = s.detach(s.reduce_max(x, params=(axis,)))
    return p.sub(x, s.back(largest, (axis,), x.shape))


def softmax(x: Node, axis: int = -1) -> Node:
    axis %= x.ndim
    e = p.exp(shifted(x, axis))
    return p.div(e, s.back(s.reduce_sum(e, params=(axis,)), (axis,), x.shape))


def log_softmax(x: Node, axis: int = -1) -> Node:
    axis %= x.ndim
    z = shifted(x, axis)
    return p.sub(z, s.back(p.log(s.reduce_sum(p.exp(z), params=(axis,))), (axis,), x.shape))


def standardise(x: Node, axes: Sequence[int]) -> Node:
    """``(x - mean) / sqrt(var + eps)``."""
    centred = p.sub(x, s.back(mean(x, axes), axes, x.shape))
    variance = mean(p.mul(centred, centred), axes)
    scale = p.rsqrt(p.add(variance, const(variance, 1e-5)))
    return p.mul(centred, s.back(scale, axes, x.shape))


def layer_norm(x: Node, weight: Node | None = None, bias: Node | None = None) -> Node:
    return affine(standardise(x, (x.ndim - 1,)), weight, bias)


def rms_norm(x: Node, weight: Node) -> Node:
    axes = (x.ndim - 1,)
    square = mean(p.mul(x, x), axes)
    return affine(p.mul(x, s.back(p.rsqrt(p.add(square, const(square, 1e-6))), axes, x.shape)), weight, None)


def gelu(x: Node) -> Node:
    """With the hyperbolic tangent."""
    cube = p.mul(x, p.mul(x, x))
    inner = p.scale(p.add(x, p.scale(cube, 0.044715)), math.sqrt(2 / math.pi))
    return p.mul(p.scale(x, 0.5), p.add(const(x, 1), p.tanh(inner)))


def gelu_erf(x: Node) -> Node:
    return p.mul(p.scale(x, 0.5), p.add(const(x, 1), p.erf(p.scale(x, math.sqrt(0.5)))))


def cross_entropy(logits: Node, labels: Node) -> Node:
    """The mean over rows of ``-log_softmax(logits)[label]``; labels are checked where they are used."""
    rows, classes = logits.shape
    wrapped = p.wrap_index(labels, number(classes, (rows,), dtypes.int64))
    chosen = s.gather(log_softmax(logits), s.reshaped(wrapped, (rows, 1)), params=(1,))
    return p.neg(mean(chosen, (0, 1)))


def adam(parameter: Node, gradient: Node, first: Node, second: Node, rate: float, step: int) -> list[Node]:
    """New parameter and moments; everything that changes from step to step is an argument."""

    def given(value: float) -> Node:
        return number(value, parameter.shape)

    b1, b2 = 0.9, 0.999
    first = p.add(p.mul(first, given(b1)), p.mul(gradient, given(1 - b1)))
    second = p.add(p.mul(second, given(b2)), p.mul(p.mul(gradient, gradient), given(1 - b2)))
    denominator = p.add(p.mul(p.sqrt(second), given(1 / math.sqrt(1 - b2**step))), given(1e-8))
    change = p.div(p.mul(first, given(rate / (1 - b1**step))), denominator)
    return [p.sub(parameter, change), first, second]


def gradients(output: Node, *wanted: Node, again: bool = False) -> list[Node]:
    """Cotangents of ``wanted`` (or of every leaf) for a cotangent of ones; ``again`` makes them have gradients."""
    with autodiff.recording_gradients(again):
        found = autodiff.vjp([output], [const(output, 1)], retain_graph=True)
    return [found[w] for w in wanted] if wanted else list(found.values())


# ------------------------------------------------------------------------------------------- running and looking at it


def computed(*roots: Node) -> list[np.ndarray]:
    """The values of ``roots`` by the engine."""
    engine.realize(roots)
    return [engine.read_node(root) for root in roots]


def expected(*roots: Node) -> list[np.ndarray]:
    """The values of ``roots`` by the NumPy references, one node at a time."""
    return evaluate(roots, engine.read_node)


def assert_same(found: np.ndarray, wanted: np.ndarray, message: str = "", rtol=2e-5, atol=2e-6) -> None:
    """Equal shapes and dtypes; floats to a relative error (float64: a millionth of it; 16 bits: one unit in the last
    place), all else exactly."""
    assert found.shape == wanted.shape, message
    assert found.dtype == wanted.dtype, message
    if found.dtype == np.float16 or found.dtype.name == "bfloat16":
        # the float32 that is rounded may differ in its last place, and then the rounding goes another way
        last_place = 2.0**-10 if found.dtype == np.float16 else 2.0**-7
        np.testing.assert_allclose(
            found.astype(np.float32), wanted.astype(np.float32), rtol=last_place, atol=atol, err_msg=message
        )
    elif found.dtype.kind in "fc":
        factor = 1e-6 if found.dtype.char in "dD" else 1
        if found.dtype.kind == "c":
            # a part may be the small difference of large numbers
            atol = max(atol, rtol * float(np.nanmax(np.abs(wanted), initial=0)))
        np.testing.assert_allclose(found, wanted, rtol=rtol * factor, atol=atol * factor, err_msg=message)
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=message)


def assert_matches_reference(*roots: Node, message: str = "", rtol=2e-5, atol=2e-6) -> None:
    """The engine computes what the references say."""
    verify(roots)
    wanted = expected(*roots)
    for root, found, array in zip(roots, computed(*roots), wanted):
        assert_same(found, array, f"{message} {root.op.name} {root.type}", rtol, atol)


def plan_of(*roots: Node) -> Plan:
    """The plan that the engine would run for ``roots``."""
    plan, *_ = engine.prepared(roots)
    return plan


def fused(*roots: Node) -> Fusion:
    return fuse(rewrite(roots))


def clusters(*roots: Node) -> list[Cluster]:
    """The kernels and library calls of a program, in the order in which they run."""
    return fused(*roots).clusters


def lowered(*roots: Node) -> list[Lowered]:
    """The kernels of a program in the loop IR."""
    fusion = fused(*roots)
    return [lower(cluster, fusion) for cluster in fusion.clusters if cluster.kind == "kernel"]


def describe(fusion: Fusion) -> str:
    """The clusters of a fusion as text: what each stores, what it computes, and the reasons of the borders."""
    lines = []
    for cluster in fusion.clusters:
        if cluster.kind != "kernel":
            lines.append(f"{cluster.kind}: {cluster.node.op.name} {cluster.node.type}")
            continue
        inside = [node.op.name for node in fusion.order if node in cluster.values and node.op.kind != "leaf"]
        results = ", ".join(f"{store.target.op.name} {store.target.type}" for store in cluster.stores)
        lines.append(f"kernel -> {results}")
        lines += [f"  {part}" for part in textwrap.wrap(" ".join(inside), 90)]
    for border in fusion.borders:
        lines.append(f"border: {border.producer.op.name} {border.producer.type}: {border.reason}")
    return "\n".join(lines)


def check(fusion: Fusion) -> None:
    """What must hold for every fusion."""
    position = {cluster: k for k, cluster in enumerate(fusion.clusters)}
    explained = {fusion.base(border.producer) for border in fusion.borders}
    assert all(border.reason for border in fusion.borders)
    assert all(find(border.consumer) in position for border in fusion.borders)
    for cluster in fusion.clusters:
        # the chain: each set contained in the next
        assert all(a <= b for a, b in itertools.pairwise(cluster.sets()))
    for node, home in fusion.home.items():
        home, base = find(home), fusion.base(node)
        loads = [c for c in fusion.clusters if reads(c, fusion, node)]
        assert all(position[home] < position[c] or writes_into(c, fusion, base) for c in loads if c is not home)
        written_by = {c for c in fusion.clusters for st in c.stores if st.target is base}
        if len(written_by) == 1:
            assert not any(c is home and base not in home.values for c in loads), "a kernel reads what it writes"
        if any(c.kind == home.kind == "kernel" and c is not home and node not in c.values for c in loads):
            assert base in explained or written_by != {home}, f"no reason why {node.op.name} {node.type} is in memory"


def reads(cluster: Cluster, fusion: Fusion, node: Node) -> bool:
    return any(fusion.base(operand) is fusion.base(node) for operand in cluster.operands)


def writes_into(cluster: Cluster, fusion: Fusion, base: Node) -> bool:
    return any(fusion.base(store.target) is base for store in cluster.stores)
