"""Writes the package of a tiny model as this release makes it, with its answers, for later releases to load.

python tests/registry/keep_package.py       writes tests/registry/packages/<version of galaxy_exp>/

Run it once for a release whose package differs from the last one's; what is there already stays as it is.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = Path(__file__).with_name("packages")
CLASS_NAMES = ("smooth", "edge-on, no bulge", "spiral")
SIDE = 12


def main() -> None:
    """Makes the package, and `answers.npz` beside it: images uint8 (n, 30, 24, 3) and what the model says of them."""
    from galaxy_exp.quiet import import_keras_quietly

    import_keras_quietly()
    from galaxy_exp.registry.classifier import load_model
    from galaxy_exp.registry.packaging import ModelPackage

    target = PACKAGES / version("galaxy-exp")
    if target.exists():
        sys.exit(f"{target}: is there already; a package that was kept is never changed")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.keras")
        _network().save(file)
        package = ModelPackage(
            model_file=file,
            class_names=CLASS_NAMES,
            image_shape=(SIDE, SIDE, 3),
            input_example=np.zeros((1, SIDE, SIDE, 3), np.uint8),
            metadata={"sweep_id": "kept", "trial": 0, "data_digest": "kept"},
            preprocessing={"crop": 24, "resize": SIDE, "greyscale": False, "fits": None},
        )
        written = package.write(Path(folder), run_id="kept", model_id="m-kept", location="kept")
        shutil.copytree(written, target / "package", ignore=shutil.ignore_patterns("__pycache__"))
        _without_paths(target / "package" / "MLmodel", folder)
    rng = np.random.default_rng(1)
    colours = rng.uniform(0, 255, (6, 1, 1, 3))
    images = (rng.uniform(0.7, 1.0, (6, 30, 24, 3)) * colours).astype(np.uint8)
    answers = load_model(str(target / "package")).predict(images)
    np.savez_compressed(target / "answers.npz", images=images, probabilities=answers.probabilities)


def _network() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(4, 3, padding="same"),
        keras.layers.BatchNormalization(),
        keras.layers.Activation("relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(len(CLASS_NAMES), kernel_initializer=keras.initializers.RandomNormal(stddev=20.0)),
        keras.layers.Softmax(dtype="float32"),
    ]
    return keras.Sequential([keras.Input((SIDE, SIDE, 3), dtype="uint8"), *layers])


def _without_paths(file: Path, folder: str) -> None:
    """Takes this machine's paths out of the MLmodel file; loading reads none of them."""
    code = str(Path(sys.modules["galaxy_exp"].__path__[0], "registry"))
    file.write_text(file.read_text().replace(f"{folder}/", "").replace(f"{code}/", ""))


if __name__ == "__main__":
    main()
