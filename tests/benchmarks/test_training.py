"""What contenders said becomes ratios and shares of the peak."""

import pytest

from benchmarks.training import CONTENDERS, SEED_SCRIPT, build_table, summarise

PEAKS = [
    {"float32": 100.0, "bfloat16": 150.0},
    {"float32": 300.0, "bfloat16": 500.0},
    {"float32": 200.0, "bfloat16": 400.0},
]


def say(*speeds):
    return [{"images_per_second": speed, "flops_per_image": 500_000_000} for speed in speeds]


@pytest.fixture
def rows():
    said = {name: say(500.0, 750.0) for name in CONTENDERS} | {
        SEED_SCRIPT: say(75.0, 150.0),
        "peak": PEAKS,
    }
    return {row["contender"]: row for row in summarise(said)}


def test_images_by_the_time_of_all_rounds_are_compared(rows):
    ours = rows["galaxy_exp, bfloat16, batch 128"]
    assert rows[SEED_SCRIPT]["images_per_second"] == 100
    assert (ours["images_per_second"], ours["times_the_script"], ours["gflops"]) == (600, 6, 300)
    assert ours["each_round"] == [500, 750]


def test_the_peak_is_that_of_the_precision(rows):
    assert rows["galaxy_exp, bfloat16, batch 128"]["share_of_peak"] == 0.75
    assert rows["galaxy_exp, float32, batch 128"]["share_of_peak"] == 1.5
    assert rows["galaxy_exp, bfloat16, batch 128"]["peak_times_the_script"] == pytest.approx(8)


def test_the_table_has_a_row_each(rows):
    table = build_table(list(rows.values()))
    assert list(table.columns[0].cells) == list(CONTENDERS)
    assert list(table.columns[2].cells)[:2] == ["1.00", "6.00"]
