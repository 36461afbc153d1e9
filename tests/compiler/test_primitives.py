"""Every row of the table of primitives: types, kernels against NumPy, gradients, tangents, batching, refusals.

The tests run over the table itself with the data of ``primitive_cases.py``; a row without data fails. Derivatives are
compared with central differences in float64, which know nothing of the rules. They are evaluated with the references,
because the kernels are compared with those here too.
"""

from __future__ import annotations

from collections.abc import Sequence

import graphs
import numpy as np
import pytest
from flamework.compiler import autodiff, dtypes
from flamework.compiler.ir import IRError, Node, TensorType, tensor_type, verify
from flamework.compiler.narrow import computes
from flamework.compiler.reference import evaluate
from primitive_cases import CASES, REFUSED, ROWS, SHAPES, Case

LEAVES = ("input", "scalar")  # values that are given, not computed
COMPUTED = [name for name in ROWS if name not in LEAVES]
DIFFERENTIABLE = [name for name, row in ROWS.items() if row.vjp is not None]


def test_every_row_has_test_data():
    assert set(COMPUTED) == set(CASES)
    assert set(COMPUTED) - set(REFUSED) <= {"const", "iota"}


def test_every_row_has_a_reference_and_what_its_kind_needs():
    for name, row in ROWS.items():
        if row.kind == "leaf":
            continue
        assert row.reference is not None, name
        assert row.batch is not None, name
        assert (row.vjp is None) == (row.jvp is None), name
        assert (row.expr is not None) == (row.kind == "elementwise"), name


# ---------------------------------------------------------------------------------------------------- types and values


@pytest.mark.parametrize("name", COMPUTED)
def test_result_has_the_shape_and_dtype_that_the_reference_gives(name):
    row = ROWS[name]
    for case in CASES[name]:
        for dtype in case.accepted(row):
            if dtype.compute is not dtype and computes(row):
                continue
            with np.errstate(all="ignore"):
                value = np.asarray(row.reference(case.parameters(dtype), *case.arrays(dtype)))
            node = case.node(row, dtype)
            assert node.shape == value.shape
            assert node.dtype.numpy == value.dtype, f"{name} of {case.types(dtype)}"


@pytest.mark.parametrize("name", COMPUTED)
def test_kernel_gives_what_the_reference_gives_for_every_dtype(name):
    """In one materialisation for all dtypes and shapes of a row."""
    row = ROWS[name]
    roots, wanted, tolerances = [], [], []
    for case in CASES[name]:
        accepted = case.accepted(row)
        if case is not CASES[name][0] and (row.kind != "elementwise" or not case.operands[0].shape):
            # other kernels than the first case's: a float, an integer and bool say enough
            accepted = [d for d in (dtypes.float32, dtypes.int16, dtypes.bool_) if d in accepted] or accepted[:1]
        for dtype in accepted:
            root = case.node(row, dtype)
            roots.append(root)
            wanted += graphs.expected(root)
            tolerances.append(case.rtol)
    for root, found, value, rtol in zip(roots, graphs.computed(*roots), wanted, tolerances):
        text = f"{name}{list(root.params)} {root.type}"
        graphs.assert_same(found, value, text, rtol=rtol, atol=rtol)


def special_values() -> list[float]:
    tiny, huge = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    return [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, tiny, -tiny, huge, -huge, np.inf, -np.inf, np.nan]


