"""Statistics of a data set: counts, duplicates, brightness, split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import SplitConfig
from galaxy_exp.data.dataset import ImageDataset
from galaxy_exp.data.duplicates import group_duplicates
from galaxy_exp.data.image_arrays import iter_chunks
from galaxy_exp.data.parts import PARTS
from galaxy_exp.data.preprocessing import Preprocessing
from galaxy_exp.data.split import Split, split_dataset
from galaxy_exp.errors import DataError

__all__ = ["DataSummary", "channel_statistics", "summarise_dataset"]


@dataclass(frozen=True, slots=True)
class DataSummary:
    """Statistics of a data set; `ImageDataset` and `Split` explain the names."""

    source: str
    simulated: bool
    n_images: int
    image_shape: tuple[int, int, int]
    digest: str
    channel_means: tuple[float, float, float]
    """Mean of red, green and blue, from 0 for pixel value 0 to 1 for 255."""
    channel_deviations: tuple[float, float, float]
    """Standard deviations of red, green and blue over all pixels, in the same unit."""
    counts: dict[str, dict[str, int]]
    """Images by class name, then by part and "all"; only "all" if the data cannot be split."""
    n_identical: int
    n_near: int
    own_split: bool
    split_digest: str | None
    split_problem: str | None
    """Why the data cannot be split; None if it can."""
    preprocessing: Preprocessing
    skipped: tuple[str, ...]
    other_files: str
    notes: tuple[str, ...] = ()


def summarise_dataset(dataset: ImageDataset, config: SplitConfig) -> DataSummary:
    """Reads every image once, splits and counts; also for a data set that cannot be split."""
    means, deviations = channel_statistics(dataset.images)
    split, problem = _try_split(dataset, config)
    duplicates = split or group_duplicates(dataset.images, config.duplicates)
    return DataSummary(
        source=dataset.source,
        simulated=dataset.simulated,
        n_images=len(dataset),
        image_shape=dataset.image_shape,
        digest=dataset.digest,
        channel_means=means,
        channel_deviations=deviations,
        counts=_count(dataset, split),
        n_identical=duplicates.n_identical,
        n_near=duplicates.n_near,
        own_split=dataset.own_split is not None,
        split_digest=split.digest if split else None,
        split_problem=problem,
        preprocessing=dataset.preprocessing,
        skipped=dataset.skipped,
        other_files=dataset.other_files,
        notes=dataset.notes,
    )


Channels = tuple[float, float, float]


def channel_statistics(images: NDArray[np.uint8]) -> tuple[Channels, Channels]:
    """Means and standard deviations of red, green and blue over all pixels, 0..1, exact, from a histogram.

    Args:
        images: uint8 (n, height, width, 3), read in pieces.
    """
    counts = np.zeros((3, 256))
    for chunk in iter_chunks(images):
        for channel in range(3):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    shares = counts / counts.sum(axis=1, keepdims=True)
    means = shares @ values
    deviations = np.sqrt(np.maximum(shares @ values**2 - means**2, 0.0))
    return _as_channels(means), _as_channels(deviations)


def _as_channels(values: NDArray[Any]) -> Channels:
    red, green, blue = values.tolist()
    return red, green, blue


def _try_split(dataset: ImageDataset, config: SplitConfig) -> tuple[Split | None, str | None]:
    try:
        return split_dataset(dataset, config), None
    except DataError as error:
        return None, str(error)


def _count(dataset: ImageDataset, split: Split | None) -> dict[str, dict[str, int]]:
    columns: dict[str, dict[str, int]] = {part: dataset.count_classes(split[part]) for part in PARTS} if split else {}
    columns["all"] = dataset.counts
    return {name: {column: counts[name] for column, counts in columns.items()} for name in dataset.class_names}
