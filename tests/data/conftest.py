"""Small data sets and real files to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from galaxy_exp.data import ImageDataset, build_dataset


@pytest.fixture
def make_dataset() -> Callable[..., ImageDataset]:
    """Builds random, all different 8x8 images with the given number of images per class."""

    def make(*counts: int, seed: int = 0) -> ImageDataset:
        rng = np.random.default_rng(seed)
        labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
        images = rng.integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8)
        return build_dataset(images, labels, source="test")

    return make


@pytest.fixture
def h5_file(tmp_path: Path) -> Path:
    """Galaxy10's layout: 12 images of 10x9 pixels, labels 0, 1, 2."""
    path = tmp_path / "galaxies.h5"
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        file["images"] = rng.integers(0, 256, (12, 10, 9, 3), dtype=np.uint8)
        file["ans"] = np.arange(12, dtype=np.uint8) % 3
    return path
