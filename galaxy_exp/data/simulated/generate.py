"""A whole set of simulated galaxies from one seed."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.sweep import SimulatedConfig
from galaxy_exp.data.simulated.classes import allocate_counts
from galaxy_exp.data.simulated.imaging import add_neighbours, draw_observation, observe, stretch_colours
from galaxy_exp.data.simulated.light import render_galaxy
from galaxy_exp.data.simulated.morphology import draw_galaxy

__all__ = ["simulate_galaxies", "simulate_galaxy"]

REFERENCE_SIDE = 69
"""Galaxy10's image side; parameters are in its pixels and are scaled to other sides."""
MARGIN = 6
"""Pixels (of 69) rendered around the image, so that the periodic blur brings nothing across the edge."""
NATIVE_PIXEL_AREA = 0.396**2
"""Square arcseconds of a pixel of the SDSS camera (Gunn et al. 1998, doi:10.1086/300645)."""


def simulate_galaxies(config: SimulatedConfig) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 (n_images, image_size, image_size, 3) and labels int64 (n_images,), in mixed order.

    Every galaxy has a random stream of its own, seeded by (seed, class, its number within the class): a
    larger set with the same seed holds the galaxies of a smaller one.
    """
    counts = allocate_counts(config.n_images, config.class_proportions)
    kinds = [(label, number) for label, count in enumerate(counts.tolist()) for number in range(count)]
    order = np.random.default_rng([config.seed, config.n_images]).permutation(len(kinds))
    images = np.empty((config.n_images, config.image_size, config.image_size, 3), np.uint8)
    for position, kind in enumerate(order):
        label, number = kinds[kind]
        images[position] = simulate_galaxy(label, number, seed=config.seed, image_size=config.image_size)
    return images, np.array([kinds[kind][0] for kind in order], dtype=np.int64)


def simulate_galaxy(label: int, number: int, *, seed: int, image_size: int) -> NDArray[np.uint8]:
    """One image, uint8 (image_size, image_size, 3): galaxy `number` of class `label`."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, label, number])))
    scale = image_size / REFERENCE_SIDE
    margin = int(np.ceil(MARGIN * scale))
    side = image_size + 2 * margin
    side += -side % 12  # a length with small factors transforms fast
    galaxy, observation = draw_galaxy(label, rng), draw_observation(rng)
    x, y = _draw_axes(rng, side, margin + (image_size - 1) / 2)
    bands = render_galaxy(galaxy, x, y, galaxy.half_light_radius * scale)
    # half of the light lies within one half-light radius: area pi in the renderer's units
    bands *= np.float32(2 * pi * NATIVE_PIXEL_AREA * 10 ** (0.4 * (22.5 - galaxy.surface_brightness)))
    add_neighbours(bands, rng, scale)
    observed = observe(bands, observation, rng, scale)
    return stretch_colours(observed[:, margin : margin + image_size, margin : margin + image_size])


def _draw_axes(rng: np.random.Generator, side: int, centre: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pixel coordinates along the major and minor axis of a galaxy in any orientation, centred to half a pixel."""
    angle = rng.uniform(0, 2 * pi)
    column = np.arange(side, dtype=np.float32)[None, :] - np.float32(centre + rng.uniform(-0.5, 0.5))
    row = np.arange(side, dtype=np.float32)[:, None] - np.float32(centre + rng.uniform(-0.5, 0.5))
    c, s = np.float32(cos(angle)), np.float32(sin(angle))
    return c * column + s * row, c * row - s * column
