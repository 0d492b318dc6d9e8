"""Peers of benchmarks/search.py whose packages galaxy_exp does not need; those that are missing are left out.

Install them into an environment of their own, beside galaxy_exp:

    pip install torch                                                          # Optuna GP
    pip install "ray[tune]"                                                    # Ray Tune
    pip install --no-deps syne-tune==0.14.2                                    # Syne Tune
    pip install dill autograd statsmodels sortedcontainers typing_extensions   # what it imports

Syne Tune 0.14.2 is the last release with promotion, MOBSTER and DyHPO. It asks for NumPy 1, which TensorFlow no longer
takes, but runs with NumPy 2: hence --no-deps.

Syne Tune and Ray Tune search flat spaces: they also choose values for hyperparameters that are inactive.
"""

from __future__ import annotations

import copy
import datetime
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import keras_tuner
import numpy as np
import optuna

from benchmarks.search_replay import OBJECTIVE, Job, Searcher, Snap, TableExhausted, fill_values

__all__ = ["PACKAGES", "PEERS", "RayTuneSearcher", "SyneTuneSearcher", "active_values", "syne_tune_space"]

_PARAMETERS = keras_tuner.engine.hyperparameters

MakePeer = Callable[[keras_tuner.HyperParameters, int, int], Searcher]
"""From the space, the epochs of a whole training and a seed."""


class SyneTuneSearcher:
    """A scheduler of Syne Tune, driven as its `Tuner` does; a resumed trial continues where it paused.

    Args:
        scheduler: with the metric `OBJECTIVE`, which it maximises, and the resource "epoch".
        epochs: of a trial that is not stopped.
    """

    def __init__(self, scheduler: Any, space: keras_tuner.HyperParameters, epochs: int) -> None:
        self._scheduler = scheduler
        self._space = space
        self._epochs = epochs
        self._propose = scheduler.searcher.get_config
        self._trials: list[Any] = []
        self._rows: list[int] = []
        self._trained: list[int] = []
        self._decision = ""
        if not hasattr(np, "NAN"):
            np.NAN = np.nan  # type: ignore[attr-defined]  # Syne Tune 0.14 was written for NumPy 1

    def ask(self, snap: Snap) -> Job | None:
        from syne_tune.backend.trial_status import Trial

        number, snapped_row = len(self._trials), -1

        def get_config(**kwargs: Any) -> dict[str, Any] | None:
            nonlocal snapped_row
            config = self._propose(**kwargs)
            if config is None:
                return None
            try:
                snapped_row, snapped = snap(active_values(self._space, config))
            except TableExhausted:
                return None
            return {**config, **snapped}

        # the scheduler itself takes up the row's values, so that its model learns from them
        self._scheduler.searcher.get_config = get_config
        suggestion = self._scheduler.suggest(trial_id=number)
        if suggestion is None:
            return None
        if not suggestion.spawn_new_trial_id:
            number = suggestion.checkpoint_trial_id
            return Job(number, self._rows[number], self._trained[number], self._epochs)
        trial = Trial(number, suggestion.config, datetime.datetime.now())
        self._scheduler.on_trial_add(trial)
        self._trials.append(trial)
        self._rows.append(snapped_row)
        self._trained.append(0)
        return Job(number, snapped_row, 0, self._epochs)

    def report(self, job: Job, epoch: int, value: float) -> bool:
        trial = self._trials[job.key]
        self._trained[job.key] = epoch
        decision = self._scheduler.on_trial_result(trial, _result(epoch, value))
        if decision != "CONTINUE":
            self._scheduler.on_trial_remove(trial)
        return bool(decision == "CONTINUE")

    def end(self, job: Job, curve: Sequence[float], failed: bool) -> None:
        trial = self._trials[job.key]
        if failed:
            self._scheduler.on_trial_error(trial)
        elif self._trained[job.key] == self._epochs:
            self._scheduler.on_trial_complete(trial, _result(self._epochs, curve[-1]))


def _result(epoch: int, value: float) -> dict[str, Any]:
    return {OBJECTIVE: value, "epoch": epoch}


def active_values(space: keras_tuner.HyperParameters, config: Mapping[str, Any]) -> dict[str, Any]:
    """Those values of a flat configuration whose conditions hold."""
    return fill_values(space, lambda entry: config[entry.name])


def syne_tune_space(space: keras_tuner.HyperParameters) -> dict[str, Any]:
    """The space without its conditions, in Syne Tune's types."""
    return {entry.name: _syne_tune_domain(entry) for entry in space.space}


