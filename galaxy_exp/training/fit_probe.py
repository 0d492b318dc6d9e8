"""Rehearsal of a user-defined `fit` without training: its hyperparameters, its epochs, and the range of its images."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine.hyperparameters import Choice, Int
from numpy.typing import NDArray

from galaxy_exp.errors import ConfigError
from galaxy_exp.questions import Votes
from galaxy_exp.training.continuation import IN_PARTS, NO_MODEL_FIT, OTHER_MODEL, why_not_continuable
from galaxy_exp.training.fitting import SplitArrays, TrainingEnded, fit_model, missing_parameters
from galaxy_exp.training.trial_network import defines_fit, prepare_network

__all__ = ["FitRehearsal", "LengthGuard", "UntrainedGuard", "WrongLengthError"]

IMAGES_PER_CLASS = 2
MOST_IMAGES = 64
"""The number of images in a rehearsal."""

_MOST_STANDARDISED, _LEAST_BRIGHT = 10, 64
"""Images as they are have a pixel of at least the second number, unless all are dark; scaled ones none above the first,
whether they are divided by 255 or by their standard deviation."""


class WrongLengthError(ValueError):
    """A `fit` does not train as many epochs as a trial has."""


class ScaledImagesError(ValueError):
    """A `fit` trains on other values of the images than the network gets afterwards."""


class UntrainedError(ValueError):
    """A `fit` trains another model than the trial's network, which stays as it was built."""


class FitRehearsal:
    """Calls a hypermodel's `fit` as a trial would, with some images and a model whose `fit` trains nothing.

    A training loop without `model.fit` trains one epoch on these images, uint8 (n, height, width, channels), with
    labels (n,), and votes if the data has any.

    Attributes:
        obstacle: why a trial of the first network that was built could not continue from a checkpoint, if so.
    """

    def __init__(
        self,
        name: str,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        n_classes: int,
        epochs: int,
        votes: Votes | None = None,
    ) -> None:
        chosen = np.concatenate([np.flatnonzero(labels == each)[:IMAGES_PER_CLASS] for each in np.unique(labels)])
        few = np.sort(chosen)[:MOST_IMAGES]
        self._name = name
        some = None if votes is None else replace(votes, values=votes.values[few])
        self._data = SplitArrays(images[few], labels[few], images[few], labels[few], some, some)
        self._questions = None if votes is None else votes.questions
        self._n_classes = n_classes
        self._epochs = epochs
        self.obstacle: str | None = None
        self._is_first = True
        self._varied: set[str] = set()
        """Hyperparameters that may be the number of epochs, and were rehearsed with another value."""

    def __call__(self, hypermodel: keras_tuner.HyperModel, hp: keras_tuner.HyperParameters, model: Any) -> None:
        """Lets `fit` declare its hyperparameters in `hp`.

        Raises:
            ConfigError: it trains another number of epochs than a trial has, on images that it scaled, or
                another network than `model`.
            Exception: whatever `fit` raises, or an error of the network.
        """
        if not isinstance(model, keras.Model):
            return
        is_first, self._is_first = self._is_first, False
        if not defines_fit(hypermodel):
            if is_first:
                self.obstacle = why_not_continuable(hypermodel, model)
            return
        if missing := missing_parameters(hypermodel):
            raise ConfigError(
                f"hypermodel: {self._name}: its fit does not take {' and '.join(missing)}; expected "
                "fit(self, hp, model, x, y, epochs, callbacks, ...), or **kwargs that it passes on to model.fit"
            )
        try:
            obstacle = self._rehearse(hypermodel, hp, model)
            if is_first:
                self.obstacle = obstacle
            for entry in hp.space:
                is_number = isinstance(entry, Int | Choice) and entry.name not in self._varied
                if is_number and hp.is_active(entry) and hp.values[entry.name] == self._epochs:
                    self._varied.add(entry.name)
                    other = hp.copy()
                    first, last = entry.prob_to_value(0.0), entry.prob_to_value(0.999)
                    other.values[entry.name] = last if first == self._epochs else first
                    self._rehearse(hypermodel, other, hypermodel.build(other))
        except (WrongLengthError, ScaledImagesError, UntrainedError) as error:
            raise ConfigError(f"hypermodel: {self._name}: {error}") from None

    def _rehearse(self, hypermodel: keras_tuner.HyperModel, hp: keras_tuner.HyperParameters, model: Any) -> str | None:
        """Why such a trial could not continue from a checkpoint, if so."""
        images = self._data.train_images
        network = prepare_network(
            self._name, hypermodel, hp, model, images, self._n_classes, self._questions, jit_compile=False
        )
        guard = LengthGuard(self._epochs, hp)
        others = [UntrainedGuard(model), _FirstEpoch()]
        with _without_training(model, guard, images) as planned, suppress(TrainingEnded):
            try:
                fit_model(network, self._data, epochs=self._epochs, callbacks=[guard, *others], seed=0)
            except TypeError as error:
                if "multiple values for keyword argument 'epochs'" not in str(error):
                    raise
                raise WrongLengthError(
                    f"its fit passes epochs to model.fit beside the epochs that it is given; {_expected(self._epochs)}"
                ) from error
            guard.check_end()
        if (obstacle := why_not_continuable(hypermodel, model)) or self._epochs in planned:
            return obstacle
        if planned:
            return IN_PARTS
        return OTHER_MODEL if guard.n_fits else NO_MODEL_FIT


