"""Memory that processes share: what one writes, the others read."""

from __future__ import annotations

import multiprocessing
import os
import pickle

import flamework as torch
import numpy as np
import pytest
from same_as_torch import assert_same

# of a forked and of a fresh process, each with its own way to get the memory
METHODS = [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()]


def write(tensor, view, linear, storage):
    """What the other process does."""
    tensor[0] = 7
    view.mul_(2)
    with torch.no_grad():
        linear.weight.add_(1)
    storage[1] = 5.0


@pytest.mark.parametrize("method", METHODS)
def test_what_a_child_writes_the_parent_reads(method):
    tensor = torch.arange(6.0).share_memory_()
    view = tensor.reshape(2, 3)[1]
    linear = torch.nn.Linear(2, 2).share_memory()
    before = linear.weight.detach().clone()
    storage = torch.FloatStorage([1.0, 2.0]).share_memory_()
    doubled = tensor * 2
    torch.realize(before, doubled)
    child = multiprocessing.get_context(method).Process(target=write, args=(tensor, view, linear, storage))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert tensor.tolist() == [7, 1, 2, 6, 8, 10]
    assert view.tolist() == [6, 8, 10]
    assert doubled.tolist() == [0, 2, 4, 6, 8, 10]
    assert torch.equal(linear.weight, before + 1) and linear.weight.requires_grad
    assert storage.tolist() == [1, 5]


def answer(tensors, answers):
    tensor, half = tensors.get()
    assert tensor.is_shared() and half.dtype is torch.bfloat16 and tensor.shape == (2, 2) and tensor.stride() == (1, 2)
    while not tensor[0, 0]:
        pass
    tensor[0, 1] = 4
    half += 1
    answers.put(tensor.sum().item())


def test_both_processes_write_what_a_queue_has_sent():
    context = multiprocessing.get_context("spawn")
    tensors, answers = context.Queue(), context.Queue()
    tensor = torch.zeros(2, 2).share_memory_().t()
    half = torch.ones(3, dtype=torch.bfloat16).share_memory_()
    child = context.Process(target=answer, args=(tensors, answers))
    child.start()
    tensors.put((tensor, half))
    tensor[0, 0] = 1
    assert answers.get(timeout=60) == 5
    child.join()
    assert tensor.tolist() == [[1, 4], [0, 0]]
    assert half.tolist() == [2, 2, 2]


def test_a_tensor_that_is_not_shared_is_sent_as_a_copy_and_pickles_are_copies():
    from multiprocessing.reduction import ForkingPickler

    torch.zeros(1).share_memory_()
    plain = torch.zeros(4)[:2]
    sent = pickle.loads(ForkingPickler.dumps(plain))
    sent += 1
    assert plain.tolist() == [0, 0] and sent.tolist() == [1, 1]
    shared = torch.zeros(2).share_memory_()
    copy = pickle.loads(pickle.dumps(shared))
    copy += 1
    assert shared.tolist() == [0, 0] and not copy.is_shared()


def test_gradients_versions_and_values_that_they_need_are_kept():
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.share_memory_()
    x.share_memory_()
    (y * x).sum().backward()
    assert x.grad.tolist() == [4, 4, 4] and x.is_leaf and x._version == 0
    z = torch.ones(3).share_memory_()
    product = x * z
    z += 1
    product.sum().backward()
    assert x.grad.tolist() == [5, 5, 5] and z._version == 1


def test_files_are_closed_with_the_last_tensor():
    def count():
        return len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no list of open files")
    torch.ones(2).share_memory_()
    before = count()
    tensors = [torch.ones(2).share_memory_() for _ in range(5)]
    assert count() > before
    del tensors
    assert count() == before


def test_compiled_functions_write_shared_memory():
    @torch.compile
    def double(x):
        x.mul_(2)
        return x + 1

    x = torch.ones(3).share_memory_()
    seen = np.frombuffer(x._storage.owner.base, np.float32)
    for k in range(1, 4):
        assert double(x).tolist() == [2**k + 1] * 3
        assert seen.tolist() == [2**k] * 3 and x.is_shared()


def test_an_array_of_numpy_over_shared_memory_is_it():
    x = torch.zeros(3).share_memory_()
    x.numpy()[1] = 2
    assert x.tolist() == [0, 2, 0] and x.is_shared()


@pytest.mark.parametrize("script", [
    lambda t: [t.ones(3).is_shared(), t.ones(3).untyped_storage().is_shared(), t.FloatStorage([1]).is_shared()],
    lambda t: [(x := t.ones(3)).share_memory_() is x, x[1:].is_shared(), x.untyped_storage().is_shared()],
    lambda t: t.empty(0).share_memory_().is_shared(),
    lambda t: [(s := t.FloatStorage([1.0])).share_memory_() is s, s.is_shared(), s.tolist()],
    lambda t: [(s := t.UntypedStorage([1, 2])).share_memory_() is s, s.is_shared(), s.tolist()],
    lambda t: (t.ones(3, requires_grad=True) * 2).share_memory_().is_shared(),
    lambda t: [(m := t.nn.Linear(2, 2)).share_memory() is m, m.weight.is_shared(), m.bias.requires_grad],
    lambda t: [(x := t.ones(2).share_memory_()).detach().is_shared(), x.clone().is_shared(), x._version, x.add_(1)],
    lambda t: t.ones(2, 3, dtype=t.int16).share_memory_().t().add_(1),
])
def test_what_is_shared_is_told_as_in_pytorch(script):
    assert_same(script)
