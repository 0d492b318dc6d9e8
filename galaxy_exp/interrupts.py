"""The effect of Ctrl-C, SIGTERM and SIGHUP while a sweep runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

__all__ = ["gentle_interrupts", "interrupts_delayed", "signals_as_interrupts", "signals_ignored"]


@contextmanager
def _handled(handler: Any, *numbers: signal.Signals) -> Iterator[None]:
    """Handles signals in this way within the context; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def signals_ignored() -> AbstractContextManager[None]:
    """Ignores Ctrl-C, SIGTERM and SIGHUP, so that a second one leaves no workers behind; only in the main thread."""
    return _handled(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def signals_as_interrupts() -> AbstractContextManager[None]:
    """Handles SIGTERM, and the SIGHUP of a closed terminal unless `nohup` ignores it, like Ctrl-C.

    Only in the main thread.
    """

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return _handled(interrupt, signal.SIGTERM, *hang_up)


@contextmanager
def interrupts_delayed() -> Iterator[None]:
    """Lets a block end before Ctrl-C interrupts it; only in the main thread.

    Raises:
        KeyboardInterrupt: after the block, if Ctrl-C was pressed in it.
    """
    pressed = False

    def note(signum: int, frame: object) -> None:
        nonlocal pressed
        pressed = True

    with _handled(note, signal.SIGINT):
        yield
    if pressed:
        raise KeyboardInterrupt


@contextmanager
def gentle_interrupts(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yields a function that returns True after the first Ctrl-C; the second one interrupts.

    No effect outside of the main thread, and in a background job, where Ctrl-C is ignored.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    asked = announced = False

    def ask(signum: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def stopping() -> bool:
        nonlocal announced
        if asked and not announced:
            announced = True
            say("stopping when the running epochs are done; Ctrl-C again stops at once")
        return asked

    with _handled(ask, signal.SIGINT):
        yield stopping
