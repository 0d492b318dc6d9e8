"""The rules by which a journal's events, one after the other, make up the record of its sweep."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from galaxy_exp.config.differences import BUDGET, changes_workers
from galaxy_exp.errors import JournalError
from galaxy_exp.journal.events import (
    EpochReported,
    Event,
    FinalistsChosen,
    ModelRegistered,
    OrderTaken,
    ParentRunCreated,
    PromotionDecided,
    SealedTestOpened,
    SweepChanged,
    SweepEnded,
    SweepResumed,
    SweepStarted,
    TrialEnded,
    TrialProjected,
    TrialProposed,
    TrialRunCreated,
    TrialStarted,
    WinnerChosen,
    WorkerLost,
    WorkersChosen,
)
from galaxy_exp.journal.orders import EndTrial, FinishSearch, TryConfiguration
from galaxy_exp.journal.record import HistoryStep, Step, SweepRecord, TrialRecord
from galaxy_exp.records import Decision, Gain, TrialResult

__all__ = ["apply_event", "misplaced", "replay"]


def replay(events: Iterable[Event], where: Path | str) -> SweepRecord:
    """The record of a sweep after these events of its journal; `where` names the journal in messages.

    Raises:
        JournalError: the journal does not begin with `sweep_started`, or an event cannot follow those before it.
    """
    iterator = iter(events)
    first = next(iterator, None)
    if not isinstance(first, SweepStarted):
        raise JournalError(f"{where}: the journal does not begin with the start of a sweep")
    record = SweepRecord(first, updated_at=first.time)
    for line, event in enumerate(iterator, start=2):
        if (why := misplaced(event, record)) is not None:
            raise JournalError(f"{where}:{line}: {event.event} {why}")
        apply_event(event, record)
    return record


def misplaced(event: Event, record: SweepRecord) -> str | None:
    """Why an event cannot be the next one of a journal (lines were lost, doubled or moved), in words that follow its
    name; None if it can."""
    if isinstance(event, SweepStarted):
        return "comes a second time"
    for number in _trials_of(event):
        if number not in record.trials:
            return f"names trial {number}, which was never proposed"
    if isinstance(event, TrialProposed) and event.number != len(record.trials):
        return f"names trial {event.number} where trial {len(record.trials)} comes next"
    if isinstance(event, TrialEnded) and record.trials[event.result.number].result is not None:
        return f"names trial {event.result.number}, which had ended before"
    if isinstance(event, TrialStarted):
        origin = event.number if event.continues is None else event.continues
        if event.from_epoch > (known := len(record.trials[origin].reports)):
            return f"begins with {event.from_epoch} epochs of trial {origin}, which has reported {known}"
    return None


def _trials_of(event: Event) -> list[int]:
    """The trials that must have been proposed before this event."""
    match event:
        case EpochReported():
            return [event.report.number]
        case TrialEnded():
            return [event.result.number]
        case FinalistsChosen():
            return event.numbers
        case TrialProposed():
            return [] if event.retrains is None else [event.retrains]
        case TrialStarted() if event.continues is not None:
            return [event.number, event.continues]
        case TrialStarted() | WorkerLost() | TrialRunCreated() | TrialProjected():
            return [event.number]
        case WinnerChosen() | SealedTestOpened() | ModelRegistered():
            return [event.number]
        case OrderTaken(order=EndTrial() as order, accepted=True):
            return [order.trial]
        case _:
            return []


def apply_event(event: Event, record: SweepRecord) -> None:
    """Updates the record with one event; KeyError if it names a trial that was never proposed."""
    if not isinstance(event, ParentRunCreated | TrialRunCreated | TrialProjected | ModelRegistered):
        asleep = event.asleep_seconds if isinstance(event, SweepResumed) else 0.0
        if asleep is not None and not isinstance(event, SweepChanged):  # else no process worked on the sweep before
            record.active_seconds += max(0.0, event.time - record.updated_at - asleep)
        record.updated_at = event.time
    match event:
        case TrialProposed():
            record.trials[event.number] = record.unfinished[event.number] = TrialRecord(
                event.number,
                event.values,
                event.seed,
                event.time,
                predetermined=event.predetermined,
                retrains=event.retrains,
            )
            record.history.append(HistoryStep(Step.PROPOSED, event.number))
        case TrialStarted():
            _start_trial(record, record.trials[event.number], event)
        case EpochReported():
            record.precision = record.precision or event.report.precision
            record.trials[event.report.number].take_report(event.report, event.decision, event.time)
        case WorkerLost():
            trial = record.trials[event.number]
            trial.losses.append(event.reason)
            trial.losses_in_a_row += 1
        case TrialEnded():
            _end_trial(record, record.trials[event.result.number], event.result, event.time)
        case TrialRunCreated():
            trial = record.trials[event.number]
            if event.run_id != trial.run_id:
                trial.run_revision = trial.revision
            trial.run_id, trial.run_attempt = event.run_id, event.attempt
        case TrialProjected():
            trial = record.trials[event.number]
            trial.projected = trial.result is not None and event.attempt in (0, trial.attempt)
        case _:
            _apply_to_sweep(event, record)


def _start_trial(record: SweepRecord, trial: TrialRecord, event: TrialStarted) -> None:
    if trial.result is not None:
        record.reopen(trial)
        trial.held, trial.answers = False, [Decision.CONTINUE] * len(trial.answers)
    if event.from_epoch > trial.from_epoch:
        trial.losses_in_a_row = 0
    trial.attempt, trial.started_at, trial.from_epoch = event.attempt, event.time, event.from_epoch
    trial.decision = Decision.CONTINUE
    trial.revision += event.attempt > 1 and (event.from_epoch == 0 or event.from_epoch < len(trial.reports))
    origin = trial if event.continues is None else record.trials[event.continues]
    trial.reports, trial.report_times = origin.reports[: event.from_epoch], origin.report_times[: event.from_epoch]
    if origin is not trial:
        trial.known, trial.answers = list(trial.reports), [Decision.CONTINUE] * event.from_epoch


def _end_trial(record: SweepRecord, trial: TrialRecord, result: TrialResult, time: float) -> None:
    record.precision = record.precision or result.precision
    earlier = record.last_ends.get(trial.number)
    if earlier is not None and earlier.result is not None and result.attempt < trial.attempt:
        _keep_earlier_end(trial, earlier)
    trial.ended_at, trial.result = time, result  # in this order for observers in another thread
    trial.ordered, trial.ends_after = Decision.CONTINUE, 0
    record.end_order.append(trial.number)
    step = HistoryStep(Step.ENDED, trial.number, result, tuple(trial.reports), tuple(trial.report_times))
    record.history.append(step)
    record.last_ends[trial.number] = step
    record.unfinished.pop(trial.number, None)
    record.finished_epochs += trial.own_epochs


def _keep_earlier_end(trial: TrialRecord, earlier: HistoryStep) -> None:
    """A trial that continued and was lost or failed has the epochs of its earlier end, and does not continue again."""
    trial.revision += trial.reports != list(earlier.reports)
    trial.reports, trial.report_times = list(earlier.reports), list(earlier.report_times)
    trial.decision = Decision.STOP


def _apply_to_sweep(event: Event, record: SweepRecord) -> None:
    match event:
        case ParentRunCreated():
            record.parent_run_id, record.experiment_id = event.run_id, event.experiment_id
        case FinalistsChosen():
            record.finalists, record.why_search_ended = event.numbers, event.reason
        case WinnerChosen():
            record.winner = event.number
        case SealedTestOpened():
            record.test_reports[event.number] = event.report
            record.test_set |= {str(event.report.get("digest", "")), event.test_images} - {""}
            record.opening = max(record.opening, event.opening)
            record.gains |= {metric: Gain.of_difference(metric, *ends) for metric, ends in event.gains.items()}
        case ModelRegistered():
            record.registered = event
        case PromotionDecided():
            record.promotion = event
            record.opening = max(record.opening, event.opening)
        case SweepEnded():
            record.ended = event
        case SweepChanged():
            _change_sweep(event, record)
        case OrderTaken():
            record.orders.append(event)
            if event.accepted:
                _carry_out(event, record)
        case WorkersChosen():
            record.workers_chosen = event
        case SweepResumed():
            if event.asleep_seconds is None:
                record.ended, record.ended_before_resuming = None, len(record.end_order)
        case _:
            raise TypeError(f"no rule for {type(event).__name__}")


def _carry_out(event: OrderTaken, record: SweepRecord) -> None:
    match event.order:
        case EndTrial():
            record.trials[event.order.trial].end_by_order(event.order.decision)
        case TryConfiguration():
            record.enqueued_by_order.append(event.order.values)
        case FinishSearch():
            record.is_ordered_to_finish = True
            for trial in record.unfinished.values():
                if trial.decision is Decision.CONTINUE:
                    trial.end_by_order(Decision.STOP)
    if event.change is not None:
        _change_sweep(event.change, record)


def _change_sweep(event: SweepChanged, record: SweepRecord) -> None:
    record.changed.append(event)
    record.__dict__.pop("config", None)  # the cached one
    if changes_workers(event.changes):
        record.workers_chosen = None
    if any(change.key in BUDGET for change in event.changes):
        record.is_ordered_to_finish = False
    if event.reopens_search:
        record.finalists, record.why_search_ended = None, ""
    if event.tracking_uri:  # another MLflow store, which has no run and no version yet
        record.tracking_uri = event.tracking_uri
        record.parent_run_id = record.experiment_id = record.registered = record.promotion = None
        for trial in record.trials.values():
            trial.run_id, trial.run_attempt, trial.projected = None, 0, False
