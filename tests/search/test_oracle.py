"""The oracle: replay, no repeats, conditions, bad evidence, and use in an ordinary tuner."""

import math

import keras_tuner
import pytest

from galaxy_exp.errors import ConfigError
from galaxy_exp.records import Objective
from galaxy_exp.search.oracle import Oracle

OBJECTIVE = Objective("score", "max")
BASELINE = {"width": 32, "rate": 1e-3, "kind": "a", "depth": 1, "fixed": "yes"}


def make_space():
    space = keras_tuner.HyperParameters()
    space.Choice("width", [16, 32, 64], default=32)
    space.Float("rate", 1e-4, 1e-1, sampling="log", default=1e-3)
    space.Choice("kind", ["a", "b"])
    space.Int("depth", 1, 3)
    with space.conditional_scope("depth", [2, 3]):
        space.Float("growth", 1.0, 2.0, step=0.25)
    space.Fixed("fixed", "yes")
    return space


def make_oracle(sampler="tpe", seed=1, max_trials=40, space=None, baseline=BASELINE, objective=OBJECTIVE):
    return Oracle(objective, max_trials, seed, sampler, baseline, hyperparameters=space or make_space())


def score(values):
    return -((math.log10(values["rate"]) + 2) ** 2) + 0.1 * values["depth"]


def finish(oracle, trial, status="COMPLETED", epochs=2):
    for epoch in range(1, epochs + 1):
        oracle.update_trial(trial.trial_id, {"score": score(trial.hyperparameters.values) - 1 / epoch}, step=epoch)
    trial.status = status
    oracle.end_trial(trial)


def run(oracle, n):
    trials = []
    for number in range(n):
        trial = oracle.create_trial(f"t{number}")
        trials.append(dict(trial.hyperparameters.values))
        finish(oracle, trial, ("COMPLETED", "STOPPED", "FAILED")[number % 3])
    return trials


@pytest.mark.parametrize("sampler", ["tpe", "random"])
class TestEverySampler:
    def test_the_baseline_is_trial_zero(self, sampler):
        assert run(make_oracle(sampler), 1) == [BASELINE]

    def test_the_same_seed_proposes_the_same(self, sampler):
        assert run(make_oracle(sampler), 25) == run(make_oracle(sampler), 25)

    def test_another_seed_proposes_others(self, sampler):
        assert run(make_oracle(sampler, seed=1), 5)[1:] != run(make_oracle(sampler, seed=2), 5)[1:]

    def test_a_restored_oracle_goes_on_as_if_never_interrupted(self, sampler):
        uninterrupted = run(make_oracle(sampler), 25)
        resumed = make_oracle(sampler)
        for number, values in enumerate(uninterrupted[:15]):
            assert resumed.restore_trial(values).hyperparameters.values == values
            finish(resumed, resumed.trials[f"{number:02d}"], ("COMPLETED", "STOPPED", "FAILED")[number % 3])
        later = []
        for number in range(15, 25):
            trial = resumed.create_trial(f"t{number}")
            later.append(trial.hyperparameters.values)
            finish(resumed, trial, ("COMPLETED", "STOPPED", "FAILED")[number % 3])
        assert later == uninterrupted[15:]

    def test_no_configuration_comes_twice(self, sampler):
        proposals = run(make_oracle(sampler), 40)
        assert len({tuple(sorted(p.items())) for p in proposals}) == 40

    def test_a_finite_space_is_tried_completely_and_then_it_stops(self, sampler):
        space = keras_tuner.HyperParameters()
        space.Choice("a", [1, 2, 3])
        space.Boolean("b")
        with space.conditional_scope("b", [True]):
            space.Choice("c", ["x", "y"])
        oracle = make_oracle(sampler, max_trials=100, space=space, baseline=None)
        seen = []
        while (trial := oracle.create_trial(f"t{len(seen)}")).status == "RUNNING":
            seen.append(tuple(sorted(trial.hyperparameters.values.items())))
            oracle.update_trial(trial.trial_id, {"score": 1.0})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
        assert trial.status == "STOPPED"
        assert len(seen) == len(set(seen)) == 9

    def test_inactive_hyperparameters_are_not_proposed(self, sampler):
        for values in run(make_oracle(sampler), 30)[1:]:
            assert ("growth" in values) == (values["depth"] > 1)
            assert values["fixed"] == "yes"
            assert values["width"] in (16, 32, 64)
            assert 1e-4 <= values["rate"] <= 1e-1
            assert values.get("growth", 1.0) in (1.0, 1.25, 1.5, 1.75, 2.0)

    def test_failures_without_any_success_do_not_break_it(self, sampler):
        oracle = make_oracle(sampler)
        for number in range(15):
            trial = oracle.create_trial(f"t{number}")
            trial.status = "FAILED"
            oracle.end_trial(trial)
        assert oracle.create_trial("next").status == "RUNNING"

    def test_nan_and_infinity_never_win(self, sampler):
        oracle = make_oracle(sampler)
        for number, value in enumerate([math.nan, math.inf, 0.5, -math.inf] * 4):
            trial = oracle.create_trial(f"t{number}")
            oracle.update_trial(trial.trial_id, {"score": value})
            trial.status = "COMPLETED" if math.isfinite(value) else "FAILED"
            oracle.end_trial(trial)
        assert oracle.get_best_trials(1)[0].score == 0.5


def test_tpe_learns_what_random_does_not_know():
    def best(sampler):
        return sorted(max(score(values) for values in run(make_oracle(sampler, seed), 40)) for seed in range(1, 6))[2]

    assert best("tpe") > best("random")


def test_several_trials_may_run_at_once():
    oracle = make_oracle()
    trials = [oracle.create_trial(f"t{number}") for number in range(6)]
    assert len({tuple(sorted(trial.hyperparameters.values.items())) for trial in trials}) == 6
    for trial in reversed(trials):
        finish(oracle, trial)
    assert len(oracle.end_order) == 6


def test_a_baseline_outside_the_space_is_no_obstacle():
    space = make_space()
    run(make_oracle(space=space, baseline={"width": 999, "rate": 5.0, "kind": "z", "depth": 1}), 15)


def test_an_unknown_sampler_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r'search.sampler: unknown sampler "tep"; did you mean "tpe"\? known: tpe, '):
        make_oracle("tep")


def test_objectives_are_those_of_keras_tuner_with_their_direction():
    several = [keras_tuner.Objective("score", "max"), keras_tuner.Objective("cost", "min")]
    oracle = Oracle(several, 3)
    assert (oracle.objective.name, oracle.objective.direction) == ("score", "max")
    with pytest.raises(ConfigError, match=r"^objective: found 'val_accuracy'; expected keras_tuner\.Objective\("):
        Oracle("val_accuracy", 3)


def test_it_works_in_an_ordinary_keras_tuner(tmp_path):
    class Quadratic(keras_tuner.Tuner):
        def run_trial(self, trial, *args, **kwargs):
            rate = trial.hyperparameters.Float("rate", 1e-4, 1e-1, sampling="log")
            return -((math.log10(rate) + 2) ** 2)

    def search(max_trials, overwrite):
        oracle = Oracle(Objective("default_objective", "max"), max_trials, seed=1)
        tuner = Quadratic(oracle, lambda hp: None, directory=tmp_path, project_name="q", overwrite=overwrite)
        tuner.search(verbose=0)
        return {trial_id: trial.hyperparameters.values for trial_id, trial in tuner.oracle.trials.items()}

    whole = search(15, overwrite=True)
    search(11, overwrite=True)
    assert search(15, overwrite=False) == whole
