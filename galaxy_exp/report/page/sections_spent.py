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
_ALWAYS = frozenset({TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED})
"""Told also where there are none of them."""


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
            *_forecast(material),
        ]
    )


def _ending(material: Material) -> str:
    reason = material.record.why_search_ended
    if reason:
        return f"The search ended: {reason}."
    return "The search has not ended." if material.state is SweepState.UNFINISHED else "The search was broken off."


def _ledger(material: Material) -> Html:
    record = material.record
    by_state = {state: [trial for trial in record.searched if trial.state is state] for state in _KINDS}
    groups = {_KINDS[state]: trials for state, trials in by_state.items() if trials or state in _ALWAYS}
    again = [trial for trial in record.trials.values() if trial.retrains is not None]
    groups |= {"finalists, trained again": again} if again else {}
    everything = list(record.trials.values())
    seconds = _seconds(everything)
    rows = [_ledger_row(name, trials, seconds) for name, trials in groups.items()]
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


def _forecast(material: Material) -> list[Html]:
    ahead, gain, name = material.ahead, material.expected_gain, metric_name(material.record.objective.name)
    if ahead is None:
        return [paragraph("Nothing can be said of that: no trial that the search proposed has a score yet.")]
    more = count(ahead.n_trials, "more trial")
    chance = (
        f"If {more} were like the {ahead.n_scored:,} that the search has proposed so far, the best of all would be "
        f"among them with a probability of {ahead.chance:.0%}. A search that still learns does better than that, one "
        "that has found its optimum worse."
    )
    if gain is None:
        size = "By how much it would be better cannot be told from fewer than 20 such trials with a score."
    else:
        size = (
            f"Drawn from the scores of the latest 20, smoothed, they would improve the best validation {name} by "
            f"{gain:.2g} on average; the smoothing makes that too much rather than too little."
        )
    latest = f"the latest {ahead.judged_from}" if ahead.judged_from > 1 else "the latest one"
    price = (
        f"By what {latest} took, {more} take about {count(ahead.epochs, 'epoch')} and {ahead.hours:.2g} hours of a "
        "worker. On the sealed test less of the gain will be left."
    )
    return [paragraph(chance), paragraph(size), paragraph(price)]
