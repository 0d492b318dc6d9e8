import io

import pytest
from rich.console import Console

from benchmarks.table import ROWS, Row, build_table, compute_ratio


@pytest.mark.parametrize(
    ("better", "first", "other", "ratio"),
    [
        ("less", 10.0, 5.0, 2.0),
        ("more", 10.0, 5.0, 0.5),
        (None, 10.0, 5.0, None),
        ("less", None, 5.0, None),
        ("less", 10.0, 0.0, None),
        ("less", 10.0, -1.0, None),
    ],
)
def test_ratio_above_one_is_better(better, first, other, ratio):
    assert compute_ratio(Row("key", "label", better), first, other) == ratio


def test_every_row_is_a_figure(by_hand):
    assert {row.key for row in ROWS} == set(by_hand.figures())


def _line(text, label):
    (line,) = (line for line in text.splitlines() if label in line)
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_table_has_a_column_a_contender_and_ratios(by_hand, swept):
    output = io.StringIO()
    Console(file=output, width=200).print(build_table([by_hand, swept], "title"))
    text = output.getvalue()
    assert _line(text, "whole command") == ["whole command, s", "100.0", "50.0", "2"]
    assert _line(text, "largest process")[1:] == ["900", "1,800", "0.5"]
    assert _line(text, "all processes, MiB")[1:] == ["1,000", "?", ""]
    assert _line(text, "MLflow runs")[1:] == ["2", "3", ""]
