"""The raw outputs of any network, predicted in batches and checked."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.hypermodel.batches import ImageBatches, feed, images_per_batch
from galaxy_exp.hypermodel.outputs import ROW_SUM_TOLERANCE
from galaxy_exp.questions import Questions

__all__ = ["OutputError", "check_outputs", "predict_outputs"]

FEATURES_PER_BATCH = 2**20
"""Numbers of cached features that a head predicts at once."""


class OutputError(ValueError):
    """The network's outputs do not fit the classes, or the votes."""


def predict_outputs(
    model: keras.Model, images: NDArray[Any], n_classes: int, questions: Questions | None = None
) -> NDArray[np.float32]:
    """The raw outputs, float32 (n, n_classes), or (n, 1) for two classes; with questions (n, n_answers).

    Args:
        images: (n, height, width, channels); or cached features (n, 1, ...) of images, for the head that takes them.

    Raises:
        OutputError: the network does not give one number per class, or one positive number per answer.
    """
    if images.ndim == 4:
        outputs = model.predict(feed(ImageBatches(images, images_per_batch(*images.shape[1:3]))), verbose=0)
    else:  # features: preparing batches would take longer than the rest
        batches = ImageBatches(images, max(FEATURES_PER_BATCH // images[0].size, 1))
        outputs = np.concatenate([model.predict_on_batch(*batches[index]) for index in range(len(batches))])
    check_outputs(outputs, n_classes, questions)
    numbers = np.asarray(outputs, dtype=np.float32)
    if questions is not None:
        _check_vote_outputs(numbers, questions)
    return numbers


def _check_vote_outputs(outputs: NDArray[np.float32], questions: Questions) -> None:
    """Raises `OutputError` unless the outputs (n, n_answers) are fractions or concentrations; NaN passes.

    None is negative, and the sums of each question are 1 in all images, or above 1 in all.
    """
    totals = questions.totals(outputs)
    if not np.isfinite(totals).all():
        return
    expected = (
        "expected fractions (a softmax for each question), or concentrations (positive numbers whose sum is above 1 in "
        "each question)"
    )
    if outputs.min() < 0:
        raise OutputError(f"the network gives {outputs.min():g} for an answer; {expected}")
    are_fractions = np.abs(totals - 1) <= ROW_SUM_TOLERANCE
    if not are_fractions.all() and not (totals > 1 + ROW_SUM_TOLERANCE).all():
        raise OutputError(
            f"the network's numbers for a question sum to {totals.min():g} to {totals.max():g}; {expected}"
        )


def check_outputs(outputs: Any, n_classes: int, questions: Questions | None = None) -> None:
    """Raises `OutputError` unless the outputs are a tensor or array (n or None, n_classes), or (n or None, 1) for two.

    With questions: (n or None, n_answers).
    """
    expected = f"expected (images, {n_classes}), one per class"
    if questions is not None:
        n_classes, expected = questions.n_answers, f"expected (images, {questions.n_answers}), one per answer"
    if not hasattr(outputs, "shape"):
        raise OutputError(f"the network gives a {type(outputs).__name__} instead of one tensor; {expected}")
    shape = tuple(outputs.shape)
    possible = {1, 2} if n_classes == 2 and questions is None else {n_classes}
    if len(shape) != 2 or shape[1] not in possible:
        single = "; one number per image does for two classes only" if shape[1:] == (1,) and not questions else ""
        raise OutputError(f"the network's output has shape {shape}; {expected}{single}")
