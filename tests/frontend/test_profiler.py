"""What a profile notes: names, counts, nesting and files; never times."""

import doctest
import gzip
import importlib
import json
import threading
import warnings

import flamework as torch
import numpy as np
import pytest
from flamework.autograd import profiler
from flamework.runtime import events

PROFILED = {
    "two kernels": lambda: ((torch.arange(60.0).reshape(6, 10) * 2).sum(0) + 1).cumsum(0),
    "a product": lambda: (torch.arange(12.0).reshape(3, 4) @ torch.arange(8.0).reshape(4, 2) + 1).relu(),
    "a sum in pieces": lambda: torch.arange(300000.0).sin().sum(),
    "a sort": lambda: torch.arange(1000.0).sin().sort()[0] + 1,
    "a convolution": lambda: torch.nn.functional.conv2d(torch.arange(200.0).sin().reshape(1, 2, 10, 10),
                                                       torch.arange(54.0).reshape(3, 2, 3, 3)),
    "a depthwise convolution": lambda: torch.nn.functional.conv2d(
        torch.arange(200.0).sin().reshape(1, 2, 10, 10), torch.arange(18.0).reshape(2, 1, 3, 3), groups=2),
    "a factorisation": lambda: torch.linalg.inv(torch.eye(4) * 3 + 1),
    "a mask": lambda: torch.arange(100.0)[torch.arange(100) % 3 == 0] + 1,
}


def names(profile, kind):
    return [event.name for event in profile.function_events if event.kind == kind]


@pytest.mark.parametrize("program", PROFILED)
def test_results_are_the_same_and_every_launch_is_an_event(program):
    expected = PROFILED[program]().numpy()
    before = torch.counters()["kernels_launched"]
    with profiler.profile() as prof:
        found = PROFILED[program]()
    launched = torch.counters()["kernels_launched"] - before
    assert len(names(prof, "kernel")) == launched > 0
    assert found.numpy().tobytes() == expected.tobytes()


def test_kernels_are_named_and_measured_as_explain_does():
    def program(x):
        return (x * 2 + 1).softmax(-1) @ x

    x = torch.arange(64.0).reshape(8, 8)
    torch.realize(x)
    kernels = torch.explain(program)(x).kernels
    with profiler.profile(record_shapes=True) as prof:
        y = program(x)
    noted = [event for event in prof.function_events if event.kind == "kernel"]
    assert y.shape == (8, 8)
    assert [event.name for event in noted] == [kernel.name for kernel in kernels]
    assert [(e.bytes_read, e.bytes_written) for e in noted] == [(k.bytes_read, k.bytes_written) for k in kernels]
    assert noted[0].kernel.operations == kernels[0].operations
    assert noted[0].input_shapes == [[8, 8]]


def test_events_nest():
    with profiler.profile() as prof:
        with profiler.record_function("outer"):
            with profiler.record_function("inner"):
                (torch.arange(3.0) * 7).tolist()
    outer, inner = prof.function_events[:2]
    assert (outer.name, inner.name) == ("outer", "inner")
    assert outer.cpu_children == [inner] and inner.cpu_parent is outer and outer.cpu_parent is None
    lookup, run = inner.cpu_children
    assert (lookup.name, run.name) == ("plan::lookup", "plan::run")
    assert [child.kind for child in run.cpu_children] == ["kernel"]
    assert run.details["launches"] == 1
    for event in prof.function_events:
        span = event.time_range
        assert span.start <= span.end
        if event.cpu_parent is not None:
            assert event.cpu_parent.time_range.start <= span.start and span.end <= event.cpu_parent.time_range.end
    assert prof.self_cpu_time_total == pytest.approx(outer.cpu_time_total)


def test_a_plan_is_built_once_and_looked_up_always():
    x = torch.ones(5, 7)
    torch.realize(x)

    def plans():
        with profiler.profile() as prof:
            y = (x * 3 - 2).exp() * 5
        assert y.shape == (5, 7)
        return names(prof, "plan")

    assert plans() == ["plan::lookup", "plan::build", "plan::run"]
    assert plans() == ["plan::lookup", "plan::run"]


