"""A GPU's memory and other libraries: on a stand-in for the driver, and where there is a GPU with CuPy and PyTorch."""

import flamework
import gpu_sharing
import pytest
import simulator


@pytest.mark.parametrize("name", [behaviour.__name__ for behaviour in gpu_sharing.BEHAVIOURS])
def test_with_a_stand_in_for_the_driver(name):
    problem = simulator.answer(gpu_sharing.__file__)[name]
    assert problem is None, problem


def on_a_gpu():
    return flamework.arange(6.0).reshape(2, 3).cuda()


@pytest.mark.gpu
@pytest.mark.parametrize("take", ["asarray", "from_dlpack"])
def test_memory_is_shared_with_cupy(take):
    cupy = pytest.importorskip("cupy")
    x = on_a_gpu()
    theirs = getattr(cupy, take)(x)
    theirs[0] *= 2
    assert x.tolist() == [[0, 2, 4], [3, 4, 5]]
    x[:, 1] = 7
    assert theirs.tolist() == [[0, 7, 4], [3, 7, 5]]
    for ours in (flamework.as_tensor(theirs), flamework.from_dlpack(theirs.T)):
        assert ours.data_ptr() == theirs.data.ptr
        ours.add_(1)
    assert theirs.tolist() == [[2, 9, 6], [5, 9, 7]]


@pytest.mark.gpu
@pytest.mark.parametrize("take", ["as_tensor", "from_dlpack"])
def test_memory_is_shared_with_pytorch(take):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    x = on_a_gpu()
    theirs = torch.as_tensor(x, device="cuda") if take == "as_tensor" else torch.from_dlpack(x)
    assert theirs.data_ptr() == x.data_ptr()
    with torch.cuda.stream(torch.cuda.Stream()):
        big = torch.ones(4096, 4096, device="cuda")
        for _ in range(20):
            big = big @ big / 4096
        theirs[0] = big[0, :3] + 1
    assert x.tolist() == [[2, 2, 2], [3, 4, 5]]
    x[:, 1] = 7
    assert theirs.tolist() == [[2, 7, 2], [3, 7, 5]]
    for ours in (flamework.as_tensor(theirs), flamework.from_dlpack(theirs.T), flamework.from_dlpack(theirs)):
        assert ours.data_ptr() == theirs.data_ptr()
        ours.add_(1)
    assert theirs.tolist() == [[5, 10, 5], [6, 10, 8]]
    half = theirs.bfloat16()
    assert flamework.as_tensor(half).dtype is flamework.bfloat16
