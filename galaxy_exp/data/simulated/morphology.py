"""Physical parameters of simulated galaxies, drawn class by class.

Lengths are in units of the half-light radius of the whole galaxy unless they say otherwise. The ranges
overlap where volunteers disagree: in roundness, in the winding of arms, in how visible a bulge is.

Pitch angles follow the relation that Hart et al. (2017, arXiv:1708.04628) fitted to volunteers'
answers. Colours are near those of early and late types in SDSS bands (Shimasaku et al. 2001,
doi:10.1086/322094). The other ranges are ours: usual values for each kind of galaxy, adjusted until the
channel means and deviations, and the look, of the images came near those of Galaxy10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Arms", "Bulge", "Colour", "Disc", "Galaxy", "draw_galaxy"]

BulgeShape = Literal["round", "boxy", "none"]


@dataclass(frozen=True, slots=True)
class Colour:
    """Colour indices in magnitudes (AB, SDSS bands)."""

    g_r: float
    r_i: float


@dataclass(frozen=True, slots=True)
class Bulge:
    """A Sersic component: a bulge, a bar, or a whole smooth galaxy."""

    share: float
    """Of the galaxy's light, 0 to 1."""
    radius: float
    """Half-light radius."""
    sersic_index: float
    axis_ratio: float
    colour: Colour
    boxiness: float = 2.0
    """Exponent of the generalised ellipse (Athanassoula et al. 1990): 2 elliptical, above 2 boxy."""
    turn: float = 0.0
    """Angle to the galaxy's major axis, radians."""


@dataclass(frozen=True, slots=True)
class Arms:
    """A logarithmic spiral pattern."""

    number: int
    pitch: float
    """Radians."""
    strength: float
    """0 (none) to 1 (all of the disc's light in the arms)."""
    handedness: int
    """+1 or -1."""
    inner_radius: float
    irregularity: float
    """Amplitude in radians by which arms wander from a perfect spiral."""
    phases: tuple[float, float, float]
    """Radians."""


@dataclass(frozen=True, slots=True)
class Disc:
    """An exponential disc, seen face-on (`axis_ratio` from inclination) or edge-on."""

    share: float
    scale_length: float
    axis_ratio: float
    """Face-on: minor over major axis. Edge-on: scale height over scale length."""
    colour: Colour
    edge_on: bool = False
    dust: float = 0.0
    """Depth of the dust lane of an edge-on disc, 0 to 1."""
    arms: Arms | None = None


@dataclass(frozen=True, slots=True)
class Galaxy:
    """Everything about one galaxy but the sky around it."""

    half_light_radius: float
    """In pixels of a 69-pixel image."""
    surface_brightness: float
    """Mean within the half-light radius, r band, mag/arcsec^2, as seen face-on."""
    disc: Disc | None
    bulges: tuple[Bulge, ...]


HALF_LIGHT_RADIUS = 8.0
"""Typical, in pixels of a 69-pixel image, in which the Petrosian R90 spans 16.7 pixels; it is a little above
what a profile without seeing would have (6.2 to 7.3 for Sersic indices 1 to 4)."""

EXPONENTIAL_HALF_LIGHT = 1.678
"""Half-light radius of an exponential disc in scale lengths."""


def draw_galaxy(label: int, rng: np.random.Generator) -> Galaxy:
    """Draws a galaxy of the class `label` (0 to 9, as `CLASS_NAMES`)."""
    if label in (1, 2, 3):
        return _draw_smooth(rng, *_SMOOTH_AXIS_RATIOS[label], cigar=label == 3)
    if label in (4, 5, 6):
        return _draw_edge_on(rng, _EDGE_ON_BULGES[label])
    return _draw_face_on(rng, winding=label - 6 if label else 0)


_SMOOTH_AXIS_RATIOS = {1: (0.92, 0.05), 2: (0.69, 0.10), 3: (0.32, 0.08)}
"""Mean and scatter by label."""
_EDGE_ON_BULGES: dict[int, BulgeShape] = {4: "round", 5: "boxy", 6: "none"}


def _early_colour(rng: np.random.Generator) -> Colour:
    return _draw_colour(rng, rng.normal(0.72, 0.07))


def _late_colour(rng: np.random.Generator) -> Colour:
    return _draw_colour(rng, rng.normal(0.41, 0.11))


def _draw_colour(rng: np.random.Generator, g_r: float) -> Colour:
    """r-i follows g-r along the sequence of galaxies, with little scatter."""
    return Colour(g_r, 0.11 + 0.36 * g_r + rng.normal(0, 0.025))


def _draw_radius(rng: np.random.Generator) -> float:
    return float(HALF_LIGHT_RADIUS * np.exp(rng.normal(0, 0.10)))


