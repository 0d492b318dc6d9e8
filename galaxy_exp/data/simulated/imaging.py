"""From light to picture: neighbours, seeing, sky, noise, and the colour stretch of SDSS pictures."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin, sqrt

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.simulated.light import add_points, render_sersic
from galaxy_exp.data.simulated.morphology import Bulge, Colour

__all__ = ["Frame", "Observation", "add_surroundings", "draw_observation", "observe", "stretch_colours"]

Bands = NDArray[np.float32]
"""float32 (3, side, side): i, r, g in nanomaggies per native pixel of 0.396 arcsec."""

NATIVE_PIXEL_AREA = 0.396**2
"""Square arcseconds of a pixel of the SDSS camera (Gunn et al. 1998, doi:10.1086/300645)."""
SEEING_ARCSEC = 1.43
"""Median full width at half maximum of the r-band PSF (sdss3.org/dr9/scope.php); quartiles 1.30 and 1.58."""
SEEING_BY_BAND = np.array([0.95, 1.0, 1.06])
"""In i, r, g against r: the seeing falls with wavelength to the power 1/5 (748, 617, 469 nm), rounded."""
WING_SHARE, WING_WIDTH = 0.1, 2.2
"""A wider Gaussian holds a tenth of a star's light, as in the SDSS pipeline's two-Gaussian PSF model."""
REGISTRATION_ARCSEC = 0.09
"""Scatter of i and g against r: refraction and registration; it gives small galaxies coloured edges."""
R90_PER_PIXEL = 0.06
"""A pixel of a 69-pixel Galaxy10 image is 0.06 Petrosian R90 (0.02 R90, reduced by 3; Willett et al. 2013)."""
SKY_NOISE = np.array([0.0120, 0.0103, 0.0076], np.float32)
"""Standard deviation in i, r, g per image pixel after resampling, nanomaggies per native pixel."""
NOISE_DOUBLING = 0.15
"""Surface brightness in r that doubles the variance of the noise, nanomaggies per native pixel. The photons of the sky,
20.86 mag/arcsec^2 (sdss3.org/dr9/scope.php), would make it 0.71; JPEG adds the rest where it is bright."""
COLOUR_NOISE = 0.32
"""Noise of a channel against the others in units of `SKY_NOISE`. JPEG's colour quantisation drops most of it in an
empty sky, so that sky noise is nearly grey, and leaves blotches on the faint parts of galaxies."""
COLOUR_NOISE_LENGTH = 2.6
"""Pixels between blotches: JPEG's 16-pixel colour blocks, reduced by 3, hold a few coefficients each."""
SKY_LEVEL = np.array([0.0125, 0.0118, 0.0058], np.float32)
"""Background in i, r, g that is left after subtraction, nanomaggies per native pixel."""
CHANNEL_GAINS = np.array([4.9, 5.7, 7.8], np.float32) * np.float32(0.25)
"""Weights of i, r, g in SDSS pictures; the common factor brings the sky noise to what their JPEG files show."""
NONLINEARITY = 2.25
"""Softening of the asinh stretch (Lupton et al. 2004, doi:10.1086/382245)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Geometry of an image, which is rendered with a margin because seeing blurs light into the image."""

    size: int
    """Side of the image in pixels."""
    margin: int
    """Pixels rendered around it."""
    scale: float
    """Pixels per pixel of a 69-pixel image."""

    @property
    def side(self) -> int:
        """Of the rendered plane, in pixels."""
        return self.size + 2 * self.margin


@dataclass(frozen=True, slots=True)
class Observation:
    """The conditions under which one image was taken; lengths in pixels of a 69-pixel image."""

    seeing: float
    """Full width at half maximum of the r-band PSF."""
    noise: float
    """In units of `SKY_NOISE`."""
    noise_length: float
    """Standard deviation of the resampling kernel that smooths the noise."""
    colour_noise: float
    """In units of `COLOUR_NOISE`."""
    sky: tuple[float, float, float]
    """In i, r, g, in units of `SKY_LEVEL`."""
    offsets: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    """Shifts of i, r and g in rows and columns."""
    seam: float | None
    """Column, as a fraction of the width, of an unexposed line between two fields; mostly None."""


