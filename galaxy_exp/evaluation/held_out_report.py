"""The scores of a classifier on a labelled set, such as the held-out test set, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from numpy.typing import NDArray

from galaxy_exp.evaluation import metrics
from galaxy_exp.evaluation.confidence import coverage_table, measure_calibration, scale_probabilities
from galaxy_exp.evaluation.resampling import bootstrap_intervals

__all__ = ["TestReport", "build_report"]


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
    """Of a model of votes, what `vote_report` adds; None for a model of classes, as all below. The scores of classes
    are then of the images whose votes agree, `loss` and `calibration_error` those of votes."""
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
        """The report that `to_dict` made `record` from."""
        return cls(**record)


def build_report(
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    class_names: Sequence[str],
    digest: str,
    temperature: float | None = None,
    scaled: NDArray[Any] | None = None,
) -> TestReport:
    """Scores probabilities against labels, also at the temperature of the model.

    Args:
        labels: integers (n,), n above 0.
        probabilities: (n, n_classes).
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
        calibrated=None if scaled is None else _calibrated(labels, scaled),
        coverage=coverage_table(labels, probabilities),
    )


def _calibrated(labels: NDArray[Any], scaled: NDArray[Any]) -> dict[str, Any]:
    return measure_calibration(labels, scaled).to_dict() | {"loss": metrics.log_loss(labels, scaled)}
