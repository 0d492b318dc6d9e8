"""The searches that benchmarks/search.py compares: galaxy_exp's, KerasTuner's and Optuna's, behind one interface.

`benchmarks.search_peers` has more, and tells how to install them.
"""

from __future__ import annotations

import copy
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras_tuner
import numpy as np
import optuna
from optuna.trial import TrialState as StudyState

from benchmarks import search_peers
from benchmarks.curves_table import CurveTable
from benchmarks.search_peers import MakePeer
from benchmarks.search_replay import OBJECTIVE, Job, Searcher, Snap, TableExhausted, epoch_seconds, fill_values
from galaxy_exp.config.plain_yaml import parse_scalar
from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.config.sweep import PriorConfig
from galaxy_exp.records import Decision, HyperparameterValue, Outcome, TrialState
from galaxy_exp.search.building import build_proposer
from galaxy_exp.search.proposer import NoProposal, Proposer
from galaxy_exp.search.schedulers import build_scheduler
from galaxy_exp.seeding import derive_seed
from galaxy_exp.space.domains import Prior
from galaxy_exp.space.search_space import SearchSpace

__all__ = [
    "I_EPOCHS",
    "OPTIONAL_PEERS",
    "PEERS",
    "SLOW_PEERS",
    "GalaxyExpSearcher",
    "KerasTunerSearcher",
    "OptunaSearcher",
    "make_searcher",
    "missing_package",
    "suggest_values",
]

CONFIDENCE = PriorConfig(centre=0).confidence
"""Of the experts."""

_PARAMETERS = keras_tuner.engine.hyperparameters


class GalaxyExpSearcher:
    """A sampler and a scheduler of galaxy_exp, driven as its loop drives them, without a baseline.

    Args:
        proposer: fresh. It takes up what it proposes by `adopt`, where the row's values are put in its place.
        search: names the scheduler and its settings.
        epochs: of a trial that is not stopped.
        table: where the seconds of an epoch are looked up, if it is given.
    """

    def __init__(self, proposer: Proposer, search: SearchConfig, epochs: int, table: CurveTable | None = None) -> None:
        self._table = table
        self._proposer = proposer
        self._adopt = proposer.adopt
        self._scheduler = build_scheduler(search, epochs)
        self._epochs = epochs
        self._curves: dict[int, list[float]] = {}
        self._rows: dict[int, int] = {}
        self._paused: set[int] = set()
        self._decisions: dict[int, Decision] = {}
        self.outcomes: dict[int, Outcome] = {}
        """How each trial ended at last, by its row, in the order in which they first ended."""

    def ask(self, snap: Snap) -> Job | None:
        try:
            return self._continued(can_start_new=True) or self._new(snap)
        except TableExhausted:
            return self._continued(can_start_new=False)

    def _continued(self, *, can_start_new: bool) -> Job | None:
        paused = sorted(self._paused)
        number = self._scheduler.choose(self._curves, paused, can_start_new=can_start_new) if paused else None
        if number is None:
            return None
        self._paused.remove(number)
        return Job(number, self._rows[number], len(self._curves[number]), self._epochs)

    def _new(self, snap: Snap) -> Job | None:
        number = len(self._curves)

        def adopt(number: int, values: Mapping[str, HyperparameterValue], *, proposed: bool) -> None:
            self._rows[number], snapped = snap(values)
            self._adopt(number, snapped, proposed=proposed)

        self._proposer.adopt = adopt  # type: ignore[method-assign]
        if isinstance(self._proposer.propose(number), NoProposal):
            return None
        self._curves[number] = []
        return Job(number, self._rows[number], 0, self._epochs)

    def report(self, job: Job, epoch: int, value: float) -> bool:
        self._curves[job.key].append(value)
        is_last = epoch == self._epochs
        decision = Decision.CONTINUE if is_last else self._scheduler.decide(job.key, self._curves, sorted(self._paused))
        self._decisions[job.key] = decision
        return decision is Decision.CONTINUE

    def end(self, job: Job, curve: Sequence[float], failed: bool) -> None:
        curve = tuple(self._curves[job.key])
        if failed:
            outcome = Outcome(TrialState.FAILED, curve)
        else:
            state = TrialState.COMPLETED if len(curve) == self._epochs else TrialState.STOPPED
            seconds = None if self._table is None else epoch_seconds(self._table, job.row, len(curve))
            outcome = Outcome(state, curve, (max(curve),), epoch_seconds=seconds)
        self.outcomes[job.row] = outcome
        self._proposer.tell(job.key, outcome)
        if not failed and self._decisions[job.key] is Decision.PAUSE:
            self._paused.add(job.key)


