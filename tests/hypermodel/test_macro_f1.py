import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score

from galaxy_exp.evaluation.metrics import confusion_matrix, macro_f1
from galaxy_exp.hypermodel.scoring import MacroF1


def test_agrees_with_the_metrics_module_and_scikit_learn_over_several_batches():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 4, 90), rng.random((90, 5)).astype(np.float32)
    metric = MacroF1(5)
    for part in np.split(np.arange(90), 3):
        metric.update_state(labels[part].reshape(-1, 1), scores[part])
    predictions = scores.argmax(axis=1)
    assert float(metric.result()) == pytest.approx(macro_f1(confusion_matrix(labels, predictions, 5)), rel=1e-5)
    expected = f1_score(labels, predictions, labels=range(4), average="macro", zero_division=0)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_is_zero_before_the_first_image_and_after_a_reset():
    metric = MacroF1(3)
    assert float(metric.result()) == 0.0
    metric.update_state([0], np.eye(3, dtype=np.float32)[:1])
    assert float(metric.result()) == 1.0
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_weights_scale_the_counts():
    metric = MacroF1(2)
    metric.update_state([0, 0], np.eye(2, dtype=np.float32), sample_weight=[1.0, 0.0])
    assert float(metric.result()) == 1.0


def test_survives_serialization():
    assert keras.metrics.deserialize(keras.metrics.serialize(MacroF1(7))).n_classes == 7
