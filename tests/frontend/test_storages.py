"""Storages as objects, and the classes of tensors and storages by dtype."""

import copy
import gc
import pickle

import flamework
import numpy as np
import pytest


def test_a_write_through_a_storage_is_seen_by_every_tensor_that_shares_it():
    x = flamework.arange(6.0).reshape(2, 3)
    column, doubled = x[:, 1], x * 2
    memory = x.storage()
    memory[1] = 10
    assert column.tolist() == [10, 4]
    assert x.tolist() == [[0, 10, 2], [3, 4, 5]]
    assert doubled.tolist() == [[0, 2, 4], [6, 8, 10]]
    column.untyped_storage().fill_(0)
    assert x.tolist() == [[0, 0, 0], [0, 0, 0]]
    x.t()[2, 1] = 7
    assert memory.tolist() == [0, 0, 0, 0, 0, 7]


def test_bytes_are_written_while_numpy_sees_the_memory_and_after():
    x = flamework.zeros(2)
    array = x.numpy()
    x.untyped_storage()[7] = 0x40
    assert array.tolist() == x.tolist() == [0.0, 2.0]
    array[0] = 2.0
    assert x.untyped_storage()[3] == 0x40
    del array
    gc.collect()
    x.untyped_storage()[4:8].fill_(0)
    assert x.tolist() == [2.0, 0.0]
    assert (x + 1).tolist() == [3.0, 1.0]


def test_one_object_for_each_storage():
    x = flamework.zeros(4)
    assert x.untyped_storage() is x[2:].untyped_storage() is x.storage().untyped()
    assert x.untyped_storage() is not x.clone().untyped_storage()
    # an object that is gone leaves nothing that is taken for that of other memory
    for _ in range(50):
        assert flamework.ones(1).untyped_storage().float().tolist() == [0.0, 0.0, 128.0, 63.0]


def test_a_held_storage_does_not_keep_old_memory():
    x = flamework.zeros(3)
    memory = x.untyped_storage()
    x += 1
    x.mul_(2)
    assert memory.tolist() == x.storage().untyped().tolist()
    assert x.storage().tolist() == [2.0, 2.0, 2.0]


def test_autograd_does_not_see_writes_through_a_storage():
    x = flamework.tensor([1.0, 2.0], requires_grad=True)
    version = x._version
    x.storage()[0] = 5.0
    assert x._version == version and x.requires_grad and x.is_leaf
    (x * x).sum().backward()
    assert x.grad.tolist() == [10.0, 4.0]


@pytest.mark.parametrize("dtype", [
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64",
    "complex128",
])
def test_every_dtype_has_its_classes(dtype):
    kind = getattr(flamework, dtype)
    x = flamework.ones(3, dtype=kind)
    name = x.type().removeprefix("torch.").removesuffix("Tensor")
    memory = x.storage()
    assert memory.type() == f"torch.{name}Storage" and memory.dtype is kind
    assert isinstance(memory, getattr(flamework, f"{name}Storage"))
    assert memory.tolist() == x.tolist() and len(memory) == memory.size() == 3
    assert memory.nbytes() == x.untyped_storage().size() == 3 * kind.itemsize
    assert memory.element_size() == kind.itemsize
    assert flamework.empty(0, dtype=kind).set_(x.untyped_storage()).equal(x)
    assert memory.clone().copy_(memory).tolist() == x.tolist()
    assert isinstance(x, getattr(flamework, f"{name}Tensor", flamework.Tensor))
    wider = x.untyped_storage().clone()
    assert wider.tolist() == x.untyped_storage().tolist() and wider.data_ptr() != x.data_ptr()


def test_set_to_parts_of_a_storage():
    x = flamework.arange(6.0)
    part = flamework.empty(0).set_(x.storage(), 1, (2, 2), (2, 1))
    assert part.tolist() == [[1, 2], [3, 4]] and part.storage_offset() == 1 and part.stride() == (2, 1)
    part += 10
    assert x.tolist() == [0, 11, 12, 13, 14, 5]
    assert flamework.empty(0).set_(x, 4, (2,), (1,)).tolist() == [14, 5]
    assert part.set_().shape == (0,)
    bits = flamework.empty(0, dtype=flamework.int64).set_(x.untyped_storage())
    bits.fill_(0)
    assert x.tolist() == [0] * 6
    with pytest.raises(RuntimeError, match="out of bounds for storage of size 24"):
        flamework.empty(0).set_(x.storage(), 1, (6,), (1,))
    with pytest.raises(RuntimeError, match="invalid storage offset -1"):
        flamework.empty(0).set_(x.storage(), -1, (2,), (1,))
    with pytest.raises(RuntimeError, match="Expected a Storage of type"):
        flamework.empty(0, dtype=flamework.int32).set_(x.storage())
    with pytest.raises(RuntimeError, match="Could not set tensor of type"):
        flamework.empty(0, dtype=flamework.int32).set_(x)
    with pytest.raises(TypeError, match="invalid combination"):
        flamework.empty(0).set_(5)


