"""A small program of every kind of kernel, for ``compute-sanitizer``: it reads and writes what it should and no more.

Odd sizes, views that begin in the middle of memory, rows in pieces, scatters, products, sorts and an index that is out
of range; prints ``done`` after the results have been compared with the CPU's.

In: how many rows the tensors have; few for the simulator.
"""

import sys

import flamework as torch
from flamework.nn import functional as F


def programs(place, rows):
    """Results of the programs on a device, from the same numbers."""
    torch.manual_seed(0)
    x, index = torch.randn(rows, 67), torch.randint(0, rows, (2 * rows + 1,))
    x, index = x.to(place), index.to(place)
    image = torch.randn(2, 3, 5, rows % 13 + 4).to(place)
    yield from (x[1:, 3:] * 2 + 1, x[::3, ::5].relu(), x.T.contiguous(), x.flip(0)[5:], x.half()[1:] + 1)
    yield from (x.sum(), x.sum(0), x.sum(1), x[:3].repeat(1, rows).sum(1), x.softmax(1), x.argmax(1), x.cumsum(1))
    yield from (x @ x.T, x.T @ x, torch.bmm(x[None, : rows - 2], x.T[None]), x.half() @ x.half().T)
    added = torch.zeros(rows, device=place).index_add_(0, index, x.reshape(-1)[: len(index)])
    yield from (x[index], added, x.sort(1)[0], x[:, :5].prod(0), x > 0, (x > 0).all(1))
    yield from (F.conv2d(image, image[:, :, :3, :3], padding=1), F.max_pool2d(image, 2), F.layer_norm(x, (67,)))
    weight = x[:5].clone().requires_grad_()
    F.cross_entropy(x @ weight.T, index[:rows] % 5).backward()
    yield weight.grad


def main():
    rows = int(sys.argv[1])
    for on_cpu, on_gpu in zip(programs("cpu", rows), programs("cuda", rows)):
        assert torch.allclose(on_cpu, on_gpu.cpu(), rtol=2e-3, atol=2e-3)
    try:
        torch.ones(4, device="cuda")[torch.tensor([1, 9], device="cuda")].sum().item()
    except IndexError:
        print("done")


if __name__ == "__main__":
    main()
