"""Results written over inputs on a GPU, on a stand-in for the driver."""

import gpu_donation
import pytest
import simulator


@pytest.mark.parametrize("name", [behaviour.__name__ for behaviour in gpu_donation.BEHAVIOURS])
def test_results_are_written_over_inputs(name):
    problem = simulator.answer(gpu_donation.__file__)[name]
    assert problem is None, problem