def test_bytes_that_make_no_whole_number_are_left_out():
    memory = flamework.UntypedStorage([0, 0, 128, 63, 9, 9])
    assert memory.tolist() == [0, 0, 128, 63, 9, 9]
    assert flamework.empty(0).set_(memory).tolist() == [1.0]
    assert flamework.TypedStorage(wrap_storage=memory, dtype=flamework.float32).tolist() == [1.0]
    empty = flamework.UntypedStorage()
    assert empty.tolist() == [] and flamework.empty(0).set_(empty).shape == (0,)


def test_resize_of_memory_that_no_tensor_is_over():
    memory = flamework.FloatStorage([1, 2])
    memory.resize_(3)
    memory[2] = 5
    assert memory.tolist() == [1, 2, 5] and memory.nbytes() == 12
    memory.resize_(1)
    x = flamework.FloatTensor(memory)
    assert x.tolist() == [1] and not memory.resizable()
    memory.resize_(1)
    with pytest.raises(RuntimeError, match="not resizable"):
        memory.resize_(2)
    del x
    memory.resize_(0)
    assert memory.tolist() == []
    with pytest.raises(RuntimeError, match="expects an int"):
        memory.untyped().resize_("a")
    array = np.ones(3)
    with pytest.raises(RuntimeError, match="not resizable"):
        flamework.from_numpy(array).untyped_storage().resize_(100)
    assert array.tolist() == [1, 1, 1]


def test_conversions_and_copies():
    memory = flamework.FloatStorage([1.5, -2.0])
    assert memory.long().tolist() == [1, -2] and memory.double().dtype is flamework.float64
    assert memory.float() is memory and memory.type("torch.IntStorage").tolist() == [1, -2]
    assert memory.type(flamework.HalfStorage).type() == "torch.HalfStorage"
    assert memory.complex_float().tolist() == [1.5, -2]
    copied = copy.deepcopy(memory)
    copied[0] = 0
    assert memory[0] == 1.5 and list(copied) == [0.0, -2.0]
    assert memory.cpu() is memory and str(memory.device) == "cpu" and memory.get_device() == -1
    assert not (memory.is_cuda or memory.is_sparse or memory.is_pinned() or memory.is_shared())
    with pytest.raises(RuntimeError, match="size does not match, self was 8 bytes but src was 16 bytes"):
        memory.copy_(memory.double())
    with pytest.raises(RuntimeError, match="not compiled with CUDA"):
        memory.cuda()
    with pytest.raises(RuntimeError, match="accelerator"):
        memory.pin_memory()


def test_positions():
    memory = flamework.LongStorage([1, 2, 3])
    assert memory[-1] == 3
    memory[0:2] = 7
    assert memory.tolist() == [7, 7, 3]
    for wrong, error in ((3, IndexError), ("a", RuntimeError), (slice(2), RuntimeError)):
        with pytest.raises(error):
            memory[wrong]
    with pytest.raises(TypeError):
        memory.untyped()[1.5]
    part = memory.untyped()[8:16]
    part[0] = 9
    assert memory.tolist() == [7, 9, 3]


def test_storages_are_told_from_tensors():
    x = flamework.ones(1)
    assert flamework.is_storage(x.storage()) and flamework.is_storage(x.untyped_storage())
    assert not flamework.is_storage(x) and not flamework.is_storage(flamework.FloatStorage)
    assert not isinstance(x.storage(), flamework.DoubleStorage) and flamework.Storage is flamework.FloatStorage
    assert repr(x.storage()) == " 1.0\n[torch.storage.TypedStorage(dtype=torch.float32, device=cpu) of size 1]"


