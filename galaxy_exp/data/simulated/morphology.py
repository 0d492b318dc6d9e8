"""What a simulated galaxy is made of: frozen records of physical parameters.

Lengths are in units of the galaxy's own half-light radius unless they say otherwise, angles are in radians.
`drawing` fills these records, `light` and `spiral` render them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arms", "Bulge", "Colour", "Disc", "Galaxy", "Knots"]


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
