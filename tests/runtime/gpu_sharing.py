"""A GPU's memory and other libraries, on a stand-in for NVIDIA's driver; prints for each behaviour what went wrong.

The other library is :class:`Array`: memory of the driver, with a stream of its own.
"""

import contextlib
import ctypes
import gc
from types import SimpleNamespace

import fake_cuda
import flamework as torch
import numpy as np
import simulator
from flamework import sharing
from flamework.runtime import gpu

THEIRS = 99
OURS = fake_cuda.STREAM


class Array:
    """An array of another library in the memory of the device, written to in the stream :data:`THEIRS`."""

    def __init__(self, fake, values, strides=None, stream=THEIRS):
        self.fake = fake
        values = np.ascontiguousarray(values)
        _, self.address = fake.cuMemAllocAsync(values.nbytes, THEIRS)
        self.array = fake.span(self.address).view(values.dtype)
        self.array[:] = values.reshape(-1)
        self.__cuda_array_interface__ = {
            "shape": values.shape, "typestr": values.dtype.str, "data": (self.address, False), "strides": strides,
            "version": 3, "stream": stream,
        }


class Producer(Array):
    """One that speaks DLPack, and notes in which stream it was asked for its memory."""

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, *, stream=None, **options):
        self.stream = stream
        known = self.__cuda_array_interface__
        described = {"shape": known["shape"], "typestr": known["typestr"], "data": known["data"], "version": 3}
        capsule = np.asarray(SimpleNamespace(__array_interface__=described, owner=self)).__dlpack__(**options)
        where = sharing._described(capsule)[1]
        where.device_type, where.device_id = 2, 0
        return capsule


def consumed(capsule):
    """What another library reads in a capsule: device, address, sizes and strides in elements."""
    name = sharing._capsule_name(capsule)
    begin = sharing._capsule_pointer(capsule, name) + sharing._OFFSETS[name]
    tensor = sharing._DLTensor.from_address(begin)
    shape, strides = ((ctypes.c_int64 * tensor.ndim).from_address(
        ctypes.c_void_p.from_address(begin + ctypes.sizeof(sharing._DLTensor) + 8 * which).value
    )[:] for which in (0, 1))
    return (tensor.device_type, tensor.device_id), tensor.data, shape, strides, (tensor.code, tensor.bits)


def interface_describes_the_memory(fake):
    x = torch.arange(6.0).reshape(2, 3).cuda()
    known = x.__cuda_array_interface__
    assert known == {"shape": (2, 3), "typestr": "<f4", "data": (x.data_ptr(), False), "strides": None, "version": 3,
                     "stream": None}
    assert x.T.__cuda_array_interface__["strides"] == (4, 12)
    part = x[:, 1:].__cuda_array_interface__
    assert part["data"][0] == x.data_ptr() + 4 and part["strides"] == (12, 4) and part["shape"] == (2, 2)
    assert x[:0].__cuda_array_interface__["data"] == (0, False)
    assert x.bfloat16().__cuda_array_interface__["typestr"] == "<V2"
    assert not hasattr(x.cpu(), "__cuda_array_interface__")


def interface_waits_for_the_elements(fake):
    x = torch.ones(4).cuda() * 3
    fake.asked.clear()
    address = x.__cuda_array_interface__["data"][0]
    assert fake.asked[-1] == ("synchronize", OURS)
    assert fake.span(address, 16).view(np.float32).tolist() == [3, 3, 3, 3]


def others_see_what_is_written_and_we_see_what_they_write(fake):
    x = torch.zeros(2, 3).cuda()
    theirs = fake.span(x.__cuda_array_interface__["data"][0], 24).view(np.float32).reshape(2, 3)
    y = x + 1
    theirs[0] = 5
    assert (x * 2).tolist() == [[10, 10, 10], [0, 0, 0]] and y.tolist() == [[1, 1, 1], [1, 1, 1]]
    fake.asked.clear()
    x[:, 1] = 7
    assert theirs.tolist() == [[5, 7, 5], [0, 7, 0]]
    assert ("synchronize", "all") in fake.asked and fake.asked[-1] == ("synchronize", OURS)
    x.add_(1)
    assert theirs.tolist() == [[6, 8, 6], [1, 8, 1]]
    x.t().copy_(torch.arange(6.0).reshape(3, 2))
    assert theirs.tolist() == [[0, 2, 4], [1, 3, 5]]


