"""`galaxy-exp reproduce`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from galaxy_exp.cli.output import format_option, print_rows, say

if TYPE_CHECKING:
    from galaxy_exp.reproduce import Reproduction

__all__ = ["reproduce_command"]


@click.command("reproduce")
@click.argument("run")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.05,
    show_default=True,
    help="how far the best value of the objective may differ where training is not repeatable bit for bit",
)
@format_option
def reproduce_command(run: str, tolerance: float, output_format: str) -> None:
    """Train one recorded trial again and compare the curves.

    RUN is SWEEP/NUMBER, a trial's number in the newest sweep, or the MLflow run id of a trial. Everything
    comes from the sweep's journal; images that changed since are refused. Trials of a sweep with
    training.deterministic and precision float32 have to come out equal, others within the tolerance. Exit
    code 1 if they do not. Nothing is written to the sweep or to MLflow.

    \b
    galaxy-exp reproduce 3
    galaxy-exp reproduce gz2-20261122-101500/3
    """
    from galaxy_exp.cli.sweep import make_importable
    from galaxy_exp.reproduce import reproduce_trial

    make_importable()
    done = reproduce_trial(run, tolerance=tolerance, say=say)
    simulated = " (SIMULATED galaxies)" if done.record.simulated else ""
    print_rows(_rows(done), output_format, title=f"{done.record.sweep_id}, trial {done.trial.number}{simulated}")
    for name, (then, now) in done.software_changes.items():
        say(f"note: {name} was {then} then and is {now} now")
    say(_verdict(done))
    if not done.succeeded:
        sys.exit(1)


def _rows(done: Reproduction) -> list[dict[str, Any]]:
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
