"""Anomaly detection names the operation whose gradient is NaN and the line that recorded it; off, it costs nothing."""

from __future__ import annotations

import inspect
import warnings

import flamework as fw
import pytest
from flamework.compiler import autodiff
from flamework.recording import pending

try:
    import torch
except ImportError:
    torch = None


def line() -> int:
    return inspect.currentframe().f_back.f_lineno


def test_the_users_line_is_named():
    x = fw.tensor([1.0, -1.0], requires_grad=True)
    with fw.autograd.set_detect_anomaly(True):
        y = x * 2
        z = y.sqrt(); here = line()  # noqa: E702, the line of the root
        loss = (z * 3).sum()
        message = rf"'SqrtBackward0' returned nan values in its 0th output.*:{here}: z ="
        with pytest.warns(UserWarning, match=rf"line {here}, in test_the_users_line_is_named\n    z = y.sqrt\(\)"):
            with pytest.raises(RuntimeError, match=message):
                loss.backward()


def test_formulas_that_are_written_out_keep_their_line():
    x = fw.tensor([[0.0, 0.0]], requires_grad=True)
    with fw.autograd.set_detect_anomaly(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = fw.nn.functional.layer_norm(x, (2,), eps=0.0); here = line()  # noqa: E702
        with pytest.raises(RuntimeError, match=rf"returned nan values.*:{here}: y ="):
            y.sum().backward()


@pytest.mark.skipif(torch is None, reason="compares with PyTorch, which is not installed")
def test_error_is_pytorchs():
    messages = []
    for t in (torch, fw):
        x = t.tensor([-1.0], requires_grad=True)
        with t.autograd.set_detect_anomaly(True), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(RuntimeError) as error:
                (x.sqrt() * 2).sum().backward()
            messages.append(str(error.value))
    assert messages[1].startswith(messages[0])


def test_without_nan_gradients_are_as_ever():
    gradients = []
    for on in (False, True):
        fw.manual_seed(0)
        model = fw.nn.Sequential(fw.nn.Linear(3, 4), fw.nn.Tanh(), fw.nn.Linear(4, 2))
        x, y = fw.randn(5, 3), fw.tensor([0, 1, 1, 0, 1])
        with fw.autograd.set_detect_anomaly(on):
            fw.nn.functional.cross_entropy(model(x), y).backward()
        gradients.append([p.grad.tolist() for p in model.parameters()])
    assert gradients[0] == gradients[1]


def test_modes():
    assert not fw.is_anomaly_enabled()
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        context = fw.autograd.detect_anomaly(check_nan=False)
    with context:
        assert fw.is_anomaly_enabled()
        assert not fw.is_anomaly_check_nan_enabled()
        x = fw.tensor([-1.0], requires_grad=True)
        x.sqrt().sum().backward()
        assert x.grad.isnan().all()
    fw.autograd.set_detect_anomaly(True)
    assert fw.is_anomaly_enabled()
    fw.autograd.set_detect_anomaly(False)
    assert not fw.is_anomaly_enabled()


def test_off_it_leaves_no_trace():
    with fw.autograd.set_detect_anomaly(True):
        fw.ones(2) + 1
    assert autodiff.inspect is None
    assert pending.note is None
    assert pending.limit > 0
    y = fw.ones(2, requires_grad=True) * 2
    assert y._node.mark is None
