"""Any KerasTuner oracle as a proposer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras_tuner
from threadpoolctl import threadpool_limits

from galaxy_exp.records import HyperparameterValue, Objective, Outcome
from galaxy_exp.search.proposer import NoProposal
from galaxy_exp.search.user_classes import calling
from galaxy_exp.space.search_space import fingerprint

__all__ = ["OracleProposer"]

_REPEATS = 50
"""After so many known proposals in a row, the oracle is taken as exhausted."""


class OracleProposer:
    """Drives an oracle that was written for a `keras_tuner.Tuner`.

    It differs from a tuner:

    - Nothing is written to disk; a resumed sweep repeats the same proposals and results.
    - A configuration that is already known (KerasTuner's Bayesian oracle repeats itself) is not trained again: the
      oracle gets the known result, or the average one while the trial still runs, and is asked once more.
    - A trial that was stopped early ends as completed, with the objective it reached: KerasTuner scores a stopped one
      with the score of the trial before it.
    - A bad trial ends as completed, and as bad as the worst seen, as KerasTuner's oracles ignore failed trials: the
      Bayesian one returns to the same place, Hyperband's later rungs get smaller. Before any success it ends as failed.
    - `tuner/trial_id` of Hyperband's promoted trials is the number of the sweep's trial, not the oracle's own id.
    - The oracle's limits of trials and failures are not used; the sweep has its own, which an order may change. Only a
      `max_trials` of the user's, for which `has_own_limit` stands, ends the search.
    """

    def __init__(self, oracle: keras_tuner.Oracle, objective: Objective, *, has_own_limit: bool = False) -> None:
        oracle.verbose = 0
        oracle.max_consecutive_failed_trials = math.inf
        # KerasTuner would write all its state after every trial
        oracle.save = oracle._save_trial = lambda *args: None
        self._oracle = oracle
        self._objective = objective
        self._has_own_limit = has_own_limit
        self._trials: dict[int, Any] = {}
        """Those that the oracle proposed and that have not ended."""
        self._numbers: dict[str, int] = {}
        """The sweep's trial by the oracle's id."""
        self._configurations: dict[frozenset[Any], int] = {}
        self._scores: dict[int, float | None] = {}

    def propose(self, number: int) -> Mapping[str, HyperparameterValue] | NoProposal:
        """As in `Proposer`.

        Raises:
            SweepFailedError: the oracle raised an exception.
        """
        for repeat in range(_REPEATS):
            begun = len(self._oracle.trials)
            if not self._has_own_limit and self._oracle.max_trials and begun >= self._oracle.max_trials:
                self._oracle.max_trials = begun + 1
            with self._calling("create_trial"):
                trial = self._oracle.create_trial(f"{number}-{repeat}")
            if trial.status == "IDLE" and self._oracle.ongoing_trials:
                return NoProposal.WAIT
            if trial.status != "RUNNING":
                return NoProposal.EXHAUSTED
            values = {name: _plain(value) for name, value in trial.hyperparameters.values.items()}
            if (promoted := self._numbers.get(str(values.get("tuner/trial_id")))) is not None:
                values["tuner/trial_id"] = str(promoted)
            twin = self._configurations.get(fingerprint(values))
            self._numbers[trial.trial_id] = number if twin is None else twin
            if twin is None:
                self._trials[number] = trial
                self._configurations[fingerprint(values)] = number
                return values
            self._end(trial, {0: self._score_like(twin)})
        return NoProposal.EXHAUSTED

    def adopt(self, number: int, values: Mapping[str, HyperparameterValue], *, proposed: bool) -> None:
        """As in `Proposer`; values that it did not propose stay unknown to the oracle unless it proposes them too."""
        if proposed:
            found = self.propose(number)
            if not isinstance(found, NoProposal) and found != values:
                del self._configurations[fingerprint(found)]
                self._trials[number].hyperparameters.values = dict(values)
        self._configurations[fingerprint(values)] = number

    def tell(self, number: int, outcome: Outcome) -> None:
        """As in `Proposer`; the oracle itself learns only the first end of a trial that continues.

        Raises:
            SweepFailedError: the oracle raised an exception.
        """
        self._scores[number] = score = _score(outcome)
        trial = self._trials.pop(number, None)
        if trial is None:
            return
        curve = {epoch: value for epoch, value in enumerate(outcome.curve, start=1) if math.isfinite(value)}
        if score is None:
            self._end(trial, {0: self._worst()})
        else:
            self._end(trial, curve or {0: score})

    def _end(self, trial: Any, curve: Mapping[int, float | None]) -> None:
        """Ends a trial with the objective by epoch; as failed if there is none."""
        with self._calling("end_trial"):
            trial.status = "FAILED"
            for epoch, value in curve.items():
                if value is not None:
                    self._oracle.update_trial(trial.trial_id, {self._objective.name: value}, step=epoch)
                    trial.status = "COMPLETED"
            self._oracle.end_trial(trial)

    def _score_like(self, number: int) -> float | None:
        """The score of trial `number`; while it runs, the average of the others."""
        if number in self._scores:
            score = self._scores[number]
            return self._worst() if score is None else score
        known = [score for score in self._scores.values() if score is not None]
        return sum(known) / len(known) if known else None

    def _worst(self) -> float | None:
        known = [score for score in self._scores.values() if score is not None]
        return max(known, key=self._objective.sort_key, default=None)

    @contextmanager
    def _calling(self, method: str) -> Iterator[None]:
        """Turns what the oracle raises into one line.

        KerasTuner then leaves the oracle's lock with this thread, which can still call it.
        """
        where = f"search.sampler: {type(self._oracle).__name__}.{method}"
        # the processors are busy with training, and its matrices small; its warnings help nobody
        with calling(where), threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield


def _score(outcome: Outcome) -> float | None:
    """The objective at the best epoch; None for a trial that is bad evidence."""
    broken = any(violation > 0 for violation in outcome.violations)
    if broken or not outcome.state.has_model or outcome.values is None or not math.isfinite(outcome.values[0]):
        return None
    return outcome.values[0]


def _plain(value: Any) -> HyperparameterValue:
    """Some oracles propose NumPy's numbers, which cannot be written as JSON."""
    plain: HyperparameterValue = value.item() if hasattr(value, "item") else value
    return plain