def draw_observation(rng: np.random.Generator, r90_arcsec: float) -> Observation:
    """Draws seeing, sky and registration for a galaxy of that apparent size, which sets the image scale."""
    pixel_arcsec = R90_PER_PIXEL * r90_arcsec
    shift = rng.normal(0, REGISTRATION_ARCSEC / pixel_arcsec, 4).tolist()
    sky, tints = rng.normal(0, 0.35), rng.normal(0, 0.2, 3)
    red, _, green = np.exp(sky + tints).tolist()
    return Observation(
        seeing=SEEING_ARCSEC * float(np.exp(rng.normal(0, 0.13))) / pixel_arcsec,
        noise=float(np.exp(rng.normal(0, 0.3))),
        noise_length=min(0.42 / pixel_arcsec, 1.1),
        colour_noise=float(np.exp(rng.normal(0, 0.6))) * sqrt(8 / r90_arcsec),
        sky=(red, float(np.exp(sky)), green),
        offsets=((shift[0], shift[1]), (0.0, 0.0), (shift[2], shift[3])),
        seam=rng.uniform(0.1, 0.9) if rng.random() < 0.02 else None,
    )


def observe(bands: Bands, observation: Observation, rng: np.random.Generator, frame: Frame) -> Bands:
    """What the camera sees of `bands`, without the margin: float32 (3, size, size).

    Blurring is two matrix products, since a Gaussian is separable: rows and columns each have a matrix of their own,
    in which the bands' shifts are included. That takes a sixth of the time of Fourier transforms at 69 pixels.
    """
    sigma = observation.seeing / 2.355 * frame.scale * SEEING_BY_BAND
    offsets = np.array(observation.offsets) * frame.scale
    seen = _blur(bands * np.float32(1 - WING_SHARE), sigma, offsets, frame)
    seen += _blur(bands * np.float32(WING_SHARE), sigma[1:2] * WING_WIDTH, offsets[1:2], frame)
    _add_colour_noise(seen, observation, rng, frame)
    length = max(observation.noise_length * frame.scale, 0.25)
    (noise,) = _unit_noise(rng, 1, frame.size, 1.0, length)  # the same for all bands
    noise = noise * np.sqrt(1 + np.maximum(seen[1], 0) * np.float32(1 / NOISE_DOUBLING))
    seen += noise * (np.float32(observation.noise) * SKY_NOISE)[:, None, None]
    seen += (np.array(observation.sky, np.float32) * SKY_LEVEL)[:, None, None]
    if observation.seam is not None:
        _cut_seam(seen, observation.seam)
    return seen


def _blur(bands: Bands, sigma: NDArray[np.float64], offsets: NDArray[np.float64], frame: Frame) -> Bands:
    """`sigma` (n,) and `offsets` (n, 2) in pixels, n being 3 or, for all bands alike, 1."""
    down = _gaussian_matrix(frame.size, frame.side, 1.0, frame.margin - offsets[:, 0], sigma)
    if (offsets[:, 0] == offsets[:, 1]).all():
        across = down
    else:
        across = _gaussian_matrix(frame.size, frame.side, 1.0, frame.margin - offsets[:, 1], sigma)
    return np.asarray(down @ bands @ across.transpose(0, 2, 1), np.float32)


def _gaussian_matrix(
    n_out: int, n_in: int, spacing: float, offsets: NDArray[np.float64], sigma: NDArray[np.float64]
) -> NDArray[np.float32]:
    """float32 (len(offsets), n_out, n_in): output i is a mean of the inputs around i + offset, rows summing to 1."""
    inputs = np.arange(n_in, dtype=np.float32) * np.float32(spacing)
    outputs = np.arange(n_out, dtype=np.float32) + offsets.astype(np.float32)[:, None]
    distance = (outputs[:, :, None] - inputs) * (np.sqrt(0.5) / sigma).astype(np.float32)[:, None, None]
    kernel = np.exp(-distance * distance)
    kernel /= kernel.sum(axis=2, keepdims=True)
    return np.asarray(kernel, np.float32)


