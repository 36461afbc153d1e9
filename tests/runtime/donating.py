"""Random programs of in-place updates, which must observe the same whether results are written over inputs or not."""

import random

import flamework
import numpy as np

N = 4096


def block(value: float = 1.0, n: int = N, place: str = "cpu") -> flamework.Tensor:
    """A computed tensor in a block of the allocator's."""
    x = flamework.arange(n, dtype=flamework.float32, device=place) * 0.001 + value
    flamework.realize(x)
    return x


def run_random(seed: int, place: str = "cpu") -> list:
    """A program of in-place updates with all kinds of holders; what it observes."""
    rng = random.Random(seed)
    n = 48
    tensors = [block(float(k), n, place) for k in range(4)]
    arrays = [np.full(n, 1.5, np.float32), np.full(n, -0.5, np.float32)]
    tensors += [flamework.from_numpy(a).to(place) for a in arrays]
    weight = flamework.nn.Parameter(block(0.5, n, place))
    held: list = []
    seen: list = []

    @flamework.compile
    def compiled(a, b, scale):
        a.mul_(scale).add_(b)
        b.copy_(b * 0.5)
        return a.sum()

    @flamework.compile
    def compiled_failing(a, b, index):
        a.add_(b[index].sum())
        b.mul_(0.5)

    def look(x) -> None:
        seen.append(x.tolist() if isinstance(x, flamework.Tensor) else np.array(x).tolist())

    for _ in range(rng.randrange(8, 30)):
        a, b, c = (rng.choice(tensors) for _ in range(3))
        what = rng.randrange(17)
        try:
            if what == 0:
                a.add_(b)
            elif what == 1:
                a.mul_(0.5).add_(b).sub_(c)
            elif what == 2:
                a[3:20] += b[5:22]
            elif what == 3:
                a.view(6, 8).t().mul_(0.5)
            elif what == 4:
                a.lerp_(b, 0.25)
                b.copy_(c)
            elif what == 5:
                held.append(a[rng.randrange(10):])
            elif what == 6:
                held.append(a.detach() if rng.random() < 0.5 else a.clone())
            elif what == 7:
                held.append(a * 2 + b)
            elif what == 8:
                held.append((weight * a).sum())
            elif what == 9 and held and isinstance(x := rng.choice(held), flamework.Tensor) and x.requires_grad:
                x.backward()
                look(weight.grad)
            elif what == 10:
                held.append(a.cpu().numpy())
            elif what == 11 and held:
                held.pop(rng.randrange(len(held)))
            elif what == 12:
                flamework.realize(a, b) if rng.random() < 0.5 else flamework.realize()
            elif what == 13:
                look(compiled(a, b, 0.75))
            elif what == 14:
                bad = rng.random() < 0.5
                compiled_failing(a, b, flamework.tensor([0, n if bad else 1]).to(place))
            elif what == 15:
                with flamework.no_grad():
                    weight.mul_(0.9).add_(a)
            else:
                tensors[rng.randrange(4)] = a * 1.25 - b
        except (IndexError, RuntimeError) as error:
            seen.append(type(error).__name__)
        if rng.random() < 0.2:
            look(a)
    for x in [*tensors, *held, *arrays, weight]:
        look(x)
    return seen
