"""Groups of images that show the same picture: identical bytes, or saved, scaled or brightened again.

Near duplicates pass three tests:

1. A perceptual hash of 64 bits: the signs, against their median, of the 8x8 lowest frequencies of the discrete
   cosine transform of the 32x32 grey image (Zauner 2010, "Implementation and benchmarking of perceptual image hash
   functions", section 3.2.1, for the pHash library). Hashes may differ in `MAX_BITS` bits. Only pairs that agree in
   one of `MAX_BITS` + 1 bands of bits are compared, which every such pair does (one band has no differing bit).
2. The 32x32 grey images, each with mean 0 and length 1, differ by at most `MAX_DIFFERENCE`: smooth galaxies share
   many bits.
3. The fine structure (the image less its 3x3 mean, cut at its median absolute value, so that a bright core counts for
   no more than the noise around it) correlates by at least `MIN_CORRELATION`: smooth galaxies have the same shape, but
   not the same noise.

On 3,038 SDSS galaxies of 69 pixels, no two differ by less than 0.113 or correlate by more than 0.12. When 600 of
them are saved again as JPEG at quality 75 or 90, get noise of 2 grey levels, 5% more light, or are resampled by way
of 80 pixels, they differ from the original by at most 0.07 and, in 99 of 100 cases, correlate by at least 0.254 and
agree within 4 bits. Images that were shifted, rotated or mirrored are not found.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from galaxy_exp.data.dataset import ImageDataset
from galaxy_exp.data.image_arrays import digest_each, iter_slices
from galaxy_exp.folders import write_atomically

__all__ = ["Fingerprints", "Groups", "find_near_duplicates", "fingerprint_images", "group_duplicates", "load_groups"]

_LOG = logging.getLogger(__name__)

VERSION = 1
"""Of this code, in the name of the cached file: increase it when a change gives other results."""

MAX_BITS = 6
MAX_DIFFERENCE = 0.08
MIN_CORRELATION = 0.25

SIDE = 32
FREQUENCIES = 8
PAIRS_AT_ONCE = 2**14

Pairs = NDArray[np.int64]
"""(n_pairs, 2), the smaller position first."""

Which = Literal["near", "identical"]


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Groups of images that stay together in a split, as the index of the first image of each image's group."""

    identical: NDArray[np.int64]
    """Groups of identical bytes, int64 (n,)."""
    joined: NDArray[np.int64]
    """Groups of identical images and near duplicates, int64 (n,), also joined through other images; equal to
    `identical` if near duplicates were not looked for."""

    @property
    def n_identical(self) -> int:
        """Number of images that are identical to an earlier one."""
        return int((self.identical != np.arange(len(self.identical))).sum())

    @property
    def n_near(self) -> int:
        """Number of different images that are near duplicates of an earlier one."""
        return int((self.joined != np.arange(len(self.joined))).sum()) - self.n_identical


def group_duplicates(images: NDArray[np.uint8], which: Which) -> Groups:
    """Groups images, uint8 (n, height, width, 3), by identical bytes and, if asked, near duplication."""
    first: dict[bytes, int] = {}
    identical = np.array([first.setdefault(each, index) for index, each in enumerate(digest_each(images))], np.int64)
    if which == "identical":
        return Groups(identical, identical)
    different = np.flatnonzero(identical == np.arange(len(identical)))
    pairs = find_near_duplicates(images, different)
    return Groups(identical, _join(identical, pairs))


def load_groups(dataset: ImageDataset, which: Which, folder: Path) -> Groups:
    """As `group_duplicates`, cached in a file in `folder`.

    A damaged file is replaced; if none can be written, the next sweep compares the images again, which takes a second
    for some thousand images.
    """
    settings = f"{VERSION} {MAX_BITS} {MAX_DIFFERENCE} {MIN_CORRELATION} {SIDE} {FREQUENCIES}"
    method = hashlib.sha256(settings.encode()).hexdigest()[:8] if which == "near" else "bytes"
    file = folder / f"{dataset.digest[:16]}-{which}-{method}.npz"
    groups = _read_groups(file, len(dataset))
    if groups is None:
        groups = group_duplicates(dataset.images, which)
        try:
            write_atomically(file, lambda path: np.savez(path, identical=groups.identical, joined=groups.joined))
        except OSError as error:
            _LOG.info("%s: cannot be written (%s)", file, error.strerror or error)
    return groups


