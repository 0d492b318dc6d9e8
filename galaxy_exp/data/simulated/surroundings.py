"""Neighbours in the picture: stars of the Milky Way, background galaxies, companions."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.simulated.imaging import Frame
from galaxy_exp.data.simulated.light import add_points, render_sersic
from galaxy_exp.data.simulated.morphology import Bulge, Colour

__all__ = ["add_surroundings"]

Bands = NDArray[np.float32]
"""float32 (3, side, side): i, r, g in nanomaggies per native pixel of 0.396 arcsec."""

POINTS_PER_IMAGE = 3.0
"""Mean number of stars and unresolved galaxies at an R90 of 8 arcsec; it grows with the area of sky."""
CLUSTER_PROBABILITY = 0.2
"""Probability that most neighbours are the red galaxies of a cluster."""
CLEAR_RADIUS = 11.0
"""Radius in pixels (of 69) that is mostly free of neighbours: a star there would look like the nucleus."""
COMPANION_PROBABILITY = 0.16
"""Probability of a resolved neighbour; most are small and in the background, some as large as the galaxy itself."""


def add_surroundings(bands: Bands, rng: np.random.Generator, frame: Frame, r90_arcsec: float) -> int:
    """Adds neighbours in place and returns how many there are.

    Args:
        bands: before the seeing.
        rng: the stream of this image.
        frame: its geometry.
        r90_arcsec: apparent size of the galaxy, which sets the image scale.
    """
    n_points = int(rng.poisson(POINTS_PER_IMAGE * min((r90_arcsec / 8) ** 1.2, 3.0)))
    places = rng.uniform(0, frame.side, (2, n_points))
    far = np.hypot(*(places - frame.side / 2)) > CLEAR_RADIUS * frame.scale
    far |= rng.random(n_points) < 0.06
    # the same star is spread over fewer image pixels in a picture of a larger galaxy
    brightness = frame.scale**2 * (8 / r90_arcsec) ** 2
    flux = np.exp(rng.normal(0.7, 1.5, n_points)) * brightness
    light = _point_colours(rng, n_points, clustered=rng.random() < CLUSTER_PROBABILITY) * np.where(far, flux, 0)
    add_points(bands, places[0], places[1], np.asarray(light, np.float32))
    if rng.random() >= COMPANION_PROBABILITY:
        return int(far.sum())
    _add_companion(bands, rng, frame)
    return int(far.sum()) + 1


def _point_colours(rng: np.random.Generator, n_points: int, *, clustered: bool) -> NDArray[np.float64]:
    """Flux in i, r, g relative to r, (3, n_points): along the stars' locus (Covey et al. 2007, arXiv:0707.4473)."""
    blue = rng.random(n_points) < (0.15 if clustered else 0.5)
    g_r = np.where(blue, rng.normal(0.45, 0.2, n_points), rng.normal(1.1, 0.25, n_points))
    r_i = 0.4 * g_r - 0.05 + np.maximum(g_r - 1.2, 0) + rng.normal(0, 0.05, n_points)
    return np.stack([10 ** (0.4 * r_i), np.ones(n_points), 10 ** (-0.4 * g_r)])


def _add_companion(bands: Bands, rng: np.random.Generator, frame: Frame) -> None:
    large = rng.random() < 0.35
    radius = rng.uniform(4, 11) if large else rng.uniform(1.2, 3.5)
    distance, direction = rng.uniform(14 + 1.2 * radius, 40 + radius), rng.uniform(0, 2 * pi)
    g_r = rng.normal(0.7, 0.25)
    body = Bulge(1.0, 1.0, rng.uniform(0.8, 3.5), rng.uniform(0.35, 1.0), Colour(g_r, 0.10 + 0.38 * g_r))
    centre = (frame.side - 1) / 2
    axis = np.arange(frame.side, dtype=np.float32)
    column = axis[None, :] - np.float32(centre + distance * frame.scale * cos(direction))
    row = axis[:, None] - np.float32(centre + distance * frame.scale * sin(direction))
    turn = rng.uniform(0, pi)
    c, s = np.float32(cos(turn)), np.float32(sin(turn))
    unit = np.float32(1 / (radius * frame.scale))
    _, light = render_sersic(body, (c * column + s * row) * unit, (c * row - s * column) * unit, 0.35 / radius)
    peak = 10 ** (0.4 * (22.5 - rng.normal(20.9, 0.7))) * 2 * pi * 0.396**2
    bands += (body.colour.ratios * np.float32(peak))[:, None, None] * light
