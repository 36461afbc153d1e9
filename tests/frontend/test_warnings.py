"""A warning names the line of the user's program, as PyTorch's do, whatever the public function is wrapped in."""

import warnings

import flamework as torch
import numpy as np
import pytest

F = torch.nn.functional
ones = torch.ones
CALLS = {
    "affine_grid": lambda: F.affine_grid(ones(1, 2, 3), (1, 1, 2, 2)),
    "binary_cross_entropy": lambda: F.binary_cross_entropy(ones(2), ones(2), size_average=True),
    "cov": lambda: torch.cov(ones(2, 1)),
    "cov method": lambda: ones(2, 1).cov(),
    "cross_entropy": lambda: F.cross_entropy(ones(2, 2), ones(2, 2), size_average=True),
    "dropout2d": lambda: F.dropout2d(ones(2, 2)),
    "grid_sample": lambda: F.grid_sample(ones(1, 1, 2, 2), ones(1, 2, 2, 2)),
    "gumbel_softmax": lambda: F.gumbel_softmax(ones(2, 2), eps=1e-3),
    "huber_loss": lambda: F.huber_loss(ones(2, 1), ones(2, 3)),
    "index of bytes": lambda: ones(2)[torch.tensor([1, 0], dtype=torch.uint8)],
    "index by a list": lambda: ones(2, 2)[[[0, 1], [0, 1]]],
    "istft": lambda: torch.istft(ones(9, 17, dtype=torch.complex64), 16, length=300),
    "kl_div": lambda: F.kl_div(ones(2, 2), ones(2, 2), reduction="mean"),
    "l1_loss": lambda: F.l1_loss(ones(2, 1), ones(2, 3)),
    "log_softmax": lambda: F.log_softmax(ones(2, 2)),
    "mse_loss": lambda: F.mse_loss(ones(2, 1), ones(2, 3)),
    "nll_loss": lambda: F.nll_loss(ones(2, 2), torch.tensor([0, 1]), size_average=True),
    "poisson_nll_loss": lambda: F.poisson_nll_loss(ones(2), ones(2), size_average=False),
    "softmax": lambda: F.softmax(ones(2, 2)),
    "softmin": lambda: F.softmin(ones(2, 2)),
    "softmin module": lambda: torch.nn.Softmin()(ones(2, 2)),
    "stft": lambda: torch.stft(ones(64), 16, return_complex=True),
    "stft method": lambda: ones(64).stft(16, return_complex=True),
    "tensor": lambda: torch.tensor(ones(2)),
    "upsample": lambda: F.upsample(ones(1, 1, 2, 2), scale_factor=2),
    "upsample_bilinear": lambda: F.upsample_bilinear(ones(1, 1, 2, 2), scale_factor=2),
    "upsample_nearest": lambda: F.upsample_nearest(ones(1, 1, 2, 2), scale_factor=2),
    "var": lambda: torch.var(ones(1)),
    "var method": lambda: ones(1).var(),
    "bytes": lambda: torch.frombuffer(b"12345678", dtype=torch.float32),
    "checkpoint": lambda: torch.utils.checkpoint.checkpoint(torch.exp, ones(2)),
    "dropout of one layer": lambda: torch.nn.LSTM(2, 2, dropout=0.5),
    "from_numpy": lambda: torch.from_numpy(_read_only()),
    "gradient of no leaf": lambda: (ones(2, requires_grad=True) * 2).grad,
    "hardtanh module": lambda: torch.nn.Hardtanh(min_value=-2.0),
    "kaiming_uniform": lambda: torch.nn.init.kaiming_uniform(ones(2, 2)),
    "kaiming_uniform_": lambda: torch.nn.init.kaiming_uniform_(ones(0, 2)),
    "loss module": lambda: torch.nn.L1Loss(size_average=True),
    "parameters given twice": lambda: torch.optim.SGD([x := ones(1, requires_grad=True), x], lr=1.0),
    "scheduler": lambda: _scheduled(3),
    "addmm": lambda: torch.addmm(2, ones(2, 2), ones(2, 2), ones(2, 2)),
}


def _scheduled(epoch=None):
    optimizer = torch.optim.SGD([ones(1, requires_grad=True)], lr=1.0)
    torch.optim.lr_scheduler.StepLR(optimizer, 1).step(epoch)


def _read_only():
    array = np.ones(2)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("name", CALLS)
def test_a_warning_names_the_users_line(name):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        CALLS[name]()
    assert found
    assert {warning.filename for warning in found} == {__file__}
