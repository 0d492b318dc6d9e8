"""A whole set of simulated galaxies from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, cos, pi, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import SimulatedConfig
from galaxy_exp.data.simulated.classes import allocate_counts, confuse_label
from galaxy_exp.data.simulated.drawing import draw_galaxy
from galaxy_exp.data.simulated.imaging import Frame, draw_observation, observe, stretch_colours
from galaxy_exp.data.simulated.light import render_galaxy
from galaxy_exp.data.simulated.surroundings import add_surroundings
from galaxy_exp.data.simulated.truth import TRUTH_DTYPE, describe_truth
from galaxy_exp.data.simulated.volunteers import draw_votes
from galaxy_exp.questions import Votes

__all__ = ["SimulatedGalaxies", "iter_galaxies", "simulate_galaxies", "simulate_galaxy", "simulate_with_truth"]

REFERENCE_SIDE = 69
"""Galaxy10's image side; parameters are in its pixels and are scaled to other sides."""
MARGIN = 6
"""Pixels (of 69) rendered around the image, from which the seeing carries light in."""
NATIVE_PIXEL_AREA = 0.396**2
"""Square arcseconds of a pixel of the SDSS camera (Gunn et al. 1998, doi:10.1086/300645)."""


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

    Every galaxy has a separate random stream, seeded by (seed, class, number within the class), so that a larger set
    with the same seed contains the galaxies of a smaller one.
    """
    images = np.empty((config.n_images, config.image_size, config.image_size, 3), np.uint8)
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
        yield image, record, confuse_label(label, number, seed=config.seed, share=config.label_noise)


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
    record = describe_truth(galaxy, observation, number=number, angle=angle, n_neighbours=n_neighbours, scale=scale)
    return image, record


def _draw_axes(rng: np.random.Generator, frame: Frame, angle: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pixel coordinates along the major and the minor axis of a galaxy turned by `angle`, centred to half a pixel."""
    centre = (frame.side - 1) / 2
    column = np.arange(frame.side, dtype=np.float32)[None, :] - np.float32(centre + rng.uniform(-0.5, 0.5))
    row = np.arange(frame.side, dtype=np.float32)[:, None] - np.float32(centre + rng.uniform(-0.5, 0.5))
    c, s = np.float32(cos(angle)), np.float32(sin(angle))
    return c * column + s * row, c * row - s * column
