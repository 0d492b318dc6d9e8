"""A new head on an encoder, trained alone before the whole network is.

A head that begins with random weights gives the encoder gradients that say nothing about the images, and changes in a
few steps what it had learned; after linear probing, fine-tuning keeps more of it (Kumar et al. 2022, arXiv:2202.10054).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import keras
import numpy as np

from galaxy_exp.hypermodel.batches import Batches, images_per_batch
from galaxy_exp.hypermodel.encoders import HEAD_BEGINS
from galaxy_exp.hypermodel.flops import count_flops
from galaxy_exp.hypermodel.on_device import fit_batches
from galaxy_exp.hypermodel.optimizers import cosine_schedule

if TYPE_CHECKING:
    import keras_tuner

    from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN

__all__ = ["warm_up_head"]

STEPS = 400
"""Steps of the head, rounded up to whole epochs."""
RATE = 0.02
"""Learning rate of Adam at its peak: a head alone has few steps."""
BATCH_SIZE = 32
MIN_IMAGES, MAX_IMAGES = 256, 8192
"""Images whose features are computed: in `STEPS` steps few of more images would be seen twice."""
MAX_FLOPS = 4e12
"""Fewer images are taken of encoders that would need more operations for them, so that a trial does not seem to hang:
some minutes on two cores. The number must not depend on the time, or a trial could not be reproduced."""


def warm_up_head(
    hypermodel: GalaxyCNN, hp: keras_tuner.HyperParameters, model: keras.Sequential, batches: Batches, seed: int
) -> None:
    """Trains the head of `model` with the loss of `hypermodel`; its body and its optimizer stay as they are.

    Nothing is done if the head takes all pixels of a map, which are too many to keep.

    Args:
        model: what `hypermodel` built.
        batches: the training images with their targets and weights. They are not augmented.
        seed: of which images are used, and of their order.
    """
    begin = [layer.name for layer in model.layers].index(HEAD_BEGINS) + 1
    if isinstance(model.layers[begin], keras.layers.Flatten):
        return
    if isinstance(model.layers[begin], keras.layers.GlobalAveragePooling2D):
        begin += 1
    body = keras.Sequential([keras.Input(model.input_shape[1:], dtype="uint8"), *model.layers[:begin]])
    body.jit_compile = model.jit_compile
    n_images = min(MAX_IMAGES, max(MIN_IMAGES, int(MAX_FLOPS / max(count_flops(body), 1))))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(batches.images))[:n_images])
    at_once = images_per_batch(*model.input_shape[1:3])
    features = np.concatenate(
        [
            keras.ops.convert_to_numpy(keras.ops.cast(body.predict_on_batch(batches.images[some]), "float32"))
            for some in np.split(chosen, range(at_once, len(chosen), at_once))
        ]
    )
    head = keras.Sequential([keras.Input(features.shape[1:], name="features"), *model.layers[begin:]])
    of_head = batches.with_inputs(features, chosen, BATCH_SIZE, seed)
    epochs = math.ceil(STEPS / len(of_head))
    hypermodel.compile_network(hp, head, keras.optimizers.Adam(cosine_schedule(RATE, epochs * len(of_head))))
    head.jit_compile = model.jit_compile
    if keras.backend.backend() == "tensorflow":  # an epoch in one call
        head.steps_per_execution = len(of_head)
    fit_batches(head, of_head, epochs=epochs, callbacks=[])
