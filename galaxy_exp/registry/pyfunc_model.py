"""The registered model: raw uint8 images in, a table of classes and probabilities out.

MLflow copies this file into the package of every registered version ("model from code"), so it runs where
galaxy_exp is not installed and imports only the standard library, numpy, pandas, keras and mlflow; all but numpy where
they are needed, because `registry.exported` classifies images with an exported network without them. It reads two
artifacts: `model.keras`, a Keras model from uint8 (n, height, width, 3) to probabilities (n, n_classes), or
`model_graph`, the same as a TensorFlow SavedModel, of a network with layers that Keras does not have,
and `classes.json` with `class_names`, `image_size` ([height, width]), `rule`, `tta` (whether probabilities are the mean
over flips and quarter turns) and `preprocessing`, that of the training's raw images. Its `fits`, how FITS files became
8 bits, is left to those who read FITS files, as images are 8-bit already here.

A model of votes has `questions` in `classes.json` too, each with `name` and `answers`. Its network gives a positive
number for each answer, (n, n_answers), all questions side by side: divided by the sum over its question it is the
fraction of the votes, and the sum is the concentration of a Dirichlet distribution. `class_names` are the answers to
the first question.

The rule for images that are not of the model's size: an image of another aspect ratio is centre-cropped to
the model's (to a square for a square model), then resized by bilinear interpolation with antialiasing and
rounded back to uint8. An image whose crop is less than half as high or wide as the model's is refused, or, if training
enlarged its raw images, as these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.exceptions import MlflowException

PIXELS_PER_BATCH = 2**18
"""Pixels predicted at once, at the size the network takes; bounds memory whatever the number and size of images."""
_FRACTIONS_SUM_TO_1 = 0.01
"""Largest deviation, as they may be computed in bfloat16."""
RESIZE_PIXELS = 2**22
"""Source pixels resized at once (about 50 MB as float32)."""


class GalaxyModel:
    """A galaxy classifier: what MLflow's `PythonModel` needs, without being one."""

    class_names: tuple[str, ...]
    """One name per class, in label order."""
    image_size: tuple[int, int]
    """Height and width of the images the network takes, in pixels."""
    centre: int | None = None
    """Side in pixels of the square that training cut from the centre of its raw images; None if it did not."""
    raw_side: int | None = None
    """Side in pixels of the smallest raw image after the training's crop, if training enlarged it."""
    greyscale: bool = False
    """Whether training made its images grey."""
    tta: bool = False
    """Whether the probabilities are the mean over the flips and quarter turns of an image."""
    fits: dict[str, Any] | None = None
    """How training read FITS files, as `data.fits` of its sweep file; None if there were none."""
    questions: tuple[dict[str, Any], ...] = ()
    """Of a model of votes, each with `name` and `answers`; empty for a model of classes."""

    def load_context(self, context: Any) -> None:
        """Reads the network and its classes. Safe mode: a `.keras` file that carries code is refused."""
        import keras

        classes = json.loads(Path(context.artifacts["classes"]).read_text(encoding="utf-8"))
        self.class_names = tuple(classes["class_names"])
        self.image_size = (int(classes["image_size"][0]), int(classes["image_size"][1]))
        self.tta = bool(classes.get("tta", False))
        self.questions = tuple(classes.get("questions") or ())
        preprocessing = classes.get("preprocessing", {})
        self.centre, self.greyscale = preprocessing.get("crop"), bool(preprocessing.get("greyscale", False))
        self.fits, self.raw_side = preprocessing.get("fits"), preprocessing.get("raw_side")
        model = context.artifacts["model"]
        if Path(model).is_dir():
            self._network = keras.layers.TFSMLayer(model, call_endpoint="serve")
        else:
            self._network = keras.saving.load_model(model, compile=False, safe_mode=True)

    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classifies images.

        Args:
            context: not used; the model was read by `load_context`.
            model_input: uint8 (n, height, width, 3), one image uint8 (height, width, 3), or a list of uint8
                (height, width, 3) of different sizes.
            params: not used.

        Returns:
            One row per image: `label` (int64), `class_name`, `probability` (float32, of that class), then
            `p_<class name>` (float32) for each class. Of a model of votes, `label`, `class_name` and `probability` are
            the most frequent answer to the first question and its fraction, `p_<answer>` is the fraction of each
            answer to each question, and `concentration_<question>` (float32) is that of each question,
            None if the network states none.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE, one line naming the image's index and what is wrong; also if all
                pixels of all images are 0 or 1, as MLflow makes them of values from 0.0 to 1.0 that are sent to a
                server.
        """
        import pandas as pd

        if _is_dark(model_input):
            raise _refused("all pixels are 0 or 1; expected whole numbers from 0 to 255, not divided by 255")
        probabilities = outputs = self.predict_probabilities(model_input)
        names: Sequence[str] = self.class_names
        if self.questions:
            probabilities, concentrations = self.split_outputs(outputs)
            names = answer_names(self.questions)
        labels = probabilities[:, : len(self.class_names)].argmax(axis=1)
        columns: dict[str, Any] = {
            "label": labels.astype(np.int64),
            "class_name": [self.class_names[label] for label in labels],
            "probability": probabilities[np.arange(len(labels)), labels],
        }
        columns.update({f"p_{name}": probabilities[:, index] for index, name in enumerate(names)})
        for index, question in enumerate(self.questions):
            stated = concentrations[:, index]
            columns[f"concentration_{question['name']}"] = (
                stated if not np.isnan(stated).any() else [None] * len(stated)
            )
        return pd.DataFrame(columns)

    def split_outputs(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fractions (n, n_answers) and concentrations (n, n_questions), float32, from a votes network's outputs.

        Concentrations are NaN if the network gives fractions, so states none.
        """
        widths = [len(question["answers"]) for question in self.questions]
        starts = np.cumsum([0, *widths[:-1]])
        totals = np.add.reduceat(outputs.astype(np.float64), starts, axis=1)
        fractions = outputs / np.repeat(totals, widths, axis=1)
        if not (np.abs(totals - 1) > _FRACTIONS_SUM_TO_1).any():
            totals = np.full_like(totals, np.nan)
        return fractions.astype(np.float32), totals.astype(np.float32)

    def predict_probabilities(self, model_input: Any) -> np.ndarray:
        """float32 (n, n_classes) for images as `predict` takes them; of a model of votes its outputs (n, n_answers)."""
        images = _as_images(model_input)
        self._refuse_unfit(images)
        size = images_per_batch(*self.image_size)
        starts = range(0, len(images), size)
        batches = [predict_batch(self._network, self.fit_to_size(images[i : i + size]), self.tta) for i in starts]
        return np.concatenate([np.empty((0, self.n_outputs), np.float32), *batches])

    @property
    def n_outputs(self) -> int:
        """How many numbers the network gives for an image: one for each answer to all questions, or for each class."""
        return sum(len(question["answers"]) for question in self.questions) or len(self.class_names)

    def refusal(self, image: Any) -> str | None:
        """Why this image cannot be classified, in a few words; None if it can."""
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[-1] != 3:
            return f"has shape {np.shape(image)}; expected (height, width, 3)"
        if image.dtype != np.uint8:
            return f"has type {image.dtype}; expected uint8 values from 0 to 255"
        height, width = image.shape[:2]
        crop = crop_size((height, width), self.image_size)
        trained = self.image_size if self.raw_side is None else (self.raw_side, self.raw_side)
        if 2 * crop[0] < trained[0] or 2 * crop[1] < trained[1]:
            least = " x ".join(str(-(-side // 2)) for side in trained)
            return f"has {height} x {width} pixels; expected at least {least}, half of what the model was trained on"
        return None

    def _refuse_unfit(self, images: Sequence[np.ndarray] | np.ndarray) -> None:
        alike = isinstance(images, np.ndarray)
        for index in range(min(len(images), 1) if alike else len(images)):
            if reason := self.refusal(images[index]):
                raise _refused(f"image {index} {reason}")

    def fit_to_size(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """The images as the network takes them: uint8 (n, *image_size, 3), cut and made grey as in training."""
        if not isinstance(images, np.ndarray) and len({image.shape for image in images}) > 1:
            return np.concatenate([self.fit_to_size(image[np.newaxis]) for image in images])
        fit = resize(_crop(_cut_centre(np.asarray(images), self.centre), self.image_size), self.image_size)
        return _to_grey(fit) if self.greyscale else fit


def answer_names(questions: Sequence[dict[str, Any]]) -> list[str]:
    """One name per output of a votes network: "question.answer", or the answer alone if there is only one question."""
    if len(questions) == 1:
        return list(questions[0]["answers"])
    return [f"{question['name']}.{answer}" for question in questions for answer in question["answers"]]


def images_per_batch(height: int, width: int) -> int:
    """How many images of that many pixels to predict at once; the rule of galaxy_exp's `training.predictions`."""
    return min(max(PIXELS_PER_BATCH // (height * width), 8), 256)


def predict_batch(network: Any, images: np.ndarray, tta: bool) -> np.ndarray:
    """Probabilities of the network, float32 (n, n_classes); with `tta` the mean over `views_of` the images."""
    views = views_of(images) if tta else [images]
    probabilities = [_as_array(network(view, training=False)) for view in views]
    return np.asarray(np.mean(probabilities, axis=0))


def _as_array(output: Any) -> np.ndarray:
    """The tensor of any backend of Keras as float32; only PyTorch's have a gradient to leave behind."""
    return np.asarray(output.detach().cpu() if hasattr(output, "detach") else output, dtype=np.float32)


def views_of(images: np.ndarray) -> Iterator[np.ndarray]:
    """Images (n, height, width, 3) as they are, then flipped and turned: 8 views of squares, 4 of others."""
    for turns in range(0, 4, 1 if images.shape[1] == images.shape[2] else 2):
        turned = np.rot90(images, turns, axes=(1, 2))
        yield np.ascontiguousarray(turned)
        yield np.ascontiguousarray(turned[:, :, ::-1])


def _refused(message: str) -> MlflowException:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


def _as_images(model_input: Any) -> Sequence[np.ndarray] | np.ndarray:
    """A uint8 stack, or a list of single images."""
    if isinstance(model_input, np.ndarray) and model_input.dtype != object:
        return model_input[np.newaxis] if model_input.ndim == 3 else _checked_stack(model_input)
    if isinstance(model_input, Sequence | np.ndarray) and not isinstance(model_input, str):
        return list(model_input)
    raise _refused(f"images are of type {type(model_input).__name__}; expected uint8 arrays (n, height, width, 3)")


def _is_dark(model_input: Any) -> bool:
    """Whether all pixels of a stack are 0 or 1."""
    is_stack = isinstance(model_input, np.ndarray) and model_input.dtype == np.uint8 and model_input.size > 0
    return is_stack and int(model_input.max()) <= 1


def _checked_stack(images: np.ndarray) -> np.ndarray:
    if images.ndim != 4:
        raise _refused(f"images have shape {images.shape}; expected (n, height, width, 3)")
    return images


def crop_size(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The largest height and width within `size` that have the aspect ratio of `target`."""
    scale = min(size[0] / target[0], size[1] / target[1])
    return min(size[0], round(target[0] * scale)), min(size[1], round(target[1] * scale))


def _crop(images: np.ndarray, target: tuple[int, int]) -> np.ndarray:
    height, width = crop_size((images.shape[1], images.shape[2]), target)
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    return images[:, top : top + height, left : left + width]


def _cut_centre(images: np.ndarray, side: int | None) -> np.ndarray:
    """The crop of the training; smaller images count as cropped already."""
    height, width = images.shape[1:3]
    if side is None or min(height, width) < side:
        return images
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]


def _to_grey(images: np.ndarray) -> np.ndarray:
    """Each channel becomes the mean of the three, rounded to the nearest, halves up, as in training."""
    mean = (images.sum(axis=3, dtype=np.uint16) * 2 + 3) // 6
    return np.repeat(mean.astype(np.uint8)[..., np.newaxis], 3, axis=3)


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, antialiased; uint8 in and out. Images that have the size already are returned untouched."""
    if images.shape[1:3] == size or not len(images):
        return images
    return np.concatenate([_resize_at_once(part, size) for part in _parts_by_pixels(images)])


def _parts_by_pixels(images: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, RESIZE_PIXELS // (images.shape[1] * images.shape[2]))
    return (images[start : start + step] for start in range(0, len(images), step))


def _resize_at_once(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    n, height, width, channels = images.shape
    rows = _weights(height, size[0]) @ images.reshape(n, height, width * channels).astype(np.float32)
    values = _weights(width, size[1]) @ rows.reshape(n, size[0], width, channels)
    return np.asarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _weights(before: int, after: int) -> np.ndarray:
    """float32 (after, before): the share of each old pixel in each new one, a triangle around the new pixel's centre.

    The triangle is as wide as two pixels, of the new ones where an image shrinks.
    """
    scale = before / after
    centres = (np.arange(after) + 0.5)[:, np.newaxis] * scale
    distances = np.abs(np.arange(before) + 0.5 - centres) / max(scale, 1.0)
    weights = np.maximum(1 - distances, 0)
    return np.asarray((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


if __name__ != "galaxy_exp.registry.pyfunc_model":  # run from a package by MLflow, and not imported by galaxy_exp
    from mlflow.models import set_model
    from mlflow.pyfunc.model import PythonModel

    class ServedModel(GalaxyModel, PythonModel):
        """A galaxy classifier as MLflow loads and serves it."""

    set_model(ServedModel())
