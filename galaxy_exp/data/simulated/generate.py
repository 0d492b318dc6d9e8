"""A whole set of simulated galaxies from one seed: how many of each class, their labels and true parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, cos, degrees, pi, sin
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import SimulatedConfig
from galaxy_exp.data.image_arrays import allocate_images
from galaxy_exp.data.simulated.imaging import (
    NATIVE_PIXEL_AREA,
    SKY_NOISE,
    Frame,
    Observation,
    add_surroundings,
    draw_observation,
    observe,
    stretch_colours,
)
from galaxy_exp.data.simulated.light import render_galaxy
from galaxy_exp.data.simulated.morphology import EXPONENTIAL_HALF_LIGHT, Disc, Galaxy, draw_galaxy
from galaxy_exp.data.simulated.volunteers import draw_votes
from galaxy_exp.questions import Votes

__all__ = [
    "CLASS_NAMES",
    "CONFUSIONS",
    "GALAXY10_COUNTS",
    "TRUTH_DTYPE",
    "TRUTH_FIELDS",
    "SimulatedGalaxies",
    "allocate_counts",
    "iter_galaxies",
    "simulate_galaxies",
    "simulate_galaxy",
    "simulate_with_truth",
]

CLASS_NAMES = (
    "Disk, Face-on, No Spiral",
    "Smooth, Completely round",
    "Smooth, in-between round",
    "Smooth, Cigar shaped",
    "Disk, Edge-on, Rounded Bulge",
    "Disk, Edge-on, Boxy Bulge",
    "Disk, Edge-on, No Bulge",
    "Disk, Face-on, Tight Spiral",
    "Disk, Face-on, Medium Spiral",
    "Disk, Face-on, Loose Spiral",
)
"""In label order, spelt as astroNN does (astroNN/datasets/galaxy10sdss.py)."""

GALAXY10_COUNTS = (3461, 6997, 6292, 349, 1534, 17, 589, 1121, 906, 519)
"""Images per class in Galaxy10.h5, in total 21,785. The documentation has 394 for class 3, the file 349."""

CONFUSIONS: dict[int, dict[int, float]] = {
    0: {1: 0.25, 2: 0.35, 7: 0.40},  # a smooth face-on disc: an elliptical, or arms that are hardly seen
    1: {2: 0.90, 0: 0.10},
    2: {1: 0.60, 0: 0.30, 3: 0.10},
    3: {2: 0.50, 6: 0.40, 4: 0.10},
    4: {6: 0.60, 3: 0.25, 5: 0.15},
    5: {4: 1.00},
    6: {4: 0.60, 3: 0.40},
    7: {8: 0.60, 0: 0.40},
    8: {7: 0.60, 9: 0.40},
    9: {8: 0.90, 0: 0.10},
}
"""True class to wrong classes and their probabilities. The wrong classes are neighbours in the questions of Galaxy
Zoo 2 (Willett et al. 2013, arXiv:1308.3496, figure 1): roundness, shape of the bulge, winding, presence of arms. The
probabilities are assumed."""

MIN_PER_CLASS = 10
"""Smallest class, so that it can be split into three parts."""


def allocate_counts(n_images: int, proportions: Literal["galaxy10", "equal"]) -> NDArray[np.int64]:
    """Number of images of each class: int64 (10,), summing to `n_images`.

    Proportional (rounded by largest remainder), but at least `MIN_PER_CLASS`, or equal numbers if `n_images` is below
    ten times that. Images that this adds to rare classes are taken from the largest one.
    """
    weights = np.array(GALAXY10_COUNTS if proportions == "galaxy10" else [1] * len(CLASS_NAMES), dtype=np.float64)
    exact = n_images * weights / weights.sum()
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    largest_remainders = np.argsort(counts - exact, kind="stable")[: n_images - counts.sum()]
    counts[largest_remainders] += 1
    counts = np.maximum(counts, min(MIN_PER_CLASS, n_images // len(counts)))
    while (excess := counts.sum() - n_images) > 0:
        second, first = np.argsort(counts, kind="stable")[-2:]
        counts[first] -= min(excess, max(1, counts[first] - counts[second]))
    return counts


def _confuse_label(label: int, number: int, *, seed: int, share: float) -> int:
    """The label of galaxy `number` of class `label`: with probability `share` a wrong one of `CONFUSIONS`.

    It has a random stream of its own: the image does not change, and a larger `share` keeps wrong labels of a smaller
    one.
    """
    if share == 0:
        return label
    draw, which = np.random.default_rng([seed, label, number, 1]).random(2).tolist()
    if draw >= share:
        return label
    others, shares = list(CONFUSIONS[label]), list(CONFUSIONS[label].values())
    return others[min(int(np.searchsorted(np.cumsum(shares), which, side="right")), len(others) - 1)]


REFERENCE_SIDE = 69
"""Galaxy10's image side; parameters are in its pixels and are scaled to other sides."""
MARGIN = 6
"""Pixels (of 69) rendered around the image, from which the seeing carries light in."""


