"""Reads Galaxy10 with astroNN, in a separate process: `python -m galaxy_exp.data.sources.astronn_reader`.

Importing astroNN imports TensorFlow and takes about ten seconds, and its loader prints.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import h5py

__all__ = ["MODULES", "main"]

MODULES = {"galaxy10-sdss": "galaxy10sdss", "galaxy10-decals": "galaxy10"}
"""Module of `astroNN.datasets` for each source."""

_CORRECTIONS = {"galaxy10-decals": {3: "In-between Round Smooth"}}
"""Class names that are wrong in astroNN 1.1.0, by label, from github.com/henrysky/Galaxy10."""

N_CLASSES = 10


def main(name: str, output: str) -> None:
    """Writes the images, labels and class names of a source as uncompressed HDF5 in Galaxy10's layout.

    Args:
        name: a key of `MODULES`, whose complete file is in astroNN's cache folder.
        output: the file to write.
    """
    module = importlib.import_module(f"astroNN.datasets.{MODULES[name]}")
    images, labels = module.load_data()
    corrections = _CORRECTIONS.get(name, {})
    with h5py.File(Path(output), "w") as file:
        file["images"] = images
        file["ans"] = labels
        names = [corrections.get(label) or module.galaxy10cls_lookup(label) for label in range(N_CLASSES)]
        file["ans"].attrs["class_names"] = names


if __name__ == "__main__":
    main(*sys.argv[1:])
