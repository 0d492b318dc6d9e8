from __future__ import annotations

import numpy as np
import pytest

from galaxy_exp.report.coverage import coverage_table


def test_the_most_confident_are_kept() -> None:
    confidence = np.linspace(0.99, 0.6, 40)
    labels = np.zeros(40, np.int64)
    labels[20:] = 1  # the less confident half is wrong
    rows = coverage_table(labels, np.stack([confidence, 1 - confidence], axis=1))
    by_share = {row["coverage"]: row for row in rows}
    assert next(iter(by_share)) == 1.0
    assert [by_share[share]["accuracy"] for share in (1.0, 0.8, 0.5, 0.05)] == [0.5, 20 / 32, 1.0, 1.0]
    assert [by_share[share]["n_images"] for share in (1.0, 0.8, 0.5, 0.05)] == [40, 32, 20, 2]
    assert by_share[0.5]["confidence"] == pytest.approx(confidence[19])


def test_intervals_say_something_also_where_no_image_is_wrong() -> None:
    (row, *_) = coverage_table(np.zeros(10, np.int64), np.tile([0.9, 0.1], (10, 1)))
    assert row["interval"] == pytest.approx([0.722, 1.0], abs=1e-3)  # from 10 / (10 + 1.96**2)


def test_a_single_image_has_all_shares() -> None:
    rows = coverage_table(np.array([1]), np.array([[0.9, 0.1]]))
    assert {row["accuracy"] for row in rows} == {0.0}