def memory_is_ours_again_when_nobody_holds_it(fake):
    x = torch.zeros(3).cuda()
    capsule = x.__dlpack__()
    assert x._storage.stamp == -1
    del capsule
    fake.asked.clear()
    x.add_(1)
    # they may still be writing to it
    assert ("synchronize", "all") in fake.asked
    assert x._storage.stamp != -1 and x.tolist() == [1, 1, 1]
    holder = x.detach()
    assert holder.__cuda_array_interface__["data"][0] == x.data_ptr()
    x.add_(1)
    assert x._storage.stamp == -1
    del holder
    assert x.tolist() == [2, 2, 2]
    x.add_(1)
    assert x._storage.stamp != -1 and x.tolist() == [3, 3, 3]


def memory_lives_as_long_as_a_capsule(fake):
    device = gpu.gpu("cuda:0")
    before = device.allocated
    x = torch.full((1000,), 2.0).cuda()
    capsule = x.__dlpack__()
    address = x.data_ptr()
    del x
    gc.collect()
    assert device.allocated == before + 4000
    assert fake.span(address, 4000).view(np.float32).tolist() == [2] * 1000
    fake.asked.clear()
    del capsule
    gc.collect()
    assert device.allocated == before and ("synchronize", "all") in fake.asked


def streams_of_readers_wait(fake):
    x = torch.zeros(3).cuda()
    for stream, waits in ((None, 1), (1, 1), (2, 2), (THEIRS, THEIRS), (-1, None)):
        y = x + 1
        fake.asked.clear()
        y.__dlpack__(stream=stream)
        found = [call for call in fake.asked if "waits for" in call]
        assert found == ([] if waits is None else [(waits, "waits for", OURS)]), stream
    assert not fake.events


def capsules_describe_the_memory(fake):
    x = torch.arange(6.0).reshape(2, 3).cuda()
    for version in (None, (1, 0)):
        assert consumed(x.__dlpack__(max_version=version)) == ((2, 0), x.data_ptr(), [2, 3], [3, 1], (2, 32))
        assert consumed(x.T[1:].__dlpack__(max_version=version)) == (
            (2, 0), x.data_ptr() + 4, [2, 2], [1, 3], (2, 32)
        )
    assert consumed(x.bfloat16().__dlpack__())[4] == (4, 16)
    assert consumed(x.__dlpack__(copy=True))[1] != x.data_ptr()
    assert np.from_dlpack(x.cpu()).tolist() == np.from_dlpack(SimpleNamespace(
        __dlpack__=lambda **options: x.__dlpack__(dl_device=(1, 0)), __dlpack_device__=lambda: (1, 0)
    )).tolist()


def arrays_of_others_are_shared(fake):
    theirs = Array(fake, np.arange(6, dtype=np.int32).reshape(2, 3))
    for take in (torch.as_tensor, torch.asarray):
        x = take(theirs)
        assert str(x.device) == "cuda:0" and x.dtype is torch.int32 and x.data_ptr() == theirs.address
        theirs.array[0] = 9
        fake.asked.clear()
        assert x.tolist() == [[9, 1, 2], [3, 4, 5]]
        assert fake.asked[0] == ("synchronize", "all"), "their streams are not waited for"
        x[1] = 0
        assert theirs.array.tolist() == [9, 1, 2, 0, 0, 0]
        theirs.array[:] = range(6)
    copied = torch.tensor(theirs)
    theirs.array[0] = 9
    assert copied.is_cuda and copied.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert torch.as_tensor(theirs, device="cpu", dtype=torch.float32).tolist() == [[9, 1, 2], [3, 4, 5]]


def strides_of_others_are_kept(fake):
    theirs = Array(fake, np.arange(6, dtype=np.float32).reshape(3, 2), strides=(4, 12))
    theirs.__cuda_array_interface__["shape"] = (3, 2)
    x = torch.as_tensor(theirs)
    assert x.stride() == (1, 3) and x.tolist() == [[0, 3], [1, 4], [2, 5]]
    x[1] = torch.tensor([8.0, 9.0])
    assert theirs.array.tolist() == [0, 8, 2, 3, 9, 5]
    known = theirs.__cuda_array_interface__
    for strides, error in (((-4, 12), ValueError), ((2, 12), ValueError)):
        known["strides"] = strides
        expect(error, lambda: torch.as_tensor(theirs))
    known["strides"], known["mask"] = None, theirs
    expect(TypeError, lambda: torch.as_tensor(theirs))
    known["mask"], known["data"] = None, (4096, False)
    expect(RuntimeError, lambda: torch.as_tensor(theirs))
    known["data"], known["shape"] = (0, False), (0, 3)
    assert torch.as_tensor(theirs).shape == (0, 3)


