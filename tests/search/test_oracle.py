"""Our oracle in KerasTuner's own hands; tests of the samplers are in test_samplers.py."""

import math

import keras_tuner
import pytest
from search.driving import SCORE, distinct, finite_space, mixed_space, score_of

from galaxy_exp.errors import ConfigError
from galaxy_exp.records import Objective
from galaxy_exp.search.oracle import Oracle

BASELINE = {"width": 32, "rate": 1e-3, "kind": "a", "depth": 1, "fixed": "yes"}


def make_oracle(sampler="tpe", seed=1, max_trials=40, space=None, baseline=None, objective=SCORE):
    return Oracle(objective, max_trials, seed, sampler, baseline, hyperparameters=space or mixed_space())


def finish(oracle, trial, status="COMPLETED", epochs=2, value=None):
    for epoch in range(1, epochs + 1):
        reached = score_of(trial.hyperparameters.values) - 1 / epoch if value is None else value
        oracle.update_trial(trial.trial_id, {"score": reached}, step=epoch)
    trial.status = status
    oracle.end_trial(trial)


def run(oracle, n):
    trials = []
    for number in range(n):
        trial = oracle.create_trial(f"t{number}")
        trials.append(dict(trial.hyperparameters.values))
        finish(oracle, trial, ("COMPLETED", "STOPPED", "FAILED")[number % 3])
    return trials


def test_the_baseline_is_trial_zero_wherever_it_lies():
    assert run(make_oracle(baseline=BASELINE), 2)[0] == BASELINE
    outside = BASELINE | {"width": 999, "rate": 5.0, "kind": "z"}
    assert run(make_oracle(baseline=outside), 15)[0] == outside


def test_the_same_seed_proposes_the_same_and_another_does_not():
    assert run(make_oracle(), 15) == run(make_oracle(), 15) != run(make_oracle(seed=2), 15)


def test_no_configuration_comes_twice_and_then_it_stops():
    oracle = make_oracle(space=finite_space(), max_trials=100)
    seen = []
    while (trial := oracle.create_trial(f"t{len(seen)}")).status == "RUNNING":
        seen.append(trial.hyperparameters.values)
        finish(oracle, trial, value=1.0)
    assert trial.status == "STOPPED"
    assert len(distinct(seen)) == len(seen) == 9


def test_nan_and_infinity_never_win():
    oracle = make_oracle()
    for number, value in enumerate([math.nan, math.inf, 0.5, -math.inf] * 4):
        trial = oracle.create_trial(f"t{number}")
        finish(oracle, trial, "COMPLETED" if math.isfinite(value) else "FAILED", value=value)
    assert oracle.get_best_trials(1)[0].score == 0.5


def test_a_stopped_trial_has_the_score_it_reached():
    oracle = make_oracle()
    trial = oracle.create_trial("t")
    finish(oracle, trial, "STOPPED", epochs=3)
    assert oracle.trials[trial.trial_id].score == pytest.approx(score_of(trial.hyperparameters.values) - 1 / 3)


def test_several_trials_may_run_at_once():
    oracle = make_oracle()
    trials = [oracle.create_trial(f"t{number}") for number in range(6)]
    assert len(distinct(trial.hyperparameters.values for trial in trials)) == 6
    for trial in reversed(trials):
        finish(oracle, trial)
    assert len(oracle.end_order) == 6


def test_several_objectives():
    oracle = make_oracle(objective=[SCORE, Objective("cost", "min")])
    for number in range(30):
        trial = oracle.create_trial(f"t{number}")
        values = trial.hyperparameters.values
        oracle.update_trial(trial.trial_id, {"score": math.log10(values["rate"]), "cost": values["width"]})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    late = [trial.hyperparameters.values for trial in list(oracle.trials.values())[15:]]
    assert sum(values["width"] == 16 and values["rate"] > 1e-3 for values in late) >= 6


def test_an_unknown_sampler_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r'search.sampler: unknown sampler "tep"; did you mean "tpe"\? known: gp, tpe, random'
    ):
        make_oracle("tep")


class Quadratic(keras_tuner.Tuner):
    """A tuner whose hypermodel declares one hyperparameter more when it is run."""

    def run_trial(self, trial, *args, **kwargs):
        rate = trial.hyperparameters.Float("rate", 1e-4, 1e-1, sampling="log")
        return -((math.log10(rate) + 2) ** 2)


def search(tmp_path, max_trials, overwrite):
    oracle = Oracle(Objective("default_objective", "max"), max_trials, seed=1)
    tuner = Quadratic(oracle, lambda hp: None, directory=tmp_path, project_name="q", overwrite=overwrite)
    tuner.search(verbose=0)
    return {trial_id: trial.hyperparameters.values for trial_id, trial in tuner.oracle.trials.items()}


def test_it_works_in_an_ordinary_keras_tuner(tmp_path):
    trials = search(tmp_path, 15, overwrite=True)
    assert len({values["rate"] for values in trials.values()}) == 15


def test_it_is_resumed_by_an_ordinary_keras_tuner(tmp_path):
    whole = search(tmp_path, 15, overwrite=True)
    search(tmp_path, 11, overwrite=True)
    assert search(tmp_path, 15, overwrite=False) == whole
