"""The true parameters of simulated galaxies, one record an image."""

from __future__ import annotations

from math import degrees
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.simulated.drawing import EXPONENTIAL_HALF_LIGHT
from galaxy_exp.data.simulated.imaging import SKY_NOISE, Observation
from galaxy_exp.data.simulated.morphology import Bulge, Disc, Galaxy

__all__ = ["TRUTH_DTYPE", "TRUTH_FIELDS", "describe_truth"]

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


def describe_truth(
    galaxy: Galaxy, observation: Observation, *, number: int, angle: float, n_neighbours: int, scale: float
) -> NDArray[Any]:
    """One record, shape () of `TRUTH_DTYPE`.

    Args:
        galaxy: what was drawn.
        observation: how it was observed.
        number: of the galaxy within its class.
        angle: of the major axis, radians from the picture's columns towards increasing rows.
        n_neighbours: stars and galaxies beside it.
        scale: pixels of the image per pixel of a 69-pixel image.
    """
    record = np.zeros((), TRUTH_DTYPE)
    main = galaxy.disc or galaxy.bulges[0]
    values: dict[str, float] = {
        "label": galaxy.label,
        "number": number,
        "surface_brightness": galaxy.surface_brightness,
        "half_light_radius": galaxy.half_light_radius * scale * _relative_radius(main),
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


def _relative_radius(main: Disc | Bulge) -> float:
    return main.scale_length * EXPONENTIAL_HALF_LIGHT if isinstance(main, Disc) else main.radius


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
