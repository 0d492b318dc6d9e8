"""A packaged network as an ONNX file or a TensorFlow SavedModel, compared with the model it came from.

The network alone is exported: uint8 (n, height, width, 3) of the size it was trained on to probabilities
(n, n_classes), or of a model of votes to a positive number for each answer (n, n_answers). Who uses it repeats the
preprocessing of the training and resizes, by the rule in a JSON file beside it, as `registry.exported` does.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import BadInputError, ModelError, reason_of
from galaxy_exp.questions import Questions
from galaxy_exp.registry.classifier import GalaxyClassifier
from galaxy_exp.registry.exported import ONNX_SUFFIX, check_onnx_packages, facts_file, open_session
from galaxy_exp.registry.version_tags import DATA_SOURCE

__all__ = ["ONNX_PACKAGES", "TOLERANCE", "export_network", "save_as_onnx", "save_as_tensorflow"]

TOLERANCE = 1e-4
"""Largest difference allowed between a probability of the exported network and the model's; of an output above 1, which
is a concentration, relative to it."""
_SAMPLES = 16
_SEED = 0
_AVERAGED = "take the mean of the outputs over the flips and quarter turns of the image, as the model does"
_AVERAGED_VOTES = f"{_AVERAGED}, and only then divide by the sum over each question"
ONNX_PACKAGES = ("tf2onnx", "onnx", "onnxruntime")

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def export_network(classifier: GalaxyClassifier, output: Path) -> float:
    """Writes `output`, ONNX if it ends in .onnx and else a SavedModel's folder, and `facts_file(output)`.

    Both are compared on random images; nothing is written unless they agree within `TOLERANCE`. Returns the largest
    difference of an output.

    Raises:
        BadInputError: one of the two exists or cannot be written.
        ModelError: the packages that ONNX needs are not installed, the network cannot be exported in this format, or
            the exported one disagrees.
    """
    as_onnx = output.suffix.lower() == ONNX_SUFFIX
    facts = facts_file(output)
    for path in (output, facts):
        if path.exists():
            raise BadInputError(f"{path}: exists already; expected a new name")
    if not output.parent.is_dir():
        raise BadInputError(f"{output}: cannot be written: {output.parent} is not a folder")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise BadInputError(f"{output}: cannot be written: no permission to write in {output.parent}")
    if as_onnx:
        check_onnx_packages(output, ONNX_PACKAGES)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        made = Path(folder, output.name)
        predict = (save_as_onnx if as_onnx else save_as_tensorflow)(classifier, made)
        difference = _compare(classifier, predict)
        if not difference <= TOLERANCE:
            raise ModelError(
                f"{classifier.uri}: what was exported differs from the model by {difference:.2g}; expected at most "
                f"{TOLERANCE:g}; nothing was written"
            )
        described = Path(folder, facts.name)
        described.write_text(json.dumps(_facts(classifier), indent=1), encoding="utf-8")
        described.rename(facts)
        try:
            made.rename(output)
        except OSError:
            facts.unlink()
            raise
    return difference


def _facts(classifier: GalaxyClassifier) -> dict[str, Any]:
    return {
        "model": classifier.uri,
        "metadata": classifier.metadata,
        "trained_on": "SIMULATED galaxies" if classifier.simulated else classifier.tags.get(DATA_SOURCE, ""),
        "class_names": list(classifier.class_names),
        "image_size": list(classifier.image_size),
        "input": "uint8 (n, height, width, 3), red, green, blue",
        "output": "float32 (n, n_classes), probabilities in the order of class_names",
        **_vote_facts(classifier.questions),
        "crop": classifier.crop,
        "raw_side": classifier.raw_side,
        "greyscale": classifier.greyscale,
        "fits": classifier.fits,
        "tta": classifier.tta,
        "before": "; then ".join(_steps(classifier)),
        "after": _how_to_average(classifier),
        "temperature": classifier.temperature,
    }


def _vote_facts(questions: Questions | None) -> dict[str, Any]:
    if questions is None:
        return {}
    output = (
        "float32 (n, n_answers), a positive number for each answer in the order of answers; divided by the sum over "
        "its question it is the fraction of votes, and the sum is the concentration of a Dirichlet distribution"
    )
    return {"output": output, "questions": questions.to_list(), "answers": list(questions.answers)}


def _how_to_average(classifier: GalaxyClassifier) -> str:
    if not classifier.tta:
        return ""
    return _AVERAGED if classifier.questions is None else _AVERAGED_VOTES


def _steps(classifier: GalaxyClassifier) -> Iterator[str]:
    """The preprocessing of a raw image, in this order; as in `pyfunc_model.py`."""
    if classifier.fits is not None:
        yield "make 8-bit images of FITS files as fits says (the keys of data.fits)"
    if classifier.crop is not None:
        yield f"cut the square of {classifier.crop} pixels from the centre, if neither side is smaller"
    yield "cut the centre to the aspect ratio of image_size"
    yield "resize to image_size (bilinear, antialiased)"
    if classifier.greyscale:
        yield "replace each channel by the mean of the three, rounded to the nearest, halves up"


def _compare(classifier: GalaxyClassifier, predict: Predict) -> float:
    """The largest difference to the network itself; `classifier.predict` would preprocess first."""
    import keras

    images = _sample_images(classifier.image_size)
    expected = keras.ops.convert_to_numpy(classifier.network(images, training=False))
    return float((np.abs(predict(images) - expected) / np.maximum(expected, 1.0)).max())


def _sample_images(image_size: tuple[int, int]) -> NDArray[np.uint8]:
    """Noise under coloured light that falls off from the centre, from faint to saturated."""
    height, width = image_size
    rng = np.random.default_rng(_SEED)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    colours = np.linspace(20, 400, _SAMPLES)[:, np.newaxis] * rng.uniform(0.3, 1, (_SAMPLES, 3))
    light = np.exp(-4 * (x**2 + y**2))[np.newaxis, ..., np.newaxis] * colours[:, np.newaxis, np.newaxis]
    images: NDArray[np.uint8] = np.clip(light + rng.normal(20, 10, light.shape), 0, 255).astype(np.uint8)
    return images


def save_as_tensorflow(classifier: GalaxyClassifier, folder: Path) -> Predict:
    """Writes a SavedModel; returns a function that predicts with it."""
    import keras

    _export(classifier, folder, "tf_saved_model")
    exported = keras.layers.TFSMLayer(str(folder), call_endpoint="serve")
    return lambda images: np.asarray(keras.ops.convert_to_numpy(exported(images)), dtype=np.float32)


def save_as_onnx(classifier: GalaxyClassifier, file: Path) -> Predict:
    """Writes an ONNX file; returns a function that predicts with it."""
    _export(classifier, file, "onnx")
    return open_session(file)


def _export(classifier: GalaxyClassifier, path: Path, kind: str) -> None:
    import keras

    spec = keras.InputSpec(shape=(None, *classifier.image_size, 3), dtype="uint8", name="images")
    try:
        with warnings.catch_warnings(action="ignore"):  # those of Keras and tf2onnx about NumPy say nothing to a user
            classifier.network.export(str(path), format=kind, verbose=False, input_signature=[spec])
    except Exception as error:
        raise ModelError(f"{classifier.uri}: cannot be exported as {kind}: {reason_of(error)}") from error
