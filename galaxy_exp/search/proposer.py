"""What the sweep's loop asks of a search, and the search that asks one of our samplers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Protocol

from galaxy_exp.records import Evidence, HyperparameterValue, Objective, Outcome
from galaxy_exp.search.history import History
from galaxy_exp.search.prior_knowledge import EarlierSweeps, ExpertPrior
from galaxy_exp.search.samplers import RandomSampler, SamplerFactory
from galaxy_exp.space.search_space import SearchSpace, Values

__all__ = ["NoProposal", "Proposer", "SamplerProposer", "continued_trial", "epochs_of"]


class NoProposal(Enum):
    """Why there is no configuration to try now."""

    WAIT = "wait"
    """The next proposal depends on a trial that still runs."""
    EXHAUSTED = "exhausted"
    """Every configuration of a finite space was tried, or the search has ended."""


class Proposer(Protocol):
    """Proposes hyperparameters; used from one thread.

    Every trial of a sweep is made known by its number, in order: either `propose` chose its values, or they were
    decided elsewhere (the baseline, an enqueued configuration, a recorded proposal) and `adopt` is called. The same
    calls in the same order lead to the same proposals.
    """

    def propose(self, number: int) -> Mapping[str, HyperparameterValue] | NoProposal:
        """The active hyperparameters of a new trial, which counts as running from now on."""
        ...

    def adopt(self, number: int, values: Mapping[str, HyperparameterValue], *, proposed: bool) -> None:
        """Adds a trial whose values are decided.

        Args:
            proposed: whether `propose` chose these values in an earlier process of the sweep, so that a search with a
                state of its own has to repeat the proposal; False for values that it never chose.
        """
        ...

    def tell(self, number: int, outcome: Outcome) -> None:
        """A trial ended; called once for each."""
        ...


def epochs_of(values: Mapping[str, HyperparameterValue], default: int) -> int:
    """For how many epochs a configuration is trained; KerasTuner's Hyperband states it among the values."""
    return int(values.get("tuner/epochs", default))


def continued_trial(values: Mapping[str, HyperparameterValue]) -> tuple[int, int] | None:
    """The number of the trial that a configuration continues, and after how many epochs; None if it continues none.

    KerasTuner's Hyperband states both among the values of a trial that it promotes.
    """
    number, epochs = values.get("tuner/trial_id"), values.get("tuner/initial_epoch")
    if not isinstance(number, str) or not number.isdecimal() or not epochs:
        return None
    return int(number), int(epochs)


_DRAWS = 50
"""How often a configuration that was tried before is drawn again before a finite space is searched in order."""


class SamplerProposer:
    """Proposes what a sampler chooses, and no configuration twice unless asked to.

    A proposal follows from the seed, the trial's number, the trials so far and the results of those that ended, in that
    order, and from nothing else.

    Args:
        objectives: the first is the one that trials are ranked by.
        make_sampler: see `galaxy_exp.search.building.sampler_factory`.
        seed: from 0 up.
        executions: how many trials in a row get the same values.
        epochs: of a trial that is not stopped.
        evidence: finished trials of earlier sweeps. The sampler learns from those that are comparable as from the
            sweep's own, and their configurations may be proposed again; for the others see `EarlierSweeps`.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        make_sampler: SamplerFactory,
        seed: int,
        *,
        executions: int = 1,
        epochs: int,
        evidence: Sequence[Evidence] = (),
    ) -> None:
        self._space = space
        self._history = History(objectives, epochs)
        self._executions = executions
        for known in (each for each in evidence if each.comparable):
            self._history.end(self._history.begin(known.values, is_of_this_sweep=False), known.outcome)
        self._sampler = make_sampler(space, self._history, seed)
        self._random = RandomSampler(space, self._history, seed)
        self._earlier = EarlierSweeps(evidence, space, self._history, seed)
        has_prior = bool(space.with_prior)
        self._prior = ExpertPrior(space, self._history, seed, self._sampler.prior_trials) if has_prior else None
        self._n_proposed = 0
        self._positions: dict[int, int] = {}
        self._repeatable: Values | None = None
        self._asked = -1

    def propose(self, number: int) -> Mapping[str, HyperparameterValue] | NoProposal:
        """As in `Proposer`; exhausted once every configuration of a finite space was tried."""
        values = self._ask(number)
        if values is None:
            return NoProposal.EXHAUSTED
        self.adopt(number, values, proposed=True)
        return dict(values)

    def adopt(self, number: int, values: Mapping[str, HyperparameterValue], *, proposed: bool) -> None:
        if proposed and self._sampler.has_a_state and number != self._asked:
            self._ask(number)
        self._n_proposed += proposed
        self._positions[number] = self._history.begin(dict(values))
        if proposed:
            self._repeatable = dict(values)

    def tell(self, number: int, outcome: Outcome) -> None:
        self._history.end(self._positions[number], outcome)

    def _ask(self, number: int) -> Values | None:
        self._asked = number
        latest = self._repeatable
        is_repeated = latest is not None and self._history.count(latest) < self._executions
        return latest if is_repeated else self._untried(number)

    def _untried(self, number: int) -> Values | None:
        candidate = self._prior.centre() if self._prior is not None and not self._n_proposed else None
        if candidate is None:
            candidate = self._earlier.propose(number)
        if candidate is None and self._prior is not None:
            candidate = self._prior.propose(number)
        if candidate is not None:
            return candidate
        for draw in range(_DRAWS):
            sampler = self._sampler if draw < self._sampler.draws else self._random
            values = sampler.sample(number, draw)
            if values is None or not self._history.count(values):
                return values
        if self._space.first_continuous():
            return None
        return next((values for values in self._space.configurations() if not self._history.count(values)), None)
