"""What a simulated galaxy is made of: frozen records of physical parameters, drawn for a galaxy of a given class.

Lengths are in units of the galaxy's own half-light radius unless they say otherwise, angles are in radians. `light`
renders the records.

The ranges overlap where volunteers disagree: in roundness, in the winding of arms, in how visible a bulge is. Pitch
angles follow the relation that Hart et al. (2017, arXiv:1708.04628) fitted to volunteers' answers. Colours are near
those of early and late types in SDSS bands (Shimasaku et al. 2001, doi:10.1086/322094). Bars in about a third of the
discs (Masters et al. 2011, arXiv:1003.0449). Discs break off at 2 to 4 scale lengths (Pohlen & Trujillo 2006,
doi:10.1051/0004-6361:20064883). The other ranges are usual values for each kind of galaxy, adjusted until pictures,
channel means and deviations were similar to those of Galaxy10.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import acos, log, pi, radians, tan
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arms", "Bulge", "Colour", "Disc", "Galaxy", "Knots", "draw_galaxy"]


@dataclass(frozen=True, slots=True)
class Colour:
    """Colour indices in magnitudes (AB, SDSS bands)."""

    g_r: float
    r_i: float

    @property
    def ratios(self) -> NDArray[np.float32]:
        """Flux in i, r, g relative to r: float32 (3,)."""
        return np.array([10 ** (0.4 * self.r_i), 1.0, 10 ** (-0.4 * self.g_r)], np.float32)


@dataclass(frozen=True, slots=True)
class Bulge:
    """A Sersic component: a bulge, a bar, or a whole smooth galaxy."""

    share: float
    """Of the galaxy's light, 0 to 1."""
    radius: float
    """Half-light radius along the major axis."""
    sersic_index: float
    axis_ratio: float
    colour: Colour
    boxiness: float = 2.0
    """Exponent of the generalised ellipse (Athanassoula et al. 1990): 2 elliptical, above 2 boxy."""
    turn: float = 0.0
    """Angle to the galaxy's major axis."""
    gradient: float = 0.0
    """Power of the radius by which g brightens against r outwards (half of it in i, the other way)."""


@dataclass(frozen=True, slots=True)
class Arms:
    """A logarithmic spiral pattern."""

    number: int
    pitch: float
    strength: float
    """0 (none) to 1 (all of the disc's light in the arms)."""
    handedness: int
    """+1 or -1."""
    inner_radius: float
    sharpness: float
    """Concentration of the ridge across its phase (kappa of a von Mises distribution)."""
    extent: float
    """Scale length of the arms' light over that of the disc."""
    irregularity: float
    """Amplitude by which arms wander from a perfect spiral."""
    imbalance: float
    """0 (all arms alike) to 1 (one side empty)."""
    phases: tuple[float, float, float, float]
    """Of the pattern, of its two wanderings, and of the imbalance."""
    colour: Colour


@dataclass(frozen=True, slots=True)
class Knots:
    """Star-forming regions: points of young light."""

    number: int
    share: float
    """Of the galaxy's light, 0 to 1."""
    colour: Colour


@dataclass(frozen=True, slots=True)
class Disc:
    """An exponential disc, seen face-on (`axis_ratio` from inclination) or edge-on."""

    share: float
    scale_length: float
    axis_ratio: float
    """Face-on: minor over major axis. Edge-on: scale height over scale length."""
    colour: Colour
    inclination: float
    """0 face-on, pi / 2 edge-on."""
    truncation: float = 3.4
    """Scale lengths at which the disc breaks off."""
    edge_on: bool = False
    dust: float = 0.0
    """Depth of the dust lane of an edge-on disc in r, 0 to 1."""
    warp: float = 0.0
    """Bend of an edge-on disc: height per squared distance from the centre."""
    gradient: float = 0.0
    """By how much g brightens against r per scale length outwards."""
    patchiness: float = 0.0
    """Standard deviation of the logarithm of the surface brightness between patches."""
    ring: float = 0.0
    """Contrast of a ring at the end of the bar, 0 for none."""
    ring_radius: float = 0.5
    arms: Arms | None = None
    knots: Knots | None = None