def test_compilations_are_events(monkeypatch):
    from flamework.runtime.kernels import KERNELS

    monkeypatch.setattr(KERNELS.cache, "get", lambda key: None)
    monkeypatch.setattr(KERNELS.cache, "put", lambda *entry: None)
    x = torch.ones(3)
    before = torch.counters()["kernels_compiled"]
    with profiler.profile() as prof:
        y = ((x * 1.5 - 2).sin() / (x.abs() + 3)).cos() - x.tanh() * x.atan()
    assert y.shape == (3,)
    compilations = [event for event in prof.function_events if event.kind == "compilation"]
    assert len(compilations) == torch.counters()["kernels_compiled"] - before == 1
    assert compilations[0].cpu_parent.name == "plan::build"


def test_pending_work_belongs_to_the_block_that_wrote_it():
    with profiler.profile() as first:
        x = torch.ones(4) * 2
        with profiler.profile(enabled=False) as nothing:
            y = x + 1
    assert nothing is None
    with profiler.profile() as second:
        pass
    assert names(first, "plan").count("plan::run") == 1
    assert list(second.function_events) == [] and second.table() == ""
    assert (x + y).tolist() == [5.0] * 4


def test_gradients_and_compiled_functions_are_seen():
    w = torch.ones(3, requires_grad=True)

    @torch.compile
    def step(x):
        return (x * w).sum()

    step(torch.ones(3)).item()
    with profiler.profile() as prof:
        loss = step(torch.ones(3))
        loss.backward()
    assert names(prof, "plan").count("plan::run") >= 2
    assert w.grad.tolist() == [1.0] * 3


def test_averages():
    x = torch.ones(6)
    torch.realize(x)
    with profiler.profile(record_shapes=True) as prof:
        for size in (6, 6, 3):
            with profiler.record_function("turn"):
                (x[:size] * 2 + 1).tolist()
    averages = {event.key: event for event in prof.key_averages()}
    (kernel,) = (event for event in averages.values() if event.kind == "kernel")
    assert averages["turn"].count == averages["plan::run"].count == kernel.count == 3
    assert averages["turn"].is_user_annotation and not kernel.is_user_annotation
    assert kernel.bytes_read == kernel.bytes_written == 4 * 15
    assert kernel.cpu_time == pytest.approx(kernel.cpu_time_total / 3)
    by_shape = [e for e in prof.key_averages(group_by_input_shape=True) if e.kind == "kernel"]
    assert [(e.count, e.input_shapes) for e in by_shape] == [(2, [[6]]), (1, [[3]])]
    total = prof.total_average()
    assert (total.key, total.count) == ("Total", len(prof.function_events))
    assert total.bytes_read == 4 * 15
    assert total.self_cpu_time_total == pytest.approx(prof.self_cpu_time_total)
    assert "key=Total" in repr(total) and "name=turn" in repr(prof.function_events[0])