def _syne_tune_domain(entry: Any) -> Any:
    from syne_tune import config_space

    if isinstance(entry, _PARAMETERS.Boolean):
        return config_space.choice([False, True])
    if isinstance(entry, _PARAMETERS.Choice):
        values = list(entry.values)
        return config_space.ordinal(values, kind="equal") if entry.ordered else config_space.choice(values)
    low, high, is_log, is_int = entry.min_value, entry.max_value, entry.sampling == "log", _is_int(entry)
    if entry.step is not None and not (is_int and entry.step == 1):
        size = (math.log(high / low, entry.step) if is_log else (high - low) / entry.step) + 1
        return (config_space.logfinrange if is_log else config_space.finrange)(low, high, round(size), cast_int=is_int)
    if is_int:
        return (config_space.lograndint if is_log else config_space.randint)(low, high)
    return (config_space.loguniform if is_log else config_space.uniform)(low, high)


def _is_int(entry: Any) -> bool:
    return isinstance(entry, _PARAMETERS.Int)


def _syne_tune(name: str, **options: Any) -> MakePeer:
    def make(space: keras_tuner.HyperParameters, epochs: int, seed: int) -> Searcher:
        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        from syne_tune.optimizer import legacy_baselines

        longest = "max_resource_level" if name.startswith("Sync") else "max_t"
        scheduler = getattr(legacy_baselines, name)(
            syne_tune_space(space),
            metric=OBJECTIVE,
            mode="max",
            resource_attr="epoch",
            random_seed=seed % 2**32,
            **{longest: epochs},
            **options,
        )
        return SyneTuneSearcher(scheduler, space, epochs)

    return make


class RayTuneSearcher:
    """Ray Tune's ASHA and its `OptunaSearch`, driven as its controller does, without a cluster.

    Its ASHA stops trials and promotes none.
    """

    def __init__(self, space: keras_tuner.HyperParameters, epochs: int, seed: int) -> None:
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._scheduler = ASHAScheduler("training_iteration", OBJECTIVE, "max", max_t=epochs)
        distributions = {entry.name: _distribution(entry) for entry in space.space}
        self._search = OptunaSearch(distributions, OBJECTIVE, "max", seed=seed)
        self._space = space
        self._epochs = epochs
        self._trials: list[Any] = []
        self._last: dict[int, dict[str, Any]] = {}

    def ask(self, snap: Snap) -> Job | None:
        trial = SimpleNamespace(trial_id=str(len(self._trials)))
        # a copy proposes, so that the row's values can be enqueued in the original
        draft = copy.deepcopy(self._search)
        config = draft.suggest(trial.trial_id)
        row, snapped = snap(active_values(self._space, config))
        study = self._search._ot_study
        study.sampler = draft._ot_study.sampler
        study.enqueue_trial(config | snapped)
        self._search.suggest(trial.trial_id)
        self._scheduler.on_trial_add(None, trial)
        self._trials.append(trial)
        return Job(len(self._trials) - 1, row, 0, self._epochs)

    def report(self, job: Job, epoch: int, value: float) -> bool:
        trial = self._trials[job.key]
        result = {OBJECTIVE: value, "training_iteration": epoch}
        self._last[job.key] = result
        self._search.on_trial_result(trial.trial_id, result)
        return bool(self._scheduler.on_trial_result(None, trial, result) == "CONTINUE")

    def end(self, job: Job, curve: Sequence[float], failed: bool) -> None:
        trial = self._trials[job.key]
        if failed:
            self._scheduler.on_trial_error(None, trial)
            self._search.on_trial_complete(trial.trial_id, error=True)
            return
        self._scheduler.on_trial_complete(None, trial, self._last[job.key])
        self._search.on_trial_complete(trial.trial_id, result=self._last[job.key])


def _distribution(entry: Any) -> optuna.distributions.BaseDistribution:
    if isinstance(entry, _PARAMETERS.Boolean):
        return optuna.distributions.CategoricalDistribution([False, True])
    if isinstance(entry, _PARAMETERS.Choice):
        return optuna.distributions.CategoricalDistribution(list(entry.values))
    log = entry.sampling == "log"
    if _is_int(entry):
        return optuna.distributions.IntDistribution(entry.min_value, entry.max_value, log=log, step=entry.step or 1)
    return optuna.distributions.FloatDistribution(entry.min_value, entry.max_value, log=log, step=entry.step)


PEERS: dict[str, MakePeer] = {
    "Ray Tune ASHA + OptunaSearch": RayTuneSearcher,
    "Syne Tune ASHA": _syne_tune("ASHA", type="promotion"),
    "Syne Tune BOHB": _syne_tune("BOHB", type="promotion"),
    "Syne Tune SyncBOHB": _syne_tune("SyncBOHB"),
    "Syne Tune MOBSTER": _syne_tune("MOBSTER", type="promotion"),
    "Syne Tune DyHPO": _syne_tune("DyHPO"),
}
"""With their defaults. BOHB is asynchronous, SyncBOHB is the paper's, with the brackets of Hyperband."""

PACKAGES = {"Ray": "ray", "Syne": "syne_tune"}
"""The package that each needs, by the first word of its name."""