@dataclass(frozen=True, slots=True)
class Galaxy:
    """Everything about one galaxy but the sky around it."""

    label: int
    """The class, 0 to 9 as `CLASS_NAMES`."""
    half_light_radius: float
    """The unit of length, in pixels of a 69-pixel image."""
    surface_brightness: float
    """Mean within the half-light radius, r band, mag/arcsec^2, as seen face-on."""
    disc: Disc | None
    bulges: tuple[Bulge, ...]
    """The bulge or the smooth body first; with a disc then perhaps a bar, without one an envelope."""
    r90_arcsec: float
    """Apparent Petrosian R90 in arcseconds, which sets the scale of the image."""
    patchiness: float = 0.0
    """Of a galaxy without a disc, as that of a disc."""


BulgeShape = Literal["round", "boxy", "none"]

HALF_LIGHT_RADIUS = 8.0
"""Typical, in pixels of a 69-pixel image, in which the Petrosian R90 spans 16.7 pixels; it is a little above
what a profile without seeing would have (6.2 to 7.3 for Sersic indices 1 to 4)."""

EXPONENTIAL_HALF_LIGHT = 1.678
"""Half-light radius of an exponential disc in scale lengths."""

R90_ARCSEC = {"smooth": 7.5, "edge-on": 9.0, "face-on": 8.5, "spiral": 11.5}
"""Typical apparent radius: arms are only seen, and voted for, in galaxies that the seeing does not smear out."""

_SMOOTH_AXIS_RATIOS = {1: (0.89, 0.07), 2: (0.65, 0.11), 3: (0.31, 0.06)}
"""Mean and scatter by label."""
_EDGE_ON_BULGES: dict[int, BulgeShape] = {4: "round", 5: "boxy", 6: "none"}


def draw_galaxy(label: int, rng: np.random.Generator) -> Galaxy:
    """Draws a galaxy of the class `label` (0 to 9, as `CLASS_NAMES`)."""
    if label in _SMOOTH_AXIS_RATIOS:
        return _draw_smooth(rng, label)
    if label in _EDGE_ON_BULGES:
        return _draw_edge_on(rng, label)
    return _draw_face_on(rng, label)


def _draw_smooth(rng: np.random.Generator, label: int) -> Galaxy:
    cigar = label == 3
    blue = rng.random() < (0.5 if cigar else 0.25)
    envelope = rng.uniform(0.2, 0.7) if rng.random() < 0.5 else 0.0
    body = Bulge(
        share=1 - envelope,
        radius=1.0,
        sersic_index=rng.uniform(0.8, 2.0) if cigar else rng.uniform(1.2, 4.0),
        axis_ratio=_clip(rng.normal(*_SMOOTH_AXIS_RATIOS[label]), 0.18, 1.0),
        colour=_late_colour(rng) if blue else _early_colour(rng),
        boxiness=rng.normal(2.0, 0.12),
        gradient=rng.uniform(-0.01, 0.05),
    )
    bulges = (body, _draw_envelope(rng, body, envelope)) if envelope else (body,)
    radius = _radius(rng) * (1.3 if cigar else 1.0) * (1 - 0.2 * envelope)
    brightness = rng.normal(20.8 if cigar else 20.0, 0.55)
    patchiness = rng.uniform(0.05, 0.2) if rng.random() < 0.3 else 0.0
    return Galaxy(label, radius, brightness, None, bulges, _r90(rng, "smooth"), patchiness)


def _draw_envelope(rng: np.random.Generator, body: Bulge, share: float) -> Bulge:
    """A smooth disc around the body: volunteers call a lenticular galaxy smooth."""
    axis_ratio = _clip(body.axis_ratio + rng.normal(0, 0.05), 0.16, 1.0)
    colour = _bluer(body.colour, rng.uniform(0, 0.2))
    return Bulge(share, rng.uniform(1.2, 1.7), rng.uniform(0.6, 1.2), axis_ratio, colour, turn=rng.normal(0, 0.15))