@pytest.mark.parametrize("name", [name for name in COMPUTED if ROWS[name].kind == "elementwise"])
def test_kernel_keeps_to_ieee_for_zeros_infinities_and_nan(name):
    """Every pair of special values; the sign of a zero counts."""
    row, case = ROWS[name], CASES[name][0]
    if dtypes.float32 not in case.accepted(row) or name in ("cast", "bitcast"):
        return
    count = len(case.operands)
    values = np.array(special_values(), np.float32)
    grid = [a.reshape(-1) for a in np.meshgrid(*[values] * count, indexing="ij")]
    sources = [a if o.dtype is None else np.nan_to_num(a) > 0 for a, o in zip(grid, case.operands)]
    root = row(*map(graphs.variable, sources), params=case.params)
    (wanted,) = graphs.expected(root)
    (found,) = graphs.computed(root)
    np.testing.assert_allclose(found, wanted, rtol=2e-6)
    if wanted.dtype.kind == "f":
        # of two zeros the maximum is the positive one, where NumPy takes either (IEEE 754-2019, section 9.6)
        zeros = (wanted == 0) & ((name not in ("max", "min")) | (np.signbit(grid[0]) == np.signbit(grid[-1])))
        np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(wanted[zeros]))


# -------------------------------------------------------------------------------------------------------- derivatives


def value_of(roots: Sequence[Node], arrays: dict[Node, np.ndarray]) -> list[np.ndarray]:
    return evaluate(roots, arrays.__getitem__)


def leaves(
    case: Case, row, dtype: dtypes.DType, seed: int = 0
) -> tuple[Node, dict[Node, np.ndarray], list[Node]]:
    """The row applied in a dtype, the arrays of its sources, and the sources to differentiate to."""
    node = case.node(row, dtype, seed)
    arrays = {x: graphs.engine.read_node(x).copy() for x in node.src}
    wrt = range(len(node.src)) if case.wrt is None else case.wrt
    return node, arrays, [node.src[i] for i in wrt if node.src[i].requires_grad]


def differences(number: Node, arrays: dict, x: Node, step: float | None) -> np.ndarray:
    """The gradient of a number by central differences in every element of ``x``; of a complex one in both parts."""

    def function(changed: dict) -> float:
        return float(value_of([number], changed)[0])

    is_complex = arrays[x].dtype.kind == "c"
    slope = np.zeros(arrays[x].shape, complex if is_complex else float)
    for place in np.ndindex(slope.shape):
        moved = arrays[x].copy()
        centre = moved[place]
        h = step or 1e-5 * max(1.0, abs(centre))
        for unit in (1, 1j) if is_complex else (1,):
            moved[place] = centre + h * unit
            above = function({**arrays, x: moved})
            moved[place] = centre - h * unit
            slope[place] += unit * (above - function({**arrays, x: moved})) / (2 * h)
    return slope


def derivative_cases(name: str) -> list[tuple[Case, dtypes.DType]]:
    """The cases that have a derivative, in float64 and in complex128, without the large ones."""
    row = ROWS[name]
    return [
        (case, dtype) for case in CASES[name] for dtype in (dtypes.float64, dtypes.complex128)
        if case.wrt != () and dtype in case.accepted(row) and case.node(row, dtype).requires_grad
        and sum(np.prod(o.shape) for o in case.operands) <= 60
    ]


