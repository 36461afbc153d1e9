"""Results written over inputs on a GPU, on a stand-in for the driver; prints for each behaviour what went wrong."""

import contextlib
import gc

import fake_cuda
import flamework as torch
import simulator
from donating import block, run_random
from flamework.recording import node_of
from flamework.runtime import donation, engine


def address(x):
    torch.realize(x)
    return node_of(x).value.address


def lazily_written_tensors_keep_their_memory(driver):
    x = block(1.0, place="cuda")
    before, held = address(x), torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        x = x * 2 + 1
        assert address(x) == before
    x.mul_(2).sub_(1)
    assert address(x) == before and torch.cuda.max_memory_allocated() == held
    wanted = block(1.0)
    for _ in range(3):
        wanted = wanted * 2 + 1
    assert torch.equal(x.cpu(), wanted * 2 - 1)


def who_holds_a_value_keeps_it(driver):
    for holder in (lambda x: x.detach(), lambda x: x[7:], lambda x: x * 2, lambda x: torch.utils.dlpack.to_dlpack(x)):
        x = block(1.0, place="cuda")
        value = x.cpu()
        held = holder(x)
        x = x + 1
        assert torch.equal(x.cpu(), value + 1)
        if isinstance(held, torch.Tensor):
            wanted = holder(value) if not isinstance(holder(value), type(None)) else value
            assert torch.equal(held.cpu(), wanted)
        else:
            assert torch.equal(torch.utils.dlpack.from_dlpack(held).cpu(), value)


def an_optimizer_needs_no_second_copy(driver):
    def step(weight, first, second, gradient):
        first.lerp_(gradient, 0.1)
        second.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        weight.addcdiv_(first, second.sqrt().add_(1e-8), value=-0.1)

    for run in (step, torch.compile(step)):
        for _ in range(2):
            given = [block(float(k), place="cuda") for k in range(4)]
            wanted = [x.cpu() for x in given]
            torch.realize(*given, *wanted)
            held = torch.cuda.memory_allocated()
            addresses = [address(x) for x in given]
            for _ in range(4):
                torch.cuda.reset_peak_memory_stats()
                run(*given)
                torch.realize(*given)
                step(*wanted)
            assert torch.cuda.max_memory_allocated() <= held + 2048, torch.cuda.max_memory_allocated() - held
            assert [address(x) for x in given] == addresses
            for x, y in zip(given, wanted):
                assert torch.allclose(x.cpu(), y, rtol=1e-5)


def many_at_once_are_grouped_and_right(driver):
    weights = [block(float(k), 40 + k, "cuda") for k in range(12)]
    shared = block(0.5, 40, "cuda")
    wanted = [w.cpu() for w in weights]
    for _ in range(3):
        # each reads what the one before writes over
        for tensors, other in ((weights, shared), (wanted, shared.cpu())):
            last = other
            for w in tensors:
                new = w[:40] + last[:40]
                w.mul_(0.5).add_(1)
                last = new
            other.copy_(last * 0.001)
        torch.realize(*weights, shared)
    for x, y in zip(weights, wanted):
        assert torch.allclose(x.cpu(), y, rtol=1e-5)


def a_wrong_index_leaves_everything_as_it_was(driver):
    table, weight = block(1.0, 64, "cuda"), block(2.0, 64, "cuda")
    values = table.tolist(), weight.tolist()

    def step(table, weight, index):
        picked = table[index]
        weight.add_(picked.sum())
        table.mul_(2)

    for run in (step, torch.compile(step)):
        run(table, weight, torch.tensor([1, 2]).cuda())
        torch.realize(table, weight)
        values = table.tolist(), weight.tolist()
        try:
            run(table, weight, torch.tensor([1, 64]).cuda())
            torch.realize(table, weight)
        except IndexError as error:
            assert "out of bounds" in str(error)
        else:
            raise AssertionError("it was not refused")
        if run is not step:
            assert (table.tolist(), weight.tolist()) == values
        else:
            table, weight = block(1.0, 64, "cuda"), block(2.0, 64, "cuda")


def threads_without_a_row_of_their_own_report_nothing(driver):
    """They repeat the last row, whose indices others have written over by then."""
    table = torch.tensor([100, 200, 300, 400]).cuda()
    for seed in range(8):
        torch.manual_seed(seed)
        x = torch.rand(3, 4)
        order = x.cuda().argsort(1)
        found = table[order] - order.sum(1, keepdim=True)
        del order
        assert torch.equal(found.cpu(), 100 * x.argsort(1) + 94)


def a_wrong_index_of_one_of_many_is_found(driver):
    """They are one launch, in which a block takes several of them."""
    table = torch.tensor([100, 200, 300, 400]).cuda()
    for wrong in (None, 0, 7, 11):
        rows = [[[k % 4, 1, 2, 3]] * (2 if k < 6 else 4) for k in range(12)]
        if wrong is not None:
            rows[wrong] = [*rows[wrong][1:], [0, 1, 2, 4]]
        indices = [torch.tensor(x).cuda() for x in rows]
        torch.realize(*indices)
        found = [table[i * 1] - i.sum(1, keepdim=True) for i in indices]
        try:
            torch.realize(*found)
        except IndexError as error:
            assert wrong is not None and "index 4 is out of bounds" in str(error)
        else:
            assert wrong is None
            assert found[7].tolist() == [[400 - 9, 200 - 9, 300 - 9, 400 - 9]] * 4


def no_memory_leaves_everything_as_it_was(driver):
    x = block(1.0, 1 << 14, "cuda")
    value = x.cpu()
    torch.realize(value)

    @torch.compile
    def step(x):
        x.mul_(2)
        return x.view(-1, 1) + x[:4096].view(1, -1)

    try:
        step(x)
    except torch.OutOfMemoryError:
        assert torch.equal(x.cpu(), value)
    else:
        raise AssertionError("there was memory for it")
    assert torch.equal((x + 1).cpu(), value + 1)


def random_programs_observe_what_they_would_without(driver):
    for seed in range(24):
        outcomes = []
        for least in (1, 1 << 60):
            donation.LEAST_BYTES = least
            engine._plans.clear()
            outcomes.append(run_random(seed, "cuda"))
        assert repr(outcomes[0]) == repr(outcomes[1]), seed


BEHAVIOURS = [
    lazily_written_tensors_keep_their_memory, who_holds_a_value_keeps_it, an_optimizer_needs_no_second_copy,
    threads_without_a_row_of_their_own_report_nothing, a_wrong_index_of_one_of_many_is_found,
    many_at_once_are_grouped_and_right, a_wrong_index_leaves_everything_as_it_was,
    no_memory_leaves_everything_as_it_was,
    random_programs_observe_what_they_would_without,
]


@contextlib.contextmanager
def installed():
    donation.LEAST_BYTES = 1
    driver = fake_cuda.FakeDriver(capacity=1 << 24)
    with fake_cuda.installed(driver):
        yield driver
    engine._plans.clear()
    gc.collect()


if __name__ == "__main__":
    simulator.report(BEHAVIOURS, installed)
