"""The table of images/s by number of workers."""

import io

from rich.console import Console

from benchmarks.workers import build_table


def test_each_split_has_a_row_with_its_ratio_and_what_disturbed_it():
    rows = [
        {"network": "small", "workers": workers, "threads": 2 // workers, "images_per_second": rates, "ratio": ratio,
         "other_work": 0.031}
        for workers, rates, ratio in ((1, [900.0, 1000.0, 1300.0], 1.0), (2, [1500.0, 1200.0, 1100.0], 1.204))
    ]  # fmt: skip
    written = io.StringIO()
    Console(width=120, file=written).print(build_table(rows, "two cores"))
    first, second = [line.split("│")[1:-1] for line in written.getvalue().splitlines() if "small" in line]
    assert [cell.strip() for cell in first] == ["small", "1", "2", "1,000", "900 to 1,300", "1.00", "3%"]
    assert [cell.strip() for cell in second] == ["small", "2", "1", "1,200", "1,100 to 1,500", "1.20", "3%"]
