"""Galaxy10 SDSS and Galaxy10 DECaLS (Leung & Bovy), fetched into astroNN's own cache folder.

The files are read here and not through astroNN: its loader takes 12 s to import, has no timeout, and
downloads a damaged file again until Python's recursion limit. A file that astroNN has already fetched is
used as it is, and astroNN finds the one fetched here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from galaxy_exp.config.sweep import DataConfig
from galaxy_exp.data.dataset import ImageDataset
from galaxy_exp.data.fetch import RemoteFile, fetch_file
from galaxy_exp.data.simulated.classes import CLASS_NAMES as SDSS_CLASS_NAMES
from galaxy_exp.data.sources.array_source import load_array_file

__all__ = ["GALAXY10", "Galaxy10", "astronn_cache_folder", "fetch_galaxy10", "load_galaxy10"]

URL_VARIABLE_PREFIX = "GALAXY_EXP_URL_"
"""`GALAXY_EXP_URL_GALAXY10_SDSS` replaces the mirrors of that file, for networks with a mirror of their own."""


@dataclass(frozen=True, slots=True)
class Galaxy10:
    """One of the two data sets: its file and the names of its classes, in label order."""

    file: RemoteFile
    class_names: tuple[str, ...]


GALAXY10 = {
    # Checksum: astroNN 1.1.0, astroNN/datasets/galaxy10sdss.py. Size: astroNN's documentation.
    "galaxy10-sdss": Galaxy10(
        RemoteFile(
            name="Galaxy10.h5",
            urls=(
                "https://zenodo.org/records/10844811/files/Galaxy10.h5",
                "https://www.astro.utoronto.ca/~bovy/Galaxy10/Galaxy10.h5",
            ),
            sha256="969a6b1cefcc36e09fffa86febd2f699a4aa19b837ba0427f01b0bc6ded458af",
            size="210,234,548 bytes",
        ),
        SDSS_CLASS_NAMES,
    ),
    # Checksum: astroNN 1.1.0, astroNN/datasets/galaxy10.py. Names: the data set's own documentation
    # (github.com/henrysky/Galaxy10); the table in astroNN 1.1.0 calls class 3 "Smooth, Cigar shaped".
    "galaxy10-decals": Galaxy10(
        RemoteFile(
            name="Galaxy10_DECals.h5",
            urls=(
                "https://zenodo.org/records/10845026/files/Galaxy10_DECals.h5",
                "https://www.astro.utoronto.ca/~hleung/shared/Galaxy10/Galaxy10_DECals.h5",
            ),
            sha256="19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571",
            size="2.54 GB",
        ),
        (
            "Disturbed",
            "Merging",
            "Round Smooth",
            "In-between Round Smooth",
            "Cigar Shaped Smooth",
            "Barred Spiral",
            "Unbarred Tight Spiral",
            "Unbarred Loose Spiral",
            "Edge-on without Bulge",
            "Edge-on with Bulge",
        ),
    ),
}
"""The data sets by source name."""


def astronn_cache_folder() -> Path:
    """`~/.astroNN/datasets`, where astroNN 1.1 keeps its data (astroNN/config.py)."""
    return Path.home() / ".astroNN" / "datasets"


def fetch_galaxy10(name: str, folder: Path | None = None, *, urls: Sequence[str] | None = None) -> Path:
    """The verified file of `name`, from `folder` or else downloaded into it.

    Args:
        name: a key of `GALAXY10`.
        folder: by default astroNN's cache folder.
        urls: mirrors to try in turn; by default the environment variable `GALAXY_EXP_URL_GALAXY10_SDSS`
            (`..._DECALS`), else Zenodo and then the University of Toronto.

    Raises:
        FetchError: no mirror gave the right file; says where to get it by hand and where to put it.
    """
    variable = URL_VARIABLE_PREFIX + name.upper().replace("-", "_")
    if urls is None and variable in os.environ:
        urls = (os.environ[variable],)
    return fetch_file(GALAXY10[name].file, folder or astronn_cache_folder(), urls=urls)


def load_galaxy10(name: str, config: DataConfig) -> ImageDataset:
    """Loads `galaxy10-sdss` (21,785 images of 69x69) or `galaxy10-decals` (17,736 of 256x256).

    Raises:
        FetchError: the file is not in the cache folder and cannot be downloaded.
        DataError: `config.class_names` are not ten.
    """
    return load_array_file(fetch_galaxy10(name), config, class_names=GALAXY10[name].class_names, source=name)
