"""Refusals: the kind of exception and the sentence that PyTorch gives, raised by the call that is wrong."""

from __future__ import annotations

import flamework
import pytest
from same_as_torch import assert_same

# Programs over a matrix m of sizes (2, 3), a vector v of 3, integers i, bools b and a number z.
TABLE = [
    ("m + torch.zeros(2, 4)", RuntimeError,
     "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1"),
    ("torch.zeros(3) * torch.zeros(4)", RuntimeError,
     "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 0"),
    ("v + 'a'", TypeError, "unsupported operand type(s) for +: 'Tensor' and 'str'"),
    ("None * v", TypeError, "unsupported operand type(s) for *: 'NoneType' and 'Tensor'"),
    ("v < 'a'", TypeError, "'<' not supported between instances of 'Tensor' and 'str'"),
    ("v @ 2", TypeError, "unsupported operand type(s) for @: 'Tensor' and 'int'"),
    ("v.add_('a')", TypeError, "add_(): argument 'other' (position 1) must be Tensor, not str"),
    ("v.mul_(None)", TypeError, "mul_(): argument 'other' (position 1) must be Tensor, not NoneType"),
    ("b - b", RuntimeError,
     "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator "
     "instead."),
    ("v - b", RuntimeError,
     "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the "
     "`~` "
     "or `logical_not()` operator instead."),
    ("-b", RuntimeError,
     "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` "
     "or "
     "`logical_not()` operator instead."),
    ("~v", TypeError, "~ (operator.invert) is only implemented on integer and Boolean-type tensors"),
    ("i ** -1", RuntimeError, "Integers to negative integer powers are not allowed."),
    ("i // 0", RuntimeError, "ZeroDivisionError"),
    ("i % 0", RuntimeError, "ZeroDivisionError"),
    ("i + 2**70", OverflowError, "int too big to convert"),
    ("i.add_(v)", RuntimeError, "result type Float can't be cast to the desired output type Long"),
    ("i.div_(2)", RuntimeError, "result type Float can't be cast to the desired output type Long"),
    ("b.add_(1)", RuntimeError, "result type Long can't be cast to the desired output type Bool"),
    ("v.add_(m)", RuntimeError, "output with shape [3] doesn't match the broadcast shape [2, 3]"),
    ("v.copy_(m)", RuntimeError, "output with shape [3] doesn't match the broadcast shape [2, 3]"),
    ("m.copy_(torch.zeros(2))", RuntimeError,
     "The size of tensor a (3) must match the size of tensor b (2) at non-singleton dimension 1"),
    ("m.fill_(v)", RuntimeError, "fill_ only supports 0-dimension value tensor but got tensor with 1 dimensions."),
    ("v.expand(2, 3).add_(1)", RuntimeError,
     "unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please "
     "clone() the tensor before performing the operation."),
    ("v.expand(2, 3)[:, 0] = 1", RuntimeError,
     "unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please "
     "clone() the tensor before performing the operation."),
    ("m.t().view(6)", RuntimeError,
     "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
     "contiguous "
     "subspaces). Use .reshape(...) instead."),
    ("m.view(7)", RuntimeError, "shape '[7]' is invalid for input of size 6"),
    ("m.view(4, -1)", RuntimeError, "shape '[4, -1]' is invalid for input of size 6"),
    ("m.reshape(-1, -1)", RuntimeError, "only one dimension can be inferred"),
    ("m.view(-2, 3)", RuntimeError, "invalid shape dimension -2 at index 0 of shape [-2, 3]"),
    ("torch.zeros(0, 3).view(-1, 0)", RuntimeError,
     "cannot reshape tensor of 0 elements into shape [-1, 0] because the unspecified dimension size -1 can be any "
     "value "
     "and is ambiguous"),
    ("m.expand(4, 3)", RuntimeError,
     "The expanded size of the tensor (4) must match the existing size (2) at non-singleton dimension 0.  Target "
     "sizes: "
     "[4, 3].  Tensor sizes: [2, 3]"),
    ("m.expand(3)", RuntimeError,
     "expand(torch.FloatTensor{[2, 3]}, size=[3]): the number of sizes provided (1) must be greater or equal to the "
     "number "
     "of dimensions in the tensor (2)"),
    ("m.expand(-1, 2, 3)", RuntimeError,
     "The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension 0"),
    ("m.permute(0, 0)", RuntimeError, "permute(): duplicate dims are not allowed."),
    ("m.permute(0)", RuntimeError,
     "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering "
     "of "
     "dimensions i.e. input.dim() = 2 is not equal to len(dims) = 1"),
    ("m.transpose(0, 3)", IndexError, "Dimension out of range (expected to be in range of [-2, 1], but got 3)"),
    ("m.unsqueeze(4)", IndexError, "Dimension out of range (expected to be in range of [-3, 2], but got 4)"),
    ("m.size(5)", IndexError, "Dimension out of range (expected to be in range of [-2, 1], but got 5)"),
    ("m.squeeze((0, 0))", RuntimeError, "dim 0 appears multiple times in the list of dims"),
    ("m.flatten(1, 0)", RuntimeError, "flatten() has invalid args: start_dim cannot come after end_dim"),
    ("m.unflatten(1, (2, 2))", RuntimeError,
     "unflatten: Provided sizes [2, 2] don't multiply up to the size of dim 1 (3) in the input tensor"),
    ("torch.zeros(2, 3, 4).t()", RuntimeError, "t() expects a tensor with <= 2 dimensions, but self is 3D"),
    ("v.mT", RuntimeError, "tensor.mT is only supported on matrices or batches of matrices. Got 1-D tensor."),
    ("m.split(0)", RuntimeError, "split_size can only be 0 if dimension size is 0, but got dimension size of 2"),
    ("m.split([1, 2])", RuntimeError,
     "split_with_sizes expects split_sizes to sum exactly to 2 (input tensor's size at dimension 0), but got "
     "split_sizes=[1, 2]"),
    ("m.split([3, -1])", RuntimeError,
     "split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes=[3, -1]"),
    ("m.chunk(0)", RuntimeError, "chunk expects `chunks` to be greater than 0, got: 0"),
    ("z.unbind()", IndexError, "Dimension specified as 0 but tensor has no dimensions"),
    ("m.select(0, 4)", IndexError, "select(): index 4 out of range for tensor of size [2, 3] at dimension 0"),
    ("m.narrow(0, 3, 1)", IndexError, "start out of range (expected to be in range of [-2, 2], but got 3)"),
    ("m.narrow(0, 0, 5)", RuntimeError, "start (0) + length (5) exceeds dimension size (2)."),
    ("m.diagonal(0, 0, 0)", RuntimeError, "diagonal dimensions cannot be identical 0, 0"),
    ("m.unfold(0, 3, 1)", RuntimeError, "maximum size for tensor at dimension 0 is 2 but size is 3"),
    ("m.as_strided((3, 3), (3, 1))", RuntimeError,
     "setStorage: sizes [3, 3], strides [3, 1], storage offset 0, and itemsize 4 requiring a storage size of 36 are "
     "out of "
     "bounds for storage of size 24"),
    ("len(z)", TypeError, "len() of a 0-d tensor"),
    ("list(z)", TypeError, "iteration over a 0-d tensor"),
    ("v.item()", RuntimeError, "a Tensor with 3 elements cannot be converted to Scalar"),
    ("int(v)", ValueError, "only one element tensors can be converted to Python scalars"),
    ("bool(v)", RuntimeError, "Boolean value of Tensor with more than one value is ambiguous"),
    ("bool(torch.zeros(0))", RuntimeError, "Boolean value of Tensor with no values is ambiguous"),
    ("[1, 2][z]", TypeError, "only integer tensors of a single element can be converted to an index"),
    ("v.numpy", None, None),
    ("torch.from_numpy([1])", TypeError, "expected np.ndarray (got list)"),
    ("v.type('torch.Foo')", ValueError, "invalid type: 'torch.Foo'"),
    ("torch.set_default_dtype(torch.int64)", TypeError, "only floating-point types are supported as the default type"),
    ("torch.Size((1.5,))", TypeError, "torch.Size() takes an iterable of 'int' (item 0 is 'float')"),
    ("torch.device('cuda:1', 2)", RuntimeError,
     "type (string) must not include an index because index was passed explicitly: cuda:1"),
    ("torch.broadcast_shapes((2,), (3,))", RuntimeError,
     "Attempting to broadcast a dimension of length 3 at -1! Mismatching argument at index 1 had (3,); but expected "
     "shape "
     "should be broadcastable to [2]"),
]
TABLE = [row for row in TABLE if row[1] is not None]


