"""The scores of a network on images with labels or votes, such as the held-out test set, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.evaluation import metrics
from galaxy_exp.evaluation.confidence import coverage_table, measure_calibration, scale_probabilities
from galaxy_exp.evaluation.metrics import METRIC_LABELS, METRICS
from galaxy_exp.evaluation.resampling import bootstrap_intervals
from galaxy_exp.evaluation.vote_comparison import COMPARED, first_question, vote_intervals
from galaxy_exp.evaluation.vote_metrics import (
    AGREED_METRICS,
    VOTE_METRIC_LABELS,
    bin_fractions,
    compare_fractions,
    find_agreed,
    summarise_votes,
)
from galaxy_exp.questions import Votes
from galaxy_exp.records import gain_in

__all__ = [
    "VOTE_SCORES",
    "TestReport",
    "answer_records",
    "build_report",
    "build_vote_report",
    "compared_names",
    "gain_over",
    "headline_names",
    "label_of",
    "shown_names",
]


@dataclass(frozen=True, slots=True)
class TestReport:
    """Scores of a network on a labelled set. Plain data: `to_dict` is JSON, `from_dict` its inverse."""

    __test__: ClassVar[bool] = False  # pytest would take the class for a test

    n_images: int
    accuracy: float
    macro_f1: float
    balanced_accuracy: float
    loss: float
    """Mean cross-entropy in nats."""
    per_class: list[dict[str, Any]]
    """`metrics.per_class_table`, with 95% intervals under `completeness_interval`, `purity_interval` and
    `f1_interval` ([low, high], or None)."""
    confusion: list[list[int]]
    """Counts: rows are true classes, columns predicted ones."""
    class_names: list[str]
    digest: str
    """Identifies the images and labels."""
    top2: float | None = None
    """Fraction of images whose class is among the two most probable. Old records lack this and all below."""
    macro_f1_without_rare: float | None = None
    """Over classes with at least `metrics.RARE` images; None if there are none."""
    calibration_error: float | None = None
    """Expected calibration error."""
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """95% bootstrap intervals of the numbers over all classes, [low, high] by name."""
    reliability: dict[str, Any] | None = None
    """`confidence.Calibration.to_dict()`."""
    temperature: float | None = None
    """The model's, fitted on its sweep's validation images; see `confidence.fit_temperature`."""
    calibrated: dict[str, Any] | None = None
    """As `reliability`, of the probabilities at that temperature, with their `loss`."""
    coverage: list[dict[str, Any]] = field(default_factory=list)
    """`confidence.coverage_table`."""
    tta: bool = False
    """Whether the probabilities are the mean over the flips and quarter turns of each image."""
    members: list[int] = field(default_factory=list)
    """The trials whose networks the model averages; empty for a single network."""
    compared: list[dict[str, Any]] = field(default_factory=list)
    """Variants of the model on the same images: `name`, the scores by `METRICS`, and `differences`: of each, the
    model's minus the variant's, with the ends of its 95% interval (paired bootstrap)."""
    votes: dict[str, Any] | None = None
    """Of a model of votes, what `build_vote_report` adds; None for a model of classes, as all below. The scores of
    classes are then of the images whose votes agree, `loss` and `calibration_error` those of votes."""
    deviance: float | None = None
    rmse: float | None = None
    brier: float | None = None
    nll: float | None = None
    """None for fractions, as the next."""
    count_coverage: float | None = None
    """Fraction of the counts within their 90% intervals."""

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers over all classes, or all votes, by name, without `n_images`."""
        names = metrics.METRICS if self.votes is None else self.votes["metrics"]
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Strings, numbers, lists and dictionaries only; without votes, nothing about them."""
        record = asdict(self)
        if self.votes is None:
            for name in ("votes", "deviance", "rmse", "brier", "nll", "count_coverage"):
                del record[name]
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TestReport:
        """The inverse of `to_dict`."""
        return cls(**record)


def build_report(
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    class_names: Sequence[str],
    digest: str,
    temperature: float | None = None,
    scaled: NDArray[Any] | None = None,
) -> TestReport:
    """Scores probabilities (n, n_classes) against labels, integers (n,), n above 0.

    Args:
        class_names: one per class, in label order.
        digest: identifies the images and labels.
        temperature: of the model; None if it has none.
        scaled: the probabilities at `temperature`; None: computed from `probabilities`.
    """
    if temperature is not None and scaled is None:
        scaled = scale_probabilities(probabilities, temperature)
    calibration = measure_calibration(labels, probabilities)
    matrix = metrics.confusion_matrix(labels, probabilities.argmax(axis=1), len(class_names))
    intervals = bootstrap_intervals(labels, probabilities)
    per_class = metrics.per_class_table(labels, probabilities, class_names)
    for label, record in enumerate(per_class):
        for name, of_classes in intervals.per_class.items():
            found = of_classes[label]
            record[f"{name}_interval"] = None if found is None else list(found)
    return TestReport(
        n_images=len(labels),
        accuracy=metrics.accuracy(matrix),
        macro_f1=metrics.macro_f1(matrix),
        balanced_accuracy=metrics.balanced_accuracy(matrix),
        loss=metrics.log_loss(labels, probabilities),
        per_class=per_class,
        confusion=matrix.tolist(),
        class_names=list(class_names),
        digest=digest,
        top2=metrics.top_k_accuracy(labels, probabilities, 2),
        macro_f1_without_rare=metrics.macro_f1_without_rare(matrix),
        calibration_error=calibration.error,
        intervals={name: list(ends) for name, ends in intervals.overall.items()},
        reliability=calibration.to_dict(),
        temperature=temperature,
        calibrated=None
        if scaled is None
        else measure_calibration(labels, scaled).to_dict() | {"loss": metrics.log_loss(labels, scaled)},
        coverage=coverage_table(labels, probabilities),
    )


VOTE_SCORES = ("deviance", "rmse", "brier", "nll", "calibration_error", "count_coverage")
"""The scores of votes in a `TestReport`, in the order in which people are shown them."""


def compared_names(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The scores of a report, as `TestReport.to_dict()`, by which two models are compared."""
    if report.get("votes") is None:
        return METRICS
    return tuple(name for name in COMPARED if _is_known(name, report))


def shown_names(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The scores of classes that people are shown; of votes, those that it has and then those where votes agree."""
    names = (*VOTE_SCORES, *AGREED_METRICS) if report.get("votes") else AGREED_METRICS
    return tuple(name for name in names if _is_known(name, report))


def _is_known(name: str, report: Mapping[str, Any]) -> bool:
    votes = report.get("votes")
    return report.get(name) is not None and (votes is None or name not in AGREED_METRICS or votes["n_agreed"] > 0)


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
    return METRIC_LABELS[name] if report.get("votes") is None else VOTE_METRIC_LABELS[name.removeprefix("count_")]


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
    ratios = ("completeness", "purity", "f1")
    nothing: dict[str, Any] = dict.fromkeys([*ratios, *(f"{name}_interval" for name in ratios)])
    per_class: list[dict[str, Any]] = [{"class": name, "images": 0, **nothing} for name in class_names]
    empty = [[0] * len(class_names) for _ in class_names]
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
                "bins": [asdict(each) for each in bin_fractions(votes, outputs, place)],
            }
        )
    return records