def random_like(type: TensorType, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    array = np.asarray(rng.standard_normal(type.shape))
    if type.dtype.kind == dtypes.COMPLEX:
        array = np.asarray(array + 1j * rng.standard_normal(type.shape))
    return array.astype(type.dtype.numpy)


def inner(x: Node, y: Node) -> Node:
    """The real number that two nodes of one type make: for complex ones Re(sum(conj(x) y))."""
    total = graphs.total(graphs.p.mul(graphs.p.conjugate(x), y))
    return graphs.p.real(total) if total.dtype.kind == dtypes.COMPLEX else total


def projected(node: Node) -> tuple[Node, Node]:
    """A cotangent with random values, and the number that it makes of the node."""
    cotangent = graphs.variable(random_like(node.type, 7), True)
    return cotangent, inner(cotangent, node)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_vjp_agrees_with_finite_differences(name):
    cases = derivative_cases(name)
    assert cases or all(case.wrt == () for case in CASES[name])
    for case, dtype in cases:
        node, arrays, wrt = leaves(case, ROWS[name], dtype)
        cotangent, number = projected(node)
        arrays[cotangent] = graphs.engine.read_node(cotangent)
        found = autodiff.vjp([node], [cotangent], wanted=wrt, retain_graph=True)
        verify(list(found.values()))
        for x in wrt:
            wanted = differences(number, arrays, x, case.step)
            assert x in found, f"{name}: no gradient of source {node.src.index(x)}"
            assert found[x].type is x.type
            (gradient,) = value_of([found[x]], arrays)
            single = node.dtype is dtypes.float32
            rtol, atol = (1e-4, 2e-6) if single else (1e-6, 1e-7)
            np.testing.assert_allclose(gradient, wanted, rtol=rtol, atol=atol, err_msg=f"{name} {case}")


# whose gradient has none, in PyTorch neither
ONCE_DIFFERENTIABLE = ["ctc"]


@pytest.mark.parametrize("name", ONCE_DIFFERENTIABLE)
def test_a_second_derivative_that_is_not_there_is_refused(name):
    case, dtype = derivative_cases(name)[0]
    node, _, wrt = leaves(case, ROWS[name], dtype)
    (first,) = autodiff.vjp([node], [graphs.p.full_like(node, 1)], wanted=wrt, retain_graph=True).values()
    with pytest.raises(NotImplementedError, match="is not implemented"):
        autodiff.vjp([first], [graphs.p.full_like(first, 1)], wanted=wrt)


@pytest.mark.parametrize("name", [name for name in DIFFERENTIABLE if name not in ONCE_DIFFERENTIABLE])
def test_vjp_of_the_vjp_agrees_with_finite_differences(name):
    """The gradient of a random combination of the gradients, to the sources and to the cotangent."""
    for case, dtype in derivative_cases(name):
        node, arrays, wrt = leaves(case, ROWS[name], dtype)
        cotangent, _ = projected(node)
        arrays[cotangent] = graphs.engine.read_node(cotangent)
        first = autodiff.vjp([node], [cotangent], wanted=wrt, retain_graph=True)
        number = None
        for seed, x in enumerate(wrt):
            weights = graphs.variable(random_like(x.type, seed))
            arrays[weights] = graphs.engine.read_node(weights)
            term = inner(weights, first[x])
            term = graphs.s.converted(term, dtypes.float64)
            number = term if number is None else graphs.p.add(number, term)
        second = autodiff.vjp([number], [graphs.const(number, 1)], wanted=[*wrt, cotangent], retain_graph=True)
        verify(list(second.values()))
        for x in [*wrt, cotangent]:
            wanted = differences(number, arrays, x, case.step)
            found = value_of([second[x]], arrays)[0] if x in second else np.zeros(x.shape)
            np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-7, err_msg=f"{name} {case}")


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_jvp_agrees_with_finite_differences(name):
    """Along a random direction of all sources, and along each by itself."""
    for case, dtype in derivative_cases(name):
        node, arrays, wrt = leaves(case, ROWS[name], dtype)
        directions = {x: random_like(x.type, 3 + i) for i, x in enumerate(wrt)}
        for chosen in [wrt, *([x] for x in wrt if len(wrt) > 1)]:
            tangents = {x: graphs.variable(directions[x]) for x in chosen}
            (tangent,) = autodiff.jvp([node], tangents)
            assert tangent.type is node.type
            known = {**arrays, **{t: directions[x] for x, t in tangents.items()}}
            (found,) = value_of([tangent], known)
            h = case.step or 1e-6
            above, below = (
                value_of([node], {**arrays, **{x: (arrays[x] + sign * directions[x]).astype(x.dtype.numpy)
                                               for x in chosen}})[0]
                .astype(np.complex128 if node.dtype.kind == dtypes.COMPLEX else np.float64)
                for sign in (h, -h)
            )
            rtol = 1e-5 if node.dtype is dtypes.float32 else 1e-7
            np.testing.assert_allclose(found, (above - below) / (2 * h), rtol=rtol, atol=1e-6, err_msg=f"{name} {case}")