class KerasTunerSearcher:
    """An oracle of KerasTuner, driven as a `keras_tuner.Tuner` would.

    A network that Hyperband promotes goes on where it stopped, as if nothing of it were lost; KerasTuner itself loses
    the optimizer's state.
    """

    def __init__(self, oracle: keras_tuner.Oracle, epochs: int) -> None:
        self._oracle = oracle
        oracle.verbose = 0
        self._epochs = epochs
        self._rows: dict[str, int] = {}

    def ask(self, snap: Snap) -> Job | None:
        trial = self._oracle.create_trial(f"worker-{len(self._rows)}")
        if trial.status != "RUNNING":
            return None
        values = trial.hyperparameters.values
        first, last = values.get("tuner/initial_epoch", 0), values.get("tuner/epochs", self._epochs)
        if first:
            row = self._rows[values["tuner/trial_id"]]
        else:
            row, snapped = snap(values)
            trial.hyperparameters.values = snapped | {name: values[name] for name in values if "tuner/" in name}
        self._rows[trial.trial_id] = row
        return Job(trial.trial_id, row, first, last)

    def report(self, job: Job, epoch: int, value: float) -> bool:
        return True

    def end(self, job: Job, curve: Sequence[float], failed: bool) -> None:
        trial = self._oracle.trials[job.key]
        if not failed:
            self._oracle.update_trial(job.key, {OBJECTIVE: max(curve)})
        trial.status = "FAILED" if failed else "COMPLETED"
        self._oracle.end_trial(trial)


class OptunaSearcher:
    """Optuna's own ask, report, should_prune and tell, as its documentation shows them.

    Args:
        epochs: of a trial that is not stopped.
        name: of the study; HyperbandPruner draws the brackets of the trials from it.
    """

    def __init__(
        self,
        sampler: optuna.samplers.BaseSampler,
        pruner: optuna.pruners.BasePruner,
        space: keras_tuner.HyperParameters,
        epochs: int,
        name: str,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner, study_name=name)
        self._space = space
        self._epochs = epochs
        self._trials: dict[int, optuna.Trial] = {}
        self._pruned: set[int] = set()

    def ask(self, snap: Snap) -> Job | None:
        # a copy of the study proposes, so that the row's values can be enqueued in the original
        draft = copy.deepcopy(self._study)
        row, snapped = snap(suggest_values(draft.ask(), self._space))
        self._study.sampler = draft.sampler
        self._study.enqueue_trial(snapped)
        trial = self._study.ask()
        suggest_values(trial, self._space)
        self._trials[trial.number] = trial
        return Job(trial.number, row, 0, self._epochs)

    def report(self, job: Job, epoch: int, value: float) -> bool:
        trial = self._trials[job.key]
        trial.report(value, epoch)
        if trial.should_prune():
            self._pruned.add(job.key)
        return job.key not in self._pruned

    def end(self, job: Job, curve: Sequence[float], failed: bool) -> None:
        trial = self._trials[job.key]
        if failed:
            self._study.tell(trial, state=StudyState.FAIL)
        elif job.key in self._pruned:
            self._study.tell(trial, state=StudyState.PRUNED)
        else:
            self._study.tell(trial, max(curve))


def suggest_values(trial: optuna.Trial, space: keras_tuner.HyperParameters) -> dict[str, Any]:
    """The values of the active hyperparameters, suggested as a user of Optuna would write it for this space."""
    return fill_values(space, partial(_suggest, trial))


def _suggest(trial: optuna.Trial, entry: Any) -> Any:
    if isinstance(entry, _PARAMETERS.Boolean):
        return trial.suggest_categorical(entry.name, [False, True])
    if isinstance(entry, _PARAMETERS.Choice):
        return trial.suggest_categorical(entry.name, list(entry.values))
    log = entry.sampling == "log"
    if isinstance(entry, _PARAMETERS.Int):
        return trial.suggest_int(entry.name, entry.min_value, entry.max_value, step=entry.step or 1, log=log)
    return trial.suggest_float(entry.name, entry.min_value, entry.max_value, step=entry.step, log=log)


def _keras_tuner(oracle_class: type[keras_tuner.Oracle], options: Callable[[int], dict[str, Any]]) -> MakePeer:
    nothing: dict[str, Any] = {"save": lambda self: None, "_save_trial": lambda self, trial: None}
    # it would rewrite all its state on the disk after every trial
    without_files = type(oracle_class.__name__, (oracle_class,), nothing)

    def make(space: keras_tuner.HyperParameters, epochs: int, seed: int) -> Searcher:
        oracle = without_files(
            objective=keras_tuner.Objective(OBJECTIVE, "max"),
            hyperparameters=space.copy(),
            seed=seed,
            max_consecutive_failed_trials=10**9,
            **options(epochs),
        )
        return KerasTunerSearcher(oracle, epochs)

    return make


def _optuna_tpe(pruner: Callable[[int], optuna.pruners.BasePruner]) -> MakePeer:
    def make(space: keras_tuner.HyperParameters, epochs: int, seed: int) -> Searcher:
        return OptunaSearcher(optuna.samplers.TPESampler(seed=seed), pruner(epochs), space, epochs, f"study-{seed}")

    return make


