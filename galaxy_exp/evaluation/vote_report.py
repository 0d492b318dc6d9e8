"""The scores of a network that predicts votes, on images with votes such as the held-out test set, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.evaluation.held_out_report import TestReport, build_report
from galaxy_exp.evaluation.metrics import METRIC_LABELS, METRICS, find_bins
from galaxy_exp.evaluation.vote_comparison import COMPARED, first_question, vote_intervals
from galaxy_exp.evaluation.vote_metrics import (
    AGREED_METRICS,
    VOTE_METRIC_LABELS,
    compare_fractions,
    find_agreed,
    summarise_votes,
)
from galaxy_exp.questions import Questions, Votes
from galaxy_exp.records import gain_in

__all__ = [
    "VOTE_SCORES",
    "answer_records",
    "build_vote_report",
    "compared_names",
    "describe_questions",
    "gain_over",
    "headline_names",
    "label_of",
    "shown_names",
]

VOTE_SCORES = ("deviance", "rmse", "brier", "nll", "calibration_error", "count_coverage")
"""The scores of votes in a `TestReport`, in the order in which people are shown them."""

_LABELS = VOTE_METRIC_LABELS | {"count_coverage": VOTE_METRIC_LABELS["coverage"]}


def compared_names(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The scores of a report, as `TestReport.to_dict()`, by which two models are compared."""
    if report.get("votes") is None:
        return METRICS
    return tuple(name for name in COMPARED if _is_known(name, report))


def shown_names(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The scores of votes that a report has, then those of the images whose votes agree, if any."""
    return tuple(name for name in (*VOTE_SCORES, *AGREED_METRICS) if _is_known(name, report))


def _is_known(name: str, report: Mapping[str, Any]) -> bool:
    return report.get(name) is not None and (name not in AGREED_METRICS or report["votes"]["n_agreed"] > 0)


def headline_names(report: Mapping[str, Any] | None) -> tuple[str, str]:
    """The two scores of a report that are shown first, of votes or of classes."""
    return ("deviance", "rmse") if report is not None and report.get("votes") else ("macro_f1", "accuracy")


def gain_over(name: str, report: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> float | None:
    """How much better a score is than the baseline's; None if that is not known, or neither more nor less is better."""
    if baseline is None or baseline.get(name) is None or name == "count_coverage":
        return None
    return gain_in(name, report[name], baseline[name])


def label_of(name: str, report: Mapping[str, Any]) -> str:
    """What people are shown for a score's name: `accuracy` of a model of votes is that where votes agree."""
    return METRIC_LABELS[name] if report.get("votes") is None else _LABELS[name]


def describe_questions(questions: Questions) -> list[str]:
    """A Markdown list: `- arms (after shape.disk): one; two; many`."""
    return [
        f"- {each.name}{f' (after {each.after})' if each.after else ''}: {'; '.join(each.answers)}"
        for each in questions.items
    ]


def build_vote_report(votes: Votes, outputs: NDArray[Any], digest: str, agreement: float) -> TestReport:
    """Scores outputs against votes.

    The scores of classes, such as `accuracy` and the confusion matrix, are those of the winning answer to the first
    question, on the images whose votes agree; 0 if there are none.

    Args:
        votes: of n images, above 0.
        outputs: positive numbers (n, n_answers), as `Questions.fractions` takes them.
        digest: identifies the images and votes.
        agreement: the least share of the votes for the winning answer with which the votes of an image agree.
    """
    scores = summarise_votes(votes, outputs, agreement)
    agreed, (labels, fractions) = find_agreed(votes, agreement), first_question(votes, outputs)
    base = _report_agreed(labels[agreed], fractions[agreed], votes.questions.class_names, digest)
    intervals = {name: list(ends) for name, ends in vote_intervals(votes, outputs).items()}
    if "coverage" in intervals:
        intervals["count_coverage"] = intervals.pop("coverage")
    return replace(
        base,
        n_images=len(votes),
        loss=scores["loss"],
        calibration_error=scores["calibration_error"],
        intervals=base.intervals | intervals,
        reliability=None,
        coverage=[],
        deviance=scores["deviance"],
        rmse=scores["rmse"],
        brier=scores["brier"],
        nll=scores.get("nll"),
        count_coverage=scores.get("coverage"),
        votes={
            "questions": votes.questions.to_list(),
            "are_counts": votes.are_counts,
            "agreement": agreement,
            "n_agreed": int(agreed.sum()),
            "metrics": [
                name for name in (*COMPARED, "loss") if name in scores and (name not in AGREED_METRICS or agreed.any())
            ],
            "answers": answer_records(votes, outputs),
        },
    )


def _report_agreed(
    labels: NDArray[np.int64], fractions: NDArray[Any], class_names: tuple[str, ...], digest: str
) -> TestReport:
    if len(labels):
        return build_report(labels, fractions, class_names, digest)
    n_classes = len(class_names)
    ratios = ("completeness", "purity", "f1")
    nothing: dict[str, Any] = dict.fromkeys([*ratios, *(f"{name}_interval" for name in ratios)])
    per_class: list[dict[str, Any]] = [{"class": name, "images": 0, **nothing} for name in class_names]
    empty = np.zeros((n_classes, n_classes), int).tolist()
    return TestReport(0, 0.0, 0.0, 0.0, 0.0, per_class, empty, list(class_names), digest)


def answer_records(votes: Votes, outputs: NDArray[Any]) -> list[dict[str, Any]]:
    """A record for each answer: how often it was predicted and observed.

    Returns:
        `question`, `answer`, `name` (of the column), `n_images` (with votes on the question), the weighted means
        `observed` and `predicted` and the `rmse` of the fractions (None without such images), and `bins`:
        `n_images`, mean `predicted` and `observed` fraction, and the ends `low` and `high` of the 95% interval of the
        latter, from the lowest predicted fraction to the highest, ten bins of equal width without empty ones.
    """
    columns = compare_fractions(votes, outputs)
    named = [(each.name, answer) for each in votes.questions.items for answer in each.answers]
    records = []
    for place, (question, answer) in enumerate(named):
        asked = columns[2][:, place] > 0
        observed, predicted, weights = (each[asked, place] for each in columns)
        known = bool(asked.any())
        records.append(
            {
                "question": question,
                "answer": answer,
                "name": votes.questions.answers[place],
                "n_images": int(asked.sum()),
                "observed": float(np.average(observed, weights=weights)) if known else None,
                "predicted": float(np.average(predicted, weights=weights)) if known else None,
                "rmse": math.sqrt(np.average((observed - predicted) ** 2, weights=weights)) if known else None,
                "bins": _bins(observed, predicted, weights),
            }
        )
    return records


def _bins(observed: NDArray[Any], predicted: NDArray[Any], weights: NDArray[Any]) -> list[dict[str, Any]]:
    places = find_bins(predicted)
    bins = []
    for place in np.unique(places):
        inside = places == place
        weight = weights[inside] / weights[inside].sum()
        mean = float(weight @ observed[inside])
        n_images = int(inside.sum())
        bessel = n_images / (n_images - 1) if n_images > 1 else math.inf
        spread = math.sqrt(float(weight**2 @ (observed[inside] - mean) ** 2) * bessel) if n_images > 1 else math.inf
        bins.append(
            {
                "n_images": n_images,
                "predicted": float(weight @ predicted[inside]),
                "observed": mean,
                "low": max(0.0, mean - 1.96 * spread),
                "high": min(1.0, mean + 1.96 * spread),
            }
        )
    return bins
