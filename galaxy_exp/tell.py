"""Orders to a running sweep, from another process: an order is given as a file, and its answer read in the journal."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping

from galaxy_exp.environment import add_import_paths
from galaxy_exp.errors import BadInputError, OrderRefusedError, OrderWithdrawn
from galaxy_exp.folders import ProjectFolder, SweepFolder
from galaxy_exp.interrupts import interrupts_delayed
from galaxy_exp.journal.events import Event, OrderTaken, SweepEnded, WinnerChosen
from galaxy_exp.journal.journal import is_running, read_events, read_record
from galaxy_exp.journal.orders import (
    ChangeLimits,
    ChangeWorkers,
    Order,
    OrderFolder,
    TryConfiguration,
    flag_of,
    parse_order,
)
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.quiet import import_keras_quietly, say_nothing
from galaxy_exp.records import HyperparameterValue
from galaxy_exp.wording import Say

__all__ = ["tell_sweep"]

_POLL_SECONDS = 0.1
_LOOK_SECONDS = 1.0
"""How often it is looked whether a process still works on the sweep."""

_PATIENCE_SECONDS = 5.0
"""Time without an answer after which a line is printed."""


def tell_sweep(
    reference: str | None = None,
    *,
    stop: int | None = None,
    pause: int | None = None,
    configuration: Mapping[str, HyperparameterValue] | None = None,
    limits: Mapping[str, int | float | None] | None = None,
    workers: int | None = None,
    finish: bool = False,
    say: Say | None = None,
) -> str:
    """Gives one order to a running sweep of another process, and waits for the answer, which comes within seconds.

    Args:
        reference: a sweep's id or the beginning of one; None: the newest.
        stop: the number of a trial that ends after its current epoch.
        pause: the number of a trial that is paused after its current epoch and may continue later.
        configuration: hyperparameters of the next trial; those that are left out take their defaults.
        limits: new limits by name: max_trials, max_epochs, max_hours, max_trials_without_gain, min_expected_gain; None
            removes one.
        workers: the number of workers from now on.
        finish: whether the search ends now, so that finalists, test and registration follow.
        say: called with each message; None: they are not printed.

    Returns:
        What the sweep does now, in one line.

    Raises:
        BadInputError: there is no such sweep, or not exactly one order.
        ConfigError: values that are not possible.
        OrderRefusedError: the sweep refused, with its reason; or no process works on it.
        OrderWithdrawn: Ctrl-C, before the sweep took the order.
    """
    orders: list[dict[str, object]] = [{"order": "stop", "trial": stop}] if stop is not None else []
    orders += [{"order": "pause", "trial": pause}] if pause is not None else []
    orders += [{"order": "try", "values": dict(configuration)}] if configuration is not None else []
    orders += [{"order": "limits", "limits": dict(limits)}] if limits is not None else []
    orders += [{"order": "workers", "workers": workers}] if workers is not None else []
    orders += [{"order": "finish"}] if finish else []
    if len(orders) != 1:
        given = " and ".join(str(each["order"]) for each in orders) or "none"
        raise BadInputError(f"expected one order to the sweep, found {given}")
    try:
        order = parse_order(orders[0])
    except ValueError as error:
        raise BadInputError(str(error)) from None
    folder = ProjectFolder.default().find_sweep(reference)
    _refuse_unless_running(folder, order)
    if isinstance(order, TryConfiguration):
        order = TryConfiguration(values=_complete(order.values, read_record(folder.path), folder, say or say_nothing))
    return _give(order, folder, say or say_nothing)


def _complete(
    stated: Mapping[str, HyperparameterValue], record: SweepRecord, folder: SweepFolder, say: Say
) -> dict[str, HyperparameterValue]:
    """All values of a configuration, checked with the hypermodel: here, so that its code cannot disturb the sweep."""
    import_keras_quietly()
    from galaxy_exp.preparation import complete_values

    add_import_paths(record.started.import_paths)
    return complete_values(record, folder, stated, "try", say)


def _give(order: Order, folder: SweepFolder, say: Say) -> str:
    box, (_, end) = OrderFolder(folder.orders), read_events(folder.path)
    name = box.new_name()
    try:
        with interrupts_delayed():
            _write(box, name, order)
        taken = _wait_for_answer(name, end, folder, order, say)
    except KeyboardInterrupt:
        if box.withdraw(name):
            raise OrderWithdrawn(f"withdrawn: sweep {folder.sweep_id} did not take the order {order}") from None
        taken = _wait_for_answer(name, end, folder, order, say)  # it is too late to withdraw it
    finally:
        box.clear(name)
    if not taken.accepted:
        raise OrderRefusedError(f"{folder.sweep_id}: refused: {taken.answer}")
    return taken.answer


def _write(box: OrderFolder, name: str, order: Order) -> None:
    try:
        box.give(name, order)
    except OSError as error:
        error.filename = error.filename or str(box.path)  # a full disk names no file
        raise


def _wait_for_answer(name: str, start: int, folder: SweepFolder, order: Order, say: Say) -> OrderTaken:
    """The event that answers an order; looks for it from a position of the journal on."""
    began = looked_at = time.monotonic()
    while True:
        now = time.monotonic()
        is_alive = now - looked_at < _LOOK_SECONDS or is_running(folder.path)
        looked_at = now if now - looked_at >= _LOOK_SECONDS else looked_at
        events, start = read_events(folder.path, start)
        if (answer := _find_answer(name, events, folder)) is not None:
            return answer
        if not is_alive:
            _refuse_unless_running(folder, order)
        if began and now - began > _PATIENCE_SECONDS:
            say("waiting until the sweep takes the order; Ctrl-C withdraws it")
            began = 0.0
        time.sleep(_POLL_SECONDS)


def _find_answer(name: str, events: Iterable[Event], folder: SweepFolder) -> OrderTaken | None:
    for event in events:
        if isinstance(event, OrderTaken) and event.file == name:
            return event
        if isinstance(event, SweepEnded) and not event.succeeded:
            raise OrderRefusedError(
                f"sweep {folder.sweep_id} ended before it took the order: {event.reason}; galaxy-exp resume "
                f"{folder.sweep_id} continues it"
            )
        if isinstance(event, WinnerChosen | SweepEnded):
            raise OrderRefusedError(_over(folder.sweep_id))
    return None


def _refuse_unless_running(folder: SweepFolder, order: Order) -> None:
    record = read_record(folder.path)
    if record.ended is not None and record.ended.succeeded:
        raise OrderRefusedError(
            f"sweep {record.sweep_id} is finished ({record.ended.reason}); a new sweep learns from it with: --set "
            f"search.warm_start={record.sweep_id}"
        )
    if not is_running(folder.path):
        flags = _resume_flags(order)
        raise OrderRefusedError(
            f"no process works on sweep {record.sweep_id}, so none can take the order; galaxy-exp resume "
            f"{record.sweep_id}{flags} continues it{' with that' if flags else ''}"
        )
    if record.winner is not None:
        raise OrderRefusedError(_over(record.sweep_id))


def _over(sweep_id: str) -> str:
    return (
        f"sweep {sweep_id} takes no orders any more: its winner is chosen, and is tested and registered; "
        f"galaxy-exp show {sweep_id} shows the result"
    )


def _resume_flags(order: Order) -> str:
    """The options with which resuming has the same effect; empty if there are none."""
    if isinstance(order, ChangeWorkers):
        return f" --workers {order.workers}"
    limits = order.limits if isinstance(order, ChangeLimits) else {}
    return "".join(_resume_flag(name, value) for name, value in limits.items())


def _resume_flag(name: str, value: float | None) -> str:
    if value is not None and name in ("max_trials", "max_epochs", "max_hours"):
        return f" {flag_of(name)} {value}"
    setting = f"search.{name}={'null' if value is None else value}"
    return f" --set {shlex.quote(setting)}"
