"""GalaxyCNN trained as one would by hand: all images in memory, given to `model.fit` as NumPy arrays."""

from __future__ import annotations

from typing import Any

import keras
import keras_tuner
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.hypermodel.batches import class_weights
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.hypermodel.galaxy_space import declare_hyperparameters
from galaxy_exp.hypermodel.optimizers import cosine_schedule

__all__ = ["PlainFitCNN"]


class PlainFitCNN(GalaxyCNN):
    """The same space and networks; draws no classes evenly, so leave `class_weighting: sampling` out."""

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, x: NDArray[Any], y: NDArray[Any], **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains with the batch size, schedule and class weights in `hp`, in an order that Keras draws."""
        values = declare_hyperparameters(hp)
        weights = class_weights(y, self.n_classes, values.class_weighting)
        if values.schedule == "cosine":
            steps = kwargs["epochs"] * -(-len(y) // values.batch_size)
            model.optimizer.learning_rate = cosine_schedule(float(model.optimizer.learning_rate), steps)
        kwargs = {name: value for name, value in kwargs.items() if name not in ("seed", "validation_data")}
        sample_weight = None if weights is None else weights[y]
        return model.fit(np.array(x), y, batch_size=values.batch_size, sample_weight=sample_weight, **kwargs)
