"""What it cost, and what more of it would bring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from galaxy_exp.records import TrialState
from galaxy_exp.report.page.html import Html, element, join, paragraph, table
from galaxy_exp.report.page.material import Material, SweepState
from galaxy_exp.report.page.words import count, duration, metric_name

if TYPE_CHECKING:
    from galaxy_exp.journal.record import TrialRecord

__all__ = ["spent_section"]

_KINDS = {
    TrialState.COMPLETED: "completed: trained all epochs",
    TrialState.STOPPED: "stopped early",
    TrialState.FAILED: "failed",
    TrialState.INFEASIBLE: "broke a constraint",
    TrialState.LOST: "lost their worker",
    TrialState.RUNNING: "not ended",
}


def spent_section(material: Material) -> Html:
    """The budget by what became of the trials, and the forecast."""
    record = material.record
    losses = sum(len(trial.losses) for trial in record.trials.values())
    lost = f"A worker died {count(losses, 'time')}; the epochs it took with it are in no row." if losses else None
    return join(
        [
            element("h3", "Budget", id="budget"),
            paragraph(f"{_ending(material)} It ran for {duration(record.active_seconds)}."),
            _ledger(material),
            paragraph(lost, class_="note") if lost else None,
            element("h3", "What more trials would bring", id="forecast"),
            paragraph(_forecast(material)),
        ]
    )


def _ending(material: Material) -> str:
    reason = material.record.why_search_ended
    if reason:
        return f"The search ended: {reason}."
    return "The search has not ended." if material.state is SweepState.UNFINISHED else "The search was broken off."


def _ledger(material: Material) -> Html:
    record = material.record
    groups: dict[str, list[TrialRecord]] = {
        name: [trial for trial in record.searched if trial.state is state] for state, name in _KINDS.items()
    }
    groups["finalists, trained again"] = [trial for trial in record.trials.values() if trial.confirms is not None]
    everything = list(record.trials.values())
    seconds = _seconds(everything)
    rows = [_ledger_row(name, trials, seconds) for name, trials in groups.items() if trials]
    rows.append([*_ledger_row("in all", everything, seconds)[:-1], "100%" if seconds else ""])
    header = ["trials", "number", "epochs", "hours of a worker", "share of the hours"]
    return table("Where epochs and hours went", header, rows, class_="bars totals")


def _ledger_row(name: str, trials: Sequence[TrialRecord], total: float) -> list[object]:
    seconds = _seconds(trials)
    share = seconds / total if total else 0.0
    bar = element("td", element("span", f"{share:.0%}"), class_="number bar", style=f"--share:{share:.3f}")
    epochs = sum(trial.epochs for trial in trials)
    return [name, f"{len(trials):,}", f"{epochs:,}", f"{seconds / 3600:.2f}", bar]


def _seconds(trials: Sequence[TrialRecord]) -> float:
    return sum(trial.result.seconds for trial in trials if trial.result)


def _forecast(material: Material) -> str:
    gain, name = material.expected_gain, metric_name(material.record.objective.name)
    if gain is None:
        return (
            "That cannot be said: a forecast takes at least 20 proposed trials with a score, the baseline and given "
            "configurations left out."
        )
    return (
        f"Ten more trials like the latest 20 are expected to improve the best validation {name} by {gain:.2g}. This "
        "takes scores to come for scores of late, and says nothing of the sealed test, where less of it will be left."
    )
