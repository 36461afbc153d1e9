"""Every row of the table of primitives on a GPU: at small sizes in the simulator, at large ones on a real GPU."""

from __future__ import annotations

import pytest
import simulator
import table


@pytest.mark.parametrize("name", table.NAMES)
def test_row_on_a_simulated_gpu_gives_what_the_reference_gives(name):
    found = simulator.answer(table.__file__, str(table.NAMES.index(name) % table.PARTS))[name]
    assert found is None, found


@pytest.mark.gpu
@pytest.mark.parametrize("name", table.NAMES)
def test_row_on_a_gpu_gives_what_the_reference_gives(name):
    found = table.problem(table.small(name), least=3e-5)
    assert found is None, found


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in table.NAMES if table.large_case(name)])
def test_row_on_a_gpu_at_a_large_size_gives_what_the_reference_gives(name):
    found = table.problem(table.large(name), least=3e-5)
    assert found is None, found
