"""Damaged sweep files and journals: a few hundred of those that benchmarks/fuzz.py examines by the thousand."""

import json

import pytest
from written_records import started

from benchmarks.fuzz import damaged_journal, damaged_sweep_file, fuzz
from galaxy_exp.errors import JournalError
from galaxy_exp.journal.events import TrialProposed
from galaxy_exp.journal.journal import Journal, read_record


def test_damaged_sweep_files_are_read_or_refused_in_clear_lines():
    assert fuzz(range(400), range(0)) == []


def test_damaged_journals_are_read_or_refused_in_clear_lines():
    assert fuzz(range(0), range(300)) == []


def test_a_case_is_the_same_in_every_run():
    assert damaged_sweep_file(7) == damaged_sweep_file(7) != damaged_sweep_file(8)
    assert damaged_journal(7) == damaged_journal(7) != damaged_journal(8)


class TestALineThatCannotFollow:
    @pytest.fixture
    def lines(self, tmp_path):
        with Journal.create(tmp_path, started()) as journal:
            journal.append(TrialProposed(number=0, values={}, seed=5))
            journal.append(TrialProposed(number=1, values={}, seed=6))
        return (tmp_path / "journal.jsonl").read_text().splitlines()

    def refused(self, tmp_path, lines):
        (tmp_path / "journal.jsonl").write_text("\n".join(lines) + "\n")
        with pytest.raises(JournalError) as refused:
            read_record(tmp_path)
        return str(refused.value).removeprefix(f"{tmp_path}/")

    def test_the_start_doubled(self, lines, tmp_path):
        found = self.refused(tmp_path, [lines[0], *lines])
        assert found == "journal.jsonl:2: sweep_started comes a second time"

    def test_a_trial_lost(self, lines, tmp_path):
        found = self.refused(tmp_path, [lines[0], lines[2]])
        assert found == "journal.jsonl:2: trial_proposed names trial 1 where trial 0 comes next"

    def test_an_end_doubled(self, lines, tmp_path):
        result = {"number": 0, "attempt": 1, "state": "failed", "reason": "because"}
        end = json.dumps({"event": "trial_ended", "result": result})
        found = self.refused(tmp_path, [*lines, end, end])
        assert found == "journal.jsonl:5: trial_ended names trial 0, which had ended before"

    def test_a_winner_that_never_was(self, lines, tmp_path):
        found = self.refused(tmp_path, [*lines, '{"event": "winner_chosen", "number": 9}'])
        assert found == "journal.jsonl:4: winner_chosen names trial 9, which was never proposed"

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ('{"event": "winner_chosen"}', "winner_chosen.number: Field required"),
            ('{"event": "sweep_resumed", "time": "Infinity"}', "sweep_resumed.time: Input should be less than"),
            ('{"event": "sealed_test_opened", "number": 0, "report": {}}', "n_images is None, expected a number"),
        ],
    )
    def test_a_value_that_cannot_be(self, lines, tmp_path, line, message):
        found = self.refused(tmp_path, [*lines, line])
        assert found.startswith("journal.jsonl:4: damaged line in the journal: ")
        assert message in found