@pytest.mark.parametrize("name", [name for name in COMPUTED if ROWS[name].vjp is None and ROWS[name].kind != "leaf"])
def test_no_gradient_flows_through_a_row_without_a_rule(name):
    for case in CASES[name]:
        for dtype in case.accepted(ROWS[name]):
            assert not case.node(ROWS[name], dtype).requires_grad


# ----------------------------------------------------------------------------------------------------------- batching


@pytest.mark.parametrize("name", [name for name in COMPUTED if ROWS[name].kind != "leaf"])
def test_batching_rule_is_a_loop_over_the_leading_axis(name):
    row, count = ROWS[name], 3
    for case in CASES[name]:
        if not case.batched:
            continue
        dtype = case.accepted(row)[-1]
        params = case.parameters(dtype)
        shapes = [(count, *o.shape) for o in case.operands]
        parts = [case.arrays(dtype, seed) for seed in range(count)]
        sources = [graphs.variable(np.stack(arrays)) for arrays in zip(*parts)]
        assert [x.shape for x in sources] == shapes
        batched = row.batch(params, sources)
        verify([batched])
        (found,) = graphs.expected(batched)
        with np.errstate(all="ignore"):
            wanted = np.stack([np.asarray(row.reference(params, *arrays)) for arrays in parts])
        np.testing.assert_allclose(found, wanted, rtol=1e-12, err_msg=f"{name} {case}")


def test_batching_rule_of_a_scatter_that_sets_keeps_batches_apart():
    base = graphs.variable(np.zeros((2, 4)))
    index = graphs.variable(np.array([[0, 2], [3, 1]]))
    new = graphs.variable(np.array([[1.0, 2.0], [3.0, 4.0]]))
    (found,) = graphs.expected(ROWS["scatter"].batch((0, "set"), [base, index, new]))
    assert found.tolist() == [[1, 0, 2, 0], [0, 4, 0, 3]]


# ----------------------------------------------------------------------------------------------------------- refusals


def refused(name: str) -> list[tuple[list[TensorType], tuple]]:
    """Types and parameters that a row refuses."""
    entries = []
    for entry in REFUSED[name]:
        with_params = isinstance(entry[-1], tuple)
        entries.append((list(entry[:-1] if with_params else entry), entry[-1] if with_params else ()))
    return entries


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_row_refuses_sources_that_do_not_fit(name):
    row = ROWS[name]
    for types, params in refused(name):
        sources = [Node(ROWS["input"], (), (), type, object()) for type in types]
        # devices that differ are the user's fault, and are told in PyTorch's words
        error, words = (IRError, name) if len({x.device for x in types}) == 1 else (RuntimeError, "same device")
        with pytest.raises(error, match=words):
            row(*sources, params=params)
        node = Node(row, tuple(sources), params, types[0])
        with pytest.raises(IRError, match=name):
            verify([node])


@pytest.mark.parametrize("name", COMPUTED)
def test_verifier_refuses_a_result_of_another_type(name):
    row = ROWS[name]
    case = CASES[name][0]
    node = case.node(row, case.accepted(row)[0])
    verify([node])
    if row.kind == "leaf":
        return
    other = dtypes.int16 if node.dtype is not dtypes.int16 else dtypes.int8
    for wrong in (tensor_type((*node.shape, 1), node.dtype), tensor_type(node.shape, other)):
        with pytest.raises(IRError, match="its row infers"):
            verify([Node(row, node.src, node.params, wrong)])


def test_the_kernel_test_covers_scalars_empty_tensors_and_remainders_of_vectors():
    sizes = {int(np.prod(shape)) for shape in SHAPES}
    assert () in SHAPES
    assert 0 in sizes
    assert any(size > 64 and size % 8 for size in sizes)
