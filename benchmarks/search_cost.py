"""How long a search takes to propose when it knows many finished trials."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras_tuner
import optuna
from keras_tuner.engine.trial import Trial

from benchmarks.search_contenders import suggest_values
from benchmarks.search_replay import OBJECTIVE, fill_values
from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.records import Outcome, TrialState
from galaxy_exp.search.building import build_proposer
from galaxy_exp.search.proposer import NoProposal
from galaxy_exp.search_methods import SAMPLERS
from galaxy_exp.space.search_space import SearchSpace

__all__ = ["TIMERS", "Timer"]

ASKS = 5
"""Proposals that are timed; the median counts. Each is told before the next."""


def _mixed_space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Float("learning_rate", 1e-5, 1e-1, sampling="log")
    hp.Float("dropout", 0.0, 0.7)
    hp.Int("layers", 1, 8)
    hp.Choice("width", [16, 32, 64, 128, 256])
    hp.Choice("activation", ["relu", "tanh", "gelu"])
    hp.Boolean("batch_norm")
    hp.Choice("optimizer", ["adam", "adamw", "sgd"])
    with hp.conditional_scope("optimizer", ["adamw"]):
        hp.Float("weight_decay", 1e-5, 1e-1, sampling="log")
    return hp


def _numeric_space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    for number in range(8):
        hp.Float(f"x{number}", 0.0, 1.0)
    return hp


MIXED, NUMERIC = _mixed_space(), _numeric_space()
"""Eight hyperparameters each: of all kinds and one of them conditional; and only numbers, for CMA-ES."""


@dataclass(frozen=True, slots=True)
class Timer:
    """How to time a search."""

    measure: Callable[[int], float]
    """From the number of finished trials to seconds."""
    most: int = 10**9
    """With more finished trials it takes too long to be measured."""


def time_proposer(sampler: str, finished: int) -> float:
    """Median seconds to propose and take up a trial and to be told its end, after so many finished trials."""
    space = NUMERIC if sampler == "cmaes" else MIXED
    search = SearchConfig(sampler=sampler, seed=1)
    proposer = build_proposer(search, SearchSpace.of(space), epochs=1)
    for number, values in enumerate(_draw(space, finished)):
        proposer.adopt(number, values, proposed=False)
        proposer.tell(number, _outcome(score(values, space)))
    proposer.propose(finished)  # takes up all that was told so far, once
    proposer.tell(finished, _outcome(0.0))

    def step(number: int) -> None:
        proposed = proposer.propose(finished + 1 + number)
        assert not isinstance(proposed, NoProposal)
        proposer.tell(finished + 1 + number, _outcome(score(proposed, space)))

    return _median_seconds(step)


def _median_seconds(step: Callable[[int], None], n_steps: int = ASKS) -> float:
    seconds = []
    for number in range(n_steps):
        began = time.perf_counter()
        step(number)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _draw(space: keras_tuner.HyperParameters, n_configurations: int) -> list[dict[str, Any]]:
    """Random configurations; the same for everybody."""
    rng = random.Random(1)
    return [
        fill_values(space, lambda entry: entry.random_sample(rng.randrange(2**31))) for _ in range(n_configurations)
    ]


def _outcome(score: float) -> Outcome:
    return Outcome(TrialState.COMPLETED, (score,), (score,))


def time_keras_tuner(oracle_class: type[keras_tuner.Oracle], finished: int) -> float:
    """Median seconds of `create_trial` and `end_trial`, with the files that the oracle writes in a `Tuner`."""
    bayesian = oracle_class is keras_tuner.oracles.BayesianOptimizationOracle
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_cost_") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn about the Gaussian process
        oracle = oracle_class(
            objective=keras_tuner.Objective(OBJECTIVE, "max"), max_trials=10**6, hyperparameters=MIXED.copy(), seed=1
        )
        oracle.verbose = 0
        oracle._set_project_dir(folder, "cost")
        for number, values in enumerate(_draw(MIXED, finished)):
            _insert(oracle, f"known-{number}", values)

        def step(number: int) -> None:
            trial = oracle.create_trial(f"worker-{number}")
            oracle.update_trial(trial.trial_id, {OBJECTIVE: score(trial.hyperparameters.values, MIXED)})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)

        return _median_seconds(step, n_steps=1 if bayesian else ASKS)


def _insert(oracle: keras_tuner.Oracle, name: str, values: dict[str, Any]) -> None:
    space = oracle.hyperparameters.copy()
    space.values = values
    trial = Trial(space, name, "COMPLETED")
    trial.metrics.register(OBJECTIVE, "max")
    trial.metrics.update(OBJECTIVE, score(space.values, MIXED), step=0)
    oracle.trials[name] = trial
    oracle.score_trial(trial)
    oracle.start_order.append(name)
    oracle.end_order.append(name)


def time_optuna(finished: int) -> float:
    """Median seconds of Optuna's own ask, suggestions and tell, with its default sampler, in memory."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))

    def step(number: int) -> None:
        trial = study.ask()
        study.tell(trial, score(suggest_values(trial, MIXED), MIXED))

    for number in range(finished):
        step(number)
    study.sampler = optuna.samplers.TPESampler(seed=1)
    return _median_seconds(step)


def score(values: Mapping[str, Any], space: keras_tuner.HyperParameters) -> float:
    """Best, 0, in the middle right of every range. Scores by chance would spare KerasTuner's Gaussian process all work:
    it finds a flat surface and has nothing to climb.
    """
    given = [entry for entry in space.space if entry.name in values]
    return -sum(float(entry.value_to_prob(values[entry.name]) - 0.6) ** 2 for entry in given)


TIMERS: dict[str, Timer] = {
    **{name: Timer(partial(time_proposer, name)) for name in SAMPLERS if name != "grid"},
    "Optuna TPE": Timer(time_optuna),
    "KerasTuner RandomSearch": Timer(partial(time_keras_tuner, keras_tuner.oracles.RandomSearchOracle)),
    "KerasTuner BayesianOptimization": Timer(
        partial(time_keras_tuner, keras_tuner.oracles.BayesianOptimizationOracle), most=300
    ),
}
"""The grid has nothing to compute, and none exists of a continuous space."""
