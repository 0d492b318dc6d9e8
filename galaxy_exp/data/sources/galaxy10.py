"""Galaxy10 SDSS and Galaxy10 DECaLS (Leung & Bovy), downloaded into astroNN's cache folder and read by astroNN.

The download is not astroNN's, which has no timeout and downloads a damaged file again until Python's recursion limit.
astroNN finds the verified file in its cache. Its result is stored beside it as an uncompressed copy, so that later
sweeps memory-map the images and wait neither for astroNN's import nor for decompression.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.data.dataset import ImageDataset
from galaxy_exp.data.fetch import RemoteFile, fetch_file
from galaxy_exp.data.sources.array_file import load_array_file
from galaxy_exp.errors import DataError
from galaxy_exp.folders import write_atomically

__all__ = ["GALAXY10", "MODULES", "astronn_cache_folder", "fetch_galaxy10", "load_galaxy10", "write_copy"]

URL_VARIABLE_PREFIX = "GALAXY_EXP_URL_"
"""`GALAXY_EXP_URL_GALAXY10_SDSS` replaces the mirrors of that file, for networks with a local mirror."""

READER = (
    sys.executable,
    "-c",
    "import sys; from galaxy_exp.data.sources.galaxy10 import write_copy; write_copy(*sys.argv[1:])",
)
"""Command that reads a file with astroNN; the source and the output file are appended."""

GALAXY10 = {
    # Checksum: astroNN 1.1.0, astroNN/datasets/galaxy10sdss.py. Size: astroNN's documentation.
    "galaxy10-sdss": RemoteFile(
        name="Galaxy10.h5",
        urls=(
            "https://zenodo.org/records/10844811/files/Galaxy10.h5",
            "https://www.astro.utoronto.ca/~bovy/Galaxy10/Galaxy10.h5",
        ),
        sha256="969a6b1cefcc36e09fffa86febd2f699a4aa19b837ba0427f01b0bc6ded458af",
        size="210,234,548 bytes",
    ),
    # Checksum: astroNN 1.1.0, astroNN/datasets/galaxy10.py.
    "galaxy10-decals": RemoteFile(
        name="Galaxy10_DECals.h5",
        urls=(
            "https://zenodo.org/records/10845026/files/Galaxy10_DECals.h5",
            "https://www.astro.utoronto.ca/~hleung/shared/Galaxy10/Galaxy10_DECals.h5",
        ),
        sha256="19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571",
        size="2.54 GB",
    ),
}
"""The file of each source."""


def astronn_cache_folder() -> Path:
    """`~/.astroNN/datasets`, the data folder of astroNN 1.1 (astroNN/config.py)."""
    return Path.home() / ".astroNN" / "datasets"


def fetch_galaxy10(name: str, folder: Path | None = None, *, urls: Sequence[str] | None = None) -> Path:
    """The verified file of `name` in `folder`, downloaded if it is missing.

    Args:
        name: a key of `GALAXY10`.
        folder: by default astroNN's cache folder.
        urls: mirrors in the order in which they are tried; by default the environment variable
            `GALAXY_EXP_URL_GALAXY10_SDSS` (`..._DECALS`), else Zenodo and the University of Toronto.

    Raises:
        FetchError: no mirror has the right file; the message says where to get it and where to put it.
    """
    variable = URL_VARIABLE_PREFIX + name.upper().replace("-", "_")
    if urls is None and variable in os.environ:
        urls = (os.environ[variable],)
    return fetch_file(GALAXY10[name], folder or astronn_cache_folder(), urls=urls)


def load_galaxy10(name: str, config: DataConfig) -> ImageDataset:
    """Loads `galaxy10-sdss` (21,785 images of 69x69) or `galaxy10-decals` (17,736 of 256x256).

    Raises:
        FetchError: the file is not in the cache folder and cannot be downloaded.
        DataError: astroNN cannot read it, or the copy cannot be written; `config.class_names` are not ten.
    """
    known = GALAXY10[name]
    copy = astronn_cache_folder() / f"{Path(known.name).stem}.{known.sha256[:12]}.read.h5"
    if not copy.is_file():
        _read_through_astronn(name, fetch_galaxy10(name), copy)
    return load_array_file(copy, config, source=name)


def _read_through_astronn(name: str, path: Path, copy: Path) -> None:
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}

    def read(output: Path) -> None:
        done = subprocess.run([*READER, name, output], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise DataError(f"{name}: astroNN cannot read {path} ({reason})")

    write_atomically(copy, read)


MODULES = {"galaxy10-sdss": "galaxy10sdss", "galaxy10-decals": "galaxy10"}
"""Module of `astroNN.datasets` for each source."""

_CORRECTIONS = {"galaxy10-decals": {3: "In-between Round Smooth"}}
"""Class names that are wrong in astroNN 1.1.0, by label, from github.com/henrysky/Galaxy10."""


def write_copy(name: str, output: str) -> None:
    """Writes the images, labels and class names of a source as uncompressed HDF5 in Galaxy10's layout.

    The name is a key of `MODULES`, whose complete file is in astroNN's cache folder. It runs in a separate process:
    importing astroNN imports TensorFlow and takes about ten seconds, and its loader prints.
    """
    module = importlib.import_module(f"astroNN.datasets.{MODULES[name]}")
    images, labels = module.load_data()
    corrections = _CORRECTIONS.get(name, {})
    with h5py.File(Path(output), "w") as file:
        file["images"] = images
        file["ans"] = labels
        names = [corrections.get(label) or module.galaxy10cls_lookup(label) for label in range(10)]
        file["ans"].attrs["class_names"] = names
