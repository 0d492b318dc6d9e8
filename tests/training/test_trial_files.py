import os

import pytest

from galaxy_exp.records import EpochReport
from galaxy_exp.training.trial_files import save_history, save_model


class _Unsavable:
    def save(self, path):
        path.write_text("half a mod")
        raise OSError("no space left on device")


def test_a_file_that_cannot_be_finished_is_not_left_behind(tmp_path):
    (tmp_path / "model.keras").write_text("the model of attempt 1")
    with pytest.raises(OSError, match="no space left"):
        save_model(_Unsavable(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    assert (tmp_path / "model.keras").read_text() == "the model of attempt 1"


def test_a_file_is_on_disk_before_it_has_its_name_and_the_name_before_it_returns(tmp_path, monkeypatch):
    synced = []

    def fsync(descriptor):
        inode = os.fstat(descriptor).st_ino
        synced.append((inode, [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")]))

    monkeypatch.setattr(os, "fsync", fsync)
    save_history([EpochReport(1, 1, 1, {"loss": 2.0})], tmp_path)
    file, folder = (tmp_path / "history.csv").stat().st_ino, tmp_path.stat().st_ino
    assert synced == [(file, []), (folder, ["history.csv"])]


def test_the_folder_is_made_and_metrics_may_differ_between_epochs(tmp_path):
    reports = [EpochReport(1, 1, 1, {"loss": 2.0}), EpochReport(1, 1, 2, {"loss": 1.0, "extra": 3.0})]
    save_history(reports, tmp_path / "a" / "b")
    lines = (tmp_path / "a" / "b" / "history.csv").read_text().split()
    assert lines == ["epoch,loss,extra", "1,2.0,", "2,1.0,3.0"]


def test_a_metric_called_epoch_does_not_replace_the_number_of_the_epoch(tmp_path):
    save_history([EpochReport(1, 1, 1, {"epoch": 0.5, "loss": 2.0})], tmp_path)
    assert (tmp_path / "history.csv").read_text().split() == ["epoch,metrics.epoch,loss", "1,0.5,2.0"]
