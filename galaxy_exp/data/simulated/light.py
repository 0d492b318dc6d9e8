"""Surface brightness of a galaxy before telescope and atmosphere."""

from __future__ import annotations

from math import cos, exp, gamma, pi, sin

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.simulated.morphology import Bulge, Disc, Galaxy
from galaxy_exp.data.simulated.spiral import add_spiral_disc, draw_patches, truncate

__all__ = ["render_galaxy", "render_sersic"]

Plane = NDArray[np.float32]
"""float32 (side, side): one value a pixel."""

SOFTENING = 0.35
"""Pixels added in quadrature to every radius, in place of integrating a cusp over its pixel."""

DUST_BY_BAND = np.array([0.72, 1.0, 1.38], np.float32)
"""Extinction in i, r, g against r (Schlafly & Finkbeiner 2011, arXiv:1012.4804, table 6, R_V 3.1: 1.70, 2.29, 3.30)."""


def render_galaxy(galaxy: Galaxy, x: Plane, y: Plane, radius: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Light in the bands i, r, g, with about unit flux in r: float32 (3, side, side), per square half-light radius.

    Args:
        galaxy: what to draw.
        x: pixel distance from the centre along the major axis.
        y: the same along the minor axis.
        radius: half-light radius in pixels.
        rng: the stream of this galaxy, for its patches and knots.
    """
    u, v = x / np.float32(radius), y / np.float32(radius)
    softening = SOFTENING / radius
    disc = galaxy.disc
    bands = np.zeros((3, *x.shape), np.float32)
    for bulge in galaxy.bulges:
        # a bar lies in the plane of the disc
        squeeze = disc.axis_ratio if bulge.turn and disc is not None else 1.0
        _add_bulge(bands, bulge, u, v / np.float32(squeeze), softening, bulge.share / squeeze)
    if disc is not None and disc.edge_on:
        _add_edge_on(bands, disc, u, v, softening)
    elif disc is not None:
        add_spiral_disc(bands, disc, u, v, softening, rng)
    elif galaxy.patchiness:
        bands *= draw_patches(galaxy.patchiness, x.shape[0], rng)
    return bands


def _add_bulge(bands: NDArray[np.float32], bulge: Bulge, u: Plane, v: Plane, softening: float, flux: float) -> None:
    log_squared, light = render_sersic(bulge, u, v, softening)
    ratios = bulge.colour.ratios * np.float32(flux)
    if not bulge.gradient:
        bands += ratios[:, None, None] * light
        return
    steepness = np.float32(0.5 * bulge.gradient)
    log_squared = np.maximum(log_squared, np.float32(-1))  # or the core would be too red
    bands[0] += ratios[0] * light * np.exp(log_squared * (-0.5 * steepness))
    bands[1] += ratios[1] * light
    bands[2] += ratios[2] * light * np.exp(log_squared * steepness)


def render_sersic(bulge: Bulge, u: Plane, v: Plane, softening: float) -> tuple[Plane, Plane]:
    """Logarithm of the squared radius in half-light radii, and a Sersic profile of unit flux.

    b_n is Ciotti & Bertin's (1999, arXiv:astro-ph/9911078) to first order.
    """
    n, q = bulge.sersic_index, bulge.axis_ratio
    if bulge.turn:
        c, s = np.float32(cos(bulge.turn)), np.float32(sin(bulge.turn))
        u, v = c * u + s * v, c * v - s * u
    b = 2 * n - 1 / 3 + 4 / (405 * n)
    total = 2 * pi * n * q * bulge.radius**2 * b ** (-2 * n) * gamma(2 * n)
    squared = _squared_radius(u, v / np.float32(q), bulge.boxiness) + np.float32(softening**2)
    log_squared = np.log(squared * np.float32(bulge.radius**-2))
    scaled = np.exp(log_squared * np.float32(0.5 / n))
    return log_squared, np.asarray(np.exp(scaled * np.float32(-b)) * np.float32(1 / total), np.float32)


def _squared_radius(u: Plane, v: Plane, boxiness: float) -> Plane:
    if boxiness == 2.0:
        return np.asarray(u * u + v * v, np.float32)
    power = np.float32(boxiness)
    return np.asarray((np.abs(u) ** power + np.abs(v) ** power) ** np.float32(2 / boxiness), np.float32)


def _add_edge_on(bands: NDArray[np.float32], disc: Disc, u: Plane, v: Plane, softening: float) -> None:
    """exp(-R/h) sech^2(z/z0) (van der Kruit & Searle 1981), warped, with a dust lane that dims everything behind it."""
    h, z0 = disc.scale_length, disc.axis_ratio * disc.scale_length
    v = v - np.float32(disc.warp) * u * np.abs(u)
    distance = np.sqrt(u * u + np.float32((0.25 * h) ** 2 + softening**2)) * np.float32(1 / h)
    along = np.exp(-distance) * truncate(u, h * disc.truncation)
    fall = np.exp(np.abs(v) * np.float32(-2 / z0))
    light = along * fall / (1 + fall) ** 2
    light *= np.float32(4 * disc.share * exp(0.2) / (4 * h * z0))
    bands += disc.colour.ratios[:, None, None] * light
    bands[2] *= 1 + np.float32(disc.gradient) * (distance - 1)
    if disc.dust:
        # tilted by a few degrees, the mid-plane of the near side lies off the centre
        height = v * np.float32(1 / z0) - np.float32(cos(disc.inclination) * h / z0)
        lane = np.exp(-((height * np.float32(2.2)) ** 2) - (distance * np.float32(0.4)) ** 2)
        depth = np.minimum(DUST_BY_BAND * np.float32(disc.dust), 0.95)
        bands *= 1 - depth[:, None, None] * lane