@dataclass(frozen=True, eq=False)
class SimulatedGalaxies:
    """Simulated images with their labels and true parameters."""

    images: NDArray[np.uint8]
    """uint8 (n, side, side, 3), channels red, green, blue."""
    labels: NDArray[np.int64]
    """int64 (n,), with label noise if configured."""
    truth: NDArray[Any]
    """(n,) of `TRUTH_DTYPE`, whose `label` is the true class."""
    votes: Votes | None = None
    """Of `VOLUNTEER_QUESTIONS`, if there are volunteers; `true_fractions(truth)` are what they scatter around."""


def simulate_galaxies(config: SimulatedConfig) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 (n_images, image_size, image_size, 3) and labels int64 (n_images,), in random order."""
    simulated = simulate_with_truth(config)
    return simulated.images, simulated.labels


def simulate_with_truth(config: SimulatedConfig) -> SimulatedGalaxies:
    """A set in random order, with the true parameters of every image.

    Every galaxy has a separate random stream, seeded by (seed, class, number within the class), so that a set with the
    same seed and more galaxies of each class contains those of a smaller one. Large sets are stored on disk (see
    `allocate_images`).
    """
    images = allocate_images((config.n_images, config.image_size, config.image_size, 3))
    truth = np.empty(config.n_images, TRUTH_DTYPE)
    labels = np.empty(config.n_images, np.int64)
    for position, (image, record, label) in enumerate(iter_galaxies(config)):
        images[position], truth[position], labels[position] = image, record, label
    votes = None if config.volunteers is None else draw_votes(truth, config)
    return SimulatedGalaxies(images, labels, truth, votes)


def iter_galaxies(config: SimulatedConfig) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any], int]]:
    """Yields image, true parameters and label one by one, for sets that do not fit in memory."""
    counts = allocate_counts(config.n_images, config.class_proportions)
    kinds = [(label, number) for label, count in enumerate(counts.tolist()) for number in range(count)]
    for kind in np.random.default_rng([config.seed, config.n_images]).permutation(len(kinds)):
        label, number = kinds[kind]
        image, record = simulate_galaxy(label, number, seed=config.seed, image_size=config.image_size)
        yield image, record, _confuse_label(label, number, seed=config.seed, share=config.label_noise)


def simulate_galaxy(label: int, number: int, *, seed: int, image_size: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Galaxy `number` of class `label`: uint8 (image_size, image_size, 3), and its record of `TRUTH_DTYPE`."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, label, number])))
    scale = image_size / REFERENCE_SIDE
    frame = Frame(image_size, ceil(MARGIN * scale), scale)
    galaxy = draw_galaxy(label, rng)
    observation = draw_observation(rng, galaxy.r90_arcsec)
    angle = rng.uniform(0, pi)
    x, y = _draw_axes(rng, frame, angle)
    bands = render_galaxy(galaxy, x, y, galaxy.half_light_radius * scale, rng)
    # one half-light radius contains half of the light: area pi in the renderer's units
    bands *= np.float32(2 * pi * NATIVE_PIXEL_AREA * 10 ** (0.4 * (22.5 - galaxy.surface_brightness)))
    n_neighbours = add_surroundings(bands, rng, frame, galaxy.r90_arcsec)
    image = stretch_colours(observe(bands, observation, rng, frame))
    record = _describe_truth(galaxy, observation, number=number, angle=angle, n_neighbours=n_neighbours, scale=scale)
    return image, record


def _draw_axes(rng: np.random.Generator, frame: Frame, angle: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pixel coordinates along the major and the minor axis of a galaxy turned by `angle`, centred to half a pixel."""
    centre = (frame.side - 1) / 2
    column = np.arange(frame.side, dtype=np.float32)[None, :] - np.float32(centre + rng.uniform(-0.5, 0.5))
    row = np.arange(frame.side, dtype=np.float32)[:, None] - np.float32(centre + rng.uniform(-0.5, 0.5))
    c, s = np.float32(cos(angle)), np.float32(sin(angle))
    return c * column + s * row, c * row - s * column