def test_tables():
    with profiler.profile() as prof:
        for _ in range(3):
            with profiler.record_function("a" * 80):
                (torch.ones(300) * 2).tolist()
    averages = prof.key_averages()
    lines = averages.table(sort_by="count", row_limit=2, header="made here").splitlines()
    assert lines[0] == "=" * len(lines[0]) and lines[1] == "made here"
    headers = "Name, Self CPU %, Self CPU, CPU total %, CPU total, CPU time avg, # of Calls, Read, Written"
    assert lines[3].split() == headers.replace(",", "").split()
    assert len(lines) == 3 + 2 + 2 + 2
    assert lines[-1].startswith("Self CPU time total: ")
    assert "a" * 52 + "..." in averages.table() and "a" * 53 not in averages.table()
    assert "a" * 80 in averages.table(max_name_column_width=None)
    rows = [line.split() for line in averages.table(sort_by="key", row_limit=-1, time_unit="s").splitlines()]
    sorted_names = [row[0] for row in rows[3:-2]]
    assert sorted_names == sorted(sorted_names, reverse=True)
    assert all(row[2].endswith("s") and row[2][-2].isdigit() for row in rows[3:-2])
    (kernel,) = (row for row in rows if row and row[0].startswith("flat"))
    assert kernel[6:] == ["3", "0", "B", "3.52", "KB"] or kernel[6:] == ["3", "3.52", "KB", "3.52", "KB"]
    assert str(averages) == averages.table() and str(prof) == prof.table()
    top = prof.table(top_level_events_only=True)
    assert "plan::run" not in top and "top-level" in top
    with pytest.raises(AttributeError):
        averages.table(sort_by="nonsense")
    with pytest.raises(ValueError, match="time_unit"):
        averages.table(time_unit="h")


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_traces(tmp_path, name):
    with profiler.profile(record_shapes=True, with_stack=True) as prof:
        with profiler.record_function("outer", "of two"):
            (torch.arange(4.0) * 3).tolist()
    prof.export_chrome_trace(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    trace = json.loads(gzip.decompress(data) if name.endswith("gz") else data)
    assert trace["displayTimeUnit"] == "ms"
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [event["name"] for event in spans] == [event.name for event in prof.function_events]
    assert spans[0]["cat"] == "user_annotation" and spans[0]["args"]["args"] == "of two"
    assert {"plan", "kernel"} <= {event["cat"] for event in spans}
    assert all(event["dur"] >= 0 and event["ts"] >= 0 and event["tid"] == 1 for event in spans)
    assert spans[-1]["args"]["operations"] == prof.function_events[-1].kernel.operations
    named = {event["name"]: event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"}
    assert named["thread_name"] == "thread 1" and named["process_name"]


def test_stacks(tmp_path):
    def looks():
        return (torch.arange(4.0) * 3).tolist()

    with profiler.profile(with_stack=True) as prof:
        looks()
        looks()
    runs = [event for event in prof.function_events if event.name == "plan::run"]
    assert "test_profiler.py" in runs[0].stack[0] and runs[0].stack[0].endswith(": looks")
    assert runs[0].stack[1].endswith(": test_stacks") and runs[0].stack[1] != runs[1].stack[1]
    assert "Source Location" in prof.key_averages(group_by_stack_n=2).table()
    assert "Source Location" not in prof.key_averages().table()
    by_line = prof.key_averages(group_by_stack_n=2)
    assert [event.count for event in by_line if event.key == "plan::run"] == [1, 1]
    assert [event.count for event in prof.key_averages(group_by_stack_n=1) if event.key == "plan::run"] == [2]
    prof.export_stacks(tmp_path / "stacks.txt", "bytes_written")
    lines = (tmp_path / "stacks.txt").read_text().splitlines()
    assert len(lines) == 2 and all(";" in line and line.endswith(" 16") for line in lines)
    with profiler.profile() as prof:
        pass
    with pytest.raises(ValueError, match="with_stack"):
        prof.export_stacks(tmp_path / "stacks.txt")


def test_threads_have_events_of_their_own():
    def work():
        with profiler.record_function("elsewhere"):
            (torch.arange(5.0) + 1).tolist()

    with profiler.profile() as prof:
        with profiler.record_function("here"):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    here, elsewhere = (e for e in prof.function_events if e.is_user_annotation)
    assert (here.thread, elsewhere.thread) == (1, 2)
    assert elsewhere.cpu_parent is None and here.cpu_children == []
    assert elsewhere.cpu_children[-1].name == "plan::run"


def test_an_error_in_a_launch_is_raised_and_ends_its_events():
    x = torch.arange(4.0)
    index = torch.tensor([0, 9])
    with pytest.raises(IndexError, match="out of bounds"), profiler.profile() as prof:
        with profiler.record_function("fails"):
            x.index_select(0, index + 0).tolist()  # known only when it runs
    assert events.active is None
    assert prof.function_events[0].name == "fails"
    assert [e.name for e in prof.function_events if e.kind == "plan"][-1] == "plan::run"
    assert x.index_select(0, index - 8 * (index > 4)).tolist() == [0.0, 1.0]


def test_misuse():
    prof = profiler.profile()
    assert str(prof) == "<unfinished torch.autograd.profile>"
    for ask in (prof.table, prof.key_averages, prof.total_average, lambda: prof.self_cpu_time_total):
        with pytest.raises(RuntimeError, match="Profiler didn't finish running"):
            ask()
    with prof:
        with pytest.raises(RuntimeError, match="not reentrant"):
            prof.__enter__()
        with pytest.raises(RuntimeError, match="already enabled"):
            profiler.profile().__enter__()
    assert events.active is None
    with pytest.raises(RuntimeError, match="GPU"):
        profiler.profile(use_cuda=True)
    with pytest.raises(TypeError):
        profiler.profile(with_modules=True)
    with pytest.raises(TypeError, match="must be str"):
        profiler.record_function(3)
    assert not hasattr(profiler, "emit_nvtx")


def test_record_function_is_a_decorator_and_nothing_without_a_profile():
    @profiler.record_function("named")
    def function(x, *, scale=1):
        """What it does."""
        return [x] if x == 0 else [*function(x - 1), x * scale]

    assert function(2, scale=3) == [0, 1, 6] and function.__doc__ == "What it does."
    with profiler.profile() as prof:
        function(1)
    outer, inner = prof.function_events
    assert outer.name == inner.name == "named" and inner.cpu_parent is outer


def test_ranges_that_cross_the_border_of_a_profile():
    before, across = profiler.record_function("before"), profiler.record_function("across")
    before.__enter__()
    with profiler.profile() as prof:
        before.__exit__(None, None, None)
        across.__enter__()
    across.__exit__(None, None, None)
    assert [event.name for event in prof.function_events] == ["across"]


# ------------------------------------------------------------------------------------------------- flamework.profiler

SCHEDULES = [
    {"wait": 1, "warmup": 1, "active": 2},
    {"wait": 0, "warmup": 1, "active": 1, "repeat": 2},
    {"wait": 2, "warmup": 1, "active": 2, "repeat": 2, "skip_first": 3},
    {"wait": 2, "warmup": 1, "active": 3, "repeat": 1, "skip_first": 2, "skip_first_wait": 1},
]


@pytest.mark.parametrize("options", SCHEDULES, ids=str)
def test_schedules_are_those_of_torch(options):
    theirs = pytest.importorskip("torch").profiler.schedule(**options)
    ours = torch.profiler.schedule(**options)
    assert [ours(step).name for step in range(30)] == [theirs(step).name for step in range(30)]


def test_wrong_schedules():
    for wrong in ({"active": 0}, {"wait": -1}):
        with pytest.raises(AssertionError, match="Invalid profiler schedule arguments"):
            torch.profiler.schedule(**{"wait": 1, "warmup": 1, "active": 1, **wrong})
    with pytest.warns(UserWarning, match="warmup"):
        torch.profiler.schedule(wait=1, warmup=0, active=1)
    with pytest.raises(AssertionError, match="non-negative"):
        torch.profiler.schedule(wait=1, warmup=1, active=1)(-1)


def test_steps_and_cycles(tmp_path):
    ready = []

    def on_trace_ready(prof):
        ready.append([event.name for event in prof.events() if event.cpu_parent is None])
        torch.profiler.tensorboard_trace_handler(tmp_path, "worker", use_gzip=len(ready) == 2)(prof)

    x = torch.ones(4)
    with torch.profiler.profile(
        schedule=torch.profiler.schedule(wait=1, warmup=1, active=2, repeat=2), on_trace_ready=on_trace_ready
    ) as prof:
        for _ in range(9):
            x = x * 1.5  # nobody looks
            prof.step()
    assert ready == [["ProfilerStep#2", "ProfilerStep#3"], ["ProfilerStep#6", "ProfilerStep#7"]]
    averages = {event.key: event.count for event in prof.key_averages()}
    assert averages["ProfilerStep*"] == 2 and averages["plan::run"] == 2
    files = sorted(path.name.partition(".")[2].lstrip("0123456789") for path in tmp_path.iterdir())
    assert files == [".pt.trace.json", ".pt.trace.json.gz"]
    assert prof.step_num == 9 and events.active is None
    assert x[0].item() == 1.5**9


def test_without_a_schedule_everything_is_noted():
    ready = []
    prof = torch.profiler.profile(on_trace_ready=ready.append, activities=[torch.profiler.ProfilerActivity.CPU])
    with pytest.raises(AssertionError, match="Profiler must be initialized before getting key averages"):
        prof.key_averages()
    with prof:
        y = torch.ones(3) * 2
        with pytest.raises(AssertionError, match="Profiler must be initialized"):
            prof.events()
    assert ready == [prof]
    assert [event.name for event in prof.events() if event.kind == "plan"][-1] == "plan::run"
    assert y.tolist() == [2.0] * 3


def test_start_and_stop_and_metadata(tmp_path):
    prof = torch.profiler.profile(record_shapes=True, with_stack=True)
    prof.start()
    y = torch.ones(3) * 2
    prof.stop()
    prof.add_metadata("model", "small")
    prof.add_metadata_json("sizes", "[1, 2]")
    prof.export_chrome_trace(str(tmp_path / "trace.json"))
    prof.export_stacks(tmp_path / "stacks.txt", "bytes_written")
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert trace["model"] == "small" and trace["sizes"] == [1, 2]
    assert (tmp_path / "stacks.txt").read_text().endswith(" 12\n")
    assert y.tolist() == [2.0] * 3


def test_a_block_that_fails_computes_nothing_more():
    launched = torch.counters()["kernels_launched"]
    with pytest.raises(ZeroDivisionError):
        with torch.profiler.profile(schedule=lambda step: torch.profiler.ProfilerAction.RECORD):
            y = torch.ones(3) * 2
            1 / 0  # noqa: B018
    assert torch.counters()["kernels_launched"] == launched and events.active is None
    assert y.tolist() == [2.0] * 3


def test_activities():
    kind = torch.profiler.ProfilerActivity
    with pytest.raises(AssertionError, match="No valid profiler activities found"):
        torch.profiler.profile(activities=[])
    with pytest.warns(UserWarning, match="CUDA is not available, disabling CUDA profiling"):
        prof = torch.profiler.profile(activities=[kind.CPU, kind.CUDA])
    assert prof.activities == torch.profiler.supported_activities() == {kind.CPU}
    with pytest.raises(TypeError):
        torch.profiler.profile(activities=["cpu"])
    with pytest.raises(TypeError):
        torch.profiler.profile(profile_memory=True)


def test_a_wrong_order_of_actions_is_warned_of():
    actions = torch.profiler.ProfilerAction
    with torch.profiler.profile(schedule=lambda step: [actions.RECORD, actions.NONE][step % 2]) as prof:
        with pytest.warns(UserWarning, match="Incorrect schedule: RECORD followed by NONE"):
            prof.step()
    assert [event.name for event in prof.events()] == ["ProfilerStep#0"]


@pytest.mark.parametrize("chapter", ["autograd.profiler", "profiler"])
def test_examples(chapter):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = doctest.testmod(importlib.import_module(f"flamework.{chapter}"))
    assert found.attempted >= 6 and found.failed == 0


def test_a_profile_of_selected_numbers():
    x = torch.from_numpy(np.array([0.0, 1.0, 2.0]))
    with profiler.profile() as prof:
        assert x.nonzero().tolist() == [[1], [2]]
    assert names(prof, "kernel")[-2:] == ["mask_count", "mask_write"]