def _draw_edge_on(rng: np.random.Generator, label: int) -> Galaxy:
    shape = _EDGE_ON_BULGES[label]
    share = {"round": rng.uniform(0.12, 0.45), "boxy": rng.uniform(0.3, 0.5), "none": rng.uniform(0, 0.08)}[shape]
    disc = Disc(
        share=1 - share,
        scale_length=rng.uniform(0.66, 0.95),
        axis_ratio=rng.uniform(0.12, 0.36),
        colour=_late_colour(rng) if shape == "none" else _mix(_late_colour(rng), _early_colour(rng), rng.random()),
        inclination=radians(rng.uniform(82, 90)),
        edge_on=True,
        dust=rng.uniform(0.25, 0.9) if rng.random() < 0.55 else 0.0,
        warp=rng.normal(0, 0.012),
        gradient=rng.uniform(0.0, 0.12),
        patchiness=rng.uniform(0.0, 0.35),
    )
    boxy = shape == "boxy"
    bulge = Bulge(
        share=share,
        radius=rng.uniform(0.38, 0.6) if boxy else rng.uniform(0.2, 0.45),
        sersic_index=rng.uniform(0.8, 1.4) if boxy else rng.uniform(1.2, 3.0),
        axis_ratio=rng.uniform(0.55, 0.75) if boxy else rng.uniform(0.6, 1.0),
        colour=_early_colour(rng),
        boxiness=rng.uniform(3.2, 4.5) if boxy else 2.0,
    )
    return Galaxy(label, _radius(rng) * 1.25, rng.normal(20.9, 0.5), disc, (bulge,), _r90(rng, "edge-on"))


def _draw_face_on(rng: np.random.Generator, label: int) -> Galaxy:
    winding = max(label - 6, 0)  # 0 without arms, 1 tight, 2 medium, 3 loose
    share = rng.uniform(0.05, 0.32) if winding == 0 else _clip(rng.normal(0.22 - 0.05 * winding, 0.08), 0.01, 0.5)
    bar = _draw_bar(rng) if rng.random() < 0.35 else None
    axis_ratio = rng.uniform(0.48, 1.0)
    disc = _draw_disc(rng, winding, 1 - share - (bar.share if bar else 0.0), axis_ratio, bar)
    colour = _mix(_early_colour(rng), disc.colour, rng.uniform(0, 1) ** 2)
    bulge = Bulge(share, rng.uniform(0.16, 0.40), rng.uniform(0.9, 2.6), max(axis_ratio, 0.8), colour)
    kind = "spiral" if winding else "face-on"
    bulges = (bulge, bar) if bar else (bulge,)
    return Galaxy(label, _radius(rng) * 1.28, rng.normal(20.6, 0.5), disc, bulges, _r90(rng, kind))


def _draw_bar(rng: np.random.Generator) -> Bulge:
    share, length, axis_ratio = rng.uniform(0.05, 0.16), rng.uniform(0.35, 0.65), rng.uniform(0.22, 0.4)
    return Bulge(share, length, 0.6, axis_ratio, _early_colour(rng), 2.6, turn=rng.uniform(0, pi))


def _draw_disc(rng: np.random.Generator, winding: int, share: float, axis_ratio: float, bar: Bulge | None) -> Disc:
    early = rng.uniform(0, 0.8) if winding == 0 else rng.uniform(0, 0.8) ** 1.5
    colour = _mix(_late_colour(rng), _early_colour(rng), early)
    arms = _draw_arms(rng, winding, colour, bar)
    lumpy = winding > 0 or rng.random() < 0.3
    return Disc(
        share=share,
        scale_length=rng.uniform(1.0, 1.35) / EXPONENTIAL_HALF_LIGHT,
        axis_ratio=axis_ratio,
        colour=colour,
        inclination=acos(axis_ratio),
        truncation=rng.uniform(2.2, 3.6),
        gradient=rng.uniform(0.0, 0.11),
        patchiness=rng.uniform(0.1, 0.6) if lumpy else 0.0,
        ring=rng.uniform(0.4, 1.5) if rng.random() < (0.25 if bar else 0.08) else 0.0,
        ring_radius=(bar.radius if bar else 0.5) * rng.uniform(1.2, 1.7),
        arms=arms,
        knots=_draw_knots(rng, colour) if arms is not None and rng.random() < 0.7 else None,
    )


