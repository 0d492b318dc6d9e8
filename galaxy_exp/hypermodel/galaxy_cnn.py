"""The built-in hypermodel: a small convolutional network for galaxy images."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner
from numpy.typing import NDArray

from galaxy_exp.encoder_file import SCRATCH
from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel.batches import Batches, class_weights, feed, replace_rare_winners
from galaxy_exp.hypermodel.encoders import ENCODER_LAYER, check_encoder
from galaxy_exp.hypermodel.galaxy_network import build_network
from galaxy_exp.hypermodel.galaxy_space import HINTS, LIMITS, LOSSES, NetworkValues, declare_hyperparameters
from galaxy_exp.hypermodel.head_warm_up import warm_up_head
from galaxy_exp.hypermodel.on_device import fit_batches
from galaxy_exp.hypermodel.optimizers import build_optimizer, cosine_schedule
from galaxy_exp.hypermodel.scoring import MacroF1, build_loss, build_vote_loss, vote_metrics
from galaxy_exp.questions import Questions

__all__ = ["GalaxyCNN"]


class GalaxyCNN(keras_tuner.HyperModel):  # type: ignore[misc]
    """Builds and trains the network that `galaxy_exp.hypermodel.galaxy_space` describes.

    It works in galaxy_exp's sweeps and in any `keras_tuner.Tuner`:

        tuner = keras_tuner.RandomSearch(GalaxyCNN((69, 69, 3), 10), objective="val_accuracy", max_trials=5)
        tuner.search(images, labels, validation_data=(more_images, more_labels), epochs=5)

    Args:
        image_shape: (height, width, channels) of the uint8 images.
        n_classes: labels are integers in 0..n_classes-1.
        starts: what the network may start from: `scratch`, `pretrained`, names of encoders' `.keras` files. If any are
            stated, `start` is a hyperparameter; else the network starts from scratch.
        questions: what volunteers answered, to train on their votes; `n_classes` is then the number of answers to the
            first question.
        are_counts: whether the votes are numbers of votes, so that `loss` is a hyperparameter; else fractions.

    Raises:
        ConfigError: no network can start from one of `starts`; one line for each.
    """

    declares_everything = True
    """`declare_hyperparameters` declares the whole space, so that no network has to be built to find it."""

    limits: Mapping[str, tuple[float, float]] = LIMITS
    """How far a sweep file may widen a hyperparameter."""

    hints: Mapping[str, str] = HINTS
    """By the hyperparameters that are declared only where `starts` are stated, or votes are counts."""

    # of the class too: instances and subclasses that an earlier release pickled have none of their own
    encoders: dict[str, str] | None = None
    """The identity of each encoder in `starts`; None without `starts`."""

    features: frozenset[str] = frozenset()
    """Those of `starts` whose encoder gives features, so that `head` has no effect."""

    stored_encoders: Path | None = None
    """The folder of the sweep's copies of encoders."""

    questions: Questions | None = None
    """What the votes that it is trained on answer; None: it is trained on labels."""

    are_counts: bool = False

    def __init__(
        self,
        image_shape: Sequence[int],
        n_classes: int,
        starts: Sequence[str] = (),
        questions: Questions | None = None,
        are_counts: bool = False,
    ) -> None:
        super().__init__(name="galaxy_cnn")
        height, width, channels = image_shape
        self.image_shape = (height, width, channels)
        self.n_classes = n_classes
        self.questions, self.are_counts = questions, are_counts
        if starts:
            self.offer(starts)

    def offer(self, starts: Sequence[str]) -> None:
        """Makes `start` a hyperparameter with these values; see the constructor."""
        encoders: dict[str, str] = {}
        features: list[str] = []
        problems: list[str] = []
        for start in dict.fromkeys(starts):
            try:
                if start != SCRATCH:
                    encoders[start], n_dimensions = check_encoder(start, self.image_shape)
                    features += [start] if n_dimensions == 2 else []
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        self.encoders, self.features = encoders, frozenset(features)

    @property
    def is_unchanged(self) -> bool:
        """Whether it builds and trains as this class does; a subclass may compile other losses, or train otherwise."""
        kind = type(self)
        ours = (GalaxyCNN.build, GalaxyCNN.compile_network, GalaxyCNN.fit)
        return (kind.build, kind.compile_network, kind.fit) == ours

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Declares the whole space in `hp`."""
        self.read(hp)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Sequential:
        """The compiled network for the values in `hp`: uint8 images in, float32 probabilities out.

        With questions it gives fractions or concentrations (n, n_answers). Reports `loss`, `accuracy` and `macro_f1`.
        XLA is off except on JAX, which computes nothing fast without.
        """
        values = self.read(hp)
        model = build_network(values, self.image_shape, self.n_classes, self.stored_encoders, self.questions)
        optimizer = build_optimizer(values)
        if values.body_rate not in (None, 1.0):
            optimizer.scale_rate(model.get_layer(ENCODER_LAYER).trainable_variables, values.body_rate)
        self.compile_network(hp, model, optimizer)
        return model

    def read(self, hp: keras_tuner.HyperParameters) -> NetworkValues:
        """The values of all hyperparameters in `hp`, which are declared if they are not there."""
        losses = LOSSES if self.questions is not None and self.are_counts else ()
        return declare_hyperparameters(hp, self.encoders, self.features, losses)

    def compile_network(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, optimizer: keras.optimizers.Optimizer
    ) -> None:
        """Compiles a network for the values in `hp`, or the head of one, with its loss and metrics."""
        values = self.read(hp)
        if self.questions is None:
            loss, metrics = build_loss(values.label_smoothing), ["accuracy", MacroF1(self.n_classes)]
        else:
            loss = build_vote_loss(values.loss, self.questions, values.label_smoothing)
            metrics = vote_metrics(self.questions)
        model.compile(optimizer=optimizer, loss=loss, metrics=metrics, jit_compile=keras.backend.backend() == "jax")

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        x: NDArray[Any],
        y: NDArray[Any],
        *,
        epochs: int = 1,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        validation_data: tuple[NDArray[Any], NDArray[Any]] | None = None,
        verbose: int | str = 0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains `model` with the batch size, schedule and class weights in `hp`, its head first where `hp` says so.

        Args:
            x: uint8 (n, height, width, channels), an array or a memory map, which is read batch by batch.
            y: integer labels (n,), or votes (n, n_answers). Class weights and sampling go by the most frequent answer
                to the first question; an answer that wins for fewer than three images counts as the most common one.
            validation_data: evaluated by Keras after each epoch, if any.
            seed: of the order of the images; None draws one from Python's generator.
            kwargs: further arguments of `keras.Model.fit`.
        """
        values = self.read(hp)
        labels = y if self.questions is None else replace_rare_winners(self.questions.winners(y))
        weights = class_weights(labels, self.n_classes, values.class_weighting)
        balanced = values.class_weighting == "sampling"
        order_seed = random.getrandbits(32) if seed is None else seed
        batches = Batches(
            x, y, values.batch_size, seed=order_seed, classes=labels, class_weights=weights, balanced=balanced
        )
        begins = not kwargs.get("initial_epoch")
        if begins and values.head_warm_up and not values.is_frozen and self.is_unchanged:
            warm_up_head(self, hp, model, batches, order_seed)
        if values.schedule == "cosine":
            model.optimizer.learning_rate = cosine_schedule(float(model.optimizer.learning_rate), epochs * len(batches))
        if validation_data is not None:
            kwargs["validation_data"] = feed(Batches(*validation_data, values.batch_size, seed=None))
        return fit_batches(model, batches, epochs=epochs, callbacks=callbacks or [], verbose=verbose, **kwargs)
