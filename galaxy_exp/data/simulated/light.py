"""Surface brightness of a galaxy before telescope and atmosphere."""

from __future__ import annotations

from math import cos, exp, gamma, pi, sin

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.simulated.morphology import Arms, Bulge, Colour, Disc, Galaxy

__all__ = ["band_ratios", "render_galaxy"]

Plane = NDArray[np.float32]
"""float32 (side, side): one value a pixel."""

SOFTENING = 0.35
"""Pixels added in quadrature to every radius, in place of integrating a cusp over its pixel."""


def render_galaxy(galaxy: Galaxy, x: Plane, y: Plane, radius: float) -> NDArray[np.float32]:
    """Light in the bands i, r, g, with unit flux in r: float32 (3, side, side), per square half-light radius.

    Args:
        galaxy: what to draw.
        x: pixel distance from the centre along the major axis.
        y: the same along the minor axis.
        radius: half-light radius in pixels.
    """
    u, v = x / np.float32(radius), y / np.float32(radius)
    softening = SOFTENING / radius
    bands = np.zeros((3, *x.shape), np.float32)
    for bulge in galaxy.bulges:
        _add(bands, _render_sersic(bulge, u, v, softening), bulge.share, bulge.colour)
    if galaxy.disc is not None:
        _add_disc(bands, galaxy.disc, u, v, softening)
    return bands


def band_ratios(colour: Colour) -> NDArray[np.float32]:
    """Flux in i, r, g relative to r: float32 (3,)."""
    return np.array([10 ** (0.4 * colour.r_i), 1.0, 10 ** (-0.4 * colour.g_r)], np.float32)


def _add(bands: NDArray[np.float32], light: Plane, share: float, colour: Colour) -> None:
    bands += (band_ratios(colour) * np.float32(share))[:, None, None] * light


def _render_sersic(bulge: Bulge, u: Plane, v: Plane, softening: float) -> Plane:
    """Sersic profile of unit flux; b_n by Ciotti & Bertin (1999), to first order."""
    n, q = bulge.sersic_index, bulge.axis_ratio
    if bulge.turn:
        c, s = np.float32(cos(bulge.turn)), np.float32(sin(bulge.turn))
        u, v = c * u + s * v, c * v - s * u
    b = 2 * n - 1 / 3 + 4 / (405 * n)
    total = 2 * pi * n * q * bulge.radius**2 * b ** (-2 * n) * gamma(2 * n)
    squared = _squared_radius(u, v / np.float32(q), bulge.boxiness) + np.float32(softening**2)
    scaled = np.exp(np.log(squared * np.float32(bulge.radius**-2)) * np.float32(0.5 / n))
    return np.asarray(np.exp(scaled * np.float32(-b)) * np.float32(1 / total), np.float32)


def _squared_radius(u: Plane, v: Plane, boxiness: float) -> Plane:
    if boxiness == 2.0:
        return np.asarray(u * u + v * v, np.float32)
    power = np.float32(boxiness)
    return np.asarray((np.abs(u) ** power + np.abs(v) ** power) ** np.float32(2 / boxiness), np.float32)


def _add_disc(bands: NDArray[np.float32], disc: Disc, u: Plane, v: Plane, softening: float) -> None:
    if disc.edge_on:
        _add(bands, _render_edge_on(disc, u, v, softening), disc.share, disc.colour)
    else:
        _add_face_on(bands, disc, u, v, softening)


def _add_face_on(bands: NDArray[np.float32], disc: Disc, u: Plane, v: Plane, softening: float) -> None:
    v = v / np.float32(disc.axis_ratio)
    distance = np.sqrt(u * u + v * v + np.float32(softening**2))
    light = np.exp(distance * np.float32(-1 / disc.scale_length))
    light *= _truncate(distance, disc.scale_length)
    light *= np.float32(1 / (2 * pi * disc.scale_length**2 * disc.axis_ratio))
    if disc.arms is None:
        _add(bands, light, disc.share, disc.colour)
        return
    strength = disc.arms.strength
    _add(bands, light, disc.share * (1 - strength), disc.colour)
    _add(bands, light * _render_arms(disc.arms, u, v, distance), disc.share * strength, _bluer(disc.colour))


TRUNCATION = 3.4
"""Scale lengths at which a disc breaks off (Pohlen & Trujillo 2006, doi:10.1051/0004-6361:20064883)."""


def _truncate(distance: Plane, scale_length: float) -> Plane:
    """Factor that is 1 inside and falls off around `TRUNCATION` scale lengths."""
    squared = (distance * np.float32(1 / (TRUNCATION * scale_length))) ** 2
    fourth = squared * squared
    return np.asarray(1 / (1 + fourth * squared), np.float32)


def _bluer(colour: Colour) -> Colour:
    """Young stars of the arms against the disc they lie in."""
    return Colour(colour.g_r - 0.22, colour.r_i - 0.12)


ARM_SHARPNESS = 1.6
"""Concentration of the arms across their phase (von Mises); its mean over a turn is normalised away."""
ARM_NORMALISATION = float(np.exp(-ARM_SHARPNESS) * np.i0(ARM_SHARPNESS))


def _render_arms(arms: Arms, u: Plane, v: Plane, distance: Plane) -> Plane:
    """Factor on the disc, of mean about 1: logarithmic spirals that set in at `inner_radius`."""
    angle = np.arctan2(v, u)
    winding = np.log(distance) * np.float32(arms.handedness / np.tan(arms.pitch))
    first, second, third = arms.phases
    wander = np.sin(2 * angle + np.float32(second)) + np.sin(distance * np.float32(3) + np.float32(third))
    phase = np.float32(arms.number) * (angle - winding) + np.float32(first) + wander * np.float32(arms.irregularity)
    ridge = np.exp((np.cos(phase) - 1) * np.float32(ARM_SHARPNESS)) * np.float32(1 / ARM_NORMALISATION)
    onset = 1 - np.exp(-((distance / np.float32(arms.inner_radius)) ** 2))
    return np.asarray(1 + onset * (ridge - 1), np.float32)


def _render_edge_on(disc: Disc, u: Plane, v: Plane, softening: float) -> Plane:
    """exp(-R/h) sech^2(z/z0) (van der Kruit & Searle 1981), with a dust lane in the mid-plane."""
    h, z0 = disc.scale_length, disc.axis_ratio * disc.scale_length
    along = np.exp(-np.sqrt(u * u + np.float32((0.25 * h) ** 2 + softening**2)) * np.float32(1 / h))
    along *= _truncate(u, h)
    height = np.abs(v) * np.float32(1 / z0)
    fall = np.exp(-2 * height)
    light = along * 4 * fall / (1 + fall) ** 2
    if disc.dust:
        light *= 1 - np.float32(disc.dust) * np.exp(-((height * np.float32(2)) ** 2))
    return np.asarray(light * np.float32(exp(0.2) / (4 * h * z0)), np.float32)
