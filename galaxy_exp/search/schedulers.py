"""Which trial gets the next epochs: the one that has just reported, a paused one, or a new one.

A scheduler is a pure function of the curves seen so far, so nothing has to be restored when a sweep is resumed, and the
decision is the same with any engine.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, cast

from scipy.stats import spearmanr

from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.errors import ConfigError, SweepFailedError
from galaxy_exp.records import Decision, Objective
from galaxy_exp.search.history import best_key, promise
from galaxy_exp.search.stopping_rules import Brackets, Curves, NoStopping, StoppingRule, rungs_below
from galaxy_exp.search.user_classes import calling, construct, load_class
from galaxy_exp.search_methods import SCHEDULERS

__all__ = [
    "AshaScheduler",
    "Curves",
    "HyperbandScheduler",
    "PromotionScheduler",
    "Scheduler",
    "StoppingScheduler",
    "UserScheduler",
    "build_scheduler",
    "no_scheduler",
]

FIRST_RUNG = 2
"""The first rung where the sweep file names none."""

FIRST_TRIALS = 10
"""The trials that show whether the first epoch says anything: none of them is paused after it."""

LAST_TRIALS = 3
"""As many trials as there are finalists by default."""

MIN_TRIALS = 6
"""With fewer of them the second epoch is the first rung."""

MIN_AGREEMENT = 0.8
"""The rank correlation of the scores after one and after two epochs from which on one epoch is enough to compare."""


class Scheduler(Protocol):
    """Distributes epochs. Epochs count from 1; a curve may hold nan."""

    def decide(self, number: int, curves: Curves, paused: Collection[int]) -> Decision:
        """What happens to trial `number`, whose curve has just grown; not asked after its last epoch.

        Args:
            paused: the trials that are paused, without this one.
        """
        ...

    def choose(self, curves: Curves, paused: Collection[int], *, can_start_new: bool) -> int | None:
        """The paused trial that continues now that a worker is free; None for a new trial.

        Args:
            can_start_new: whether there may be a new trial; if not and None is returned, the search ends when the
                running trials have ended.
        """
        ...

    def first_decision(self, number: int) -> int | None:
        """The first epoch after which trial `number` may be paused or stopped; None if it runs all its epochs."""
        ...


def build_scheduler(search: SearchConfig, epochs: int) -> Scheduler:
    """The scheduler that a sweep names: one of `SCHEDULERS`, or package.module:Class.

    A user-defined class gets `objective` (a `galaxy_exp.records.Objective`), `epochs` (of a trial that is not stopped)
    and the settings of our schedulers (`first_rung`, `reduction_factor`, `patience`): those that its constructor has by
    name. It is a `Scheduler`, or a `galaxy_exp.search.stopping_rules.StoppingRule`, which only stops trials.

    Raises:
        ConfigError: if the class cannot be imported or constructed, or is neither.
    """
    name = search.scheduler
    scheduler_class = SCHEDULERS[name].load() if name in SCHEDULERS else load_class("search.scheduler", name)
    settings = {key: getattr(search, key) for method in SCHEDULERS.values() for key in method.options}
    if search.first_rung == "auto":
        settings |= {"first_rung": FIRST_RUNG, "adapt_first_rung": True}
    known = {"objective": search.objective_record, "epochs": epochs, **settings}
    made = construct("search.scheduler", name, scheduler_class, known)
    if _has_methods(made, ("decide", "choose", "first_decision")):
        scheduler = cast(Scheduler, made)
    elif _has_methods(made, ("is_rung", "should_stop", "first_decision")):
        scheduler = StoppingScheduler(made)
    else:
        raise ConfigError(
            f"search.scheduler: {name} has neither the methods of galaxy_exp.search.schedulers.Scheduler nor those of "
            "galaxy_exp.search.stopping_rules.StoppingRule"
        )
    return scheduler if name in SCHEDULERS else UserScheduler(name, scheduler)


def _has_methods(made: object, names: Sequence[str]) -> bool:
    return all(callable(getattr(made, name, None)) for name in names)


@dataclass(frozen=True, slots=True)
class StoppingScheduler:
    """Stops trials by a rule and pauses none. A trial that was paused for another reason continues when no new trial
    may start."""

    rule: StoppingRule

    def decide(self, number: int, curves: Curves, paused: Collection[int]) -> Decision:
        curve = curves[number]
        if not self.rule.is_rung(number, len(curve)):
            return Decision.CONTINUE
        others = {other: curve for other, curve in curves.items() if other != number}
        return Decision.STOP if self.rule.should_stop(number, curve, others) else Decision.CONTINUE

    def choose(self, curves: Curves, paused: Collection[int], *, can_start_new: bool) -> int | None:
        return None if can_start_new else min(paused, default=None)

    def first_decision(self, number: int) -> int | None:
        return self.rule.first_decision(number)


@dataclass(frozen=True, slots=True)
class UserScheduler:
    """A user-defined scheduler; what it raises, or returns in place of a decision, ends the sweep in one line."""

    reference: str
    """package.module:Class, for messages."""
    scheduler: Scheduler

    def decide(self, number: int, curves: Curves, paused: Collection[int]) -> Decision:
        with calling(self._where):
            decision: object = self.scheduler.decide(number, curves, paused)
        if not isinstance(decision, Decision):
            raise SweepFailedError(
                f"{self._where}: decide returned {decision!r}; expected a member of galaxy_exp.records.Decision"
            )
        return decision

    def choose(self, curves: Curves, paused: Collection[int], *, can_start_new: bool) -> int | None:
        with calling(self._where):
            return self.scheduler.choose(curves, paused, can_start_new=can_start_new)

    def first_decision(self, number: int) -> int | None:
        with calling(self._where):
            return self.scheduler.first_decision(number)

    @property
    def _where(self) -> str:
        return f"search.scheduler: {self.reference}"


def no_scheduler() -> Scheduler:
    """Every trial runs all its epochs."""
    return StoppingScheduler(NoStopping())


@dataclass(frozen=True)
class PromotionScheduler:
    """Asynchronous successive halving with promotion (Li et al. 2020, MLSys), on extrapolated curves.

    Rungs are at `first_rung` and at each doubling of it up to two thirds of `epochs`. A trial is paused at each rung.
    When a worker is free, the highest rung is looked for at which one of the best trials of all that have reached it is
    paused: the best quarter at the first rung, the best half at later ones. The best such trial continues to the next
    rung. If there is none, a new trial starts. When no new trial may start, the best `LAST_TRIALS` of each rung
    continue in any case, so that some trials are trained to their end.

    Trials are compared by what they promise to reach at their last epoch (`history.promise`).

    Args:
        adapt_first_rung: make the first epoch the first rung if the scores of the first ten trials after one and after
            two epochs rank them alike. After one epoch a network may have learnt nothing that tells it from another.
    """

    objective: Objective
    first_rung: int
    epochs: int
    adapt_first_rung: bool = False

    def decide(self, number: int, curves: Curves, paused: Collection[int]) -> Decision:
        epoch = len(curves[number])
        if number < FIRST_TRIALS and epoch < self.first_rung:
            return Decision.CONTINUE
        if epoch not in self._rungs_from(1) and epoch not in self._rungs_from(self.first_rung):
            return Decision.CONTINUE
        if epoch not in self._rungs(curves):
            return Decision.CONTINUE
        chosen = self.choose(curves, {*paused, number}, can_start_new=True)
        return Decision.CONTINUE if chosen == number else Decision.PAUSE

    def choose(self, curves: Curves, paused: Collection[int], *, can_start_new: bool) -> int | None:
        above = self.epochs
        rungs = self._rungs(curves)
        too_short = [number for number in paused if len(curves[number]) < next(iter(rungs), self.epochs)]
        if too_short:  # paused for another reason than a rung
            return min(too_short)
        for rung in reversed(rungs):
            waiting = {number for number in paused if rung <= len(curves[number]) < above}
            above = rung
            if waiting:
                n_reached = sum(len(curve) >= rung for curve in curves.values())
                n_best = n_reached // self._one_in(rung, rungs)
                best = self._best(curves, rung, n_best if can_start_new else max(LAST_TRIALS, n_best))
                chosen = next((number for number in best if number in waiting), None)
                if chosen is not None:
                    return chosen
        return None

    def first_decision(self, number: int) -> int | None:
        return next(iter(self._rungs_from(self.first_rung)), None)

    def _rungs_from(self, first: int) -> tuple[int, ...]:
        rungs = rungs_below(self.epochs, first, 2)
        return (*rungs[:1], *(rung for rung in rungs[1:] if 3 * rung <= 2 * self.epochs))

    def _one_in(self, rung: int, rungs: Sequence[int]) -> int:
        """Of how many trials that reach a rung one continues."""
        return 4 if rung == rungs[0] else 2

    def _best(self, curves: Curves, rung: int, count: int) -> list[int]:
        """The trials that promise most after `rung` epochs, the best first."""
        keys = [
            (_promise(self.objective, tuple(curve[:rung]), self.epochs), number)
            for number, curve in curves.items()
            if len(curve) >= rung
        ]
        return [number for _, number in sorted(keys)[:count]]

    def _rungs(self, curves: Curves) -> tuple[int, ...]:
        return self._rungs_from(1 if self.adapt_first_rung and self._one_epoch_tells(curves) else self.first_rung)

    def _one_epoch_tells(self, curves: Curves) -> bool:
        first = [curves[number] for number in range(FIRST_TRIALS) if len(curves.get(number, ())) >= 2]
        if len(first) < MIN_TRIALS:
            return False
        after_one, after_two = (tuple(best_key(self.objective, curve[:n]) for curve in first) for n in (1, 2))
        return _rank_correlation(after_one, after_two) >= MIN_AGREEMENT


@lru_cache(maxsize=100_000)
def _promise(objective: Objective, curve: tuple[float, ...], epochs: int) -> float:
    """Each curve is compared with the others again and again."""
    return promise(objective, curve, len(curve), epochs)


@lru_cache(maxsize=16)
def _rank_correlation(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Spearman's; 0 where all of one are equal."""
    return float(spearmanr(one, other).statistic) if len(set(one)) > 1 < len(set(other)) else 0.0


