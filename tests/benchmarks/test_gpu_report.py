"""What the workloads become on a GPU, found without one, and the page that says it."""

import re

import flamework
import gpu_report
import pytest
import report
from gpu_report import ATOMIC, Line, lines_of, resources, section
from workloads import WORKLOADS

# Kernels that write where an index says, that combine the results of blocks, and that multiply.
SEVERAL_WRITE = ("scatter_add_10m", "sum_sq_diff_10m", "moments_all", "matmul_64")


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_is_planned_for_a_gpu(name):
    workload, lines = WORKLOADS[name], lines_of(name, tiny=True)
    assert sum(line.launches for line in lines) > 0
    assert all(line.source or line.bytes_read for line in lines)
    assert not any("atomic" in line.source for line in lines)
    if workload.traffic and workload.finishes:
        moved = sum(line.bytes_read + line.bytes_written for line in lines)
        assert moved >= workload.traffic(**workload.tiny)


def test_bytes_are_those_of_the_operands():
    (line,) = lines_of("softmax_4096")
    assert (line.launches, line.bytes_read, line.bytes_written) == (1, 4 * 4096**2, 4 * 4096**2)
    assert line.seconds == pytest.approx(8 * 4096**2 / 4.8e12)


def test_a_sort_moves_keys_and_their_order_once_a_digit():
    (line,) = [line for line in lines_of("sort_1m") if line.name == "argsort_i64"]
    assert line.launches == 8 * 3
    # keys and positions of 4 bytes, and the last time positions of 8
    assert line.bytes_written == 7 * 8_000_000 + 8_000_000
    assert line.bytes_read == 8_000_000 + 7 * 12_000_000


def test_a_scatter_is_a_sort_of_its_indices_and_many_threads():
    keys, sort, segments = [line for line in lines_of("scatter_add_10m") if line.name.startswith("flat_") and
                            "copy" not in line.name][-3:]
    # an index of a table of a million has 20 bits
    assert [keys.launches, sort.launches, segments.launches] == [1, 5 * 3, 1]
    assert segments.blocks == -(-10_000_000 // 256)


def test_an_explanation_of_a_scatter_has_the_sources_of_all_its_launches():
    pytest.importorskip("numba_cuda")
    with gpu_report.dry():
        table, index = flamework.empty(100, device="cuda"), flamework.empty(5000, dtype=flamework.int64, device="cuda")
        explained = flamework.explain(lambda: table.scatter_add(0, index, flamework.ones(5000, device="cuda")))()
    (kernel,) = [kernel for kernel in explained.kernels if kernel.launches > 1]
    names = ["kernel", "count", "scan", "move", "segments"]
    assert [name for name in names if f"def {name}(" in kernel.cuda_source] == names
    text = kernel.ptx()
    assert [name for name in names if f".entry flamework_{name}(" in text] == names
    # the keys need no shared memory, the sort does
    assert kernel.gpu_resources()["shared"] > 0


@pytest.mark.parametrize("name", SEVERAL_WRITE)
def test_no_sum_is_in_the_order_in_which_threads_come(name):
    pytest.importorskip("numba_cuda")
    for source in {line.source for line in lines_of(name, tiny=True) if line.source}:
        taken = resources(source)
        assert taken["atomics"] == taken["spills"] == 0
        assert taken["registers"] > 0
    assert ATOMIC.search("    red.global.add.f32 [%rd1], %f1;") and ATOMIC.search("    atom.shared.cas.b32 %r1")


def test_tables_have_what_a_kernel_takes():
    lines = [Line("rows_sum", "s", 2, 64, 4_000_000, 800_000), Line("fft_c64", "", 1, 0, 8, 8)]
    text = section("softmax_4096", lines, {"s": {"registers": 40, "spills": 0, "shared": 1024, "barriers": 1}})
    assert "3 launches, 1.00 us" in text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert rows[2] == ["rows_sum", "2", "64", "40", "1024", "0", "1", "4.00", "0.800", "1.00"]
    assert rows[3][:7] == ["fft_c64", "1", "0", "", "", "", ""]


def test_a_section_of_the_page_is_replaced_and_the_others_stay(tmp_path):
    path = tmp_path / "page.md"
    report.write_section(path, "Kernels", "first\n\n### group\n")
    page = path.read_text()
    assert page.startswith("# Results on a GPU\n\n## Measured\n\nNo GPU has been measured yet.")
    assert page.endswith("\n\n## Kernels\n\nfirst\n\n### group\n")
    report.write_section(path, "Measured", report.demoted("text\n\n## Summary\n"))
    report.write_section(path, "Kernels", "second")
    assert path.read_text() == "# Results on a GPU\n\n## Measured\n\ntext\n\n### Summary\n\n## Kernels\n\nsecond\n"


def test_the_kernels_of_the_page_do_not_spill():
    page = gpu_report.Path(report.__file__).with_name("RESULTS-GPU.md").read_text()
    assert re.search(r"^\d+ different kernels; 0 of them spill, 0 have atomic operations", page, re.MULTILINE)
    assert all(f"#### {name}\n" in page for name in WORKLOADS)
