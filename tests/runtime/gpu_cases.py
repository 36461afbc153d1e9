"""Programs on a stand-in for NVIDIA's driver, in a process whose numba.cuda is the simulator; prints what they gave."""

import json

import fake_cuda
import flamework as torch
import numpy as np
from flamework.runtime import gpu


def training(compiled):
    return {place: training_on(place, compiled) for place in ("cpu", "cuda")}


def training_on(place, compiled):
    """Losses and the driver's calls of some steps."""
    fake = fake_cuda.FakeDriver()
    with fake_cuda.installed(fake):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.LayerNorm(5), torch.nn.GELU(),
                                    torch.nn.Linear(5, 3))
        x, wanted = torch.randn(4, 6).to(place), torch.tensor([0, 2, 1, 1]).to(place)
        weights = [w.detach().to(place).requires_grad_() for w in model.parameters()]
        optimizer = torch.optim.Adam(weights, lr=0.05)

        def step(x, wanted):
            optimizer.zero_grad()
            y = torch.nn.functional.layer_norm(x @ weights[0].T + weights[1], (5,), weights[2], weights[3])
            y = torch.nn.functional.gelu(y) @ weights[4].T + weights[5]
            loss = torch.nn.functional.cross_entropy(y, wanted)
            loss.backward()
            optimizer.step()
            return loss

        run = torch.compile(step) if compiled else step
        losses, calls = [], []
        for _ in range(5):
            before = dict(fake.calls)
            losses.append(run(x, wanted).item())
            calls.append({name: n - before.get(name, 0) for name, n in fake.calls.items()})
        return losses, calls


def out_of_range():
    """What a wrong index raises, and what is afterwards in memory that the program would have written over."""
    fake = fake_cuda.FakeDriver()
    with fake_cuda.installed(fake):
        table, index = torch.arange(12.0).reshape(4, 3).cuda(), torch.tensor([0, 7]).cuda() * 1
        try:
            (table[index] * 2).sum().item()
        except IndexError as error:
            message = str(error)
        return message, table.cpu().tolist(), (table + 1).sum().item()


def out_of_memory():
    fake = fake_cuda.FakeDriver(capacity=1 << 20)
    with fake_cuda.installed(fake) as device:
        x = torch.ones(1000).cuda()
        kept = [torch.ones(50_000).cuda() for _ in range(3)]
        torch.realize(*kept)
        try:
            torch.realize(torch.ones(200_000).cuda())
            message = ""
        except RuntimeError as error:
            message = str(error)
        total = (x * 2).sum().item()
        held = device.allocated
        kept.clear()
        # what is free is given back to the driver, if that is what is missing
        again = torch.ones(200_000).cuda()
        torch.realize(again)
        again = again.numel()
        return message, total, held, again


def no_memory_to_launch(function, number):
    """What a program gives when one call of the driver, by its number, finds no memory, and later ones do; and how many
    graphs stay."""
    fake = fake_cuda.FakeDriver()
    with fake_cuda.installed(fake):
        x = torch.arange(6.0).reshape(2, 3)
        y = x.cuda()
        torch.realize(y)
        call, calls, before = getattr(fake, function), [], len(fake.graphs)

        def all_but_one(*arguments):
            calls.append(arguments)
            return (fake_cuda.OUT_OF_MEMORY, None) if len(calls) == number else call(*arguments)

        setattr(fake, function, all_but_one)
        found = []
        for _ in range(3):
            try:
                found.append(torch.allclose((y.softmax(1) @ y.T).cpu(), x.softmax(1) @ x.T))
            except RuntimeError as error:
                found.append(str(error))
        return found, len(fake.graphs) - before


def freed():
    """Bytes in use, of buffers and of the driver, after everything is gone."""
    fake = fake_cuda.FakeDriver()
    with fake_cuda.installed(fake) as device:
        x = torch.randn(64, 3).cuda()
        y = (x @ x.T).softmax(1)
        torch.realize(y)
        used = device.allocated
        del x, y
        after = device.allocated
        device.empty_cache()
        return used > 0, after, sum(block.size for block in fake.memory.values()), device.reserved


