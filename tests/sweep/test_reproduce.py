"""A recorded trial trained again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from galaxy_exp.errors import BadInputError
from galaxy_exp.records import EpochReport
from galaxy_exp.reproduce import Reproduction, find_trial

pytestmark = pytest.mark.slow


def test_a_deterministic_trial_comes_out_equal(finished, tmp_path):
    project = finished.copy_to(tmp_path)
    journal = (project.sweep_folders()[-1] / "journal.jsonl").read_bytes()
    trial = project.record().leaderboard()[0]
    done = project.call("reproduce", trial.run_id, "--format", "json")
    assert "equal in every epoch, bit for bit" in done.stderr
    rows = json.loads(done.stdout)
    assert [row["epoch"] for row in rows] == list(range(1, trial.epochs + 1))
    assert all(row["val_loss then"] == row["val_loss now"] for row in rows)
    assert (project.sweep_folders()[-1] / "journal.jsonl").read_bytes() == journal


def test_other_images_are_refused(finished, tmp_path):
    project = finished.copy_to(tmp_path)
    file = project.sweep_folders()[-1] / "journal.jsonl"
    first, *rest = file.read_text().splitlines()
    started = json.loads(first)
    started["config"]["data"]["simulated"]["seed"] = 99
    started["data_folder"] = str(tmp_path / "gone" / "x")
    file.write_text("\n".join([json.dumps(started), *rest]) + "\n")
    done = project.call("reproduce", "0", exit_code=2)
    assert "the images are not those that sweep" in done.stderr


@pytest.mark.parametrize("lost", [False, True])
def test_images_of_a_project_that_was_moved_are_found_or_prepared_again_in_it(finished, tmp_path, lost):
    project, former = finished.copy_to(tmp_path), tmp_path / "former"
    file = project.sweep_folders()[-1] / "journal.jsonl"
    first, *rest = file.read_text().splitlines()
    started = json.loads(first)
    name = Path(started["data_folder"]).name
    started["data_folder"] = str(former / name)
    file.write_text("\n".join([json.dumps(started), *rest]) + "\n")
    stored = project.path / ".galaxy_exp" / "data" / name
    if lost:
        shutil.rmtree(stored)
    done = project.call("reproduce", "0", "--format", "json")
    assert ("preparing the images again" in done.stderr) == lost
    assert stored.is_dir()
    assert not former.exists()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("99", "has no trial 99; it has 0 to 4"),
        ("tiny/5", "has no trial 5"),
        ("nothing/1", 'no sweep is called "nothing"'),
        ("0" * 32, "expected SWEEP/NUMBER, a number, or the run id of a trial"),
    ],
)
def test_what_names_no_trial(finished, monkeypatch, reference, message):
    monkeypatch.chdir(finished.path)
    with pytest.raises(BadInputError, match=message):
        find_trial(reference)


def test_a_trial_is_found_by_sweep_number_and_run(finished, monkeypatch):
    monkeypatch.chdir(finished.path)
    record = finished.record()
    for reference in ("2", "tiny/2", f"{record.sweep_id}/2", record.trials[2].run_id):
        assert find_trial(reference)[2].number == 2


class TestVerdict:
    @pytest.fixture
    def same(self, finished):
        record = finished.record()
        trial = record.trials[0]
        return Reproduction(record, trial, tuple(trial.reports), True, 0.05, {})

    def changed(self, reproduction, difference):
        last = reproduction.reports[-1]
        metrics = {name: value + difference for name, value in last.metrics.items()}
        other = EpochReport(last.number, last.attempt, last.epoch, metrics)
        return replace(reproduction, reports=(*reproduction.reports[:-1], other))

    def test_equality_bit_for_bit(self, same):
        assert same.succeeded
        assert not self.changed(same, 1e-12).succeeded

    def test_a_tolerance_where_training_is_not_repeatable(self, same):
        loose = replace(same, exact=False)
        assert self.changed(loose, 0.04).succeeded
        assert not self.changed(loose, 0.5).succeeded

    def test_missing_epochs_are_no_reproduction(self, same):
        assert not replace(same, reports=same.reports[:-1]).succeeded
        assert not replace(same, reports=(), exact=False).succeeded