TRUTH_FIELDS = {
    "label": "true class, 0 to 9; the label of the image may differ with label noise",
    "number": "which galaxy of its class; with the seed and the class it identifies the galaxy",
    "surface_brightness": "mean within the half-light radius, r band, seen face-on, mag/arcsec^2",
    "half_light_radius": "along the major axis, of the smooth body or of the disc, pixels",
    "axis_ratio": "minor over major axis of the smooth body or of the disc; edge-on: scale height over scale length",
    "position_angle": "of the major axis, degrees from the top of the picture towards the left, 0 to 180",
    "inclination": "of the disc, degrees, 0 face-on, 90 edge-on; NaN without a disc",
    "sersic_index": "of the smooth body or of the bulge",
    "boxiness": "exponent of the bulge's or smooth body's generalised ellipse, 2 for an ellipse",
    "bulge_share": "bulge over total light, B/T; of a smooth galaxy its body, the rest being the envelope",
    "bar_share": "bar over total light, 0 without a bar",
    "envelope_share": "smooth envelope over total light, 0 without",
    "n_arms": "number of arms, 0 without",
    "pitch": "pitch angle of the arms, degrees; NaN without arms",
    "arm_strength": "share of the disc's light in the arms, 0 to 1",
    "knot_share": "star-forming knots over the disc's light",
    "dust": "depth of an edge-on disc's dust lane in r, 0 to 1",
    "g_r": "colour index of the smooth body or of the disc, mag",
    "r_i": "the same, mag",
    "r90_arcsec": "apparent Petrosian R90, arcseconds",
    "seeing": "full width at half maximum of the PSF in r, pixels",
    "noise": "standard deviation of the sky noise in r, nanomaggies per native pixel",
    "n_neighbours": "stars and galaxies drawn beside it, those outside of the picture included",
}
"""What each field of a record means, with its unit. Pixels are those of the simulated image."""

_INTEGERS = ("label", "number", "n_arms", "n_neighbours")

TRUTH_DTYPE = np.dtype([(name, np.int32 if name in _INTEGERS else np.float32) for name in TRUTH_FIELDS])
"""A structured dtype: `truth["pitch"]` is an array over all images."""


def _describe_truth(
    galaxy: Galaxy, observation: Observation, *, number: int, angle: float, n_neighbours: int, scale: float
) -> NDArray[Any]:
    """One record, shape () of `TRUTH_DTYPE`; `angle` is in radians from the picture's columns towards larger rows."""
    record = np.zeros((), TRUTH_DTYPE)
    main = galaxy.disc or galaxy.bulges[0]
    radius = main.scale_length * EXPONENTIAL_HALF_LIGHT if isinstance(main, Disc) else main.radius
    values: dict[str, float] = {
        "label": galaxy.label,
        "number": number,
        "surface_brightness": galaxy.surface_brightness,
        "half_light_radius": galaxy.half_light_radius * scale * radius,
        "axis_ratio": main.axis_ratio,
        "position_angle": (90 - degrees(angle)) % 180,
        "g_r": main.colour.g_r,
        "r_i": main.colour.r_i,
        "r90_arcsec": galaxy.r90_arcsec,
        "seeing": observation.seeing * scale,
        "noise": observation.noise * float(SKY_NOISE[1]),
        "n_neighbours": n_neighbours,
    }
    for name, value in (values | _describe_bulges(galaxy) | _describe_disc(galaxy.disc)).items():
        record[name] = value
    return record


def _describe_bulges(galaxy: Galaxy) -> dict[str, float]:
    bulge, *others = galaxy.bulges
    rest = sum(other.share for other in others)
    return {
        "sersic_index": bulge.sersic_index,
        "boxiness": bulge.boxiness,
        "bulge_share": bulge.share,
        "bar_share": rest if galaxy.disc else 0.0,
        "envelope_share": 0.0 if galaxy.disc else rest,
    }


def _describe_disc(disc: Disc | None) -> dict[str, float]:
    arms = disc.arms if disc else None
    return {
        "inclination": degrees(disc.inclination) if disc else np.nan,
        "n_arms": arms.number if arms else 0,
        "pitch": degrees(arms.pitch) if arms else np.nan,
        "arm_strength": arms.strength if arms else 0.0,
        "knot_share": disc.knots.share if disc and disc.knots else 0.0,
        "dust": disc.dust if disc else 0.0,
    }