def _unit_noise(rng: np.random.Generator, n_fields: int, size: int, spacing: float, sigma: float) -> Bands:
    """float32 (n_fields, size, size): Gaussian noise of about unit variance, smooth over `sigma` pixels.

    Drawn on a grid of `spacing` pixels, which is enough where sigma >= spacing / 2.
    """
    n_coarse = int(size / spacing) + 3
    white = rng.standard_normal((n_fields, n_coarse, n_coarse), dtype=np.float32)
    kernel = _gaussian_matrix(size, n_coarse, spacing, np.array([spacing]), np.array([sigma]))[0]
    kernel = kernel / np.sqrt((kernel * kernel).sum(axis=1, keepdims=True))
    return np.asarray(kernel @ white @ kernel.T, np.float32)


def _add_colour_noise(seen: Bands, observation: Observation, rng: np.random.Generator, frame: Frame) -> None:
    """Adds red against blue and green against both, weaker in the dark."""
    length = COLOUR_NOISE_LENGTH * frame.scale
    red, green = _unit_noise(rng, 2, frame.size, length, 0.55 * length)
    light = np.maximum(seen[1], 0) * np.float32(1 / SKY_NOISE[1])
    amplitude = (0.3 + 4.2 * light / (light + 8)) * np.float32(COLOUR_NOISE * observation.colour_noise)
    tints = np.array([[1, 0.7], [0, -1], [-1, 0.7]], np.float32) * np.float32(sqrt(1.5) / 2) * SKY_NOISE[:, None]
    red *= amplitude
    green *= amplitude
    seen += tints[:, :1, None] * red + tints[:, 1:, None] * green


def _cut_seam(seen: Bands, place: float) -> None:
    """Darkens a column: the picture was put together from two fields that did not quite meet."""
    size = seen.shape[-1]
    column = round(place * (size - 1))
    length = size if place < 0.7 else round(0.6 * size)
    seen[:, :length, column] *= np.float32(0.15)


def stretch_colours(bands: Bands) -> NDArray[np.uint8]:
    """uint8 (side, side, 3), red green blue = i, r, g: asinh of the summed light, colour kept, peaks clipped to hue."""
    channels = bands * CHANNEL_GAINS[:, None, None]
    total = np.maximum(channels.sum(axis=0), np.float32(1e-6)) * np.float32(NONLINEARITY)
    channels *= np.arcsinh(total) / total
    channels /= np.maximum(channels.max(axis=0), 1)
    np.clip(channels, 0, 1, out=channels)
    channels *= 255
    return np.rint(channels, out=channels).astype(np.uint8).transpose(1, 2, 0)


POINTS_PER_IMAGE = 3.0
"""Mean number of stars and unresolved galaxies at an R90 of 8 arcsec; it grows with the area of sky."""
CLUSTER_PROBABILITY = 0.2
"""Probability that most neighbours are the red galaxies of a cluster."""
CLEAR_RADIUS = 11.0
"""Radius in pixels (of 69) that is mostly free of neighbours: a star there would look like the nucleus."""
COMPANION_PROBABILITY = 0.16
"""Probability of a resolved neighbour; most are small and in the background, some as large as the galaxy itself."""


def add_surroundings(bands: Bands, rng: np.random.Generator, frame: Frame, r90_arcsec: float) -> int:
    """Adds neighbours to `bands`, before the seeing, and returns how many there are.

    `r90_arcsec` is the apparent size of the galaxy, which sets the image scale.
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
    peak = 10 ** (0.4 * (22.5 - rng.normal(20.9, 0.7))) * 2 * pi * NATIVE_PIXEL_AREA
    bands += (body.colour.ratios * np.float32(peak))[:, None, None] * light