def program(torch, text):
    m = torch.zeros(2, 3)
    names = {
        "torch": torch, "m": m, "v": torch.zeros(3), "i": torch.tensor([1, 2, 3]),
        "b": torch.tensor([True, False, True]),
        "z": torch.tensor(2.5),
    }
    exec(text, names)


@pytest.mark.parametrize(("text", "kind", "message"), TABLE, ids=[row[0] for row in TABLE])
def test_a_wrong_call_is_refused_with_pytorchs_sentence(text, kind, message):
    with pytest.raises(kind) as caught:
        program(flamework, text)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", [row[0] for row in TABLE])
def test_the_recorded_sentences_are_those_of_this_pytorch(text):
    assert_same(lambda torch: program(torch, text))


NEGATIVE = "At least one stride in the given numpy array is negative"


@pytest.mark.parametrize(("array", "kind", "message"), [
    ("numpy.arange(3)[::-1]", ValueError, NEGATIVE),
    ("numpy.zeros(2, '>f8')", ValueError, "byte order different from the native byte order"),
    ("numpy.zeros(2, numpy.uint64)", TypeError, "can't convert np.ndarray of type uint64"),
    ("numpy.zeros(4, 'f8, i1')['f0']", ValueError, "strides not a multiple of the element byte size"),
])
def test_arrays_that_cannot_be_shared_are_refused(array, kind, message):
    import numpy

    with pytest.raises(kind, match=message):
        flamework.from_numpy(eval(array, {"numpy": numpy}))


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(RuntimeError, match="not compiled with CUDA"):
        flamework.zeros(1).to("cuda:7")
    with pytest.raises(RuntimeError, match="at start of device string: tpu"):
        flamework.device("tpu")


