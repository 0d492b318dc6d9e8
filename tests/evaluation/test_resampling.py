from __future__ import annotations

import time

import numpy as np
import pytest

from galaxy_exp.errors import BadInputError
from galaxy_exp.evaluation import metrics
from galaxy_exp.evaluation.metrics import METRICS
from galaxy_exp.evaluation.resampling import bootstrap_intervals, paired_bootstrap


def _predictions(seed: int, labels: np.ndarray, n_classes: int, skill: float) -> np.ndarray:
    scores = np.random.default_rng(seed).normal(size=(len(labels), n_classes))
    scores[np.arange(len(labels)), labels] += skill
    exponentials = np.exp(scores)
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(5).choice(4, 300, p=[0.5, 0.3, 0.18, 0.02])


@pytest.mark.parametrize("metric", METRICS)
def test_agrees_with_resampling_images_one_by_one(labels: np.ndarray, metric: str) -> None:
    a, b = _predictions(1, labels, 4, 1.5), _predictions(2, labels, 4, 1.0)
    rng = np.random.default_rng(3)
    plain = []
    for _ in range(2000):
        drawn = rng.integers(0, len(labels), len(labels))
        scores = [metrics.summarise_predictions(labels[drawn], p[drawn])[metric] for p in (a, b)]
        plain.append(scores[0] - scores[1])
    difference, low, high = paired_bootstrap(labels, a, b, metric, seed=4)
    whole = [metrics.summarise_predictions(labels, p)[metric] for p in (a, b)]
    assert difference == pytest.approx(whole[0] - whole[1], abs=1e-12)
    tolerance = 0.15 * np.std(plain) * 2
    assert (low, high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=tolerance)


def test_swapping_the_classifiers_mirrors_the_interval(labels: np.ndarray) -> None:
    a, b = _predictions(1, labels, 4, 1.5), _predictions(2, labels, 4, 1.0)
    forth, back = paired_bootstrap(labels, a, b, "macro_f1"), paired_bootstrap(labels, b, a, "macro_f1")
    assert forth[0] == -back[0]
    assert forth[1:] == pytest.approx((-back[2], -back[1]), abs=0.02)


def test_a_classifier_does_not_differ_from_itself(labels: np.ndarray) -> None:
    a = _predictions(1, labels, 4, 1.5)
    assert paired_bootstrap(labels, a, a, "macro_f1") == (0, 0, 0)


def test_the_seed_decides(labels: np.ndarray) -> None:
    a, b = _predictions(1, labels, 4, 1.5), _predictions(2, labels, 4, 1.0)
    assert paired_bootstrap(labels, a, b, "accuracy", seed=1) == paired_bootstrap(labels, a, b, "accuracy", seed=1)
    assert paired_bootstrap(labels, a, b, "macro_f1", seed=1) != paired_bootstrap(labels, a, b, "macro_f1", seed=2)


def test_is_quick_for_the_test_part_of_galaxy10() -> None:
    labels = np.random.default_rng(5).integers(0, 10, 3300)
    a, b = _predictions(1, labels, 10, 1.5), _predictions(2, labels, 10, 1.0)
    start = time.perf_counter()
    paired_bootstrap(labels, a, b, "macro_f1")
    assert time.perf_counter() - start < 3  # some 0.1 s on an idle machine


@pytest.mark.parametrize(
    ("rows", "metric", "message"),
    [
        (300, "auc", r"cannot compare models by 'auc'; expected one of accuracy, macro_f1"),
        (299, "accuracy", r"300 labels with probabilities of shapes \(300, 4\) and \(299, 4\)"),
    ],
)
def test_refuses_what_does_not_belong_together(labels: np.ndarray, rows: int, metric: str, message: str) -> None:
    a = _predictions(1, labels, 4, 1.5)
    with pytest.raises(BadInputError, match=message):
        paired_bootstrap(labels, a, a[:rows], metric)
    with pytest.raises(BadInputError, match="0 labels"):
        paired_bootstrap(labels[:0], a[:0], a[:0], "accuracy")


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 200 samples of a classifier that is right 80% of the time, some 190 intervals hold 0.8."""
    rng, covered = np.random.default_rng(5), {"accuracy": 0, "top2": 0}
    for seed in range(200):
        labels = rng.integers(0, 3, 150)
        place = rng.choice(3, 150, p=[0.8, 0.1, 0.1])  # of the label among the classes, the most probable first
        probabilities = np.zeros((150, 3))
        for rank, value in enumerate((0.6, 0.3, 0.1)):
            probabilities[np.arange(150), (labels - place + rank) % 3] = value
        found = bootstrap_intervals(labels, probabilities, n=300, seed=seed).overall
        for name, truth in (("accuracy", 0.8), ("top2", 0.9)):
            covered[name] += found[name][0] <= truth <= found[name][1]
    assert all(178 <= count <= 200 for count in covered.values())


def test_intervals_of_classes_agree_with_drawing_images() -> None:
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 3, 90)
    probabilities = np.eye(4)[np.where(rng.random(90) < 0.7, labels, rng.integers(0, 3, 90))]
    found = bootstrap_intervals(labels, probabilities)
    draws = rng.integers(0, 90, (2000, 90))
    matrices = [metrics.confusion_matrix(labels[draw], probabilities[draw].argmax(axis=1), 4) for draw in draws]
    for name in ("completeness", "purity"):
        values = np.array([getattr(metrics, name)(matrix) for matrix in matrices])
        for label in range(3):
            assert found.per_class[name][label] == pytest.approx(
                np.quantile(values[:, label], [0.025, 0.975]), abs=0.03
            )
        assert found.per_class[name][3] is None
    macro = np.quantile([metrics.macro_f1(matrix) for matrix in matrices], [0.025, 0.975])
    assert found.overall["macro_f1"] == pytest.approx(macro, abs=0.02)