def _clip(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))


def _draw_smooth(rng: np.random.Generator, axis_ratio: float, scatter: float, *, cigar: bool) -> Galaxy:
    blue = rng.random() < (0.5 if cigar else 0.12)
    body = Bulge(
        share=1.0,
        radius=1.0,
        sersic_index=rng.uniform(0.8, 2.0) if cigar else rng.uniform(1.4, 3.8),
        axis_ratio=_clip(rng.normal(axis_ratio, scatter), 0.16, 1.0),
        colour=_late_colour(rng) if blue else _early_colour(rng),
        boxiness=rng.normal(2.0, 0.08),
    )
    stretch = 1.4 if cigar else 1.0
    return Galaxy(_draw_radius(rng) * stretch, rng.normal(20.8 if cigar else 20.0, 0.5), None, (body,))


def _draw_edge_on(rng: np.random.Generator, shape: BulgeShape) -> Galaxy:
    share = {"round": rng.uniform(0.12, 0.45), "boxy": rng.uniform(0.3, 0.5), "none": rng.uniform(0, 0.08)}[shape]
    disc = Disc(
        share=1 - share,
        scale_length=rng.uniform(0.78, 0.98),
        axis_ratio=rng.uniform(0.13, 0.27),
        colour=_late_colour(rng) if shape == "none" else _mix(_late_colour(rng), _early_colour(rng), rng.random()),
        edge_on=True,
        dust=rng.uniform(0.2, 0.7) if rng.random() < 0.4 else 0.0,
    )
    bulge = Bulge(
        share=share,
        radius=rng.uniform(0.38, 0.6) if shape == "boxy" else rng.uniform(0.2, 0.45),
        sersic_index=rng.uniform(0.8, 1.4) if shape == "boxy" else rng.uniform(1.2, 3.0),
        axis_ratio=rng.uniform(0.55, 0.75) if shape == "boxy" else rng.uniform(0.65, 1.0),
        colour=_early_colour(rng),
        boxiness=rng.uniform(3.2, 4.5) if shape == "boxy" else 2.0,
    )
    return Galaxy(_draw_radius(rng) * 1.32, rng.normal(20.8, 0.5), disc, (bulge,))


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    return Colour(one.g_r + share * (other.g_r - one.g_r), one.r_i + share * (other.r_i - one.r_i))


def _draw_face_on(rng: np.random.Generator, winding: int) -> Galaxy:
    """`winding` 0 without arms, 1 tight, 2 medium, 3 loose."""
    share = rng.uniform(0.05, 0.32) if winding == 0 else _clip(rng.normal(0.24 - 0.05 * winding, 0.07), 0.02, 0.45)
    bar = rng.uniform(0.05, 0.14) if rng.random() < 0.3 else 0.0
    axis_ratio = rng.uniform(0.58, 1.0)
    disc = Disc(
        share=1 - share - bar,
        scale_length=rng.uniform(1.05, 1.25) / EXPONENTIAL_HALF_LIGHT,
        axis_ratio=axis_ratio,
        colour=_mix(_late_colour(rng), _early_colour(rng), rng.uniform(0, 0.8 if winding == 0 else 0.35)),
        arms=_draw_arms(rng, winding),
    )
    bulge = Bulge(share, rng.uniform(0.14, 0.32), rng.uniform(0.9, 2.6), max(axis_ratio, 0.8), _early_colour(rng))
    long_bar = Bulge(
        bar, rng.uniform(0.4, 0.6), 0.6, rng.uniform(0.25, 0.4), _early_colour(rng), 2.6, rng.uniform(0, 3)
    )
    return Galaxy(_draw_radius(rng) * 1.34, rng.normal(20.5, 0.5), disc, (bulge, long_bar) if bar else (bulge,))


def _draw_arms(rng: np.random.Generator, winding: int) -> Arms | None:
    """Pitch in degrees = 6.37 w + 1.30 m + 4.34 for winding w and m arms (Hart et al. 2017)."""
    if winding == 0 and rng.random() < 0.5:
        return None
    number = int(rng.choice((2, 3, 4), p=(0.75, 0.15, 0.10)))
    pitch = 6.37 * (winding or 2) + 1.30 * number + 4.34 + rng.normal(0, 3.5)
    return Arms(
        number=number,
        pitch=np.radians(_clip(pitch, 7, 40)),
        strength=rng.uniform(0.05, 0.25) if winding == 0 else rng.uniform(0.25, 0.8),
        handedness=1 if rng.random() < 0.5 else -1,
        inner_radius=rng.uniform(0.25, 0.55),
        irregularity=rng.uniform(0.1, 0.5),
        phases=(rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)),
    )