def _draw_arms(rng: np.random.Generator, winding: int, disc: Colour, bar: Bulge | None) -> Arms | None:
    """Pitch in degrees = 6.37 w + 1.30 m + 4.34 for winding w and m arms (Hart et al. 2017)."""
    if winding == 0 and rng.random() < 0.6:
        return None
    number = _draw_arm_number(rng, winding)
    pitch = radians(_clip(6.37 * (winding or 2) + 1.30 * number + 4.34 + rng.normal(0, 3.5), 7, 42))
    handedness = 1 if rng.random() < 0.5 else -1
    inner_radius = bar.radius * 1.3 if bar else rng.uniform(0.15, 0.5)
    pattern, *others = rng.uniform(0, 2 * pi, 4).tolist()
    if bar:  # the arms start where the bar ends
        pattern = -number * (bar.turn - handedness * log(inner_radius) / tan(pitch))
    return Arms(
        number=number,
        pitch=pitch,
        strength=rng.uniform(0.05, 0.18) if winding == 0 else rng.uniform(0.2, 0.55 + 0.08 * winding),
        handedness=handedness,
        inner_radius=inner_radius,
        sharpness=rng.uniform(0.7, 3.0),
        extent=rng.uniform(1.0, 1.2 + 0.12 * winding),
        irregularity=rng.uniform(0.1, 0.75),
        imbalance=rng.uniform(0.0, 0.75),
        phases=(pattern, others[0], others[1], others[2]),
        colour=_bluer(disc, rng.uniform(0.05, 0.30)),
    )


def _draw_arm_number(rng: np.random.Generator, winding: int) -> int:
    """Mostly two (Hart et al. 2016, arXiv:1607.01019, figure 4); one-armed ones are wound loosely."""
    draw = rng.random()
    if winding == 3 and draw < 0.10:
        return 1
    return 2 if draw < 0.66 else 3 if draw < 0.84 else int(rng.integers(4, 6))


def _draw_knots(rng: np.random.Generator, disc: Colour) -> Knots:
    return Knots(int(rng.integers(6, 40)), rng.uniform(0.01, 0.12), _bluer(disc, rng.uniform(0.2, 0.6)))


def _early_colour(rng: np.random.Generator) -> Colour:
    return _draw_colour(rng, rng.normal(0.81, 0.11))


def _late_colour(rng: np.random.Generator) -> Colour:
    return _draw_colour(rng, rng.normal(0.37, 0.16))


def _draw_colour(rng: np.random.Generator, g_r: float) -> Colour:
    """r-i follows g-r along the sequence of galaxies in SDSS pictures (fitted by eye), with little scatter."""
    return Colour(g_r, 0.085 + 0.60 * g_r - 0.27 * g_r * abs(g_r) + rng.normal(0, 0.035))


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    return Colour(one.g_r + share * (other.g_r - one.g_r), one.r_i + share * (other.r_i - one.r_i))


def _bluer(colour: Colour, by: float) -> Colour:
    return Colour(colour.g_r - by, colour.r_i - 0.5 * by)


def _radius(rng: np.random.Generator) -> float:
    return HALF_LIGHT_RADIUS * float(np.exp(rng.normal(0, 0.15)))


def _r90(rng: np.random.Generator, kind: str) -> float:
    return _clip(float(np.exp(rng.normal(log(R90_ARCSEC[kind]), 0.4))), 6.5 if kind == "spiral" else 3.5, 24)


def _clip(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))
