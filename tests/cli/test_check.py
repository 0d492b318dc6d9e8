"""`galaxy-exp check` as a user meets it."""

import json
import signal

import h5py
import psutil
import pytest

from galaxy_exp.config.reading import load_sweep
from galaxy_exp.data import load_dataset

pytestmark = pytest.mark.slow


def test_tells_the_space_the_first_trials_and_the_cost(finished):
    (found,) = json.loads(finished.call("check", "sweep.yaml", "--format", "json").stdout)
    assert found["data"]["parts"] == {"train": 110, "validation": 20, "test": 20}
    assert [row["hyperparameter"] for row in found["space"]] == ["hidden", "units", "learning_rate"]
    assert found["configurations"] is None
    assert [trial["origin"] for trial in found["trials"]] == ["baseline", *["proposed"] * 4]
    assert all(trial["parameters"] > 0 and trial["epoch_seconds"] > 0 for trial in found["trials"])
    assert (found["cost"]["trials"], found["cost"]["most_epochs"]) == (5, 20)
    tried = finished.record().trials
    assert [trial["params"] for trial in found["trials"][:3]] == [tried[number].values for number in range(3)]


def test_a_small_space_has_a_trial_for_each_configuration_the_baseline_among_them(project):
    small = ["--set", "space.learning_rate={values: [0.001, 0.01]}", "--set", "space.units=8", "--max-trials", "50"]
    (found,) = json.loads(project.call("check", "sweep.yaml", "--no-timing", "--format", "json", *small).stdout)
    assert found["configurations"] == found["cost"]["trials"] - (found["trials"][0]["params"]["units"] != 8)


def test_as_tables(finished):
    done = finished.call("check", "sweep.yaml", "--no-timing", "--max-epochs", "4")
    for text in (
        "data: 150 SIMULATED images of 24x24 pixels in 10 classes",
        "space: infinitely many configurations, as learning_rate is continuous",
        "hidden is true",
        "the baseline",
        "cost: 5 trials, ",
        "max_epochs 4: will end the sweep at trial ",
    ):
        assert text in " ".join(done.stdout.split())
    assert "s/epoch" not in done.stdout
    assert "WARNING" not in done.stderr


def test_a_network_that_cannot_be_built_is_refused_with_its_values(project):
    changes = ["--set", "hypermodel=toys:MoodyHyperModel", "--set", "space.mood=raise", "--max-trials", "2"]
    done = project.call("check", "sweep.yaml", "--no-timing", *changes, exit_code=2)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: sweep.yaml: trial 1, proposed (mood=raise, ")
    assert line.endswith(": RuntimeError: a bad day with a second line")
    assert done.stdout == ""


def test_the_source_is_that_of_the_sweep_where_another_has_the_same_images(project):
    """Both use the same prepared images."""
    dataset = load_dataset(load_sweep(project.path / "sweep.yaml").data)
    with h5py.File(project.path / "mine.h5", "w") as file:
        file["images"], file["ans"] = dataset.images, dataset.labels
        file.attrs["class_names"] = list(dataset.class_names)
    for source in ("mine.h5", "simulated"):
        flags = ["--no-timing", "--max-trials", "1", "--format", "json", "--set", f"data.source={source}"]
        (found,) = json.loads(project.call("check", "sweep.yaml", *flags).stdout)
        assert (found["data"]["source"], found["data"]["simulated"]) == (source, source == "simulated")


def test_what_a_sweep_refuses_is_refused(project):
    done = project.call("check", "sweep.yaml", "--set", "space.unts=3", exit_code=2)
    assert "error: sweep.yaml: space.unts: unknown hyperparameter" in done.stderr
    assert done.stdout == ""


def test_ctrl_c_leaves_nothing_behind(project):
    process = project.start("check", "sweep.yaml")
    while "trial 0" not in process.stderr.readline():
        assert process.poll() is None
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "")
    assert children
    assert not any(_is_alive(child) for child in children)
    left = [path.relative_to(project.path) for path in project.path.rglob("*")]
    assert sorted(str(path) for path in left if len(path.parts) < 3) == [
        ".galaxy_exp",
        ".galaxy_exp/data",
        "sweep.yaml",
    ]


def _is_alive(process):
    return process.is_running() and process.status() != "zombie"