def _read_groups(file: Path, n_images: int) -> Groups | None:
    """None if the file is missing, damaged, or not of this number of images."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            groups = Groups(arrays["identical"], arrays["joined"])
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - what is raised depends on which byte is wrong
        _LOG.info("%s: damaged (%s: %s)", file, type(error).__name__, error)
        return None
    own = np.arange(n_images)
    for names in (groups.identical, groups.joined):
        if names.shape != own.shape or names.dtype != own.dtype or (names < 0).any() or (names > own).any():
            return None
    return groups


def _join(identical: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Joins groups along the pairs; each is named by its smallest member."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_images = len(identical)
    edges = np.concatenate([np.stack([np.arange(n_images), identical], axis=1), pairs])
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n_images, n_images))
    _, component = connected_components(graph, directed=False)
    _, smallest = np.unique(component, return_index=True)
    return np.asarray(smallest[component], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprints:
    """Input of the first two tests."""

    hashes: NDArray[np.uint64]
    """uint64 (n,)."""
    thumbnails: NDArray[np.float32]
    """float32 (n, 1024), each with mean 0 and length 1; all 0 for an image of one value, which matches no other."""


def find_near_duplicates(images: NDArray[np.uint8], positions: NDArray[np.int64]) -> Pairs:
    """Pairs of `positions` whose images are near duplicates, (n_pairs, 2), sorted.

    Images are uint8 (n, height, width, 3), perhaps memory-mapped; positions (m,) are increasing, without those of
    identical images to save time.
    """
    prints = fingerprint_images(images, positions)
    pairs = _with_similar_thumbnails(find_close_hashes(prints.hashes), prints.thumbnails)
    kept = []
    for pair in positions[pairs].tolist():
        one, other = _normalise(np.stack([_fine_structure(images[position]) for position in pair]))
        if float(one @ other) >= MIN_CORRELATION:
            kept.append(pair)
    return np.array(kept, dtype=np.int64).reshape(-1, 2)


def fingerprint_images(images: NDArray[np.uint8], positions: NDArray[np.int64]) -> Fingerprints:
    """Hash and thumbnail of each image at `positions`; reads the images in pieces."""
    thumbnails = np.empty((len(positions), SIDE * SIDE), np.float32)
    hashes = np.empty(len(positions), np.uint64)
    for piece in iter_slices(images, len(positions)):
        small = np.stack([_shrink(images[position]) for position in positions[piece]])
        hashes[piece] = _hash(small)
        thumbnails[piece] = _normalise(small.reshape(len(small), -1))
    return Fingerprints(hashes, thumbnails)


def find_close_hashes(hashes: NDArray[np.uint64]) -> Pairs:
    """All pairs of hashes (n,) that differ in at most `MAX_BITS` bits, sorted."""
    found = [np.empty((0, 2), np.int64)]
    for low, high in pairwise(np.linspace(0, 64, MAX_BITS + 2).astype(int).tolist()):
        band = (hashes >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1)
        for left, right in _pairs_with_equal_values(band):
            close = np.bitwise_count(hashes[left] ^ hashes[right]) <= MAX_BITS
            found.append(np.stack([left[close], right[close]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _pairs_with_equal_values(values: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Positions (left, right), left < right, of equal values: each member of a group with all members after it."""
    order = np.argsort(values, kind="stable")
    ends = np.flatnonzero(np.diff(values[order])) + 1
    for group in np.split(order, ends):
        for index in range(len(group) - 1):
            right = group[index + 1 :]
            yield np.broadcast_to(group[index], right.shape), right


def _shrink(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 (32, 32) of one image, grey, antialiased."""
    grey = Image.fromarray(image.mean(axis=2, dtype=np.float32))
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _hash(small: NDArray[np.float32]) -> NDArray[np.uint64]:
    """uint64 (n,) of float32 (n, 32, 32)."""
    steps = np.pi * np.arange(FREQUENCIES)[:, None] * (2 * np.arange(SIDE) + 1) / (2 * SIDE)
    waves = np.cos(steps)
    spectrum = (waves @ small.astype(np.float64) @ waves.T).reshape(len(small), -1)
    bits = spectrum > np.median(spectrum[:, 1:], axis=1, keepdims=True)
    return np.packbits(bits, axis=1).copy().view(np.uint64)[:, 0]


def _normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean 0 and length 1 along the last axis; vectors without contrast become 0."""
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    lengths = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    return np.asarray(centred / np.where(lengths > 1e-3, lengths, np.inf))


def _with_similar_thumbnails(pairs: Pairs, thumbnails: NDArray[np.float32]) -> Pairs:
    least = 1 - MAX_DIFFERENCE**2 / 2  # |a - b|^2 = 2 - 2 a.b for vectors of length 1
    kept = [np.empty((0, 2), np.int64)]
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        some = pairs[start : start + PAIRS_AT_ONCE]
        products = np.einsum("ij,ij->i", thumbnails[some[:, 0]], thumbnails[some[:, 1]])
        kept.append(some[products >= least])
    return np.concatenate(kept)


def _fine_structure(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 (height * width,): grey levels less their 3x3 mean, cut as above."""
    grey = image.mean(axis=2, dtype=np.float32)
    height, width = grey.shape
    padded = np.pad(grey, 1, mode="edge")
    mean = sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3)) / np.float32(9)
    fine = grey - mean
    limit = max(0.5, float(np.median(np.abs(fine))))
    return np.asarray(np.clip(fine, -limit, limit)).ravel()
