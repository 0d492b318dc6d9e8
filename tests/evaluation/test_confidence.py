from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from galaxy_exp.evaluation import metrics
from galaxy_exp.evaluation.confidence import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    coverage_table,
    fit_temperature,
    measure_calibration,
    scale_probabilities,
)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn with the probabilities of these logits: their right temperature is 1."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 4))
    labels = (softmax(logits).cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1).clip(0, 3)
    return labels, logits


@pytest.mark.parametrize("sharpened", [0.5, 1.0, 3.0])
def test_finds_by_how_much_logits_were_sharpened(drawn: tuple[np.ndarray, np.ndarray], sharpened: float) -> None:
    labels, logits = drawn
    assert fit_temperature(labels, softmax(sharpened * logits)) == pytest.approx(sharpened, rel=0.03)


def test_no_other_temperature_has_less_cross_entropy(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = drawn[0][:300], softmax(2 * drawn[1][:300])
    best = fit_temperature(labels, probabilities)
    assert best is not None

    def loss(temperature: float) -> float:
        return metrics.log_loss(labels, scale_probabilities(probabilities, temperature))

    assert loss(best) <= min(loss(other) for other in np.geomspace(LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE, 201)) + 1e-9


def test_scaling_is_that_of_the_logits_and_keeps_every_class() -> None:
    logits = np.random.default_rng(1).normal(0, 30, (2000, 5))
    for temperature in (0.1, 0.7, 2.5, 10.0):
        scaled = scale_probabilities(softmax(logits), temperature)
        assert scaled.sum(axis=1) == pytest.approx(1)
        assert (scaled.argmax(axis=1) == softmax(logits).argmax(axis=1)).all()
    mild = logits / 30
    assert scale_probabilities(softmax(mild), 2.5) == pytest.approx(softmax(mild / 2.5), abs=1e-6)


def test_neighbouring_numbers_stay_in_order() -> None:
    half = np.float32(0.5)
    close = np.array([[np.nextafter(half, np.float32(0)), half, 0.0]], np.float32)
    assert scale_probabilities(close, HIGHEST_TEMPERATURE).argmax() == 1


def test_certain_and_wrong_is_as_cold_as_it_gets() -> None:
    certain = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    assert fit_temperature(np.array([1, 1]), certain) == pytest.approx(HIGHEST_TEMPERATURE)


@pytest.mark.parametrize(
    ("labels", "probabilities", "expected"),
    [
        ([0, 1], [[0.9, 0.1], [0.2, 0.8]], 1.0),
        ([0, 1], [[np.nan, 0.1], [0.2, 0.8]], None),
        ([], np.zeros((0, 2)), None),
    ],
)
def test_where_nothing_can_be_fitted(labels: list[int], probabilities: list[list[float]], expected: object) -> None:
    assert fit_temperature(np.array(labels, np.int64), np.array(probabilities, np.float32)) == expected


def test_the_most_confident_are_kept() -> None:
    confidence = np.linspace(0.99, 0.6, 40)
    labels = np.zeros(40, np.int64)
    labels[20:] = 1  # the less confident half is wrong
    rows = coverage_table(labels, np.stack([confidence, 1 - confidence], axis=1))
    by_share = {row["coverage"]: row for row in rows}
    assert next(iter(by_share)) == 1.0
    assert [by_share[share]["accuracy"] for share in (1.0, 0.8, 0.5, 0.05)] == [0.5, 20 / 32, 1.0, 1.0]
    assert [by_share[share]["n_images"] for share in (1.0, 0.8, 0.5, 0.05)] == [40, 32, 20, 2]
    assert by_share[0.5]["confidence"] == pytest.approx(confidence[19])


def test_intervals_say_something_also_where_no_image_is_wrong() -> None:
    (row, *_) = coverage_table(np.zeros(10, np.int64), np.tile([0.9, 0.1], (10, 1)))
    assert row["interval"] == pytest.approx([0.722, 1.0], abs=1e-3)  # from 10 / (10 + 1.96**2)


def test_a_single_image_has_all_shares() -> None:
    rows = coverage_table(np.array([1]), np.array([[0.9, 0.1]]))
    assert {row["accuracy"] for row in rows} == {0.0}


def test_the_bins_of_the_calibration_are_those_of_scikit_learn(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = drawn[0][:2000], softmax(drawn[1][:2000])
    found = measure_calibration(labels, probabilities)
    right, confidence = probabilities.argmax(axis=1) == labels, probabilities.max(axis=1).astype(float)
    accuracy, mean = calibration_curve(right, confidence, n_bins=10)
    assert [each.accuracy for each in found.bins] == pytest.approx(accuracy)
    assert [each.confidence for each in found.bins] == pytest.approx(mean)
    assert sum(each.n_images for each in found.bins) == 2000
    assert found.error == pytest.approx(
        sum(each.n_images * abs(a - m) for each, a, m in zip(found.bins, accuracy, mean, strict=True)) / 2000
    )
    assert found.error < 0.05
