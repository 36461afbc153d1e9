"""What a tensor is: operators and their dtypes, properties, conversion, copies, and when things are computed."""

from __future__ import annotations

import copy
import itertools
import operator
import pickle

import flamework
import numpy as np
import pytest
from flamework.recording import from_array, operands, pending, pending_tensors
from same_as_torch import assert_same

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"]
OPERATORS = {
    name: getattr(operator, name)
    for name in "add sub mul truediv floordiv mod pow and_ or_ xor lshift rshift eq ne lt le gt ge".split()
}


def tensor(torch, dtype, shape=(3,), values=(3, 0, 2)):
    return torch.tensor(values if shape else values[1], dtype=getattr(torch, dtype))


# Every combination is recorded; so many are computed as show that the values are right for each dtype.
COMPUTED = {(d, d) for d in DTYPES} | {("int32", "float64"), ("uint8", "int8"), ("bool", "int16"), ("int64", "float32")}


def outcome(look, function, *args):
    # a refusal counts by its kind: PyTorch's NotImplementedError is a RuntimeError
    try:
        result = function(*args)
        return result if look else (str(result.dtype), list(result.shape))
    except (RuntimeError, TypeError) as error:
        return "refused", isinstance(error, RuntimeError)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_promote_tensors_as_pytorch(name):
    apply = OPERATORS[name]
    # a quotient of integers by zero is an error, in PyTorch at once
    divisors = (2, 1, 3) if name in ("floordiv", "mod") else (1, 0, 2)

    def script(torch):
        results = []
        for a, b, first, second in itertools.product(DTYPES, DTYPES, [(3,), ()], [(3,), ()]):
            x, y = tensor(torch, a, first), tensor(torch, b, second, divisors)
            results.append(outcome((a, b) in COMPUTED and first == second == (3,), apply, x, y))
        return results

    assert_same(script)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_promote_numbers_as_pytorch(name):
    apply = OPERATORS[name]

    def script(torch):
        results = []
        for dtype, shape, number in itertools.product(DTYPES, [(3,), ()], [True, 2, 2.5, np.float32(2), np.int64(3)]):
            x = tensor(torch, dtype, shape, (3, 1, 2))
            look = dtype in ("uint8", "int64", "float32") and shape == (3,)
            results.append(outcome(look, apply, x, number))
            if not isinstance(number, np.generic):
                results.append(outcome(look, apply, number, x))
        return results

    assert_same(script)


