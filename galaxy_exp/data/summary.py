"""Statistics of a data set: counts, duplicates, brightness, split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import SplitConfig
from galaxy_exp.data.dataset import ImageDataset
from galaxy_exp.data.duplicates import group_duplicates
from galaxy_exp.data.image_arrays import Preprocessing, iter_slices
from galaxy_exp.data.split import PARTS, Split, split_dataset
from galaxy_exp.errors import DataError
from galaxy_exp.questions import Questions, Votes

__all__ = ["DataSummary", "VotesSummary", "channel_statistics", "summarise_dataset", "summarise_votes"]


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
    votes: VotesSummary | None = None


@dataclass(frozen=True, slots=True)
class VotesSummary:
    """Statistics of the votes of a data set."""

    questions: Questions
    are_counts: bool
    medians: tuple[float, ...] | None
    """Median number of votes on each question; None with fractions."""
    agreement: float
    """`data.votes.agreement`."""
    agreed: float
    """Fraction of images with at least that share of the votes on the first question for one answer."""


def summarise_dataset(dataset: ImageDataset, config: SplitConfig, agreement: float = 0.8) -> DataSummary:
    """Reads every image once, splits and counts; also for a data set that cannot be split.

    `agreement` is `data.votes.agreement`, for votes.
    """
    means, deviations = channel_statistics(dataset.images)
    split, problem = None, None
    try:
        split = split_dataset(dataset, config)
    except DataError as error:
        problem = str(error)
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
        votes=None if dataset.votes is None else summarise_votes(dataset.votes, agreement),
    )


def summarise_votes(votes: Votes, agreement: float) -> VotesSummary:
    """How many votes there are, and how many images volunteers agree on."""
    first = votes.questions.slices[votes.questions.items[0].name]
    largest = votes.questions.fractions(votes.values)[:, first].max(axis=1)
    medians = np.median(votes.questions.totals(votes.values), axis=0).tolist() if votes.are_counts else None
    return VotesSummary(
        questions=votes.questions,
        are_counts=votes.are_counts,
        medians=None if medians is None else tuple(medians),
        agreement=agreement,
        agreed=float((largest >= agreement - _FLOAT32).mean()),
    )


_FLOAT32 = 1e-6
"""Allows for the rounding of float32 at the share from which volunteers agree."""

Channels = tuple[float, float, float]


def channel_statistics(images: NDArray[np.uint8]) -> tuple[Channels, Channels]:
    """Means and standard deviations of red, green and blue over all pixels, 0..1, exact, from a histogram.

    Images are uint8 (n, height, width, 3), read in pieces.
    """
    counts = np.zeros((3, 256))
    for piece in iter_slices(images):
        for channel in range(3):
            counts[channel] += np.bincount(images[piece, ..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    shares = counts / counts.sum(axis=1, keepdims=True)
    means = shares @ values
    deviations = np.sqrt(np.maximum(shares @ values**2 - means**2, 0.0))
    return _as_channels(means), _as_channels(deviations)


def _as_channels(values: NDArray[Any]) -> Channels:
    red, green, blue = values.tolist()
    return red, green, blue


def _count(dataset: ImageDataset, split: Split | None) -> dict[str, dict[str, int]]:
    columns: dict[str, dict[str, int]] = {part: dataset.count_classes(split[part]) for part in PARTS} if split else {}
    columns["all"] = dataset.counts
    return {name: {column: counts[name] for column, counts in columns.items()} for name in dataset.class_names}
