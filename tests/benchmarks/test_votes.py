"""The benchmark of votes: its intervals, and a small run."""

import json

import pytest
from scipy import stats

from benchmarks import votes


def test_intervals_are_student_s():
    differences = [0.1, 0.3, 0.2, 0.6]
    found = votes.interval(differences)
    known = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((known.low, known.high))
    assert votes.interval([0.1]) == {"mean": 0.1, "low": None, "high": None}


@pytest.mark.slow
def test_a_small_run_leaves_a_table_and_the_figures(tmp_path, capsys):
    file = tmp_path / "votes.json"
    assert votes.main(["--quick", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert [row["contender"] for row in report["rows"]] == list(votes.CONTENDERS)
    assert set(report["gains"]) == {"crossentropy", "dirichlet_multinomial"}
    assert 0 <= report["gains"]["dirichlet_multinomial"]["coverage"] <= 1
    assert "120 SIMULATED galaxies, 20 votes each" in capsys.readouterr().out
