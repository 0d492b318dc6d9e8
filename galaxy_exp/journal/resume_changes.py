"""Changes of a resumed sweep: its file read again, and options of the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from galaxy_exp.config.differences import CHANGEABLE, EPOCHS, Change, differences, is_budget, is_changeable
from galaxy_exp.config.reading import (
    FlagValue,
    SweepFile,
    as_journaled,
    change_sweep,
    current_key,
    digest_of,
    parse_sweep,
    read_sweep,
)
from galaxy_exp.config.search_section import OBJECTIVE_OF_VOTES, SearchConfig
from galaxy_exp.errors import ConfigError
from galaxy_exp.journal.events import SweepChanged
from galaxy_exp.journal.record import SweepRecord

__all__ = ["find_change"]


def find_change(
    record: SweepRecord,
    *,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    flags: Sequence[FlagValue] = (),
    as_recorded: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> SweepChanged | None:
    """The changes of an unfinished sweep's configuration, as an event to journal; None if nothing changes.

    Args:
        file: the new sweep file; None uses the recorded one, if it still exists and has changed.
        overrides: `key.path=value`, applied after the file and the recorded overrides.
        flags: applied after the overrides.
        as_recorded: ignores the recorded sweep file.
        say: called with a line for each key that changes, and about a missing file.

    Raises:
        ConfigError: a mistake in the file or an override, or changes that the trials so far do not allow: one line
            each, with the value then and now.
    """
    read_from = file if file is not None else None if as_recorded else _changed_file(record.sweep_file, say)
    where = str(read_from or f"sweep {record.sweep_id}")
    if read_from is not None:
        config, source = read_sweep(read_from, overrides, flags, record.sweep_file)
    else:
        before = record.sweep_file or SweepFile()
        config, settings = change_sweep(record.config, overrides, flags, where)
        source = SweepFile(before.path, before.digest, (*before.settings, *settings))
    recorded = record.config.named()
    search = _with_recorded(config.search, recorded.search, record.started.requested_scheduler)
    config = parse_sweep(as_journaled(config.model_copy(update={"search": search})), where)
    config = config.named(recorded.tracking.experiment, recorded.registry.model)  # what is left out stays as it is
    changes = differences(parse_sweep(as_journaled(recorded), where), config)
    if not changes:
        return None
    named = [override.partition("=")[0].strip() for override in overrides]
    blamed = {current_key(key, "")[0]: f"--set {key}" for key in named}
    blamed |= {current_key(each.key, "")[0]: each.flag for each in flags}
    lines = [f"{_origin(change.key, blamed, where)}: {change}" for change in changes]
    _refuse_what_trials_depend_on(record, changes, lines, from_file=file is None and read_from is not None)
    reopens = _reopens(record, changes)
    for line in lines:
        say(line)
    return SweepChanged(config=as_journaled(config), changes=changes, reopens_search=reopens, sweep_file=source)


def _with_recorded(search: SearchConfig, recorded: SearchConfig, requested_scheduler: str) -> SearchConfig:
    """The section with the recorded scheduler, first rung and objective on votes if it has none: defaults changed.

    It has the recorded scheduler also if it still requests the one that was replaced.
    """
    known = {"scheduler", "first_rung"} | ({"objective"} if recorded.objective == OBJECTIVE_OF_VOTES else set())
    left_out = known - search.model_fields_set
    if search.scheduler == requested_scheduler:
        left_out.add("scheduler")
    return search.model_copy(update={name: getattr(recorded, name) for name in left_out})


def _changed_file(source: SweepFile | None, say: Callable[[str], None]) -> Path | None:
    """The recorded sweep file, if it can be read and has changed."""
    if source is None or not source.path:
        return None
    path = Path(source.path)
    try:
        return None if digest_of(path) == source.digest else path
    except OSError as error:
        say(f"note: {path}: {error.strerror}; the sweep continues as recorded")
        return None


def _origin(key: str, blamed: dict[str, str], where: str) -> str:
    """The last option that set a key or its section; else the file."""
    found = [origin for name, origin in blamed.items() if key == name or key.startswith(f"{name}.")]
    return found[-1] if found else where


def _refuse_what_trials_depend_on(
    record: SweepRecord, changes: Sequence[Change], lines: Sequence[str], *, from_file: bool
) -> None:
    for change, line in zip(changes, lines, strict=True):
        if change.key == EPOCHS:
            _refuse_other_epochs(record, change, line)
    refused = [line for change, line in zip(changes, lines, strict=True) if not is_changeable(change.key)]
    if not refused:
        return
    way_out = (
        f"; to continue without the changed file: galaxy-exp resume {record.sweep_id} --as-recorded"
        if from_file
        else ""
    )
    raise ConfigError(
        [
            *refused,
            f"sweep {record.sweep_id} cannot continue with these changes: its trials had other settings; what may "
            f"change: {', '.join(CHANGEABLE)}{way_out}",
        ]
    )


def _refuse_other_epochs(record: SweepRecord, change: Change, line: str) -> None:
    """Raises ConfigError unless the number of epochs is raised and the sampler left it to the sweep."""
    if change.now < change.then:
        raise ConfigError(f"{line}; trials were trained for that long already: it can only be raised")
    if any("tuner/epochs" in trial.values for trial in record.trials.values()):
        sampler = record.config.search.sampler_choice
        raise ConfigError(f"{line}; search.sampler {sampler} chose the epochs of each trial by it, so it cannot change")


def _reopens(record: SweepRecord, changes: Sequence[Change]) -> bool:
    """Whether a search that has ended continues; ConfigError if the choice among its trials has begun."""
    late = [change.key for change in changes if is_budget(change.key)]
    if record.finalists is None or not late:
        return False
    if record.winner is None and not any(trial.retrains is not None for trial in record.trials.values()):
        return True
    stage = (
        "its finalists are being trained again"
        if record.winner is None
        else "its winner is chosen, and the held-out test set is opened once"
    )
    raise ConfigError(
        f"sweep {record.sweep_id}: the search is over and {stage}, so {' and '.join(late)} cannot change any more; "
        f"a new sweep learns from it with: --set search.warm_start={record.sweep_id}"
    )
