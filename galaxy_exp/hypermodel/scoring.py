"""The losses that GalaxyCNN minimises and the metrics that it reports, of classes and of volunteers' votes.

Votes and outputs are (n, n_answers), as `galaxy_exp.questions` says. A question that nobody got to adds nothing. Both
losses of votes are the sum over the questions in nats a volunteer, so that each image weighs the same and one learning
rate suits both. `galaxy_exp.evaluation.vote_metrics.image_losses` computes the same in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import keras
from keras import ops

from galaxy_exp.questions import Questions

__all__ = [
    "DirichletMultinomial",
    "MacroF1",
    "SmoothedCrossentropy",
    "VoteCrossentropy",
    "WinnerAccuracy",
    "WinnerMacroF1",
    "build_loss",
    "build_vote_loss",
    "vote_metrics",
]


@keras.saving.register_keras_serializable("galaxy_exp")
class SmoothedCrossentropy(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of probabilities against integer labels softened towards the uniform distribution.

    The label's class is given 1 - s + s / n_classes and every other s / n_classes, with s the smoothing
    (Szegedy et al. 2016, arXiv:1512.00567, section 7). Keras offers this for one-hot labels only.
    """

    def __init__(self, label_smoothing: float, name: str = "smoothed_crossentropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Labels (n,) or (n, 1) and probabilities (n, n_classes) to losses (n,) in nats."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        one_hot = ops.one_hot(labels, y_pred.shape[-1], dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(one_hot, y_pred, label_smoothing=self.label_smoothing)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


def build_loss(label_smoothing: float) -> keras.losses.Loss:
    """Keras's own sparse cross-entropy without smoothing (the tutorial's loss), else `SmoothedCrossentropy`."""
    if label_smoothing == 0:
        return keras.losses.SparseCategoricalCrossentropy()
    return SmoothedCrossentropy(label_smoothing)


@keras.saving.register_keras_serializable("galaxy_exp")
class MacroF1(keras.metrics.Metric):  # type: ignore[misc]
    """Mean F1 over the classes seen so far, from a running confusion matrix.

    The same convention as `evaluation.metrics.macro_f1`: classes without true images are left out, and a class
    that was never predicted counts 0. Counts are float32, exact up to 16.7 million images per cell.
    """

    def __init__(self, n_classes: int, name: str = "macro_f1", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.n_classes = n_classes
        self.confusion = self.add_variable((n_classes, n_classes), initializer="zeros", name="confusion")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds labels (n,) or (n, 1) and scores (n, n_classes); `sample_weight` (n,) weighs the counts."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        true = ops.one_hot(labels, self.n_classes, dtype="float32")
        predicted = ops.one_hot(ops.argmax(y_pred, axis=-1), self.n_classes, dtype="float32")
        if sample_weight is not None:
            true = true * ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
        self.confusion.assign_add(ops.matmul(ops.transpose(true), predicted))

    def result(self) -> Any:
        """The mean, a float32 scalar; 0 before the first image."""
        matrix = ops.convert_to_tensor(self.confusion)
        true, predicted = ops.sum(matrix, axis=1), ops.sum(matrix, axis=0)
        f1 = 2.0 * ops.diagonal(matrix) / ops.maximum(true + predicted, 1e-7)
        present = ops.cast(true > 0, "float32")
        return ops.sum(f1 * present) / ops.maximum(ops.sum(present), 1.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "n_classes": self.n_classes}


_SMALLEST = 1e-6
"""Of a predicted fraction or concentration: below it, logarithms in float32 say nothing."""


class _VoteLoss(keras.losses.Loss):  # type: ignore[misc]
    """What both losses share.

    Args:
        widths: the number of answers to each question.
        label_smoothing: the share of the votes for each question that is spread evenly over its answers (Szegedy et
            al. 2016, arXiv:1512.00567, section 7).
    """

    usual_name: str

    def __init__(self, widths: Sequence[int], label_smoothing: float = 0.0, name: str = "", **kwargs: Any) -> None:
        super().__init__(name=name or self.usual_name, **kwargs)
        self.widths = [int(width) for width in widths]
        self.label_smoothing = label_smoothing

    def _questions(self, y_true: Any, y_pred: Any) -> list[tuple[Any, Any]]:
        """The votes, smoothed, and the outputs of each question, (n, answers to it)."""
        ends = list(accumulate(self.widths))
        found = []
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            votes, width = y_true[:, start:end], end - start
            if self.label_smoothing:
                spread = ops.sum(votes, axis=1, keepdims=True) / width
                votes = (1 - self.label_smoothing) * votes + self.label_smoothing * spread
            found.append((votes, y_pred[:, start:end]))
        return found

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Votes and outputs (n, n_answers) to losses (n,) in nats."""
        votes, outputs = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        questions = self._questions(votes, ops.maximum(outputs, _SMALLEST))
        totals = [ops.sum(each, axis=1) for each, _ in questions]
        n_volunteers = totals[0]
        for total in totals[1:]:
            n_volunteers = ops.maximum(n_volunteers, total)
        losses = sum(self._loss(*each, total) for each, total in zip(questions, totals, strict=True))
        return losses / ops.maximum(n_volunteers, _SMALLEST)

    def _loss(self, votes: Any, outputs: Any, totals: Any) -> Any:
        """Of one question, (n,), for all votes together."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "widths": self.widths, "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("galaxy_exp")
class VoteCrossentropy(_VoteLoss):
    """Cross-entropy of predicted fractions with soft targets, counts or fractions.

    A question weighs as the share of the volunteers who got to it.
    """

    usual_name = "vote_crossentropy"

    def _loss(self, votes: Any, outputs: Any, totals: Any) -> Any:
        return -ops.sum(votes * ops.log(outputs), axis=1)


@keras.saving.register_keras_serializable("galaxy_exp")
class DirichletMultinomial(_VoteLoss):
    """Negative log-likelihood of counts for predicted concentrations (Walmsley et al. 2022, arXiv:2102.08414, 3.2).

    It is divided by the number of volunteers of the image, so that an image with many votes does not weigh more.
    """

    usual_name = "dirichlet_multinomial"

    def _loss(self, votes: Any, outputs: Any, totals: Any) -> Any:
        sums = ops.sum(outputs, axis=1)
        answers = _log_gamma(votes + outputs) - _log_gamma(outputs) - _log_gamma(votes + 1)
        return _log_gamma(totals + sums) - _log_gamma(sums) - _log_gamma(totals + 1) - ops.sum(answers, axis=1)


def _log_gamma(values: Any) -> Any:
    """The logarithm of the gamma function; Keras has none of its own."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.math.lgamma(values)
    if keras.backend.backend() == "jax":
        import jax

        return jax.lax.lgamma(values)
    import torch

    return torch.lgamma(values)


def build_vote_loss(loss: str, questions: Questions, label_smoothing: float) -> keras.losses.Loss:
    """The loss of that name in `LOSSES`."""
    kind = DirichletMultinomial if loss == "dirichlet_multinomial" else VoteCrossentropy
    return kind(questions.widths, label_smoothing)


@keras.saving.register_keras_serializable("galaxy_exp")
class WinnerAccuracy(keras.metrics.Mean):  # type: ignore[misc]
    """Fraction of images whose winning answer to the first question is predicted; reported as `accuracy`."""

    def __init__(self, n_classes: int, name: str = "accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.n_classes = n_classes

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Adds votes and outputs (n, n_answers)."""
        pairs = (ops.argmax(each[:, : self.n_classes], axis=1) for each in (y_true, y_pred))
        return super().update_state(ops.cast(ops.equal(*pairs), "float32"), sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "n_classes": self.n_classes}


@keras.saving.register_keras_serializable("galaxy_exp")
class WinnerMacroF1(MacroF1):
    """`MacroF1` of the winning answers to the first question."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds votes and outputs (n, n_answers)."""
        winners = ops.argmax(y_true[:, : self.n_classes], axis=1)
        super().update_state(winners, y_pred[:, : self.n_classes], sample_weight)


def vote_metrics(questions: Questions) -> list[keras.metrics.Metric]:
    """What GalaxyCNN reports of its training, over all images whether or not their votes agree."""
    n_classes = len(questions.class_names)
    return [WinnerAccuracy(n_classes), WinnerMacroF1(n_classes)]
