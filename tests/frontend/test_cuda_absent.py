"""Without a GPU `torch.cuda` answers and refuses as PyTorch without CUDA does."""

from __future__ import annotations

import warnings

import flamework
import pytest
from same_as_torch import assert_same

QUESTIONS = """is_available() device_count() is_initialized() empty_cache() memory_allocated() max_memory_allocated()
memory_reserved() max_memory_reserved() memory_cached() max_memory_cached() memory_stats() manual_seed(1)
manual_seed_all(1) seed() seed_all() get_rng_state_all() is_bf16_supported() get_arch_list() current_device()
synchronize() init() initial_seed() get_rng_state() get_device_name() get_device_capability() get_device_properties(0)
current_stream() default_stream() can_device_access_peer(0,1) mem_get_info() current_blas_handle()""".split()


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_are_those_of_pytorch_without_cuda(question):
    def script(torch):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                value = eval(f"torch.cuda.{question}")
            except AssertionError as error:
                value = ["refused", str(error)]
        return value, [str(w.message) for w in caught if w.category is FutureWarning]

    assert_same(script)


ASKING = [
    "torch.ones(1, device='cuda')", "torch.ones(1).cuda()", "torch.ones(1).to('cuda:0')",
    "torch.nn.Linear(1, 1).cuda()",
    "torch.nn.Linear(1, 1).to('cuda')", "torch.zeros(2, device=torch.device('cuda', 1))",
]


@pytest.mark.parametrize("expression", ASKING)
def test_asking_for_a_gpu_raises_pytorchs_error(expression):
    with pytest.raises(AssertionError, match="Torch not compiled with CUDA enabled") as error:
        eval(expression, {"torch": flamework})
    assert isinstance(error.value, RuntimeError)  # as in a PyTorch with CUDA on a machine without a GPU


def test_blocks_change_nothing_without_a_gpu():
    with flamework.cuda.device(-1), flamework.cuda.device_of(flamework.ones(1)), flamework.cuda.stream(None):
        assert flamework.ones(1).device.type == "cpu"
    with pytest.raises(AssertionError), flamework.cuda.device("cuda:0"):
        pass
    with pytest.raises(ValueError, match="Expected a cuda device, but got: cpu"):
        flamework.cuda.device("cpu")
    with pytest.raises(AssertionError):
        flamework.cuda.set_device(0)
    flamework.cuda.set_device(-1)


def test_switches_of_backends_that_are_not_there():
    backends = flamework.backends
    assert not (backends.cudnn.is_available() or backends.cuda.is_built() or backends.mps.is_available())
    try:
        backends.cudnn.benchmark = True
        assert backends.cudnn.benchmark is True
    finally:
        backends.cudnn.benchmark = False
    with pytest.raises(RuntimeError):
        backends.cudnn.deterministic = "yes"
    with pytest.raises(AttributeError):
        backends.cudnn.unknown = True


@pytest.mark.parametrize("expression", [
    "torch.cuda.FloatTensor(2)", "torch.cuda.HalfTensor([1])", "isinstance(torch.ones(2), torch.cuda.FloatTensor)",
    "isinstance(torch.ones(2), torch.FloatTensor)", "torch.cuda.ByteTensor.dtype.itemsize",
    "torch.cuda.ShortTensor.is_cuda",
    "repr(torch.cuda.IntTensor)", "issubclass(torch.cuda.LongTensor, torch.Tensor)", "torch.cuda.ComplexFloatTensor",
    "torch.cuda.DoubleTensor.__name__", "torch.cuda.CharTensor.is_sparse", "torch.ones(2).type(torch.FloatTensor)",
    "torch.ones(2).type('FloatTensor')", "torch.ones(2).type('torch.LongTensor')",
    "torch.set_default_tensor_type(torch.cuda.FloatTensor)", "torch.set_default_tensor_type('torch.cuda.FloatTensor')",
])
def test_classes_of_tensors_on_a_gpu(expression):
    assert_same(lambda torch: eval(expression, {"torch": torch}), messages="Complex" not in expression)


def test_no_tensor_becomes_one_of_a_gpu_by_its_class():
    for kind in ("torch.cuda.FloatTensor", flamework.cuda.FloatTensor):
        with pytest.raises(AssertionError, match="Torch not compiled with CUDA enabled"):
            flamework.ones(1).type(kind)
