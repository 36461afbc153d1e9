"""The benchmarks' own machinery, at tiny sizes: contestants agree, tables have their columns. No times are tested."""

import dataclasses
import importlib
import sys
import types

import numpy as np
import pytest
import report
import run
import simulator
from worker import Runner, installed
from workloads import BOUNDS, GROUPS, WORKLOADS
from workloads_bandwidth import BANDWIDTH

# torch.compile needs a C++ compiler and many seconds for each program: it only runs in the benchmarks themselves.
QUICK = [name for name in installed() if name != "torch.compile"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_contestants_agree(name):
    reports = {contestant: Runner(WORKLOADS[name], contestant, tiny=True).report for contestant in QUICK}
    digests = {contestant: report["digest"] for contestant, report in reports.items() if not report["absent"]}
    assert digests
    for digest in digests.values():
        tolerance = WORKLOADS[name].tolerance
        assert digest == pytest.approx(next(iter(digests.values())), rel=tolerance, abs=tolerance / 10)


def test_a_round_has_samples_for_each_step():
    runner = Runner(WORKLOADS["axpby_relu_10m"], QUICK[0], tiny=True)
    samples = runner.round(0.0)
    assert len(samples) >= 3
    assert all(sample > 0 for sample in samples)


def test_a_race_reports_first_results_samples_and_memory():
    options = run.parse_arguments(["axpby_relu_10m", "--size", "tiny", "--rounds", "1", "--seconds", "0.1"])
    result, = run.race("axpby_relu_10m", ["numpy"], options)
    assert not result.trouble
    assert result.samples
    assert result.cold > 0 and result.warm > 0
    assert result.memory > 0


def test_a_contestant_without_a_version_says_so():
    options = run.parse_arguments(["mlp_train_small", "--size", "tiny", "--quick"])
    result, = run.race("mlp_train_small", ["numpy"], options)
    assert result.trouble == "has no version of this workload"
    assert not result.samples


def test_a_wrong_answer_is_marked():
    results = [run.Result("w", "c", samples=[1.0], digest=[value]) for value in (1.0, 1.0, 2.0)]
    run.mark_disagreement(results)
    assert [bool(result.trouble) for result in results] == [False, False, True]


def cells(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def some_row():
    name = "sum_sq_diff_10m"
    return run.Row(name, [
        run.Result(name, "flamework.compile", cold=2.0, warm=0.1, samples=[4e-3, 6e-3], memory=2**30,
                   started={"cold": 3.0, "warm": 0.5}, counters={"cold": {"kernels_compiled": 7}}),
        run.Result(name, "torch", cold=0.3, warm=0.2, samples=[2e-3, 3e-3], memory=2**29),
        run.Result(name, "jax", trouble="no answer in 120 s"),
    ], 40e9, 100e9, {"whole": 4e-3, "one thread": 7e-3, "quarter": 0.5e-3, "four times": 12e-3})


def test_tables_have_ratios_and_keep_lost_rows():
    text = report.workload_table(some_row(), "full")
    assert cells(text)[2] == ["torch", "2.00", "2.50", "1.00", "1.00", "0.300", "0.200", "512"]
    assert cells(text)[3] == ["flamework.compile", "4.00", "5.00", "2.00", "2.00", "2.00", "0.100", "1024"]
    assert "jax: no answer in 120 s" in text
    assert "limit 2.00 ms, memory at 40.0 GB/s" in text


def test_summary_has_ratios_to_the_best_peer_and_to_the_limit():
    last = cells(report.summary([some_row()], "full"))[-1]
    assert last[:6] == ["sum_sq_diff_10m", "2.00", "4.00", "2.00", "2.00", "2.00"]


def test_summary_of_a_gpu_has_the_part_of_the_bandwidth_of_a_copy():
    text = report.summary([some_row()], "full", "cuda")
    assert "The copy ran at 40.0 to 40.0 GB/s" in text
    assert cells(text)[0][-1] == "of bandwidth" and cells(text)[-1][-1] == "50%"


def test_a_gpu_is_measured(tmp_path):
    """The whole program, with a GPU that numba simulates."""
    page = tmp_path / "page.md"
    simulator.output(run.__file__, "--device", "cuda", "--size", "tiny", "--quick", "matmul_64", "--contestants",
                     "flamework.compile", "--markdown", str(page))
    text = page.read_text()
    assert text.startswith("# Results on a GPU\n\n## Measured\n\n") and "- GPU: numba's simulator\n" in text
    assert [row[0] for row in cells(text[text.index("#### matmul_64"):])[2:]] == ["flamework.compile"]


def test_without_a_gpu_none_is_measured(capsys):
    with pytest.raises(SystemExit):
        run.parse_arguments(["--device", "cuda"])
    assert "there is no GPU" in capsys.readouterr().err


def test_cupy_has_numpys_programs(monkeypatch):
    """Those that NumPy has, with special functions of its own."""
    cupy = types.ModuleType("cupy")
    cupy.__getattr__ = lambda name: getattr(np, name)
    cupy.cuda = types.SimpleNamespace(get_current_stream=lambda: types.SimpleNamespace(synchronize=lambda: None))
    special = types.ModuleType("cupyx.scipy.special")
    special.erf = importlib.import_module("scipy.special").erf
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupyx.scipy.special", special)
    for name, workload in WORKLOADS.items():
        if "numpy" in workload.programs:
            cupy_report = Runner(workload, "cupy", tiny=True).report
            assert cupy_report["digest"] == pytest.approx(Runner(workload, "numpy", tiny=True).report["digest"]), name


def test_first_results_have_the_kernels_compiled():
    last = cells(report.start_tables([some_row()], {"flamework.compile": 0.1}))[-1]
    assert last == ["sum_sq_diff_10m", "7", "2.00", "0.100", "3.00", "0.500"]


def test_scaling_is_over_one_thread_and_over_linear_growth():
    assert cells(report.scaling_table([some_row()]))[-1] == ["sum_sq_diff_10m", "4.00", "1.75", "2.00", "1.50"]
    assert report.scaling_table([run.Row("sum_sq_diff_10m", [], 1.0, 1.0)]) == ""


def test_scaling_measures_threads_and_sizes():
    options = run.parse_arguments(["sum_sq_diff_10m", "--size", "tiny", "--quick"])
    times = run.scaling("sum_sq_diff_10m", options)
    assert set(times) == {"whole", "one thread", "quarter", "four times"}
    assert all(time > 0 for time in times.values())


def test_a_record_keeps_the_rows_of_earlier_runs(tmp_path):
    path = tmp_path / "record.json"
    assert run.read_record(path) == ({}, {})
    row = some_row()
    gone = dataclasses.replace(row, workload="one that is gone")
    run.write_record(path, {row.workload: row, gone.workload: gone}, {"torch": 1.5})
    assert run.read_record(path) == ({row.workload: row}, {"torch": 1.5})


def test_groups_and_workloads_are_chosen_by_name():
    assert run.parse_arguments(["small", "sort_1m"]).workloads == [w.name for w in GROUPS["small"]] + ["sort_1m"]
    everything = [w.name for group in GROUPS.values() for w in group]
    assert run.parse_arguments([]).workloads == [name for name in everything if WORKLOADS[name] not in BANDWIDTH]
    assert run.chosen(None, [], "cuda") == everything == list(WORKLOADS)
    assert run.parse_arguments(["bandwidth"]).workloads == [w.name for w in BANDWIDTH]
    with pytest.raises(SystemExit):
        run.parse_arguments(["unknown"])


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads_are_described(name):
    workload = WORKLOADS[name]
    assert sum(workload in group for group in GROUPS.values()) == 1
    assert not workload.grows or isinstance(workload.size[workload.grows], int)
    assert workload.size.keys() == workload.tiny.keys()
    if workload.traffic or workload.arithmetic:
        seconds, source = workload.limit(20e9, 100e9)
        assert 0 < seconds < 10 and source in ("memory", "arithmetic")


def test_bounds_belong_to_workloads():
    assert BOUNDS.keys() <= WORKLOADS.keys()


def test_gradients_are_pytorchs_formulas():
    """A workload whose answer is only its output would hide a wrong gradient."""
    name = "layernorm_train_8192x1024"
    workload = WORKLOADS[name]
    result, x, weight, bias = Runner(workload, "flamework", tiny=True).step()
    cotangent = workload.inputs(**workload.tiny)[0]
    np.testing.assert_allclose(bias.numpy(), cotangent.sum(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(x.numpy().mean(axis=-1), 0, atol=1e-6)
    assert weight.shape == bias.shape and result.shape == x.shape


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (1234.4, "1234")]
)
def test_numbers_have_three_digits(value, text):
    assert report.number(value) == text
