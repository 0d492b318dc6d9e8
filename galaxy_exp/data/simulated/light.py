"""Surface brightness of a galaxy before telescope and atmosphere."""

from __future__ import annotations

from math import cos, exp, factorial, gamma, pi, sin, tan

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.simulated.morphology import Arms, Bulge, Colour, Disc, Galaxy, Knots

__all__ = ["add_points", "render_galaxy", "render_sersic"]

Plane = NDArray[np.float32]
"""float32 (side, side): one value a pixel."""

PATCHES = 26
"""Patches of brighter and fainter disc along a side of the rendered plane, about 3 pixels each."""

SOFTENING = 0.35
"""Pixels added in quadrature to every radius, in place of integrating a cusp over its pixel."""

DUST_BY_BAND = np.array([0.72, 1.0, 1.38], np.float32)
"""Extinction in i, r, g against r (Schlafly & Finkbeiner 2011, arXiv:1012.4804, table 6, R_V 3.1: 1.70, 2.29, 3.30)."""


def render_galaxy(galaxy: Galaxy, x: Plane, y: Plane, radius: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Light in the bands i, r, g, with about unit flux in r: float32 (3, side, side), per square half-light radius.

    `x` and `y` are pixel distances from the centre along the major and the minor axis, `radius` the half-light radius
    in pixels, and `rng` the stream of this galaxy, for its patches and knots.
    """
    u, v = x / np.float32(radius), y / np.float32(radius)
    softening = SOFTENING / radius
    disc = galaxy.disc
    bands = np.zeros((3, *x.shape), np.float32)
    for bulge in galaxy.bulges:
        # a bar is in the plane of the disc
        squeeze = disc.axis_ratio if bulge.turn and disc is not None else 1.0
        _add_bulge(bands, bulge, u, v / np.float32(squeeze), softening, bulge.share / squeeze)
    if disc is not None and disc.edge_on:
        _add_edge_on(bands, disc, u, v, softening)
    elif disc is not None:
        _add_spiral_disc(bands, disc, u, v, softening, rng)
    elif galaxy.patchiness:
        bands *= _draw_patches(galaxy.patchiness, x.shape[0], rng)
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
    along = np.exp(-distance) * _truncate(u, h * disc.truncation)
    fall = np.exp(np.abs(v) * np.float32(-2 / z0))
    light = along * fall / (1 + fall) ** 2
    light *= np.float32(4 * disc.share * exp(0.2) / (4 * h * z0))
    bands += disc.colour.ratios[:, None, None] * light
    bands[2] *= 1 + np.float32(disc.gradient) * (distance - 1)
    if disc.dust:
        # tilted by a few degrees, the mid-plane of the near side is off the centre
        height = v * np.float32(1 / z0) - np.float32(cos(disc.inclination) * h / z0)
        lane = np.exp(-((height * np.float32(2.2)) ** 2) - (distance * np.float32(0.4)) ** 2)
        depth = np.minimum(DUST_BY_BAND * np.float32(disc.dust), 0.95)
        bands *= 1 - depth[:, None, None] * lane


def _truncate(distance: Plane, radius: float) -> Plane:
    """Factor that is 1 inside and falls off around `radius`."""
    squared = (distance * np.float32(1 / radius)) ** 2
    fourth = squared * squared
    return np.asarray(1 / (1 + fourth * squared), np.float32)


def _add_spiral_disc(
    bands: NDArray[np.float32], disc: Disc, u: Plane, v: Plane, softening: float, rng: np.random.Generator
) -> None:
    """Adds the disc's light with unit flux for a share of 1; `u`, `v` and `softening` are half-light radii as seen."""
    v = v / np.float32(disc.axis_ratio)
    distance = np.sqrt(u * u + v * v + np.float32(softening**2))
    patches = _draw_patches(disc.patchiness, u.shape[0], rng) if disc.patchiness else None
    arms, strength = disc.arms, disc.arms.strength if disc.arms else 0.0
    knots = disc.knots.share if disc.knots else 0.0
    share = disc.share * (1 - knots)
    smooth = _render_exponential(disc, distance, 1.0) * np.float32(share * (1 - strength))
    if disc.ring:
        ring = (distance - np.float32(disc.ring_radius)) * np.float32(1 / (0.18 * disc.ring_radius + 0.04))
        smooth *= 1 + np.float32(disc.ring) * np.exp(-ring * ring)
    if patches is not None:
        smooth *= np.sqrt(patches)
    _add(bands, smooth, disc.colour)
    if arms is not None:
        winding = _render_exponential(disc, distance, arms.extent) * np.float32(share * strength)
        winding *= _render_arms(arms, u, v, distance)
        _add(bands, winding if patches is None else winding * patches, arms.colour)
        if disc.knots is not None:
            _add_knots(bands, disc, arms, disc.knots, u, v, rng)
    if disc.gradient:
        bands[2] *= 1 + np.float32(disc.gradient) * np.minimum(distance * np.float32(1 / disc.scale_length) - 1, 3)


def add_points(
    bands: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64], flux: Plane
) -> None:
    """Adds points of light to `bands`, float32 (3, side, side), each spread over the four pixels around it.

    Rows and columns (n,) are in pixels, and points outside the plane are left out; flux is float32 (3, n).
    """
    side = bands.shape[-1]
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    inside = (top >= 0) & (left >= 0) & (top < side - 1) & (left < side - 1)
    top, left, flux = top[inside], left[inside], flux[:, inside]
    down, across = (rows[inside] - top).astype(np.float32), (columns[inside] - left).astype(np.float32)
    for row, column, weight in (
        (top, left, (1 - down) * (1 - across)),
        (top, left + 1, (1 - down) * across),
        (top + 1, left, down * (1 - across)),
        (top + 1, left + 1, down * across),
    ):
        np.add.at(bands, (np.arange(3)[:, None], row, column), flux * weight)


