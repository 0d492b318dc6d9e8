"""An observer that may take its time."""

from __future__ import annotations

import queue
import threading
from types import TracebackType
from typing import Self

from galaxy_exp.execution.loop import Observer
from galaxy_exp.journal.events import Event
from galaxy_exp.journal.record import SweepRecord

__all__ = ["BackgroundObserver"]


class BackgroundObserver:
    """Passes events on to an observer in a thread of its own, so that no worker waits for what the observer does.

    Used as a context. On leaving, the observer ends what it is doing; events that it has not been told by then it
    misses, so it has to be one that finds out from the record what it missed.

    Args:
        observer: told of the events in their order; with a record that may grow while it looks.
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
