"""Real sweeps killed at random moments, as benchmarks/chaos.py does it a hundred times."""

import json

import pytest

from benchmarks import chaos

pytestmark = pytest.mark.slow


def test_sweeps_killed_at_random_moments_end_as_the_one_left_in_peace(tmp_path, capsys):
    file = tmp_path / "chaos.json"
    arguments = [
        "--rounds",
        "4",
        "--processes",
        "2",
        "--seed",
        "2",
        "--folder",
        str(tmp_path / "sweeps"),
        "--json",
        str(file),
    ]
    status = chaos.main(arguments)
    report = json.loads(file.read_text())
    assert [line for line in report["rounds"] if chaos.is_bad(line)] == [], capsys.readouterr().out
    assert status == 0
    assert sum(sum(by_phase.values()) for by_phase in report["kills"].values()) >= 4
    assert report["compared"]["runs"] == 4 * 7
