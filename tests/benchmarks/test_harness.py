"""The benchmarks' own machinery, at tiny sizes: contestants agree, tables have their columns. No times are tested."""

import importlib.util

import pytest
import report
import run
from worker import CONTESTANTS, Runner
from workloads import WORKLOADS

INSTALLED = [name for name in CONTESTANTS if importlib.util.find_spec(CONTESTANTS[name].module)]
# torch.compile needs a C++ compiler and many seconds for each program: it only runs in the benchmarks themselves.
QUICK = [name for name in INSTALLED if name != "torch.compile"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_contestants_agree(name):
    reports = {contestant: Runner(WORKLOADS[name], contestant, tiny=True).report for contestant in QUICK}
    digests = {contestant: report["digest"] for contestant, report in reports.items() if not report["absent"]}
    assert digests
    for digest in digests.values():
        assert digest == pytest.approx(next(iter(digests.values())), rel=1e-4, abs=1e-5)


def test_a_round_has_samples_for_each_step():
    runner = Runner(WORKLOADS["axpby_relu_10m"], QUICK[0], tiny=True)
    samples = runner.round(0.0)
    assert len(samples) >= 3
    assert all(sample > 0 for sample in samples)


def test_a_race_reports_first_results_samples_and_memory():
    options = run.parse_arguments(["axpby_relu_10m", "--size", "tiny", "--quick"])
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


def test_tables_have_ratios_and_keep_lost_rows():
    workload = WORKLOADS["axpby_relu_10m"]
    results = [
        run.Result(workload.name, "flamework", cold=2.0, warm=0.1, samples=[4e-3, 6e-3], memory=2**30),
        run.Result(workload.name, "torch", cold=0.3, warm=0.2, samples=[2e-3, 3e-3], memory=2**29),
        run.Result(workload.name, "jax", trouble="no answer in 120 s"),
    ]
    text = report.workload_table(workload, results, 60e9, "full")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert rows[2] == ["torch", "2.00", "2.50", "1.00", "1.00", "0.300", "0.200", "512"]
    assert rows[3] == ["flamework", "4.00", "5.00", "2.00", "2.00", "2.00", "0.100", "1024"]
    assert "jax: no answer in 120 s" in text
    assert report.summary_table(results, [60e9]).splitlines()[-1].split("|")[-2].strip() == "2.00"
    assert "flamework" in report.start_table(results, {"flamework": 0.1})


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (1234.4, "1234")]
)
def test_numbers_have_three_digits(value, text):
    assert report.number(value) == text
