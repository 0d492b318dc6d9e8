"""A hypermodel and images given from Python, in a process that is then killed; the sweep is resumed without it."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

import galaxy_exp
from galaxy_exp.errors import ConfigError, DataError
from galaxy_exp.folders import ProjectFolder

pytestmark = pytest.mark.slow

SCRIPT = """
import os
import signal

import numpy
import toys

import galaxy_exp
from galaxy_exp.journal.events import TrialEnded

class Mine(toys.TinyHyperModel):
    '''Cannot be imported: it is defined in the script that runs.'''

    def build(self, hp):
        hp.Choice("mine", [1, 2])
        return super().build(hp)

class KilledAfterTheFirstTrial:
    def on_event(self, event, record):
        if isinstance(event, TrialEnded):
            os.kill(os.getpid(), signal.SIGKILL)

rng = numpy.random.default_rng(0)
labels = numpy.arange(60) % 3
images = rng.integers(0, 80, (60, 24, 24, 3), dtype=numpy.uint8) + (60 * labels[:, None, None, None]).astype("uint8")
galaxy_exp.run_sweep(
    {
        "name": "mine",
        "training": {"epochs": 1},
        "search": {"max_trials": 2},
        "registry": {"model": "mine", "finalists": 0},
    },
    hypermodel=Mine,
    data=(images, labels, ["dim", "middling", "bright"]),
    observers=[KilledAfterTheFirstTrial()],
)
"""


def test_the_journal_is_enough_to_resume(project, tmp_path):
    """Neither the script nor the prepared images nor PYTHONPATH are there any more, and it is another folder."""
    script = project.path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], cwd=project.path, env=project.environment, capture_output=True)
    assert done.returncode == -9, done.stderr
    script.unlink()
    shutil.rmtree(project.path / ".galaxy_exp" / "data")
    project.environment.pop("PYTHONPATH")
    project.environment["GALAXY_EXP_HOME"] = str(project.path / ".galaxy_exp")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    subprocess.run(project.command("resume"), cwd=elsewhere, env=project.environment, check=True, timeout=300)

    record = project.record()
    assert record.config.hypermodel == "pickled:Mine"
    assert [trial.state for trial in record.trials.values()] == ["completed"] * 2
    assert "mine" in record.trials[0].values
    assert record.registered is not None


class TestBadInput:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("GALAXY_EXP_HOME", str(tmp_path / "home"))

    def refused(self, error, message, **given):
        with pytest.raises(error, match=message):
            galaxy_exp.run_sweep({}, **given)
        assert list((ProjectFolder.default().path / "sweeps").iterdir()) == []

    def test_images_of_another_type(self):
        self.refused(
            DataError,
            r"^data: 'images' is float64 from 1 to 1; expected uint8",
            data=(np.ones((9, 9, 9, 3)), np.arange(9)),
        )

    def test_a_hypermodel_that_cannot_be_sent(self):
        self.refused(
            ConfigError, r"^hypermodel: <genexpr> cannot be sent to a worker process", hypermodel=(x for x in "abc")
        )

    def test_a_pickle_named_by_a_sweep_file(self):
        with pytest.raises(
            ConfigError, match=r"hypermodel: pickled:/nowhere/x\.pkl was given to run_sweep as an object"
        ):
            galaxy_exp.run_sweep({"hypermodel": "pickled:/nowhere/x.pkl", "data": {"simulated": {"n_images": 60}}})
