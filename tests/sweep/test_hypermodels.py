"""The contract of hypermodels: whatever `keras_tuner` permits is checked, swept, loaded, predicted with, reproduced.

Sweeps and reproductions train in worker processes as always; the driver is this process, which has Keras already.
"""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import galaxy_exp
from galaxy_exp.check.probing import probe_network
from galaxy_exp.cli.main import cli
from galaxy_exp.errors import SweepFailedError
from galaxy_exp.execution.trials import trial_spec
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.journal.journal import read_record
from galaxy_exp.records import Decision, TrialState
from galaxy_exp.reproduce import reproduce_trial
from galaxy_exp.sweep_images import restore_data
from galaxy_exp.training import run_trial

pytestmark = pytest.mark.slow

SIDE = 16
MINE = "user_hypermodels:"
SMALLEST_XCEPTION = {"sep_num_filters": 128, "num_residual_blocks": 2, "conv2d_num_filters": 32}
GOOD = {
    "subclassed_softmax": 3,
    "subclassed_logits": 3,
    "own_train_step": 3,
    "OwnLoop": 3,
    "PassesOn": 3,
    "ConvertsItself": 3,
    "functional_with_own_layer": 3,
    "functional_augmenting": 3,
    "subclassed_augmenting": 3,
    "floats_only": 3,
    "single_sigmoid": 2,
    "single_logit": 2,
}
"""By name, the number of classes."""
BAD = {
    "unkeepable": (3, "CannotBeKeptError: not trained, since it could not be kept: .*: .*Tensor"),
    "two_outputs": (3, r"OutputError: .*expected \(images, 3\), one per class"),
    "no_model": (3, "OutputError: the hypermodel's build returned a NoneType; expected a keras.Model"),
    "two_inputs": (3, r"OutputError: the network cannot be called with images, float32 \(None, 16, 16, 3\): .*unpack"),
    "single_sigmoid": (3, r"OutputError: .*shape \(None, 1\).*one number per image does for two classes only"),
    "sparse_on_one": (2, "LossError: the loss sparse_categorical_crossentropy does not fit a network that gives 1 num"),
}


@pytest.fixture(scope="module")
def folder(empty_store, tmp_path_factory):
    """The current folder: images of two and of three classes that differ in brightness."""
    path = tmp_path_factory.mktemp("hypermodels")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        for name in ("GALAXY_EXP_HOME", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        shutil.copy(empty_store, "mlflow.db")
        for n_classes in (2, 3):
            labels = np.arange(30 * n_classes) % n_classes
            noise = np.random.default_rng(0).integers(0, 60, (len(labels), SIDE, SIDE, 3))
            images = (noise + 60 * labels[:, None, None, None]).astype(np.uint8)
            np.savez(f"{n_classes}.npz", images=images, labels=labels)
        yield path


def name_of(hypermodel):
    return hypermodel.replace(":", "-").replace(".", "-")


def sweep(hypermodel, n_classes, **space):
    name = name_of(hypermodel)
    return galaxy_exp.run_sweep(
        {
            "name": name,
            "hypermodel": hypermodel,
            "data": {"source": f"{n_classes}.npz"},
            "space": space,
            "training": {"epochs": 2, "precision": "float32", "deterministic": True},
            "search": {"max_trials": 1, "scheduler": "none", "max_failures": 1},
            "tracking": {"figures": False, "experiment": name},
            "registry": {"finalists": 0, "model": name},
        }
    )


def newest():
    folder = ProjectFolder.default().sweeps()[-1]
    return folder, read_record(folder.path)


def find_or_run(hypermodel):
    """The sweep of a good hypermodel of three classes, which another test may have run."""
    name = name_of(hypermodel)
    found = [each for each in ProjectFolder.default().sweeps() if each.sweep_id.startswith(f"{name}-")]
    if not found:
        sweep(hypermodel, 3)
        found = ProjectFolder.default().sweeps()
    return found[-1], read_record(found[-1].path)


def spec_of_trial_0(tmp_path, found=None):
    """The first trial of a sweep, the newest one if none is given, to be looked at in this process."""
    folder, record = found or newest()
    files = restore_data(record, folder, print).files
    return replace(trial_spec(record, folder, files, record.trials[0], 1), folder=tmp_path, deterministic=False)


def hold_contract(result, n_classes, tmp_path):
    assert result.winner.result.state is TrialState.COMPLETED
    probe = probe_network(spec_of_trial_0(tmp_path), with_timing=True)
    assert (probe.problem, probe.timing is not None, probe.parameters) == ("", True, result.winner.result.parameters)

    model = galaxy_exp.load_model(result.model_uri)
    data = np.load(f"{n_classes}.npz")
    probabilities = model.predict(data["images"]).probabilities
    assert probabilities.shape == (len(data["labels"]), n_classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    folder, record = newest()
    images = np.load(restore_data(record, folder, print).files.validation_images)
    kept = np.load(folder.trial(0) / "validation_probabilities.npy")
    np.testing.assert_allclose(model.predict(images).probabilities, kept, atol=1e-4)

    done = CliRunner().invoke(cli, ["predict", f"{n_classes}.npz", "--format", "json", "--model", result.model_uri])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [row["label"] for row in rows] == probabilities.argmax(axis=1).tolist()

    again = reproduce_trial("0")
    assert again.exact
    assert again.succeeded
    assert len(again.reports) == len(result.winner.reports) == 2


@pytest.mark.parametrize("name", GOOD)
def test_is_swept_loaded_predicted_with_and_reproduced(name, folder, tmp_path):
    hold_contract(sweep(f"{MINE}{name}", GOOD[name]), GOOD[name], tmp_path)


def test_those_of_keras_tuner_work_as_they_are(folder, tmp_path):
    result = sweep("keras_tuner.applications:HyperXception", 3, **SMALLEST_XCEPTION)
    hold_contract(result, 3, tmp_path)


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_refused_before_it_is_trained_and_by_check_alike(name, folder, tmp_path):
    n_classes, reason = BAD[name]
    with pytest.raises(SweepFailedError, match=reason):
        sweep(f"{MINE}{name}", n_classes)
    _, record = newest()
    assert record.trials[0].reports == []
    probe = probe_network(spec_of_trial_0(tmp_path), with_timing=False)
    assert probe.problem == record.trials[0].result.reason


def test_a_loop_that_does_not_stop_is_ended(folder, tmp_path):
    spec = replace(spec_of_trial_0(tmp_path, find_or_run(f"{MINE}OwnLoop")), hypermodel=f"{MINE}SlowToStop", epochs=9)
    result = run_trial(spec, lambda report: Decision.CONTINUE if report.epoch < 3 else Decision.STOP)
    assert (result.state, result.epochs) == (TrialState.STOPPED, 3)


def test_check_names_a_fit_that_calls_no_callbacks(folder, tmp_path):
    spec = replace(spec_of_trial_0(tmp_path, find_or_run(f"{MINE}PassesOn")), hypermodel=f"{MINE}Deaf")
    for problem in (probe_network(spec, with_timing=True).problem, run_trial(spec, lambda _: Decision.CONTINUE).reason):
        assert "the hypermodel's fit ended without a single epoch; it must pass `callbacks`" in problem
