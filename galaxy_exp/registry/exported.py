"""An exported ONNX network as a model: classifies with ONNX Runtime, without importing TensorFlow or MLflow."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import ModelError, first_line
from galaxy_exp.registry.pyfunc_model import GalaxyModel
from galaxy_exp.wording import short_value

__all__ = ["ONNX_SUFFIX", "ExportedModel", "check_onnx_packages", "facts_file", "open_session"]

ONNX_SUFFIX = ".onnx"
_FACTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "class_names": (lambda value: isinstance(value, list) and len(value) > 0, "a list of names"),
    "image_size": (
        lambda value: isinstance(value, list) and len(value) == 2 and all(isinstance(side, int) for side in value),
        "height and width in pixels",
    ),
    "metadata": (lambda value: isinstance(value, dict), "an object"),
}
"""Keys that every file of facts has: whether a value is of their kind, and what the kind is."""


class ExportedModel(GalaxyModel):
    """The network of an .onnx file of `galaxy-exp models export`, with the preprocessing that its JSON file states."""

    metadata: Mapping[str, Any]
    """Of the package that it was exported from."""
    simulated: bool
    """Whether it was trained on simulated galaxies."""

    def __init__(self, file: Path) -> None:
        """Reads both files.

        Raises:
            ModelError: one of them is missing or damaged, they do not go together, or ONNX Runtime is not installed.
        """
        check_onnx_packages(file, ["onnxruntime"])
        facts = _read_facts(file)
        self.class_names = tuple(facts["class_names"])
        self.image_size = (facts["image_size"][0], facts["image_size"][1])
        self.centre, self.greyscale = facts.get("crop"), bool(facts.get("greyscale"))
        self.raw_side = facts.get("raw_side")
        self.fits, self.tta = facts.get("fits"), bool(facts.get("tta", facts.get("after")))
        self.questions = tuple(facts.get("questions") or ())
        self.metadata = facts["metadata"]
        self.simulated = str(facts.get("trained_on")).startswith("SIMULATED")
        run = open_session(file)
        self._network = lambda images, training: run(images)
        self._check_shapes(file)

    def _check_shapes(self, file: Path) -> None:
        size = " x ".join(map(str, self.image_size))
        try:
            outputs = self._network(np.zeros((1, *self.image_size, 3), np.uint8), training=False)
        except Exception as error:
            raise ModelError(f"{file}: does not take images of {size}: {first_line(error)}") from error
        if outputs.shape != (1, self.n_outputs):
            raise ModelError(
                f"{file}: gives outputs of shape {outputs.shape}; expected (1, {self.n_outputs}) by {facts_file(file)}"
            )


def check_onnx_packages(file: Path, needed: Sequence[str]) -> None:
    """Raises ModelError, one line that names `file`, if packages that it needs are not installed."""
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(f"{file}: ONNX needs {', '.join(missing)}; install with: pip install 'galaxy-exp[onnx]'")


def facts_file(network: Path) -> Path:
    """The JSON file beside an exported network."""
    return network.with_name(f"{network.name}.json")


def _read_facts(file: Path) -> dict[str, Any]:
    path = facts_file(file)
    for each in (file, path):
        if not each.is_file():
            raise ModelError(
                f"{each}: no such file; expected FILE.onnx and FILE.onnx.json of: galaxy-exp models export"
            )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {first_line(error)}") from error
    missing = [key for key in _FACTS if not isinstance(facts, dict) or key not in facts]
    if missing:
        raise ModelError(f"{path}: has no {', '.join(missing)}; expected the file that galaxy-exp models export wrote")
    for key, (is_right, kind) in _FACTS.items():
        if not is_right(facts[key]):
            raise ModelError(f"{path}: {key} is {short_value(facts[key])}; expected {kind}")
    return dict(facts)


def open_session(file: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A function from images uint8 (n, height, width, 3) to the outputs of an ONNX network, float32 (n, n_outputs).

    Raises:
        ModelError: the file is damaged, or has operations that the installed ONNX Runtime does not know.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{file}: ONNX Runtime cannot read it: {first_line(error)}") from error
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0], dtype=np.float32)
