"""An observer in a thread of its own: in order, without waiting, and with its errors not lost."""

import threading
import time

import pytest

from galaxy_exp.errors import JournalWriteError
from galaxy_exp.execution.observers import BackgroundObserver

PATIENCE_SECONDS = 30


class Slow:
    """Waits at each event until it may continue."""

    def __init__(self):
        self.seen, self.gate, self.at_work = [], threading.Semaphore(0), threading.Event()

    def on_event(self, event, record):
        self.at_work.set()
        assert self.gate.acquire(timeout=PATIENCE_SECONDS)
        self.seen.append((event, threading.current_thread() is threading.main_thread()))


def test_the_loop_does_not_wait_and_the_order_is_kept():
    slow = Slow()
    with BackgroundObserver(slow) as observer:
        for event in range(3):
            observer.on_event(event, None)
        assert slow.seen == []
        observer.on_event("last", None)
        slow.gate.release(4)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(slow.seen) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert slow.seen == [(0, False), (1, False), (2, False), ("last", False)]


def test_on_leaving_it_ends_what_it_is_doing_and_no_more():
    slow = Slow()
    with BackgroundObserver(slow) as observer:
        observer.on_event(0, None)
        observer.on_event(1, None)
        assert slow.at_work.wait(PATIENCE_SECONDS)
        threading.Timer(0.2, slow.gate.release, [5]).start()
    assert [event for event, _ in slow.seen] == [0]


class Failing:
    def __init__(self):
        self.has_failed = threading.Event()

    def on_event(self, event, record):
        self.has_failed.set()
        raise JournalWriteError("disk full")


def test_what_it_raises_is_raised_in_the_loop():
    with pytest.raises(JournalWriteError, match="disk full"), BackgroundObserver(failing := Failing()) as observer:
        observer.on_event(0, None)
        assert failing.has_failed.wait(PATIENCE_SECONDS)


def test_but_does_not_hide_why_the_loop_ended():
    with pytest.raises(KeyboardInterrupt), BackgroundObserver(failing := Failing()) as observer:
        observer.on_event(0, None)
        assert failing.has_failed.wait(PATIENCE_SECONDS)
        raise KeyboardInterrupt
