"""A report's numbers are those of scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as reference

from galaxy_exp.evaluation.held_out_report import TestReport, build_report


@pytest.fixture(scope="module")
def predictions() -> tuple[np.ndarray, np.ndarray]:
    """600 images of four classes, the last of them rare."""
    rng = np.random.default_rng(8)
    labels = rng.choice(4, 600, p=[0.5, 0.3, 0.18, 0.02])
    probabilities = rng.dirichlet(np.ones(4), 600)
    probabilities[np.arange(600), labels] += 0.4
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_scores(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = predictions
    predicted = probabilities.argmax(axis=1)
    report = build_report(labels, probabilities, ("a", "b", "c", "d"), "digest")
    assert report.confusion == reference.confusion_matrix(labels, predicted).tolist()
    assert report.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert report.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert report.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert report.top2 == pytest.approx(reference.top_k_accuracy_score(labels, probabilities, k=2))
    assert report.loss == pytest.approx(reference.log_loss(labels, probabilities))
    frequent = reference.f1_score(labels, predicted, average=None)[:3].mean()
    assert report.macro_f1_without_rare == pytest.approx(frequent)
    for name, score in (("completeness", reference.recall_score), ("purity", reference.precision_score)):
        expected = score(labels, predicted, average=None)
        assert [row[name] for row in report.per_class] == pytest.approx(expected.tolist())


def test_the_loss_at_a_temperature_is_that_of_the_scaled_probabilities(
    predictions: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, probabilities = predictions
    report = build_report(labels, probabilities, ("a", "b", "c", "d"), "digest", temperature=2.0)
    roots = np.sqrt(probabilities)
    scaled = roots / roots.sum(axis=1, keepdims=True)
    assert report.calibrated is not None
    assert report.calibrated["loss"] == pytest.approx(reference.log_loss(labels, scaled))
    assert TestReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