IN_PLACE = {
    name: getattr(operator, name) for name in "iadd isub imul itruediv ifloordiv imod ipow iand ior ixor".split()
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_operators_in_place_keep_the_dtype_or_are_refused_as_in_pytorch(name):
    apply = IN_PLACE[name]

    def script(torch):
        results = []
        for a, b in itertools.product(DTYPES, DTYPES):
            x, y = tensor(torch, a), tensor(torch, b, values=(2, 1, 3))
            results.append(outcome((a, b) in COMPUTED, apply, x, y))
        for dtype, number in itertools.product(DTYPES, [True, 2, 2.5]):
            x = tensor(torch, dtype)
            results.append(outcome(dtype in ("uint8", "float32"), apply, x, number))
        return results

    assert_same(script)


# Expressions over a matrix x of float32, integers i, bools b and a 0-dim tensor z.
EXPRESSIONS = [
    "-x", "+x", "abs(-x)", "~i", "~b", "x ** 2", "x ** 3", "x ** 0.5", "x ** -1", "x ** -2", "x ** -0.5", "x ** 0",
    "x ** 1.5", "i ** 2", "2 ** x", "i ** 3", "x.add_(1, alpha=3)", "x.sub_(x.clone(), alpha=2)", "x.mul_(2)",
    "x.div_(4)",
    "i.div_(2, rounding_mode='floor')", "i.div_(-2, rounding_mode='trunc')", "x.div_(-2, rounding_mode='trunc')",
    "x.subtract_(1)", "x.multiply_(3)", "x.divide_(3)", "x.clone()", "x.double()", "x.int()", "b.float()", "i.bool()",
    "x.long()", "x.short()", "x.char()", "i.byte()", "x.to(torch.float64)", "x.to(i)", "x.to('cpu', torch.int32)",
    "x.to(dtype=torch.int64, copy=True)", "x.type(torch.float64)", "x.type('torch.LongTensor')", "x.type_as(i)",
    "x.cpu()",
    "x.fill_(3)", "x.fill_(z)", "x.zero_()", "x.copy_(i)", "x.copy_(z)", "i.copy_(x)", "x.masked_fill(x > 2, -1)",
    "x.masked_fill_(b, 7)", "i.index_put((torch.tensor([0, 1]), torch.tensor([2, 0])), torch.tensor([10, 20]))",
    "reversed(x)", "x.new_zeros(2)", "torch.Size([1, 2]) + (3,)", "torch.Size([1, 2, 3])[1:].numel()",
    "2 * torch.Size([1])",
]
VALUES_OF = [
    "x.shape", "x.size()", "x.size(-1)", "x.dim()", "x.ndim", "x.ndimension()", "x.numel()", "x.nelement()",
    "x.itemsize",
    "x.element_size()", "x.nbytes", "x.stride(0)", "x.storage_offset()", "len(x)", "x.is_floating_point()",
    "i.is_complex()",
    "i.is_signed()", "i.byte().is_signed()", "x.type()", "b.type()", "x.get_device()", "x.is_cpu", "x.is_cuda",
    "x.tolist()", "z.tolist()", "z.item()", "b[0, 0].item()", "i[0, 0].item()", "int(z)", "float(i[0, 1])",
    "complex(z)",
    "bool(z)", "bool(b[0, 1])", "[10, 20, 30][i[0, 1]]", "f'{z:.3f}'", "f'{z}'", "str(z)", "repr(x)", "repr(i)",
    "repr(b)",
    "2.0 in x", "99 in x", "x.to(torch.float32) is x", "x.contiguous() is x", "x.float() is x", "x.to('cpu') is x",
    "x.to(torch.float32, copy=True) is x", "x == None", "x == 'a'", "x != 'a'", "list(range(5))[z.int():]",
    "torch.result_type(i, z)", "torch.result_type(i, 1.5)", "torch.promote_types(torch.uint8, torch.int8)",
    "torch.can_cast(torch.float32, torch.int32)", "torch.can_cast(torch.int64, torch.uint8)",
    "torch.broadcast_shapes((2, 1), (3,), ())", "torch.is_tensor(x)", "torch.is_tensor(1)", "torch.numel(x)",
    "torch.get_default_dtype()", "repr(torch.Size([2, 3]))", "str(torch.float32)", "repr(torch.device('cuda:1'))",
    "str(torch.device('cuda', 1))", "torch.device('cpu') == torch.device('cpu')", "torch.device('cuda:1').index",
    "torch.device('cpu').index", "len({torch.device('cpu'), torch.device('cpu')})", "torch.float is torch.float32",
    "torch.long is torch.int64", "torch.float32.is_floating_point", "torch.int8.itemsize", "hash(x) == id(x)",
    "x.data_ptr() == x.view(-1).data_ptr()", "x[1].data_ptr() - x.data_ptr()", "repr(torch.contiguous_format)",
]


def evaluate(torch, expression):
    x = torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.5, 2.0]])
    names = {"torch": torch, "x": x, "i": torch.tensor([[3, 1, 2], [5, 4, 0]]), "b": x > 2, "z": torch.tensor(2.5)}
    return eval(expression, names)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_give_what_pytorch_gives(expression):
    assert_same(lambda torch: evaluate(torch, expression))


@pytest.mark.parametrize("expression", VALUES_OF)
def test_what_is_known_about_a_tensor_is_what_pytorch_says(expression):
    assert_same(lambda torch: str(evaluate(torch, expression)))


# --------------------------------------------------------------------------------------------- when things are computed


def computed(t):
    return t._node.value is not None


def test_operations_record_and_looking_computes():
    x = flamework.tensor([1.0, 2.0])
    y = x * 2 + 1
    assert not computed(y)
    assert y.shape == (2,) and y.dtype is flamework.float32
    assert not computed(y)
    assert y.tolist() == [3, 5]
    assert computed(y)


def test_realize_computes_what_it_is_given_or_everything():
    x = flamework.tensor([1.0])
    y, z = x + 1, x.clone() * 3
    flamework.realize(y)
    assert computed(y)
    flamework.realize()
    assert computed(z) and not pending_tensors()


def test_pending_tensors_are_those_that_somebody_holds():
    flamework.realize()
    x = flamework.tensor([1.0])
    y = (x + 1) * 2
    assert pending_tensors() == [y]


def test_a_long_program_that_nobody_looks_at_is_computed_in_pieces(monkeypatch):
    flamework.realize()
    monkeypatch.setattr(pending, "limit", 50)
    x = flamework.tensor([0.0])
    for _ in range(60):
        x = x + 1
    depth, node = 0, x._node
    while node.src:
        node, depth = node.src[0], depth + 1
    assert depth < 60
    assert x.tolist() == [60]


def test_a_number_is_an_argument_and_not_part_of_the_program():
    x = flamework.tensor([1.0])
    a, b = x * 2.0, x * 3.0
    assert (a._node.op, a._node.params) == (b._node.op, b._node.params)
    assert a._node.src[1].op.name == "scalar" and a._node.src[1].params == b._node.src[1].params


def test_operands_have_one_dtype_and_one_shape():
    a, b, c = operands(from_array(np.ones((2, 1), np.int32)), from_array(np.ones(3, np.float32)), 2)
    assert a.type is b.type is c.type
    assert a.shape == (2, 3) and a.dtype is flamework.float32


