"""Data sets of any size from few simulated galaxies, written straight to where workers map them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import SimulatedConfig
from galaxy_exp.data.simulated import CLASS_NAMES, simulate_galaxies
from galaxy_exp.records import SplitFiles

__all__ = ["ALL_FILE", "FILE_NAMES", "TRAIN_SHARE", "vary_image", "write_all", "write_big_set"]

TRAIN_SHARE = 0.85
"""Of the images; the rest is for validation."""
ALL_FILE = "all.npz"
"""The same images in one file, as somebody has them before a split."""
FILE_NAMES = ("train_images", "train_labels", "validation_images", "validation_labels")


def write_big_set(folder: Path, n_images: int, image_size: int, *, n_different: int, seed: int) -> SplitFiles:
    """Writes `n_images` as the files of a prepared split: uint8 (n, image_size, image_size, 3) and int64 labels.

    `n_different` galaxies are simulated at full size; each image is one of them, turned, shifted and dimmed, so that
    no two images are alike and making a large set takes a minute, not many. Beyond those galaxies, memory holds one.
    As many galaxies as images are written as they are.
    """
    config = SimulatedConfig(
        n_images=min(n_different, n_images), image_size=image_size, seed=seed, class_proportions="equal"
    )
    galaxies, labels = simulate_galaxies(config)
    n_train = round(TRAIN_SHARE * n_images)
    rng = np.random.default_rng(seed)
    varied = rng if n_different < n_images else None
    chosen = rng.integers(0, len(galaxies), n_images) if varied else np.arange(n_images)
    train_images, train_labels, validation_images, validation_labels = (folder / f"{name}.npy" for name in FILE_NAMES)
    for images_file, labels_file, part in (
        (train_images, train_labels, chosen[:n_train]),
        (validation_images, validation_labels, chosen[n_train:]),
    ):
        np.save(labels_file, labels[part])
        _write_images(images_file, galaxies, part, varied)
    return SplitFiles(train_images, train_labels, validation_images, validation_labels, CLASS_NAMES)


def _write_images(
    path: Path, galaxies: NDArray[np.uint8], chosen: NDArray[np.int64], varied: np.random.Generator | None
) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(chosen), *galaxies.shape[1:])}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for index in chosen:
            image = galaxies[index] if varied is None else vary_image(galaxies[index], varied)
            file.write(image.tobytes())


def write_all(folder: Path, files: SplitFiles) -> Path:
    """Puts training and validation images together into one .npz file in Galaxy10's layout."""
    images = np.concatenate([np.load(files.train_images), np.load(files.validation_images)])
    labels = np.concatenate([np.load(files.train_labels), np.load(files.validation_labels)])
    np.savez(folder / ALL_FILE, images=images, ans=labels)
    return folder / ALL_FILE


def vary_image(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The galaxy in one of 8 orientations, a few pixels aside, 80 to 100% as bright; of the same shape."""
    turned = np.rot90(image, int(rng.integers(4)))
    if rng.random() < 0.5:
        turned = turned[:, ::-1]
    reach = max(image.shape[0] // 20, 1)
    down, across = rng.integers(-reach, reach + 1, 2).tolist()
    levels = np.arange(256) * rng.uniform(0.8, 1.0)
    return np.ascontiguousarray(np.roll(levels.astype(np.uint8)[turned], (down, across), axis=(0, 1)))
