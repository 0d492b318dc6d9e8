"""Two contenders with made-up figures."""

import pytest

from benchmarks.measured import Fits, Measured, Result
from benchmarks.process import Usage
from benchmarks.runs import RunStructure


@pytest.fixture
def by_hand():
    return Measured(
        "by hand",
        Usage(wall_seconds=100.0, cpu_seconds=80.0, other_cpu_seconds=9.0, peak_process_mb=900.0, peak_total_mb=1000.0),
        Fits(70.0, [10.0, 20.0], [15.0, 25.0], [[50.0, 100.0, 120.0], [30.0, 40.0]]),
        Result(0.5, 0.4, 0.3, "float32"),
        RunStructure(2, 0, 0, 1, 2, 2),
    )


@pytest.fixture
def swept():
    return Measured(
        "galaxy_exp",
        Usage(wall_seconds=50.0, cpu_seconds=40.0, other_cpu_seconds=None, peak_process_mb=1800.0, peak_total_mb=None),
        Fits(11.0, [5.0, 5.0], [0.4, 0.6], [[200.0], [200.0]]),
        Result(0.6, 0.5, 0.4, "mixed_bfloat16"),
        RunStructure(3, 2, 2, 0, 3, 1),
    )
