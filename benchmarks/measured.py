"""The measurements of one contender, from what it left behind."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.process import Usage
from benchmarks.runs import RunStructure

__all__ = ["Fits", "Measured", "Result", "read_handwired", "read_journal"]


@dataclass(frozen=True, slots=True)
class Fits:
    """The fits of a contender, the tutorial's network first."""

    span_seconds: float
    """From the beginning of the first to the end of the last, its tracking included."""
    fit_seconds: list[float]
    """In epochs and their validation, of each fit."""
    beyond_fit_seconds: list[float]
    """From the end of the fit before to its own end, less `fit_seconds`, of each fit."""
    images_per_second: list[list[float]]
    """Of each epoch's training, without validation, of each fit."""

    @property
    def baseline_speed(self) -> float:
        """Images per second of the tutorial's network in its fastest epoch, which other work disturbed least."""
        return max(self.images_per_second[0])

    @property
    def beyond_fit_mean(self) -> float:
        """Seconds a fit costs besides itself, tracking of the last included."""
        return (self.span_seconds - sum(self.fit_seconds)) / len(self.fit_seconds)

    @property
    def beyond_fit_median(self) -> float:
        """The same for the typical fit."""
        return statistics.median(self.beyond_fit_seconds)


@dataclass(frozen=True, slots=True)
class Result:
    """What came out."""

    val_accuracy: float
    test_accuracy: float
    test_macro_f1: float
    precision: str


@dataclass(frozen=True, slots=True)
class Measured:
    """One contender."""

    name: str
    usage: Usage
    fits: Fits
    result: Result
    runs: RunStructure

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with the derived figures."""
        return asdict(self) | {"table": self.figures()}

    def figures(self) -> dict[str, float | None]:
        """What the table shows, by the keys of `benchmarks.table.ROWS`."""
        return {
            **asdict(self.usage),
            "fits": len(self.fits.fit_seconds),
            "epochs": sum(map(len, self.fits.images_per_second)),
            "span_seconds": self.fits.span_seconds,
            "fit_seconds": sum(self.fits.fit_seconds),
            "beyond_fit_mean": self.fits.beyond_fit_mean,
            "beyond_fit_median": self.fits.beyond_fit_median,
            "outside_seconds": self.usage.wall_seconds - self.fits.span_seconds,
            "baseline_speed": self.fits.baseline_speed,
            "val_accuracy": self.result.val_accuracy,
            "test_accuracy": self.result.test_accuracy,
            "test_macro_f1": self.result.test_macro_f1,
            **asdict(self.runs),
        }


def read_handwired(content: dict[str, Any]) -> tuple[Fits, Result]:
    """The fits and the result in the JSON of `handwired.py`."""
    trials = content["trials"]
    fits = Fits(
        span_seconds=sum(trial["wall_seconds"] for trial in trials),
        fit_seconds=[trial["fit_seconds"] for trial in trials],
        beyond_fit_seconds=[trial["wall_seconds"] - trial["fit_seconds"] for trial in trials],
        images_per_second=[trial["images_per_second"] for trial in trials],
    )
    result = Result(content["val_accuracy"], content["test_accuracy"], content["test_macro_f1"], "float32")
    return fits, result


def read_journal(lines: Iterable[str]) -> tuple[Fits, Result]:
    """The fits and the result in the journal of a finished sweep with one worker.

    Raises:
        LookupError: the sweep did not come to its end.
    """
    events = [json.loads(line) for line in lines if line.strip()]
    ended = _of_kind(events, "trial_ended")
    winners = _of_kind(events, "winner_chosen")
    if not ended or not winners:
        raise LookupError("the journal holds no finished sweep")
    results = [event["result"] for event in ended]
    return _fits(events, ended, results), _result(events, winners[0]["number"], results)


def newest_journal(folder: Path) -> Path:
    """The journal of the only sweep in a project folder."""
    (journal,) = folder.glob(".galaxy_exp/sweeps/*/journal.jsonl")
    return journal


def _fits(events: Sequence[dict[str, Any]], ended: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]]) -> Fits:
    began = _of_kind(events, "trial_proposed")[0]["time"]
    tracked = [event["time"] for event in _of_kind(events, "trial_projected")]
    marks = [began, *(event["time"] for event in ended)]
    fit_seconds = [result["training_seconds"] for result in results]
    walls = [end - start for start, end in itertools.pairwise(marks)]
    reports = [event["report"] for event in _of_kind(events, "epoch_reported")]
    return Fits(
        span_seconds=max([marks[-1], *tracked]) - began,
        fit_seconds=fit_seconds,
        beyond_fit_seconds=[wall - fit for wall, fit in zip(walls, fit_seconds, strict=True)],
        images_per_second=[
            [report["metrics"]["images_per_second"] for report in reports if report["number"] == result["number"]]
            for result in results
        ],
    )


def _result(events: Sequence[dict[str, Any]], winner: int, results: Sequence[dict[str, Any]]) -> Result:
    tested = {event["number"]: event["report"] for event in _of_kind(events, "sealed_test_opened")}[winner]
    (best,) = (result for result in results if result["number"] == winner)
    return Result(best["metrics"]["val_accuracy"], tested["accuracy"], tested["macro_f1"], best["precision"])


def _of_kind(events: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]