PEERS: dict[str, MakePeer] = {
    "KerasTuner RandomSearch": _keras_tuner(
        keras_tuner.oracles.RandomSearchOracle, lambda epochs: {"max_trials": 10**6}
    ),
    "KerasTuner BayesianOptimization": _keras_tuner(
        keras_tuner.oracles.BayesianOptimizationOracle, lambda epochs: {"max_trials": 10**6}
    ),
    "KerasTuner Hyperband": _keras_tuner(
        keras_tuner.oracles.HyperbandOracle, lambda epochs: {"max_epochs": epochs, "hyperband_iterations": 100}
    ),
    "Optuna TPE": _optuna_tpe(lambda epochs: optuna.pruners.NopPruner()),
    "Optuna TPE + Median": _optuna_tpe(lambda epochs: optuna.pruners.MedianPruner()),
    "Optuna TPE + Hyperband": _optuna_tpe(
        lambda epochs: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    ),
    "Optuna TPE + SuccessiveHalving": _optuna_tpe(lambda epochs: optuna.pruners.SuccessiveHalvingPruner()),
}
"""With their defaults, except that Hyperband is told how long a whole training is and goes on as long as it may."""


def _optuna_gp(space: keras_tuner.HyperParameters, epochs: int, seed: int) -> Searcher:
    import torch

    torch.set_num_threads(1)  # as many searches run at the same time as there are cores
    sampler = optuna.samplers.GPSampler(seed=seed)
    return OptunaSearcher(sampler, optuna.pruners.NopPruner(), space, epochs, f"study-{seed}")


OPTIONAL_PEERS: dict[str, MakePeer] = {"Optuna GP": _optuna_gp, **search_peers.PEERS}
"""Peers that need packages which galaxy_exp does not."""

SLOW_PEERS = ("Syne Tune BOHB", "Syne Tune MOBSTER", "Syne Tune DyHPO")
"""A search takes them 15 seconds to many minutes, so they run where they are named, or with --slow."""

I_EPOCHS = tuple(
    f"{sampler} + benchmarks.i_epoch:IEpoch, first_rung={i}"
    for sampler in (SearchConfig().sampler_choice, "random")
    for i in (1, 2, 3)
)
"""i-Epoch with the default's sampler, and as published."""


def missing_package(name: str) -> str | None:
    """The package that a contender needs and that is not installed."""
    package = "torch" if name == "Optuna GP" else search_peers.PACKAGES.get(name.split()[0])
    needed = package if name in OPTIONAL_PEERS else None
    return needed if needed is not None and importlib.util.find_spec(needed) is None else None


def make_searcher(
    name: str, space: keras_tuner.HyperParameters, epochs: int, seed: int, table: CurveTable | None = None
) -> Searcher:
    """The search called `name`: a peer, or galaxy_exp's "sampler + scheduler, setting=value, ...".

    The setting `prior` is an expert's: good or bad, see `_with_prior`.

    Args:
        epochs: of a training that is not stopped.
        seed: from 1 up.
        table: that is replayed, if any; for priors and seconds.
    """
    make_peer = PEERS.get(name) or OPTIONAL_PEERS.get(name)
    if make_peer is not None:
        return make_peer(space, epochs, derive_seed(seed, "peer"))
    both, *settings = name.split(", ")
    sampler, _, scheduler = both.partition(" + ")
    options: dict[str, Any] = {
        key: parse_scalar(value, name) for key, value in (setting.split("=") for setting in settings)
    }
    searched, expert = SearchSpace.of(space), options.pop("prior", None)
    if expert is not None:
        assert table is not None, "a prior needs a table"
        searched = _with_prior(searched, table, expert, seed)
    search = SearchConfig.model_validate({"sampler": sampler, "scheduler": scheduler, "seed": seed, **options})
    return GalaxyExpSearcher(build_proposer(search, searched, epochs=epochs), search, epochs, table)


def _with_prior(space: SearchSpace, table: CurveTable, expert: str, seed: int) -> SearchSpace:
    """The space with a prior on each hyperparameter.

    A good expert names a configuration at random out of the best twentieth of the table, a bad one out of the worst,
    where those that diverged are. What is inactive there has no prior.
    """
    scores = [max(row.curves[OBJECTIVE]) if row.state == "completed" else -math.inf for row in table.rows]
    ranked = np.argsort(scores, kind="stable")
    n_candidates = max(1, len(ranked) // 20)
    candidates = {"good": ranked[-n_candidates:], "bad": ranked[:n_candidates]}[expert]
    values = table.rows[np.random.default_rng(derive_seed(seed, "expert")).choice(candidates)].values
    return SearchSpace(
        replace(each, prior=Prior(values[each.name], CONFIDENCE)) if each.name in values else each
        for each in space.hyperparameters
    )