def _add(bands: NDArray[np.float32], light: Plane, colour: Colour) -> None:
    bands += colour.ratios[:, None, None] * light


def _render_exponential(disc: Disc, distance: Plane, stretch: float) -> Plane:
    """Exponential of unit flux as seen, its scale length stretched."""
    length = disc.scale_length * stretch
    light = np.exp(distance * np.float32(-1 / length)) * _truncate(distance, length * disc.truncation)
    return np.asarray(light * np.float32(1 / (2 * pi * length**2 * disc.axis_ratio)), np.float32)


def _render_arms(arms: Arms, u: Plane, v: Plane, distance: Plane) -> Plane:
    """Factor on the disc, of mean about 1: logarithmic spirals that set in at `inner_radius`."""
    angle = np.arctan2(v, u)
    pattern, second, third, side = (np.float32(phase) for phase in arms.phases)
    winding = np.log(distance) * np.float32(arms.handedness / tan(arms.pitch))
    wander = np.sin(2 * angle + second) + np.sin(distance * np.float32(3) + third) + np.sin(angle + third)
    phase = np.float32(arms.number) * (angle - winding) + pattern + wander * np.float32(arms.irregularity)
    ridge = np.exp((np.cos(phase) - 1) * np.float32(arms.sharpness))
    ridge *= np.float32(exp(arms.sharpness) / _bessel_i0(arms.sharpness))
    ridge *= 1 + np.float32(arms.imbalance) * np.cos(angle - side)
    onset = 1 - np.exp(-((distance * np.float32(1 / arms.inner_radius)) ** 2))
    return np.asarray(1 + onset * (ridge - 1), np.float32)


def _bessel_i0(x: float) -> float:
    """Modified Bessel function by its power series, to 1e-6 for x up to 4; NumPy's takes ten times as long."""
    return sum((x / 2) ** (2 * k) / factorial(k) ** 2 for k in range(12))


def _draw_patches(patchiness: float, side: int, rng: np.random.Generator) -> Plane:
    """Log-normal factor of mean 1, smooth over a few pixels: float32 (side, side)."""
    coarse = rng.standard_normal((PATCHES, PATCHES), dtype=np.float32)
    centres = (np.arange(PATCHES, dtype=np.float32) + np.float32(0.5)) * np.float32(side / PATCHES)
    offsets = (np.arange(side, dtype=np.float32)[:, None] - centres) * np.float32(PATCHES / side)
    kernel = np.exp(-offsets * offsets)
    kernel /= np.sqrt((kernel * kernel).sum(axis=1, keepdims=True))
    field = kernel @ coarse @ kernel.T
    return np.asarray(np.exp(field * np.float32(patchiness) - np.float32(patchiness**2 / 2)), np.float32)


def _add_knots(
    bands: NDArray[np.float32], disc: Disc, arms: Arms, knots: Knots, u: Plane, v: Plane, rng: np.random.Generator
) -> None:
    """Points along the arms' ridges, thinned out as the disc is, of log-normal fluxes."""
    number = knots.number
    distance = np.maximum(disc.scale_length * rng.gamma(2.5, 0.75, number), arms.inner_radius)
    ridge = rng.integers(0, arms.number, number) * (2 * pi / arms.number) - arms.phases[0] / arms.number
    angle = ridge + np.log(distance) * (arms.handedness / tan(arms.pitch)) + rng.normal(0, 0.25, number)
    along, across = distance * np.cos(angle), distance * np.sin(angle) * disc.axis_ratio
    flux = np.exp(rng.normal(0, 0.9, number))
    flux *= disc.share * knots.share / flux.sum()
    # (u, v) is the pixel grid turned and scaled: three of its corners say how to go back
    along, across = along - float(u[0, 0]), across - float(v[0, 0]) * disc.axis_ratio
    row_u, row_v = float(u[1, 0] - u[0, 0]), float(v[1, 0] - v[0, 0]) * disc.axis_ratio
    column_u, column_v = float(u[0, 1] - u[0, 0]), float(v[0, 1] - v[0, 0]) * disc.axis_ratio
    area = row_u**2 + row_v**2
    rows, columns = (along * row_u + across * row_v) / area, (along * column_u + across * column_v) / area
    light = knots.colour.ratios[:, None] * (flux / area).astype(np.float32)
    add_points(bands, rows, columns, np.asarray(light, np.float32))