def test_the_default_dtype_decides_what_python_floats_are():
    before = flamework.get_default_dtype()
    try:
        flamework.set_default_dtype(flamework.float64)
        assert flamework.tensor(1.5).dtype is flamework.float64
        assert (flamework.tensor([1, 2]) / 2).dtype is flamework.float64
    finally:
        flamework.set_default_dtype(before)


def test_the_constructor_takes_sizes_or_values():
    assert flamework.Tensor(2, 3).shape == (2, 3)
    assert flamework.Tensor([1, 2]).tolist() == [1, 2] and flamework.Tensor([1, 2]).dtype is flamework.float32
    assert flamework.Tensor().shape == (0,)


def test_tensors_are_keys_by_identity():
    x, y = flamework.tensor([1.0]), flamework.tensor([1.0])
    assert {x: 1, y: 2}[x] == 1


def test_iterating_gives_views():
    x = flamework.zeros(2, 2)
    for i, row in enumerate(x):
        row += i
    assert x.tolist() == [[0, 0], [1, 1]]


# --------------------------------------------------------------------------------------------------------------- copies


def test_deepcopy_copies_values_flags_and_gradients():
    x = flamework.tensor([1.0, 2.0], requires_grad=True)
    flamework.sum(x * x).backward()
    y = copy.deepcopy(x)
    with flamework.no_grad():
        y += 10
    assert x.tolist() == [1, 2] and y.tolist() == [11, 12]
    assert y.requires_grad and y.is_leaf and y.grad.tolist() == [2, 4] and y.grad is not x.grad


def test_deepcopy_keeps_what_shares_memory_together():
    x = flamework.zeros(2, 2)
    both = copy.deepcopy([x, x[0], x])
    both[1] += 1
    assert both[0] is both[2]
    assert both[0].tolist() == [[1, 1], [0, 0]] and x.tolist() == [[0, 0], [0, 0]]


def test_copy_shares_memory():
    x = flamework.zeros(2)
    y = copy.copy(x)
    y += 1
    assert y is not x and x.tolist() == [1, 1]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_hold_values_dtypes_and_flags(protocol):
    x = flamework.tensor([[1.0, 2.0]], dtype=flamework.float64, requires_grad=True)
    y, t, size, kind, place = pickle.loads(
        pickle.dumps([x, (x * 2).detach().t(), x.shape, x.dtype, x.device], protocol)
    )
    assert y.tolist() == [[1, 2]] and y.dtype is flamework.float64 and y.requires_grad and y.is_leaf
    assert t.tolist() == [[2], [4]]
    assert size == (1, 2) and kind is flamework.float64 and place == flamework.device("cpu")


def test_a_parameter_is_a_tensor_with_its_class_after_copying():
    w = flamework.nn.Parameter(flamework.ones(2))
    for v in (copy.deepcopy(w), pickle.loads(pickle.dumps(w))):
        assert type(v) is flamework.nn.Parameter and v.requires_grad and v.tolist() == [1, 1]
    assert type(w + 1) is flamework.Tensor


# Limits, parts replaced out of place, sizes and memory replaced.
MORE = [
    "torch.finfo()", "torch.finfo(torch.float64)", "torch.iinfo(torch.int8)", "torch.iinfo(torch.int64).min",
    "x.select_scatter(torch.ones(3), 0, 1)", "x.slice_scatter(torch.ones(2, 1), 1, 1, 3, 2)",
    "torch.diagonal_scatter(torch.zeros(3, 3), torch.ones(2), 1)",
    "torch.as_strided_scatter(torch.zeros(3, 3), torch.ones(2), (2,), (3,))",
    "torch.zeros(7, 2).fill_diagonal_(5, wrap=True)", "torch.zeros(7, 2).fill_diagonal_(5)",
    "torch.zeros(3, 3, 3).fill_diagonal_(1)", "torch.arange(6.0).resize_(2, 2)", "x.resize_as_(z)",
    "torch.arange(6.0).resize_(2, 2).resize_(3, 2)", "x.set_(x * 2)", "x.is_set_to(x)", "torch.is_nonzero(z)",
    "x.layout",
    "x.is_sparse", "x.real", "torch.exp_(z)", "torch.is_same_size(x, i)", "x.is_same_size(z)",
    "(torch.pi, torch.newaxis)",
]


@pytest.mark.parametrize("expression", MORE)
def test_limits_and_memory_are_pytorchs(expression):
    assert_same(lambda torch: str(evaluate(torch, expression)))


def test_a_tensor_that_outgrows_its_storage_keeps_its_elements():
    x = flamework.arange(3.0)
    view = x[1:]
    x.resize_(2, 2)
    assert x.shape == (2, 2) and x[:1].tolist() == [[0, 1]] and x[1, 0].item() == 2
    assert view.tolist() == [1, 2]