@dataclass(frozen=True)
class AshaScheduler(PromotionScheduler):
    """The same as in the paper: of the trials at each rung the best 1/`reduction_factor` continue, and each rung is
    `reduction_factor` times the one before."""

    reduction_factor: int = 3

    def _rungs_from(self, first: int) -> tuple[int, ...]:
        return rungs_below(self.epochs, first, self.reduction_factor)

    def _one_in(self, rung: int, rungs: Sequence[int]) -> int:
        return self.reduction_factor


class HyperbandScheduler(Brackets):
    """Hyperband with promotion: within its bracket a trial is paused and promoted as in `AshaScheduler`."""

    def decide(self, number: int, curves: Curves, paused: Collection[int]) -> Decision:
        bracket = self.bracket_of(number)
        rivals = self.curves_in(bracket, curves)
        return self._halving(bracket).decide(number, rivals, [other for other in paused if other in rivals])

    def choose(self, curves: Curves, paused: Collection[int], *, can_start_new: bool) -> int | None:
        for bracket in reversed(range(self.n_brackets)):
            rivals = self.curves_in(bracket, curves)
            waiting = [other for other in paused if other in rivals]
            chosen = self._halving(bracket).choose(rivals, waiting, can_start_new=can_start_new)
            if chosen is not None:
                return chosen
        return None

    def first_decision(self, number: int) -> int | None:
        return self._halving(self.bracket_of(number)).first_decision(number)

    def _halving(self, bracket: int) -> AshaScheduler:
        first_rung = self.first_rung_of(bracket)
        return AshaScheduler(self.objective, first_rung, self.epochs, reduction_factor=self.reduction_factor)