def test_storages_of_buffers():
    data = np.arange(4, dtype=">i2").tobytes()
    from_buffer = flamework.ShortStorage.from_buffer
    assert from_buffer(data, "big").tolist() == [0, 1, 2, 3]
    assert from_buffer(data, byte_order="big", offset=2, count=2).tolist() == [1, 2]
    assert from_buffer(data, "little", 1, 2).tolist() == [256]
    assert flamework.BoolStorage.from_buffer(b"\x00\x02").tolist() == [False, True]
    pair = np.array([1 + 2j], ">c8").tobytes()
    assert flamework.ComplexFloatStorage.from_buffer(pair, "big").tolist() == [1 + 2j]
    with pytest.raises(RuntimeError, match="byte_order"):
        from_buffer(data)
    for arguments in (("middle",), ("big", -1, 1), ("big", 9), ("big", -1, 9), ("big", -1, -1)):
        with pytest.raises(ValueError):
            from_buffer(data, *arguments)


def test_storages_of_files(tmp_path):
    path = tmp_path / "numbers"
    np.arange(3.0).tofile(path)
    private = flamework.DoubleStorage.from_file(str(path))
    private[0] = 9
    assert private.tolist() == [9, 1, 2] and np.fromfile(path).tolist() == [0, 1, 2]
    shared = flamework.DoubleStorage.from_file(str(path), shared=True, size=4)
    x = flamework.DoubleTensor(shared)
    x += 1
    assert shared.tolist() == [1, 2, 3, 1] and np.fromfile(path).tolist() == [1, 2, 3, 1]
    assert flamework.UntypedStorage.from_file(str(path), size=8).nbytes() == 8
    with pytest.raises(RuntimeError):
        flamework.DoubleStorage.from_file(str(path), size=5)


def test_tensor_classes_construct():
    assert flamework.LongTensor(2, 3).shape == (2, 3) and flamework.LongTensor().shape == (0,)
    x = flamework.LongTensor([1, 2])
    assert x.dtype is flamework.int64 and x.tolist() == [1, 2]
    assert flamework.LongTensor((1, 2)).tolist() == [1, 2]
    assert flamework.LongTensor(flamework.Size([1, 2])).shape == (1, 2)
    assert flamework.FloatTensor(np.ones((2, 3))).dtype is flamework.float32
    # a tensor of the same type, or a storage, is shared
    flamework.LongTensor(x)[0] = 5
    flamework.LongTensor(x.storage())[1] = 6
    assert x.tolist() == [5, 6] and flamework.Tensor(flamework.FloatStorage([3])).tolist() == [3]
    for wrong in ((2.5,), (3, "a"), (flamework.ones(2),), (flamework.FloatStorage(2),)):
        with pytest.raises(TypeError):
            flamework.LongTensor(*wrong)


def test_tensor_classes_are_types():
    x = flamework.ones(2)
    assert isinstance(x, flamework.FloatTensor) and not isinstance(x, flamework.DoubleTensor)
    assert not isinstance(1.0, flamework.FloatTensor)
    assert isinstance(flamework.nn.Parameter(x), flamework.FloatTensor)
    assert x.type(flamework.IntTensor).type() == "torch.IntTensor"
    assert repr(flamework.FloatTensor) == "<class 'torch.FloatTensor'>"
    assert flamework.FloatTensor.dtype is flamework.float32 and not flamework.FloatTensor.is_cuda
    with pytest.raises(TypeError, match="dtype must be a type, str, or dtype object"):
        x.type(3)


def test_default_tensor_type():
    try:
        flamework.set_default_tensor_type(flamework.DoubleTensor)
        assert flamework.ones(1).dtype is flamework.float64 and flamework.Tensor([1]).dtype is flamework.float64
    finally:
        flamework.set_default_tensor_type("torch.FloatTensor")
    assert flamework.ones(1).dtype is flamework.float32
    for wrong in (flamework.LongTensor, "torch.NoTensor", 3):
        with pytest.raises(TypeError):
            flamework.set_default_tensor_type(wrong)


def test_a_new_storage_has_the_dtype_and_no_elements():
    storage = flamework.IntStorage([1, 2]).new()
    assert (storage.dtype, len(storage)) == (flamework.int32, 0)


def test_pickles_of_storages_are_copies():
    storage = flamework.IntStorage([1, 2, 3])
    copies = [pickle.loads(pickle.dumps(s)) for s in (storage, storage.untyped())]
    assert [type(s) for s in copies] == [flamework.TypedStorage, flamework.UntypedStorage]
    assert copies[0].dtype is flamework.int32 and copies[0].tolist() == [1, 2, 3]
    assert copies[1].tolist() == [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]
    copies[0][0] = 5
    assert storage.tolist() == [1, 2, 3]