def bfloat16_of_others_is_bfloat16(fake):
    theirs = Array(fake, np.array([0x3F80, 0x4000], np.uint16))
    theirs.__cuda_array_interface__["typestr"] = "<V2"
    assert torch.as_tensor(theirs).tolist() == [1, 2] and torch.as_tensor(theirs).dtype is torch.bfloat16


def capsules_of_others_are_taken_in_our_stream(fake):
    theirs = Producer(fake, np.arange(4, dtype=np.float64))
    x = torch.from_dlpack(theirs)
    assert theirs.stream == OURS and x.data_ptr() == theirs.address and str(x.device) == "cuda:0"
    theirs.array[0] = 7
    assert x.tolist() == [7, 1, 2, 3]
    x.mul_(2)
    assert theirs.array.tolist() == [14, 2, 4, 6]
    assert torch.from_dlpack(theirs, device="cpu").is_cpu
    assert torch.from_dlpack(theirs.__dlpack__(stream=OURS)).tolist() == [14, 2, 4, 6]


def memory_of_others_lives_as_long_as_the_tensor(fake):
    import weakref

    for take in (torch.as_tensor, torch.from_dlpack):
        theirs = Producer(fake, np.ones(3, np.float32))
        x, alive = take(theirs), weakref.ref(theirs)
        del theirs
        gc.collect()
        assert alive() is not None and x.tolist() == [1, 1, 1]
        del x
        gc.collect()
        assert alive() is None


def programs_read_and_write_shared_memory(fake):
    theirs = Array(fake, np.ones(3, np.float32))
    x = torch.as_tensor(theirs)

    @torch.compile
    def step(x, y):
        y = x * y
        x.add_(1)
        return y

    for n in (1, 2, 3):
        y = step(x, torch.full((3,), 2.0).cuda())
        theirs.array += 10
        assert y.tolist() == [2 * (11 * n - 10)] * 3
        assert theirs.array.tolist() == [11 * n + 1] * 3 and x.tolist() == [11 * n + 1] * 3
    weight = torch.as_tensor(theirs).requires_grad_()
    (weight * weight).sum().backward()
    assert weight.grad.tolist() == [68] * 3
    torch.optim.SGD([weight], lr=0.5).step()
    assert theirs.array.tolist() == [0] * 3


def elements_of_another_size_share_the_memory(fake):
    x = torch.tensor([1.0, 2.0]).cuda()
    halves = x.view(torch.int16)
    assert halves.is_cuda and halves.data_ptr() == x.data_ptr() and halves.tolist() == [0, 0x3F80, 0, 0x4000]
    halves[1] = 0x4040
    assert x.tolist() == [3, 2]
    x[1] = 1
    assert halves.tolist() == [0, 0x4040, 0, 0x3F80]
    memory = x.untyped_storage()
    memory[3] = 0
    assert x[0].item() < 1e-30 and memory[3] == 0


def copies_pickles_and_files(fake):
    import copy
    import io

    theirs = Array(fake, np.arange(3, dtype=np.float32))
    x = torch.as_tensor(theirs)
    copied = copy.deepcopy(x)
    file = io.BytesIO()
    torch.save(x[1:], file)
    theirs.array[:] = 0
    file.seek(0)
    assert copied.is_cuda and copied.tolist() == [0, 1, 2] and torch.load(file).tolist() == [1, 2]


def expect(error, function):
    try:
        function()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


BEHAVIOURS = [
    interface_describes_the_memory, interface_waits_for_the_elements,
    others_see_what_is_written_and_we_see_what_they_write, memory_is_ours_again_when_nobody_holds_it,
    memory_lives_as_long_as_a_capsule, streams_of_readers_wait, capsules_describe_the_memory,
    arrays_of_others_are_shared, strides_of_others_are_kept, bfloat16_of_others_is_bfloat16,
    capsules_of_others_are_taken_in_our_stream, memory_of_others_lives_as_long_as_the_tensor,
    programs_read_and_write_shared_memory, elements_of_another_size_share_the_memory, copies_pickles_and_files,
]


@contextlib.contextmanager
def installed():
    fake = fake_cuda.FakeDriver()
    with fake_cuda.installed(fake):
        yield fake


if __name__ == "__main__":
    simulator.report(BEHAVIOURS, installed)
