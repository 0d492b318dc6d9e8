"""A sweep on votes before its first trial: its objective, what is refused, and a check with real networks."""

from pathlib import Path

import numpy as np
import pytest

from galaxy_exp.check.sweep_check import Origin, check_sweep
from galaxy_exp.config import parse_sweep
from galaxy_exp.data import PreparedData
from galaxy_exp.data.sources.array_file import store_data
from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.trials import trial_spec
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.preparation import check_space, prepare_sweep
from galaxy_exp.questions import Question, Questions, Votes
from galaxy_exp.space.search_space import SearchSpace

ONE = Questions((Question("shape", ("dark", "middle", "bright")),))


TWO = Questions((Question("shape", ("dark", "middle", "bright")), Question("noise", ("low", "high"))))


def images_and_votes(n=90, are_counts=True):
    rng = np.random.default_rng(2)
    labels = np.arange(n) % 3
    images = np.clip(rng.normal(60 + 60 * labels[:, None, None, None], 20, (n, 24, 24, 3)), 0, 255).astype(np.uint8)
    fractions = np.full((n, 3), 0.15)
    fractions[np.arange(n), labels] = 0.7
    counts = rng.multinomial(20, fractions).astype(np.float32)
    return images, Votes(ONE, counts if are_counts else counts / 20, are_counts)


class Preparation:
    """Prepares a sweep of small networks on data from Python."""

    def __init__(self, folder):
        self.folder = folder

    def config(self, data, space=None, **search):
        content = {
            "space": {"filters_1": 16, "filters_2": 16, "dense_width": 0} | (space or {}),
            "training": {"epochs": 2, "precision": "float32"},
            "search": {"max_trials": 3, "sampler": "random"} | search,
        }
        config = parse_sweep(content)
        return config.model_copy(update={"data": store_data(data, config.data, self.folder / "given")})

    def __call__(self, data, space=None, **search):
        return prepare_sweep(
            self.config(data, space, **search), ProjectFolder(self.folder / "p"), "s-1", lambda _: None
        )


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Preparation(tmp_path)


def objective_of(started):
    return SweepRecord(started).objective


def test_the_objective_of_votes_is_the_deviance_if_none_is_stated(prepare):
    started = prepare(images_and_votes())
    assert (objective_of(started).name, objective_of(started).direction) == ("val_deviance", "min")
    assert started.baseline["loss"] == "crossentropy"
    stated = prepare(images_and_votes(), objective="val_macro_f1")
    assert objective_of(stated).name == "val_macro_f1"


def test_a_score_of_images_that_agree_needs_one(prepare):
    images, _ = images_and_votes()
    even = Votes(ONE, np.full((90, 3), 5, np.float32) + np.eye(3, dtype=np.float32)[np.arange(90) % 3], True)
    with pytest.raises(ConfigError, match=r"no winning answer has 0\.8 of them; expected"):
        prepare((images, even), objective="val_macro_f1")
    values = even.values.copy()
    values[0] = 20, 0, 0  # agrees, and is for training
    with pytest.raises(ConfigError, match=r"no winning answer has 0\.8 of them on a validation image; expected"):
        prepare((images, Votes(ONE, values, True)), objective="val_macro_f1")


def test_the_loss_is_known_early_where_there_are_counts():
    config = {"data": {"simulated": {"volunteers": 20}}, "space": {"los": "crossentropy"}}
    with pytest.raises(ConfigError, match=r'space\.los: .*did you mean "loss"'):
        check_space(parse_sweep(config))


def test_on_labels_nothing_changes(prepare):
    images, votes = images_and_votes()
    started = prepare((images, votes.values.argmax(axis=1)))
    assert objective_of(started).name == "val_macro_f1"
    assert "loss" not in started.baseline


@pytest.mark.parametrize(
    ("are_counts", "objective", "message"),
    [
        (
            None,
            "val_deviance",
            "found val_deviance, but the data has labels, not votes; expected one of val_macro_f1, ",
        ),
        (None, ["val_accuracy", "val_nll"], "found val_nll, but the data has labels, not votes"),
        (True, "val_loss", "found val_loss, but networks for counts have different losses.*expected one of .*val_nll"),
        (
            False,
            "val_nll",
            "found val_nll, but the votes are fractions, not counts; expected one of .*val_loss, val_dev",
        ),
    ],
)
def test_objectives_that_make_no_sense_are_refused(prepare, are_counts, objective, message):
    images, votes = images_and_votes(are_counts=bool(are_counts))
    data = (images, votes.values.argmax(axis=1)) if are_counts is None else (images, votes)
    with pytest.raises(ConfigError, match=rf"^search\.objective: {message}"):
        prepare(data, objective=objective)


def test_the_loss_is_a_hyperparameter_on_counts_alone(prepare):
    images, votes = images_and_votes(are_counts=False)
    with pytest.raises(ConfigError, match=r"space\.loss: unknown hyperparameter; expected data with volunteers' votes"):
        prepare((images, votes), space={"loss": "crossentropy"})
    images, votes = images_and_votes()
    started = prepare((images, votes), space={"loss": "dirichlet_multinomial"})
    (loss,) = [each for each in SearchSpace.from_config(started.space).hyperparameters if each.name == "loss"]
    assert loss.default == "dirichlet_multinomial"


@pytest.mark.slow
def test_a_check_trains_the_first_networks_on_votes(prepare, tmp_path):
    found = check_sweep(prepare.config(images_and_votes()), with_timing=True)
    assert found.record.objective.name == "val_deviance"
    assert {row.name for row in found.space} >= {"loss", "label_smoothing", "class_weighting"}
    assert [each.origin for each in found.trials] == [Origin.BASELINE, *[Origin.PROPOSED] * 2]
    assert [each.probe.problem for each in found.trials] == [""] * 3


@pytest.mark.slow
def test_a_check_predicts_the_answers_to_several_questions(prepare):
    images, votes = images_and_votes()
    both = Votes(TWO, np.concatenate([votes.values, np.full((len(images), 2), 10, np.float32)], axis=1), True)
    found = check_sweep(prepare.config((images, both), max_trials=1), with_timing=True)
    assert found.trials[0].probe.timing is not None


def test_a_recorded_trial_gets_its_votes_and_the_agreement(prepare, tmp_path):
    started = prepare(images_and_votes())
    files = PreparedData.load(Path(started.data_folder)).files
    trial = TrialRecord(number=0, values=started.baseline, seed=1, proposed_at=0.0)
    spec = trial_spec(SweepRecord(started), ProjectFolder(tmp_path / "p").sweep("s-1"), files, trial, 1)
    assert spec.agreement == 0.8
    assert spec.data.votes is not None
    assert spec.data.votes.questions == ONE
