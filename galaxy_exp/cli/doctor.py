"""`galaxy-exp doctor`: finds and repairs disagreements between journals, MLflow and processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from galaxy_exp.cli.options import format_option, sweep_argument
from galaxy_exp.cli.output import print_rows, say
from galaxy_exp.errors import HOW_TO_START
from galaxy_exp.folders import ProjectFolder

if TYPE_CHECKING:
    from galaxy_exp.doctor.examination import Diagnosis

__all__ = ["doctor_command"]


@click.command("doctor")
@sweep_argument
@click.option("--fix", "is_to_fix", is_flag=True, help="repair what disagrees; without it nothing is changed")
@click.option("--repair", "--mend", "has_former_name", is_flag=True, hidden=True, help="earlier names of --fix")
@format_option("table", "json", "csv")
def doctor_command(sweep: str | None, is_to_fix: bool, has_former_name: bool, output_format: str) -> int:
    """Check the sweeps of this folder; --fix repairs what is wrong.

    Compares the journals with MLflow and with the processes of this machine: runs left RUNNING by a killed driver,
    trials that MLflow lacks or has twice, registered versions, workers left behind, damaged journals. Sweeps that are
    running are left alone. Exit code 1 if something is left to repair; harmless
    findings do not count.

    SWEEP is an id from `galaxy-exp list` or the beginning of one; left out, all sweeps.

    \b
    galaxy-exp doctor         look, change nothing
    galaxy-exp doctor --fix   repair what can be repaired
    """
    from galaxy_exp.doctor.examination import State, diagnose, examine, repair

    project = ProjectFolder.default()
    found = examine(project, sweep, say)
    was_repaired = is_to_fix or has_former_name
    diagnoses = repair(found, project, sweep, say) if was_repaired else diagnose(found)
    if found.n_sweeps == 0 and not diagnoses:
        in_order = f"no sweeps here yet; start one with: {HOW_TO_START}"
    else:
        running = f", {found.n_running} of them running and left alone" if found.n_running else ""
        in_order = f"all in order ({found.n_sweeps} sweep{'' if found.n_sweeps == 1 else 's'}{running})"
    print_rows([_row(diagnosis) for diagnosis in diagnoses], output_format, empty=in_order)
    open_ones = [diagnosis.finding for diagnosis in diagnoses if diagnosis.state is State.OPEN]
    if diagnoses:
        _say_what_is_left(len(open_ones), sum(finding.repair is not None for finding in open_ones), was_repaired)
    return 1 if open_ones else 0


def _row(diagnosis: Diagnosis) -> dict[str, Any]:
    finding = diagnosis.finding
    return {
        "sweep": finding.where,
        "finding": finding.what,
        "state": str(diagnosis.state),
        "remedy": f"{finding.remedy}; this failed: {diagnosis.why_open}" if diagnosis.why_open else finding.remedy,
    }


def _say_what_is_left(n_open: int, n_repairable: int, was_repaired: bool) -> None:
    if not n_open:
        say("nothing is left to repair")
    elif n_repairable and not was_repaired:
        say(f"{n_open} to repair; {n_repairable} of them with: galaxy-exp doctor --fix")
    else:
        say(f"{n_open} left to repair; the remedies say how")
