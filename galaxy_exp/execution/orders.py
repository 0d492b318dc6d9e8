"""How the driver of a running sweep takes orders: each is journaled with its answer, and then carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from galaxy_exp.config.reading import FlagValue
from galaxy_exp.errors import ConfigError, OrderRefusedError
from galaxy_exp.execution.engine import Engine
from galaxy_exp.execution.resources import available_cores, refuse_too_many, threads_each
from galaxy_exp.journal.events import OrderTaken, SweepChanged
from galaxy_exp.journal.orders import (
    ChangeLimits,
    ChangeWorkers,
    EndTrial,
    FinishSearch,
    OrderFolder,
    ReceivedOrder,
    TryConfiguration,
    flag_of,
)
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.journal.resume_changes import find_change
from galaxy_exp.records import Decision, HyperparameterValue
from galaxy_exp.search.proposer import epochs_of
from galaxy_exp.space.search_space import SearchSpace, fingerprint
from galaxy_exp.wording import count, short_value

__all__ = ["OrderDesk", "ordered_decision"]

WhyNoTrial = Callable[[], str | None]
"""Why no further trial begins; None if one may."""


def ordered_decision(trial: TrialRecord, epoch: int, default_epochs: int) -> Decision:
    """What an order answers to the report of an epoch; CONTINUE without one, and in the last epoch."""
    is_last = epoch >= epochs_of(trial.values, default_epochs)
    return Decision.CONTINUE if is_last else trial.ordered_at(epoch)


@dataclass(frozen=True, slots=True)
class OrderDesk:
    """Takes the orders that wait in a sweep's folder; used from the loop's thread.

    What an order does follows from its event alone, but for the number of workers, which the engine gets here and
    which a resumed sweep reads from its configuration.
    """

    folder: OrderFolder
    engine: Engine

    def take(self, record: SweepRecord, write: Callable[[OrderTaken], None], why_no_trial: WhyNoTrial) -> bool:
        """Answers all that wait; returns whether one was accepted.

        Args:
            record: of the sweep; `write` updates it.
            write: journals an event.
            why_no_trial: asked only where an order depends on it.
        """
        any_accepted = False
        for received in self.folder.receive({taken.file for taken in record.orders}):
            event = _answer(received, record, why_no_trial)
            write(event)
            if event.accepted and isinstance(event.order, ChangeWorkers):
                self.engine.scale(event.order.workers)
            received.remove()
            any_accepted |= event.accepted
        return any_accepted


def _answer(received: ReceivedOrder, record: SweepRecord, why_no_trial: WhyNoTrial) -> OrderTaken:
    order, change = received.order, None
    if order is None:
        problem = f"orders/{received.name} {received.problem}; it was removed"
        return OrderTaken(file=received.name, order=None, accepted=False, answer=problem)
    try:
        match order:
            case EndTrial():
                answer = _end_trial(order, record)
            case TryConfiguration():
                answer = _try_configuration(order, record, why_no_trial)
            case ChangeLimits():
                answer, change = _change_limits(order, record)
            case ChangeWorkers():
                answer, change = _change_workers(order, record)
            case FinishSearch():
                answer = _finish(record)
    except (OrderRefusedError, ConfigError) as error:
        reason = "; ".join(error.problems) if isinstance(error, ConfigError) else str(error)
        return OrderTaken(file=received.name, order=order, accepted=False, answer=reason)
    return OrderTaken(file=received.name, order=order, accepted=True, answer=answer, change=change)


def _end_trial(order: EndTrial, record: SweepRecord) -> str:
    trial = record.trials.get(order.trial)
    if trial is None:
        newest = f"the newest is trial {len(record.trials) - 1}" if record.trials else "none has begun"
        raise OrderRefusedError(f"there is no trial {order.trial} yet; {newest}")
    saves = trial.result is None and trial.decision is not Decision.CONTINUE  # its worker does, after its last epoch
    is_paused = trial.is_paused or (saves and trial.decision is Decision.PAUSE)
    if is_paused and record.finalists is None:
        when = "continues when no new trial may start" if order.decision is Decision.PAUSE else "does not continue"
        return f"trial {trial.number} is paused already, and {when}"
    if trial.result is not None:
        raise OrderRefusedError(f"trial {trial.number} has ended: {trial.result.state}, {trial.result.reason}")
    if trial.retrains is not None:
        raise OrderRefusedError(
            f"trial {trial.number} trains finalist {trial.retrains} again, and finalists are compared after all their "
            "epochs"
        )
    if saves and order.decision is Decision.PAUSE:
        raise OrderRefusedError(f"trial {trial.number} is stopped already, after epoch {len(trial.reports)}")
    if saves:
        return f"trial {trial.number} is stopped already, after epoch {len(trial.reports)}"
    epochs = epochs_of(trial.values, record.config.training.epochs)
    last = min(len(trial.reports) + 1, epochs)
    if last == epochs:
        raise OrderRefusedError(f"trial {trial.number} is in its last epoch ({last} of {epochs}) and ends with it")
    what = "is paused" if order.decision is Decision.PAUSE else "ends"
    return f"trial {trial.number} {what} after epoch {last} of {epochs}"


def _try_configuration(order: TryConfiguration, record: SweepRecord, why_no_trial: WhyNoTrial) -> str:
    _refuse_after_the_search(record)
    space = SearchSpace.from_config(record.started.space)
    active = {each.name for each in space.hyperparameters if each.is_active(order.values)}
    if active != set(order.values):
        wrong = ", ".join(sorted(active ^ set(order.values)))
        raise OrderRefusedError(f"the values are not a whole configuration of the space of this sweep: {wrong}")
    waiting = record.waiting
    _refuse_repetition(order.values, record, waiting)
    number, limit = len(record.trials) + len(waiting), record.config.search.max_trials
    if number >= limit:
        raise OrderRefusedError(
            f"max_trials is {limit}, which leaves no trial for it; raise it first: galaxy-exp tell {record.sweep_id} "
            f"limits --max-trials {number + 1}"
        )
    if (reason := why_no_trial()) is not None:
        raise OrderRefusedError(f"no further trial begins: {reason}")
    changed = record.changes_from_baseline(order.values)
    stated = ", ".join(f"{name}={short_value(value)}" for name, value in changed.items())
    return f"trial {number} tries {stated or 'the values of the baseline'}"


def _refuse_repetition(
    values: dict[str, HyperparameterValue], record: SweepRecord, waiting: Sequence[dict[str, HyperparameterValue]]
) -> None:
    known = {trial.number: trial.values for trial in record.searched}
    known |= {len(record.trials) + position: each for position, each in enumerate(waiting)}
    tried = [f"trial {number}" for number, each in known.items() if fingerprint(each) == fingerprint(values)]
    if len(tried) >= record.config.search.executions:
        raise OrderRefusedError(f"{' and '.join(tried)} {'has' if len(tried) == 1 else 'have'} these values already")


def _change_limits(order: ChangeLimits, record: SweepRecord) -> tuple[str, SweepChanged | None]:
    _refuse_after_the_search(record)
    flags = [FlagValue(flag_of(name), f"search.{name}", value) for name, value in order.limits.items()]
    change = find_change(record, flags=flags, as_recorded=True)
    if change is None:
        return "the limits have these values already", None
    answer = "; ".join(map(str, change.changes))
    limit, waiting = order.limits.get("max_trials"), len(record.waiting)
    n_left = min(waiting, len(record.trials) + waiting - limit) if limit is not None else 0
    if n_left > 0:
        answer += f"; {n_left} of {count(waiting, 'configuration')} that wait to be tried will get no trial"
    return answer, change


def _change_workers(order: ChangeWorkers, record: SweepRecord) -> tuple[str, SweepChanged | None]:
    execution, number = record.config.execution, order.workers
    if execution.cluster is not None and isinstance(execution.workers, int) and number < execution.workers:
        raise OrderRefusedError(
            f"{execution.workers} SLURM jobs are submitted, and fewer might end one that trains; stop the sweep with "
            f"Ctrl-C, then: galaxy-exp resume {record.sweep_id} --workers {number}"
        )
    try:
        refuse_too_many(execution.model_copy(update={"workers": number}))
    except ConfigError as error:
        raise OrderRefusedError(str(error)) from error
    flag = FlagValue("workers", "execution.workers", number)
    change = find_change(record, flags=[flag], as_recorded=True)
    if change is None:
        return f"the number of workers is {number} already", None
    if not execution.is_local:
        where = "jobs of the cluster" if execution.cluster is not None else "workers of the cluster at most"
        return f"{number} {where} from now on", change
    threads = execution.threads or threads_each(available_cores(), number)
    each = "all cores" if number == 1 and execution.threads is None else f"{threads} thread{'s' * (threads > 1)} each"
    return f"{number} worker{'s' * (number > 1)} from now on, {each}; a running trial ends as it began", change


def _finish(record: SweepRecord) -> str:
    if record.is_ordered_to_finish and record.finalists is None:
        return "the search was ordered to finish already"
    _refuse_after_the_search(record)
    running = len(record.unfinished)
    ends = f"{running} running one{'s end' if running > 1 else ' ends'} after the current epoch, " if running else ""
    return f"no further trial begins; {ends}then finalists, test and registration follow"


def _refuse_after_the_search(record: SweepRecord) -> None:
    if record.finalists is not None:
        again = [trial for trial in record.trials.values() if trial.retrains is not None]
        done = sum(trial.result is not None for trial in again)
        all_ = record.config.registry.seeds * len(record.finalists)
        raise OrderRefusedError(
            f"the search is over ({record.why_search_ended}), and its finalists are being trained again ({done} of "
            f"{all_} trainings are done); a new sweep learns from it with: --set search.warm_start={record.sweep_id}"
        )
    if record.is_ordered_to_finish:
        raise OrderRefusedError("the search was ordered to finish")
