"""Prepared images that are deleted or damaged while a sweep runs: restored, or one line and closed runs."""

import os
import shutil
import signal

import pytest
import yaml
from written_records import started

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.config.sweep import SweepConfig
from galaxy_exp.data import PreparedData
from galaxy_exp.data.sources.array_file import store_data
from galaxy_exp.errors import EngineError
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import TrialRecord
from galaxy_exp.records import DATA_GONE
from galaxy_exp.sweep_images import SweepImages

from .test_faults import assert_nothing_lost_or_doubled, journal_has, sweep_runs, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("with_store")]


def data_folder(project):
    return project.path / ".galaxy_exp" / "data"


def truncate(folder):
    for file in folder.glob("*/*_images.npy"):
        with file.open("r+b") as images:
            images.truncate(100)


def test_they_are_prepared_again(project, finished):
    """Deleted, and later truncated."""

    def spoil_twice():
        for ended, spoil in ((1, shutil.rmtree), (4, truncate)):
            wait_for(journal_has(project, "trial_ended", ended))
            spoil(data_folder(project))

    done = project.call_while(spoil_twice, "sweep", "sweep.yaml")
    assert done.stderr.count("preparing the images again: ") >= 2
    assert_nothing_lost_or_doubled(project, finished)


def test_without_their_source_the_sweep_ends_in_one_line_and_is_resumed_when_it_is_back(project, prepared):
    source, elsewhere = sweep_from_a_file(project, prepared)

    def lose():
        wait_for(journal_has(project, "trial_ended", 1))
        source.rename(elsewhere)
        shutil.rmtree(data_folder(project))

    log = project.call_while(lose, "sweep", "sweep.yaml", exit_code=2).stderr
    assert "Traceback" not in log
    (error,) = [line for line in log.splitlines() if line.startswith("error: ")]
    assert f"the prepared images are gone and cannot be prepared again: {source}" in error
    assert error.endswith(f"continue with: galaxy-exp resume {project.record().sweep_id}")
    assert {run.info.status for run in sweep_runs(project)} <= {"FINISHED", "KILLED"}

    elsewhere.rename(source)
    project.call("resume")
    assert len(project.record().end_order) == 5
    assert {run.info.status for run in sweep_runs(project)} == {"FINISHED"}


def test_a_killed_sweep_that_is_resumed_without_its_images_leaves_no_run_open(project, prepared):
    source, elsewhere = sweep_from_a_file(project, prepared)
    process = project.start("sweep", "sweep.yaml", "--max-trials", "100")  # more than end before it is killed
    wait_for(journal_has(project, "trial_ended", 1), process)
    wait_for(lambda: project.record().parent_run_id, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert "RUNNING" in {run.info.status for run in sweep_runs(project)}
    source.rename(elsewhere)
    shutil.rmtree(data_folder(project))
    refused = project.call("resume", exit_code=2)
    (error,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert "cannot be prepared again" in error
    assert error.endswith(f"continue with: galaxy-exp resume {project.record().sweep_id}")
    assert {run.info.status for run in sweep_runs(project)} <= {"FINISHED", "KILLED"}


def test_images_that_the_workers_alone_cannot_read_end_the_sweep_in_one_line(prepared, tmp_path):
    """As in a folder that is not mounted where they run."""
    config = SweepConfig().model_dump(mode="json")
    trial = TrialRecord(1, {}, 0, proposed_at=0.0, losses_in_a_row=1)
    for resumed in range(2):  # the first loss after that may be of before the folder was repaired
        folder = tmp_path / f"s-{resumed}"
        with Journal.create(folder, started(config=config, data_folder=str(prepared.folder))) as journal:
            images = SweepImages(journal.record, SweepFolder(folder), pytest.fail)
            trial.losses.append(f"{DATA_GONE}: [Errno 2] No such file or directory: 'x.npy'")
            assert images.files_for(trial) == prepared.files
            trial.losses.append(trial.losses[-1])
            with pytest.raises(
                EngineError, match=r"trial 1: .*\[Errno 2\] .*'x.npy'; .* must be shared by all workers"
            ):
                images.files_for(trial)


def sweep_from_a_file(project, prepared):
    """Lets the project's sweep read a file; returns its path and one to move it to."""
    source, elsewhere = project.path / "galaxies.h5", project.path / "elsewhere.h5"
    content = yaml.safe_load((project.path / "sweep.yaml").read_text())
    shutil.move(store_data(dataset_of(prepared), DataConfig(), project.path / "given").source, source)
    content["data"] = {"source": str(source)}
    (project.path / "sweep.yaml").write_text(yaml.safe_dump(content))
    return source, elsewhere


def dataset_of(prepared):
    """The training and validation images of a prepared split, as they are given from Python."""
    import numpy as np

    files = PreparedData.load(prepared.folder).files
    images = np.concatenate([np.load(files.train_images), np.load(files.validation_images)])
    labels = np.concatenate([np.load(files.train_labels), np.load(files.validation_labels)])
    return images, labels, files.class_names