class LengthGuard(keras.callbacks.Callback):  # type: ignore[misc]
    """Refuses a `model.fit` with more epochs than a trial has; `check_end` refuses one with fewer.

    Several calls of `model.fit` count together: `n_fits`. A training loop without it is not checked.
    """

    def __init__(self, epochs: int, hp: keras_tuner.HyperParameters, first_epoch: int = 0) -> None:
        super().__init__()
        self._epochs = epochs
        self._hp = hp
        self.n_fits, self._planned = 0, first_epoch
        self._begins = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Waits for the first epoch, whose number is known then."""
        self._begins = bool((self.params or {}).get("epochs"))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the epochs of a call of `model.fit` when its first epoch begins."""
        if self._begins:
            self._begins = False
            self.count(self.params["epochs"] - epoch)

    def count(self, epochs: int) -> None:
        """Adds the epochs of a call of `model.fit`.

        Raises:
            WrongLengthError: a trial has fewer.
        """
        self.n_fits += 1
        self._planned += epochs
        if self._planned > self._epochs:
            raise self._error()

    def check_end(self) -> None:
        """Checks the sum after `fit` has returned; several calls may have ended by themselves.

        Raises:
            WrongLengthError: the only call of `model.fit` was for fewer epochs.
        """
        if self.n_fits == 1 and self._planned < self._epochs:
            raise self._error()

    def _error(self) -> WrongLengthError:
        names = [name for name, value in self._hp.values.items() if type(value) is int and value == self._planned]
        names = [name for name in names if "epoch" in name]
        cause = f' (hyperparameter "{names[0]}")' if names else ""
        return WrongLengthError(
            f"its fit trains {self._planned} epoch{'s' * (self._planned != 1)}{cause}; {_expected(self._epochs)}"
        )


class UntrainedGuard(keras.callbacks.Callback):  # type: ignore[misc]
    """Refuses a `model.fit` of another model that leaves the trial's network as it was; it may have that within.

    Args:
        network: the trial's, which is evaluated and kept.
    """

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self._network = network
        self._before: list[NDArray[Any]] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Remembers the weights if another model is trained."""
        if self.model is not None and self.model is not self._network:
            self._before = self._network.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compares the weights after the first epoch.

        Raises:
            UntrainedError: they are the same.
        """
        before, self._before = self._before, None
        if before and all(map(np.array_equal, before, self._network.get_weights())):
            raise UntrainedError(
                "its fit trains another network than the one that build returned, which is evaluated and kept, and has "
                "not changed after an epoch; expected it to train its argument `model`, or a model with that within"
            )


class _FirstEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        raise TrainingEnded


@contextmanager
def _without_training(model: keras.Model, guard: LengthGuard, images: NDArray[np.uint8]) -> Iterator[list[int]]:
    """Makes `model.fit` check the calls that have the callback, and return a history of zeros.

    Gives the last epoch of each of these calls.
    """
    planned: list[int] = []
    signature = inspect.signature(model.fit)

    def fit(*arguments: Any, **keywords: Any) -> keras.callbacks.History:
        bound = signature.bind(*arguments, **keywords)
        bound.apply_defaults()
        epochs, first = bound.arguments["epochs"], bound.arguments["initial_epoch"]
        callbacks = bound.arguments["callbacks"]
        passed = getattr(callbacks, "callbacks", callbacks) or []
        if guard in (passed if isinstance(passed, list | tuple) else [passed]):
            guard.count(epochs - first)
            planned.append(epochs)
            _check_range(bound.arguments["x"], images)
        history = keras.callbacks.History()
        n = epochs - first
        history.epoch, history.history = list(range(first, epochs)), defaultdict(lambda: [0.0] * n, loss=[0.0] * n)
        model.history = history
        return history

    model.fit = fit
    try:
        yield planned
    finally:
        del model.fit


def _check_range(passed: Any, images: NDArray[np.uint8]) -> None:
    few = _first_batch(passed)
    if not hasattr(few, "shape") or tuple(few.shape)[1:] != images.shape[1:]:
        return
    greatest, raw = float(keras.ops.max(few)), images.max()
    if (greatest <= 1 < raw) or (greatest <= _MOST_STANDARDISED and raw >= _LEAST_BRIGHT):
        raise ScaledImagesError(
            f"its fit trains on images scaled to at most {greatest:.3g}, but the trial's network is evaluated, and "
            "used later, on images from 0 to 255; expected the scaling in the network: keras.layers.Rescaling(1 / 255)"
        )


def _first_batch(passed: Any) -> Any:
    """The images of a data set's or generator's first batch; the argument itself if it is an array."""
    try:
        if isinstance(passed, keras.utils.PyDataset):
            passed = passed[0]
        elif isinstance(passed, Iterator) or hasattr(passed, "element_spec"):  # a generator, or one of TensorFlow
            passed = next(iter(passed))
    except Exception:  # noqa: BLE001 - a user's data set can raise anything, and the few images may make no batch
        return None
    return passed[0] if isinstance(passed, tuple | list) and passed else passed


def _expected(epochs: int) -> str:
    return (
        f"a trial has training.epochs, {epochs}, so that trials can be compared and stopped; expected it to pass on "
        "the epochs that it is given"
    )
