"""The Python interface: run a sweep from a script, load the winner with and without galaxy_exp."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import galaxy_exp
from galaxy_exp.errors import BadInputError, ConfigError

pytestmark = pytest.mark.slow


def run_python(project, code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.path, env=project.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_named_can_be_had():
    for name in galaxy_exp.__all__:
        assert getattr(galaxy_exp, name) is not None
    assert set(galaxy_exp.__all__) <= set(dir(galaxy_exp))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        galaxy_exp.nothing  # noqa: B018


def test_overrides_count_for_a_mapping_too():
    with pytest.raises(ConfigError, match=r"^--set search\.max_trials: found 0; expected"):
        galaxy_exp.run_sweep({"name": "mine"}, overrides=["search.max_trials=0"])


def test_what_is_no_sweep_is_refused_in_one_line():
    with pytest.raises(BadInputError, match=r"^sweep: is of type int; expected the path of a sweep file, or its cont"):
        galaxy_exp.run_sweep(5)


@pytest.mark.usefixtures("with_store")
def test_a_sweep_from_an_unguarded_script_shows_its_progress_and_is_opened_in_another_process(
    project, finished, monkeypatch
):
    """A script without `if __name__ == "__main__"`, as in a notebook."""
    script = (
        "import galaxy_exp, json, sys\n"
        "class Watcher:\n"
        "    seen = []\n"
        "    def on_event(self, event, record):\n"
        "        self.seen.append([event.event, 'mlflow' in sys.modules])\n"
        "watcher = Watcher()\n"
        "given = {'overrides': ['search.max_trials=2'], 'observers': [watcher]}\n"
        "result = galaxy_exp.run_sweep('sweep.yaml', **given)\n"
        "assert repr(result)\n"
        "print(json.dumps([result.sweep_id, result.winner.number, result.model_uri, watcher.seen]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=project.path, env=project.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    sweep_id, winner, uri, seen = json.loads(done.stdout)
    assert seen[0] == ["trial_proposed", False], "the first trial waits for MLflow"
    assert seen[-1][1]
    assert sweep_id.startswith("tiny-")
    assert winner in (0, 1)
    assert uri == "models:/tiny-model/1"
    first_two = [trial.curve("val_loss") for trial in project.record().trials.values()]
    assert first_two == [finished.record().trials[number].curve("val_loss") for number in (0, 1)]

    lines = [line[9:] for line in done.stderr.splitlines()]
    assert f"sweep {project.record().sweep_id}: at most 2 trials of 4 epochs" in done.stderr
    assert len([line for line in lines if line.startswith("trial 0 started: ")]) == 1
    assert " trials, best SIMULATED val_macro_f1 0." in done.stderr
    assert "winner: " in done.stderr
    for word in ("absl", "oneDNN", "WARNING", "cuda", "epoch 1:"):
        assert word not in done.stderr
    monkeypatch.chdir(project.path)
    for name in ("GALAXY_EXP_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    result = galaxy_exp.open_sweep()
    assert (result.state, result.sweep_id) == ("finished", project.record().sweep_id)
    (best,) = result.get_best_hyperparameters()
    assert {name: best.get(name) for name in result.best_hyperparameters} == result.best_hyperparameters
    models = result.get_best_models(2)
    images = np.zeros((2, 24, 24, 3), np.uint8)
    predicted = result.load_model().predict(images).probabilities
    assert len(models) == 2
    np.testing.assert_allclose(models[0].predict(images, verbose=0), predicted, atol=1e-5)


def test_the_champion_loads_and_predicts(finished, prepared):
    images = np.load(prepared.files.validation_images)
    model = galaxy_exp.load_model("tiny-model", tracking_uri=f"sqlite:///{finished.path / 'mlflow.db'}")
    predictions = model.predict(images)
    assert predictions.probabilities.shape == (len(images), 10)
    np.testing.assert_array_equal(predictions.labels, predictions.probabilities.argmax(axis=1))
    assert predictions.class_names[0] == prepared.class_names[predictions.labels[0]]


def test_plain_mlflow_loads_it_without_galaxy_exp(finished, prepared):
    """`galaxy_exp` cannot even be imported in this process."""
    images = np.load(prepared.files.validation_images)[:5]
    np.save(finished.path / "five.npy", images)
    output = run_python(
        finished,
        "import sys\n"
        "sys.modules['galaxy_exp'] = None\n"
        "import mlflow, numpy\n"
        "model = mlflow.pyfunc.load_model('models:/tiny-model@champion')\n"
        "table = model.predict(numpy.load('five.npy'))\n"
        "print(table.to_json(orient='records'))\n",
    )
    rows = json.loads(output)
    ours = galaxy_exp.load_model("tiny-model", tracking_uri=f"sqlite:///{finished.path / 'mlflow.db'}").predict(images)
    assert [row["label"] for row in rows] == ours.labels.tolist()
    assert [row["class_name"] for row in rows] == ours.class_names


def test_the_held_out_test_is_what_the_registered_model_scores(finished):
    """The figures that the registry shows can be had again from the model and the test images."""
    from galaxy_exp.data.prepared import PreparedData

    record = finished.record()
    data = PreparedData.load(Path(record.started.data_folder))
    labels = np.load(data.held_out.labels)
    model = galaxy_exp.load_model("tiny-model", tracking_uri=f"sqlite:///{finished.path / 'mlflow.db'}")
    accuracy = float((model.predict(np.load(data.held_out.images)).labels == labels).mean())
    assert accuracy == pytest.approx(record.test_reports[record.winner]["accuracy"])


def test_a_second_sweep_on_the_same_data_is_compared_not_just_promoted(finished, tmp_path):
    project = finished.copy_to(tmp_path)
    project.call("sweep", "sweep.yaml", "--name", "again", "--max-trials", "1")
    record = project.record()
    assert record.registered.version == 2
    assert not record.promotion.promoted
    assert "held-out test images" in record.promotion.reason


def test_loading_a_model_prints_nothing(finished):
    code = "import galaxy_exp\ngalaxy_exp.load_model('tiny-model')\ngalaxy_exp.GalaxyCNN"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=finished.path, env=finished.environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
