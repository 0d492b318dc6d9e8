"""Our metrics agree with scikit-learn's, and say what to do where scikit-learn warns."""

import numpy as np
import pytest
from sklearn import metrics as reference

from galaxy_exp.evaluation import metrics


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 400)
    probabilities = rng.dirichlet(np.ones(5), 400)
    probabilities[np.arange(400), labels] += 0.3
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_confusion_matrix_has_true_classes_as_rows():
    matrix = metrics.confusion_matrix(np.array([0, 0, 1]), np.array([1, 0, 1]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_summary_equals_scikit_learn(predictions):
    labels, probabilities = predictions
    predicted = probabilities.argmax(axis=1)
    summary = metrics.summarise_predictions(labels, probabilities)
    assert summary["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert summary["macro_f1"] == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert summary["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert summary["loss"] == pytest.approx(reference.log_loss(labels, probabilities))


def test_completeness_and_purity_are_recall_and_precision(predictions):
    labels, probabilities = predictions
    predicted = probabilities.argmax(axis=1)
    matrix = metrics.confusion_matrix(labels, predicted, 5)
    np.testing.assert_allclose(metrics.completeness(matrix), reference.recall_score(labels, predicted, average=None))
    np.testing.assert_allclose(metrics.purity(matrix), reference.precision_score(labels, predicted, average=None))


def test_a_class_never_predicted_has_purity_zero():
    matrix = metrics.confusion_matrix(np.array([0, 1]), np.array([0, 0]), 2)
    assert metrics.purity(matrix).tolist() == [0.5, 0.0]


def test_a_class_without_images_is_left_out_of_the_means():
    matrix = metrics.confusion_matrix(np.array([0, 1]), np.array([0, 1]), 3)
    assert metrics.macro_f1(matrix) == 1.0
    assert metrics.balanced_accuracy(matrix) == 1.0
    assert np.isnan(metrics.completeness(matrix)[2])


def test_an_empty_matrix_scores_zero():
    empty = np.zeros((3, 3), np.int64)
    assert (metrics.accuracy(empty), metrics.macro_f1(empty), metrics.balanced_accuracy(empty)) == (0.0, 0.0, 0.0)


def test_top_k_accuracy() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]])
    labels = np.array([0, 1, 2, 1])
    assert [metrics.top_k_accuracy(labels, probabilities, k) for k in (1, 2, 3)] == [0.25, 0.75, 1.0]


def test_macro_f1_without_rare_classes() -> None:
    matrix = np.array([[20, 0, 0], [5, 15, 0], [0, 19, 0]])
    assert metrics.macro_f1_without_rare(matrix) == pytest.approx(np.mean([40 / 45, 30 / 54]))
    assert metrics.macro_f1_without_rare(matrix[1:, 1:]) is None


def test_a_stack_of_matrices_is_scored_as_scikit_learn_scores_each():
    """What the bootstrap does with thousands of matrices at once; the last class is missing in some."""
    rng = np.random.default_rng(4)
    draws = [(rng.choice(3, 40, p=[0.6, 0.38, 0.02]), rng.integers(0, 3, 40)) for _ in range(30)]
    stack = np.stack([metrics.confusion_matrix(labels, predicted, 3) for labels, predicted in draws])
    for labels, predicted, matrix, *found in zip(
        *zip(*draws, strict=True),
        stack,
        *(metrics.scores(stack, name) for name in ("accuracy", "macro_f1", "balanced_accuracy")),
        strict=True,
    ):
        present = np.unique(labels)
        assert np.array_equal(matrix, reference.confusion_matrix(labels, predicted, labels=np.arange(3)))
        assert found == pytest.approx(
            [
                reference.accuracy_score(labels, predicted),
                reference.f1_score(labels, predicted, labels=present, average="macro", zero_division=0),
                reference.recall_score(labels, predicted, labels=present, average="macro", zero_division=0),
            ]
        )
