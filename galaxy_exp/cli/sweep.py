"""`galaxy-exp sweep`, `resume`, `sync` and `reproduce`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from galaxy_exp.cli.options import (
    format_option,
    number_or,
    quiet_option,
    read_shortcuts,
    set_option,
    sweep_argument,
    sweep_file_options,
)
from galaxy_exp.cli.output import print_line, print_rows, say
from galaxy_exp.layout import terminal_width
from galaxy_exp.records import BUILT_IN_MODEL
from galaxy_exp.redaction import hide_in_address
from galaxy_exp.wording import format_duration

if TYPE_CHECKING:
    from galaxy_exp.journal.record import SweepRecord
    from galaxy_exp.reproduce import Reproduction
    from galaxy_exp.sweep import SweepResult

__all__ = ["make_importable", "reproduce_command", "resume_command", "sweep_command", "sync_command"]


@click.command("sweep")
@click.argument("file", type=click.Path(path_type=Path))
@sweep_file_options
@quiet_option
def sweep_command(file: Path, overrides: tuple[str, ...], quiet: bool, **shortcuts: Any) -> None:
    """Run the sweep described by FILE and register its best model.

    FILE is YAML, such as galaxy-exp init writes; the page "The sweep file" lists its keys, all of which have a
    default. An option with a key in brackets overrides that key.

    Trials are trained in worker processes, tracked in MLflow and recorded in a journal. Ctrl-C stops
    the sweep after the running epochs, a second Ctrl-C at once; `galaxy-exp resume` continues it.

    \b
    galaxy-exp sweep sweep.yaml
    galaxy-exp sweep sweep.yaml --data galaxies.h5 --max-trials 50
    galaxy-exp sweep sweep.yaml --set space.filters_1=64 --set 'space.dropout_2={min: 0.3, max: 0.5}'
    """
    from galaxy_exp.display import open_display
    from galaxy_exp.sweep import run_sweep

    make_importable()
    flags = read_shortcuts(shortcuts)
    with open_display(quiet) as display:
        result = run_sweep(file, overrides=overrides, flags=flags, observers=[display], say=display.say, verbose=0)
    print_summary(result)


@click.command("resume")
@sweep_argument
@click.option("--file", type=click.Path(path_type=Path), help="a sweep file in place of the one the sweep came from")
@set_option("change a key from now on; repeatable", "KEY.PATH=VALUE")
@click.option("--max-trials", type=int, metavar="N", help="search.max_trials from now on")
@click.option("--max-epochs", type=int, metavar="N", help="search.max_epochs from now on")
@click.option("--max-hours", type=float, metavar="HOURS", help="search.max_hours from now on")
@click.option("--epochs", type=int, metavar="N", help="training.epochs from now on, more than before")
@click.option("--workers", type=number_or("auto"), metavar="N", help="execution.workers from now on; a number or auto")
@click.option("--as-recorded", is_flag=True, help="continue as before and ignore changes of the sweep file")
@quiet_option
def resume_command(
    sweep: str | None, file: Path | None, overrides: tuple[str, ...], as_recorded: bool, quiet: bool, **shortcuts: Any
) -> None:
    """Continue a sweep that was interrupted or killed.

    SWEEP is an id from `galaxy-exp list` or the beginning of one; left out, the newest unfinished sweep.

    If the sweep file has changed since, the changes are printed. Those that no trial depends on take effect at once:
    budgets (search.max_..., search.min_expected_gain) and registry, until a finalist is trained again; execution,
    tracking.keep_models and tracking.uri. With any other change the sweep does not continue; --as-recorded ignores the
    file. If the file is gone, the sweep continues as before.

    With more epochs, trials that had trained all of theirs continue from their checkpoints, the best first, until
    the budget is spent; those whose learning rate follows a cosine over all epochs do not. That is possible until
    a finalist is trained again.

    \b
    galaxy-exp resume
    galaxy-exp resume gz2 --max-trials 100 --workers 4
    galaxy-exp resume gz2 --epochs 80
    galaxy-exp resume gz2 --set tracking.keep_models=5
    """
    from galaxy_exp.display import open_display
    from galaxy_exp.sweep import resume_sweep

    if file is not None and as_recorded:
        raise click.UsageError("--file and --as-recorded exclude each other")
    make_importable()
    with open_display(quiet) as display:
        result = resume_sweep(
            sweep,
            file=file,
            overrides=overrides,
            flags=read_shortcuts(shortcuts),
            as_recorded=as_recorded,
            observers=[display],
            say=display.say,
            verbose=0,
        )
    print_summary(result)


@click.command("sync")
@sweep_argument
def sync_command(sweep: str | None) -> None:
    """Write to MLflow what it missed of a sweep, from the journal.

    Useful after an outage of MLflow, or when runs were deleted there. Nothing is trained, and nothing written twice.

    SWEEP is an id from `galaxy-exp list` or the beginning of one; left out, the newest sweep.
    """
    from galaxy_exp.sweep import sync_sweep

    record = sync_sweep(sweep, say=say)
    store = hide_in_address(record.tracking_uri)
    say(f"MLflow at {store} has all {len(record.end_order)} finished trials of {record.sweep_id}")


@click.command("reproduce")
@click.argument("run")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.05,
    show_default=True,
    help="how far the best value of the objective may differ where training is not repeatable bit for bit",
)
@format_option("table", "json", "csv")
def reproduce_command(run: str, tolerance: float, output_format: str) -> int:
    """Train one recorded trial again and compare the curves.

    RUN is SWEEP/NUMBER, a trial's number in the newest sweep, or the MLflow run id of a trial. Everything
    comes from the sweep's journal and its prepared images. If these were deleted, they are made again from the
    source, and a source that has changed is refused. Trials of a sweep with training.deterministic and precision
    float32 must be equal, others must agree within the tolerance. Exit code 1 if they do not. Nothing is written to
    the sweep or to MLflow.

    \b
    galaxy-exp reproduce 3
    galaxy-exp reproduce gz2-20261122-101500/3
    """
    from galaxy_exp.reproduce import reproduce_trial

    make_importable()
    done = reproduce_trial(run, tolerance=tolerance, say=say)
    simulated = " (SIMULATED galaxies)" if done.record.simulated else ""
    title = f"{done.record.sweep_id}, trial {done.trial.number}{simulated}"
    print_rows(_reproduction_rows(done), output_format, title)
    for name, (then, now) in done.software_changes.items():
        say(f"note: {name} was {then} and is {now} now")
    say(_verdict(done))
    return 0 if done.succeeded else 1


def _reproduction_rows(done: Reproduction) -> list[dict[str, Any]]:
    rows = []
    for then, now in zip(done.trial.reports, done.reports, strict=False):
        row: dict[str, Any] = {"epoch": then.epoch}
        for name in dict.fromkeys(("loss", "val_loss", done.record.objective.name)):
            row[f"{name} then"], row[f"{name} now"] = then.metrics.get(name), now.metrics.get(name)
        rows.append(row)
    return rows


def _verdict(done: Reproduction) -> str:
    if done.exact:
        if done.succeeded:
            return "equal in every epoch, bit for bit"
        return (
            f"NOT equal: the largest difference is {done.largest_difference:.3g}, expected 0 (float32, deterministic)"
        )
    name = done.record.objective.name
    verdict = "within" if done.succeeded else "NOT within"
    return f"the best {name} differs by {done.difference_at_best:.4f}, {verdict} the tolerance of {done.tolerance:g}"


def print_summary(result: SweepResult) -> None:
    """Prints the end of a sweep: leaderboard, winner, whether it is better, registered model, next commands."""
    from galaxy_exp.evaluation.conclusion import summary_lines
    from galaxy_exp.trial_rows import leaderboard_text

    record = result.record
    click.echo(leaderboard_text(record, terminal_width(), limit=10))
    click.echo("")
    for line in summary_lines(record):
        print_line(line)
    click.echo("")
    if record.registered is not None and record.promotion is not None:
        alias = "champion" if record.promotion.promoted else "challenger"
        print_line(f"registered: {record.registered.name} version {record.registered.version} as {alias} "
                   f"({record.promotion.reason})")  # fmt: skip
    if record.ended is not None:
        print_line(f"ended because: {record.ended.reason}")
    trained = format_duration(sum(trial.seconds for trial in record.trials.values()))
    took = format_duration(record.active_seconds)
    print_line(f"sweep {result.sweep_id}: {len(record.end_order)} trials, {trained} of training in {took}")
    click.echo("")
    for line in next_steps(record):
        print_line(line)


_NEXT = "next:  "


def next_steps(record: SweepRecord) -> list[str]:
    """The next commands, with the options for this sweep's MLflow store and model name."""
    from galaxy_exp.tracking.addresses import uri_option
    from galaxy_exp.tracking.views import watch_command

    store, model = uri_option(record.tracking_uri), record.config.model_name
    name = "" if model == BUILT_IN_MODEL else f" --model {shlex.quote(model)}"
    steps = [
        (watch_command(record), "compare trials in the MLflow UI"),
        ("galaxy-exp trials", "the same as a table"),
        ("galaxy-exp report --open", "one page about all of it"),
        (f"galaxy-exp predict IMAGES... -o out.csv{name}{store}", "use the registered model"),
    ]
    width = max(len(command) for command, _ in steps)
    lines = [f"{command:<{width}}  {what}" for command, what in steps]
    if max(map(len, lines)) + len(_NEXT) > terminal_width():
        lines = [line for command, what in steps for line in (command, f"  {what}")]
    return [f"{'' if number else _NEXT:{len(_NEXT)}}{line}" for number, line in enumerate(lines)]


def make_importable() -> None:
    """Makes modules of the current folder importable by a dotted path in a sweep file."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
