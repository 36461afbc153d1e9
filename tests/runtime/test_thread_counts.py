"""Results do not depend on the number of threads: bit for bit the same with 1, 2 and 8, for every kind of kernel."""

from __future__ import annotations

import flamework
import numpy as np
import pytest

F, nn = flamework.nn.functional, flamework.nn


def data(*shape: int, seed: int = 0) -> flamework.Tensor:
    array = np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)
    return flamework.from_numpy(array) * 1


def whole(low: int, high: int, *shape: int) -> flamework.Tensor:
    return flamework.from_numpy(np.random.default_rng(0).integers(low, high, shape)) * 1


def trained(model: nn.Module, x: flamework.Tensor, labels: flamework.Tensor, compiled: bool):
    optimizer = flamework.optim.Adam(model.parameters(), lr=1e-2)

    def step(x, labels):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    run = flamework.compile(step) if compiled else step
    losses = [run(x, labels).item() for _ in range(3)]
    return [losses, *model.parameters()]


def perceptron(compiled: bool):
    model = nn.Sequential(nn.Linear(200, 300), nn.GELU(), nn.Dropout(0.2), nn.Linear(300, 10))
    return trained(model, data(256, 200), whole(0, 10, 256), compiled)


def convolutions():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                          nn.Linear(8 * 13 * 13, 10))
    return trained(model, data(16, 3, 28, 28), whole(0, 10, 16), False)


def attention():
    x, w = data(4, 128, 64), data(64, 192, seed=1).requires_grad_()
    q, k, v = (x @ w).reshape(4, 128, 3, 4, 16).permute(2, 0, 3, 1, 4).unbind(0)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    y.square().sum().backward()
    return y, w.grad


def scattered():
    index, values = whole(0, 300, 70_000), data(70_000)
    return (flamework.zeros(300).index_add(0, index, values), flamework.zeros(300).scatter(0, index, values),
            data(300, 64)[index[:2000]], flamework.bincount(index))


def embedding():
    table = data(500, 64).requires_grad_()
    rows = F.embedding(whole(0, 500, 4000), table)
    rows.tanh().sum().backward()
    return rows, table.grad


def in_place():
    x, y = data(400_000), data(400_000, seed=1)
    x.mul_(0.5).add_(y)
    x[1000:200_000] += y[:199_000]
    return x, x.view(400, 1000).t().sqrt_().sum(0)


SHAPES = {"one long row": (1_000_003,), "rows": (300, 1001), "short rows": (40_000, 9), "few long rows": (3, 300_001)}

WORKLOADS = {
    "elementwise": lambda: flamework.tanh(data(700_001) * 2 + 1).exp().sin(),
    "broadcast": lambda: data(700, 1) * data(1, 900) + data(900),
    "transposed": lambda: data(700, 901).t() + data(901, 700),
    "padded": lambda: F.pad(data(600, 601), (3, 4, 5, 6), value=2.0) * 3,
    "concatenated": lambda: flamework.cat([data(300, 500), data(301, 500), data(7, 500)]) + 1,
    **{f"sum of {name}": lambda s=s: data(*s).sum(-1) for name, s in SHAPES.items()},
    **{f"mean and deviation of {name}": lambda s=s: flamework.std_mean(data(*s), -1) for name, s in SHAPES.items()},
    **{f"extremes of {name}": lambda s=s: (data(*s).amax(-1), data(*s).argmin(-1)) for name, s in SHAPES.items()},
    "sum of everything": lambda: (data(1000, 999) * 3).sum(),
    "product": lambda: (1 + data(300, 1001) * 1e-3).prod(),
    "sums of columns": lambda: data(5001, 300).sum(0),
    "middle axis": lambda: data(30, 400, 70).mean(1),
    "norm": lambda: data(999, 1000).norm(),
    "logsumexp": lambda: flamework.logsumexp(data(500, 2000), 1),
    "running sums": lambda: (data(300, 3000).cumsum(1), data(3000, 300).cumsum(0)),
    "softmax": lambda: (flamework.softmax(data(500, 1500), 1), F.log_softmax(data(1500, 500), 0)),
    "layer norm": lambda: F.layer_norm(data(600, 768), (768,), data(768), data(768, seed=1)),
    "product of matrices": lambda: data(333, 517) @ data(517, 411),
    "batched product": lambda: flamework.bmm(data(13, 70, 80), data(13, 80, 90)),
    "matrix and vector": lambda: data(2000, 700) @ data(700),
    "convolution": lambda: F.conv2d(data(8, 6, 40, 41), data(16, 6, 3, 3), data(16), padding=1),
    "pooling": lambda: (F.max_pool2d(data(8, 16, 40, 40), 2), F.avg_pool2d(data(8, 16, 40, 40), 3)),
    "sorting": lambda: data(300, 2000).sort(1),
    "scatter and gather": scattered,
    "embedding": embedding,
    "in place": in_place,
    "attention": attention,
    "training": lambda: perceptron(False),
    "compiled training": lambda: perceptron(True),
    "training with convolutions": convolutions,
    "random numbers": lambda: (F.dropout(flamework.ones(300_000), 0.3), flamework.randn(70_000)),
}


def bits(value) -> list[bytes]:
    if isinstance(value, flamework.Tensor):
        return [value.detach().numpy().tobytes()]
    if isinstance(value, (tuple, list)):
        return [part for item in value for part in bits(item)]
    return [repr(value).encode()]


@pytest.mark.parametrize("name", WORKLOADS)
def test_results_are_the_same_bits_with_any_number_of_threads(name):
    previous, found = flamework.get_num_threads(), []
    try:
        for count in (1, 2, 8):
            flamework.set_num_threads(count)
            assert flamework.get_num_threads() == count
            flamework.manual_seed(0)
            found.append(bits(WORKLOADS[name]()))
    finally:
        flamework.set_num_threads(previous)
    assert found[0] == found[1] == found[2]
