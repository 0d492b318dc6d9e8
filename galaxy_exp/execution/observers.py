"""Observers of a sweep: two that delete models and checkpoints, and one that passes events on in a thread."""

from __future__ import annotations

import queue
import shutil
import threading
from types import TracebackType
from typing import Protocol, Self

from galaxy_exp.folders import CheckpointName, SweepFolder, graph_of
from galaxy_exp.journal.checkpoints import needed_checkpoints
from galaxy_exp.journal.events import Event, TrialEnded, TrialStarted, WorkerLost
from galaxy_exp.journal.record import SweepRecord, TrialRecord

__all__ = ["BackgroundObserver", "CheckpointKeeper", "ModelKeeper", "Observer"]


class Observer(Protocol):
    """Follows a sweep; called once for each event, after the event was journaled."""

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """Called with an event; `record` includes it, and possibly later ones."""


class BackgroundObserver:
    """Calls an observer in a thread of its own, so that no worker waits for it; used as a context.

    On leaving, the observer completes the event that it is processing and misses all later ones, so it must be able to
    find out from the record what it missed.

    Args:
        observer: gets the events in their order; the record may grow while it reads it.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._events: queue.SimpleQueue[tuple[Event, SweepRecord] | None] = queue.SimpleQueue()
        self._leaving = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._pass_on, name="galaxy-exp-observer", daemon=True)

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`; raises what the observer raised at an earlier event."""
        self._raise()
        self._events.put((event, record))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving = True
        self._events.put(None)
        self._thread.join()
        if kind is None:
            self._raise()

    def _pass_on(self) -> None:
        while (entry := self._events.get()) is not None and not self._leaving:
            try:
                self._observer.on_event(*entry)
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that the events come from
                self._error = error
                return

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


class ModelKeeper:
    """Deletes models that cannot win any more.

    It keeps the best `tracking.keep_models` models of the search, the baseline's model, and for each finalist the best
    of the models that were trained again; all of these if the sweep registers their ensemble.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._kept: dict[int, TrialRecord] | None = None
        """The trials of the search that may have a model, by number; None before the first event."""

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`."""
        if not isinstance(event, TrialEnded):
            return
        ended = record.trials[event.result.number]
        if ended.retrains is not None:
            beaten = _beaten_repetitions(ended.retrains, record)
        else:
            beaten = self._displaced(ended, record)
        for trial in beaten:
            if not record.is_baseline(trial.number):
                file = self._folder.model(trial.number)
                file.unlink(missing_ok=True)
                shutil.rmtree(graph_of(file), ignore_errors=True)

    def _displaced(self, ended: TrialRecord, record: SweepRecord) -> list[TrialRecord]:
        """The trials that have left the best; at the first event, all that an interrupted process may have left."""
        best = {trial.number: trial for trial in record.leaderboard(record.config.tracking.keep_models)}
        if self._kept is None:
            candidates = {trial.number: trial for trial in record.leaderboard()}
        else:
            candidates = self._kept | ({ended.number: ended} if ended.state.has_model else {})
        running = {number: trial for number, trial in candidates.items() if trial.result is None}
        self._kept = best | running  # a trial that ended and continues may still keep the model that it had
        return [trial for number, trial in candidates.items() if number not in self._kept]


def _beaten_repetitions(finalist: int, record: SweepRecord) -> list[TrialRecord]:
    if record.config.registry.ensemble:
        return []
    objective = record.objective
    repetitions = record.retrainings(finalist)
    repetitions.sort(key=lambda trial: objective.sort_key(trial.objective_value(objective) or 0.0))
    return repetitions[1:]


class CheckpointKeeper:
    """Deletes checkpoints that no trial can continue from any more, and the least promising above a number of bytes.

    Those of running trials stay, whatever they take. What lost workers left half written is deleted as well.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._sizes: dict[CheckpointName, int] = {}
        """Bytes of the checkpoints; none is written twice."""

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`."""
        if not isinstance(event, TrialStarted | TrialEnded | WorkerLost):
            return
        for path, begun in self._folder.incomplete_checkpoints().items():
            trial = record.unfinished.get(begun.number)
            if trial is None or trial.attempt != begun.attempt:
                path.unlink(missing_ok=True)
        found = self._folder.find_checkpoints()
        running, for_later = needed_checkpoints(record, found)
        for each in found - running.union(for_later):
            self._delete(each)
        excess = sum(map(self._size, (*running, *for_later))) - record.config.execution.checkpoint_gib * 2**30
        for each in for_later:
            if excess <= 0:
                break
            excess -= self._size(each)
            self._delete(each)

    def _delete(self, checkpoint: CheckpointName) -> None:
        self._folder.checkpoint(checkpoint).unlink(missing_ok=True)
        self._sizes.pop(checkpoint, None)

    def _size(self, checkpoint: CheckpointName) -> int:
        if checkpoint not in self._sizes:
            try:
                self._sizes[checkpoint] = self._folder.checkpoint(checkpoint).stat().st_size
            except FileNotFoundError:  # its worker has written a newer one
                return 0
        return self._sizes[checkpoint]
