"""Images and labels or votes as batches, read from disk one at a time, and how they reach `fit` and `predict`; and what
is done about unequal class sizes: weights for the images, or epochs that draw all classes evenly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Batches",
    "ImageBatches",
    "class_weights",
    "draw_balanced",
    "feed",
    "images_per_batch",
    "replace_rare_winners",
]


def class_weights(
    labels: NDArray[Any], n_classes: int, weighting: Literal["none", "sqrt", "balanced", "sampling"]
) -> NDArray[np.float32] | None:
    """The weight of an image by its class; None without weighting, and with "sampling", which draws instead.

    "balanced" gives every class the same total weight (1 / count, as scikit-learn's `class_weight="balanced"`),
    "sqrt" goes half-way (1 / sqrt(count)). Weights are scaled so that their mean over the images is 1, which leaves the
    learning rate comparable. A class without images gets 0.

    Returns:
        float32 (n_classes,).
    """
    if weighting in ("none", "sampling"):
        return None
    counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
    power = {"sqrt": -0.5, "balanced": -1.0}[weighting]
    weights = np.zeros(n_classes)
    present = counts > 0
    weights[present] = counts[present] ** power
    mean = (weights * counts).sum() / max(counts.sum(), 1.0)
    return np.asarray(weights / (mean or 1.0), dtype=np.float32)


_FEWEST_WINS = 3
"""Images for which an answer must win to count as a class; a class of labels has as many."""


def replace_rare_winners(winners: NDArray[np.int64]) -> NDArray[np.int64]:
    """The winning answers (n,) of votes, rare ones replaced by the most common.

    An answer that wins for one or two images is no class: balanced, each would weigh as much as all of another class.
    """
    counts = np.bincount(winners)
    return np.where(counts[winners] < _FEWEST_WINS, counts.argmax(), winners) if len(winners) else winners


def draw_balanced(labels: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """As many images as there are, all classes equally often (up to one), in random order; empty classes are left out.

    Within a class, no image comes again before all others have come as often; so of a large class some are left
    out, other ones each epoch, and those of a rare class come many times.

    Args:
        labels: integers (n,).
        rng: its state alone decides which images.

    Returns:
        int64 (n,), positions in `labels`.
    """
    classes = rng.permutation(np.unique(labels))  # those in front get one more where n is no multiple
    sizes = np.full(len(classes), len(labels) // max(1, len(classes)))
    sizes[: len(labels) % max(1, len(classes))] += 1
    drawn = [_draw(np.flatnonzero(labels == label), size, rng) for label, size in zip(classes, sizes, strict=True)]
    return rng.permutation(np.concatenate([np.empty(0, np.int64), *drawn]))


def _draw(members: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    rounds = -(-n // len(members))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:n]


AHEAD = 2
"""Batches that are prepared while one is computed with."""


PIXELS_PER_BATCH = 2**18
"""Of the images that are predicted at once, which needs no more memory than a training step. `registry.pyfunc_model`,
which cannot import this module, has the same numbers; a test compares them."""


def images_per_batch(height: int, width: int) -> int:
    """The number of images to predict at once."""
    return min(max(PIXELS_PER_BATCH // (height * width), 8), 256)


class ImageBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Images in their order, without labels: what `model.predict` reads.

    Args:
        images: (n, height, width, channels), an array or a memory map; only one batch is copied at a time.
        batch_size: the last batch may be smaller.
    """

    def __init__(self, images: NDArray[Any], batch_size: int) -> None:
        super().__init__()
        self._images = images
        self._batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._images) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], ...]:
        first = index * self._batch_size
        return (np.array(self._images[first : first + self._batch_size]),)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Images, targets and image weights, in an order that follows from the seed and the epoch alone.

    Args:
        images: (n, height, width, channels), an array or a memory map; only one batch is copied at a time.
        labels: integers (n,), or other targets (n, ...), such as votes.
        batch_size: the last batch of an epoch may be smaller.
        seed: of the order; epoch e of seed s has the same order in every process. None keeps the order of the arrays.
        classes: integers (n,), for weights and drawing; left out: the labels.
        class_weights: float32 (n_classes,), the weight of an image by its class; None: no weights.
        balanced: draw the images of each epoch evenly from all classes (see `draw_balanced`); needs a seed.
    """

    def __init__(
        self,
        images: NDArray[Any],
        labels: NDArray[Any],
        batch_size: int,
        *,
        seed: int | None,
        classes: NDArray[Any] | None = None,
        class_weights: NDArray[np.float32] | None = None,
        balanced: bool = False,
    ) -> None:
        super().__init__()
        self.images = images
        self.batch_size = batch_size
        self._labels = np.asarray(labels)
        self._classes = self._labels if classes is None else np.asarray(classes)
        self._class_weights = class_weights
        self._weights = None if class_weights is None else class_weights[self._classes]
        self._seed = seed
        self._balanced = balanced
        self._epoch = -1
        self._order = np.arange(len(self._labels))

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], ...]:
        chosen = self.positions(index)
        return np.asarray(self.images[chosen]), *(each[chosen] for each in self.targets)

    @property
    def targets(self) -> tuple[NDArray[Any], ...]:
        """The targets (n, ...) of all images and, if there are any, their weights, float32 (n,)."""
        return (self._labels,) if self._weights is None else (self._labels, self._weights)

    def with_inputs(self, inputs: NDArray[Any], chosen: NDArray[np.int64], batch_size: int, seed: int) -> Batches:
        """The targets and weights of some images for other inputs.

        Args:
            inputs: (n, ...), what is trained on instead of the images.
            chosen: int64 (n,), the positions of the images whose targets these inputs have.
        """
        return Batches(
            inputs,
            self._labels[chosen],
            batch_size,
            seed=seed,
            classes=self._classes[chosen],
            class_weights=self._class_weights,
            balanced=self._balanced,
        )

    def positions(self, index: int) -> NDArray[np.int64]:
        """Which images are in a batch of this epoch, int64 (at most batch_size,)."""
        first = index * self.batch_size
        # sorted: neighbours on disk are read together, and the order within a batch changes nothing
        return np.sort(self._order[first : first + self.batch_size])

    def rewind(self, epoch: int) -> None:
        """Makes `epoch`, from 0, the one whose order is drawn next."""
        self._epoch = epoch - 1

    def on_epoch_begin(self) -> None:
        """Draws the order of the next epoch. Keras calls `on_epoch_end` more often than epochs end, this once each; on
        JAX once more before the first, see `rewind`."""
        self._epoch += 1
        if self._seed is not None:
            rng = np.random.default_rng((self._seed, self._epoch))
            self._order = draw_balanced(self._classes, rng) if self._balanced else rng.permutation(len(self._labels))


def feed(batches: keras.utils.PyDataset) -> Any:
    """What `fit` or `predict` gets in place of `batches`; the batches are the same, in the same order.

    On TensorFlow it is a `tf.data.Dataset` without autotuning, whose thread would delay the end of each epoch
    (docs/performance.md). Other backends take the batches as they are.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf

    def epoch() -> Iterator[tuple[Any, ...]]:
        batches.on_epoch_begin()
        for index in range(len(batches)):
            yield batches[index]

    signature = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in batches[0])
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = tf.data.Dataset.from_generator(epoch, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(AHEAD).with_options(options)