def test_operands_on_different_devices_are_refused():
    from flamework.compiler import dtypes, primitives
    from flamework.compiler.ir import Node, tensor_type
    from flamework.recording import tensor_of

    kind = tensor_type((2,), dtypes.float32, "cuda:0")
    elsewhere = tensor_of(Node(primitives.input_, (), ((2,), dtypes.float32, "cuda:0"), kind, object()))
    with pytest.raises(RuntimeError) as caught:
        flamework.zeros(2) + elsewhere
    assert str(caught.value) == (
        "Expected all tensors to be on the same device, but found at least two devices, cpu and cuda:0!"
    )


def test_a_write_that_is_refused_changes_nothing():
    x = flamework.zeros(3)
    for text in ("x.add_(y)", "x.mul_('a')", "x.copy_(y)"):
        with pytest.raises((RuntimeError, TypeError)):
            exec(text, {"x": x, "y": flamework.zeros(2, 3)})
    assert x.tolist() == [0, 0, 0] and x._version == 0


@pytest.mark.parametrize("call", [
    "m.sum(1, keepdim=1)", "m.sum(1, keepdim=0)", "m.sum(1, 1)", "m.sum(1, True)", "m.amax(True)", "m.amax(1, 1)",
    "m.argmax(True)", "m.argmax(1, 1)", "m.softmax(True)", "m.cumsum(False)", "m.cumsum(dim=True)",
    "m.logsumexp(1, 1)",
    "m.unsqueeze(True)", "m.transpose(True, False)", "m.flatten(False)", "m.select(True, 0)", "m.roll(1, True)",
    "m.median(True)", "m.median(1, 1)", "m.kthvalue(1, True)", "m.mode(True)", "m.topk(1, 1, 1)",
    "m.topk(1, largest=1)", "m.nonzero(as_tuple=1)", "m.allclose(m, equal_nan=1)", "i.bincount(minlength=True)",
    "m.aminmax(dim=True)",
    "torch.zeros(True)", "torch.zeros(2, True)", "torch.zeros((2, True))", "torch.zeros(2, requires_grad=1)",
    "torch.zeros(2, requires_grad=0)", "torch.cat([m, m], True)", "torch.multinomial(v, 1, 1)",
    "torch.matrix_power(m @ m.t(), True)", "torch.vander(v, True)", "torch.combinations(v, 2, 1)",
    "m.sum((0, True))", "m.permute(0, True)", "m.permute((0, True))", "m.expand(2, True, 2, 3).shape",
    "m.reshape((2, True, 3)).shape", "m.contiguous(memory_format=torch.preserve_format)",
    "m.t().contiguous(memory_format=torch.preserve_format)", "m.is_contiguous(memory_format=torch.channels_last)",
    "m.t().is_contiguous(memory_format=torch.preserve_format)",
])
def test_bools_are_no_ints_and_ints_no_bools(call):
    def script(torch):
        return eval(call, {
            "torch": torch, "m": torch.arange(6.0).reshape(2, 3), "v": torch.arange(1.0, 4), "i": torch.arange(3)
        })

    assert_same(script)


@pytest.mark.parametrize("call", [
    "m.sum(True)", "m.sum(dim=False)", "m.mean(True)", "m.all(True)", "m.any(1, keepdim=2)", "m.max(True)",
    "m.var(1, unbiased=1)", "m.var(unbiased=0)", "m.std(1, 1)", "m.var(1, keepdim=1)", "m.sort(descending=2)",
    "m.sort(True)", "m.argsort(descending=1)", "m.norm(2, True)", "m.norm(2, 1, 1)", "m.quantile(0.5, 1, 1)",
    "m.view(True, 6)", "m.view((True, 6))", "m.reshape(True, 6)", "m.repeat(True, 2)", "m.permute(True, False)",
    "m.squeeze(True)", "torch.ones((True, 2))", "torch.full((True,), 1)", "torch.tensor([1.0], requires_grad=1)",
    "torch.randn(2, requires_grad=1)", "torch.linalg.vector_norm(m, 2, 1, 1)", "torch.nn.functional.softmax(m, True)",
])
def test_bools_and_ints_of_functions_with_several_forms(call):
    """PyTorch lists the forms; the type of the error is compared."""
    def script(torch):
        return eval(call, {"torch": torch, "m": torch.arange(6.0).reshape(2, 3)})

    assert_same(script, messages=False)