def locked():
    """Whether memory is locked, and the driver's locked blocks while it lives and afterwards."""
    fake = fake_cuda.FakeDriver()
    with fake_cuda.installed(fake):
        x = torch.arange(5).pin_memory()
        found = [x.is_pinned(), x.cuda().tolist(), len(fake.locked)]
        del x
        return [*found, len(fake.locked)]


def shared():
    """A product and a sum when numba's simulator gives each thread shared memory of its own, as it may by a race."""
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    before, FakeCUDAShared.array = FakeCUDAShared.array, lambda self, shape, dtype: np.zeros(shape, np.float32)
    try:
        with fake_cuda.installed(fake_cuda.FakeDriver()):
            x = torch.arange(20.0).reshape(4, 5)
            return [(x.cuda() @ x.cuda().T).tolist() == (x @ x.T).tolist(), x.cuda().sum(0).tolist()]
    finally:
        FakeCUDAShared.array = before


def rows():
    """A row of a computed tensor, which is read where it is, by itself and by a compiled function."""
    with fake_cuda.installed(fake_cuda.FakeDriver()):
        x = torch.arange(6.0).reshape(2, 3).cuda()
        torch.realize(x)
        same = torch.compile(lambda row: (row, row + 1))
        return [x[1].tolist(), *[part.tolist() for _ in range(2) for part in same(x[1])]]


def grids():
    """Of a device with so many multiprocessors: the blocks of each launch, and the bits of the results."""
    found = []
    for processors in (1, 3):
        fake = fake_cuda.FakeDriver(processors=processors)
        with fake_cuda.installed(fake):
            torch.manual_seed(0)
            x = torch.randn(40, 33)
            y = x.cuda()
            results = [(y.exp() + 1), y.softmax(1), y.sum(0), y.sum(), (y @ y.T).argsort(-1)]
            bits = [result.cpu().numpy().tobytes().hex() for result in results]
            blocks = [parameters.gridDimX for nodes in fake.graphs.values() for parameters, _ in nodes.values()]
            found.append((max(blocks), bits))
    return [most for most, _ in found], found[0][1] == found[1][1]


def adam():
    """Steps of Adam over fifty parameters of different shapes, with another learning rate each time: whether they are
    the CPU's, and the launches of each graph."""
    fake = fake_cuda.FakeDriver()
    with fake_cuda.installed(fake):
        found = {}
        for place in ("cpu", "cuda"):
            torch.manual_seed(0)
            weights = [torch.randn(1 + k % 7, 1 + k).to(place).requires_grad_() for k in range(50)]
            optimizer = torch.optim.Adam(weights, lr=0.1)
            before = set(fake.graphs)
            for step in range(4):
                gradients = [torch.randn(w.shape).to(place) for w in weights]
                for group in optimizer.param_groups:
                    group["lr"] = 0.1 / (1 + step)
                for w, gradient in zip(weights, gradients):
                    w.grad = gradient
                optimizer.step()
                torch.realize(*weights)
            found[place] = [w.detach().cpu().numpy() for w in weights]
        same = [np.allclose(x, y, 1e-6, 1e-7) for x, y in zip(found["cpu"], found["cuda"])]
        return all(same), [len(nodes) for graph, nodes in fake.graphs.items() if graph not in before]


def sorting():
    rng = np.random.default_rng(0)
    fake = fake_cuda.FakeDriver()
    with fake_cuda.installed(fake):
        for length in (0, 1, 2, 3, 7, 33, 150):
            values = rng.integers(0, 4, (3, length)).astype(np.float32)
            values[rng.random(values.shape) < 0.2] = np.nan
            x = torch.from_numpy(values)
            for descending in (False, True):
                ours = x.cuda().argsort(-1, descending=descending, stable=True).cpu()
                if not torch.equal(ours, x.argsort(-1, descending=descending, stable=True)):
                    return f"{length} {descending}"
    return "sorted"


def main():
    assert gpu.is_simulator()
    print(json.dumps({
        "lazy": training(compiled=False), "compiled": training(compiled=True), "out of range": out_of_range(),
        "out of memory": out_of_memory(),
        "no memory for a kernel": no_memory_to_launch("cuModuleLoadData", 2),
        "no memory for a graph": no_memory_to_launch("cuGraphInstantiate", 1), "freed": freed(),
        "sorting": sorting(), "locked": locked(), "rows": rows(), "shared": shared(), "grids": grids(),
        "adam": adam(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
