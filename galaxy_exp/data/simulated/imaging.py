"""From light to picture: neighbours, seeing, noise, and the colour stretch of SDSS pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.simulated.light import band_ratios
from galaxy_exp.data.simulated.morphology import Colour

__all__ = ["Observation", "add_neighbours", "draw_observation", "observe", "stretch_colours"]

Bands = NDArray[np.float32]
"""float32 (3, side, side): i, r, g in nanomaggies per native pixel of 0.396 arcsec."""

SEEING_ARCSEC = 1.43
"""Median full width at half maximum of the r-band PSF (sdss3.org/dr9/scope.php); quartiles 1.30 and 1.58."""
R90_PER_PIXEL = 0.06
"""A pixel of a 69-pixel Galaxy10 image is 0.06 Petrosian R90 (0.02 R90, reduced by 3; Willett et al. 2013)."""
SKY_NOISE = np.array([0.0105, 0.0092, 0.0060], np.float32)
"""Standard deviation in i, r, g per image pixel after resampling, nanomaggies per native pixel."""
SKY_LEVEL = np.array([0.0150, 0.0130, 0.0058], np.float32)
"""Background in i, r, g that is left after subtraction, nanomaggies per native pixel."""
CHANNEL_GAINS = np.array([4.9, 5.7, 7.8], np.float32) * np.float32(0.25)
"""Weights of i, r, g in SDSS pictures; the common factor brings the sky noise to what their JPEG files show."""
NONLINEARITY = 2.25
"""Softening of the asinh stretch (Lupton et al. 2004, doi:10.1086/382245)."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The conditions under which one image was taken; lengths in pixels of a 69-pixel image."""

    seeing: float
    """Full width at half maximum of the PSF."""
    noise: float
    """In units of `SKY_NOISE`."""
    noise_length: float
    """Standard deviation of the resampling kernel that smooths the noise."""
    sky: float
    """In units of `SKY_LEVEL`."""


def draw_observation(rng: np.random.Generator) -> Observation:
    """Draws an apparent size, hence the image scale, and seeing and sky to go with it."""
    r90_arcsec = float(np.clip(np.exp(rng.normal(np.log(8.5), 0.4)), 4, 22))
    pixel_arcsec = R90_PER_PIXEL * r90_arcsec
    return Observation(
        seeing=SEEING_ARCSEC * np.exp(rng.normal(0, 0.13)) / pixel_arcsec,
        noise=np.exp(rng.normal(0, 0.25)),
        noise_length=min(0.4 / pixel_arcsec, 1.2),
        sky=np.exp(rng.normal(0, 0.35)),
    )


def add_neighbours(bands: Bands, rng: np.random.Generator, scale: float) -> None:
    """Adds stars and small galaxies, round and Gaussian, at random places away from the centre.

    Args:
        bands: changed in place.
        rng: the stream of this image.
        scale: pixels per pixel of a 69-pixel image.
    """
    side = bands.shape[-1]
    axis = np.arange(side, dtype=np.float32)
    for _ in range(rng.poisson(1.6)):
        x, y = rng.uniform(0, side, 2)
        if np.hypot(x - side / 2, y - side / 2) < 11 * scale:
            continue
        width = scale * (0.6 if rng.random() < 0.6 else rng.uniform(0.8, 2.0))
        flux = np.exp(rng.normal(1.1, 1.5)) * scale**2
        across, down = (np.exp(-((axis - at) ** 2) / np.float32(2 * width**2)) for at in (x, y))
        g_r = rng.normal(0.75, 0.4)
        colour = Colour(g_r, 0.4 * g_r + rng.normal(0, 0.15))
        amplitudes = band_ratios(colour) * np.float32(flux / (2 * np.pi * width**2))
        bands += amplitudes[:, None, None] * (down[:, None] * across[None, :])


def observe(bands: Bands, observation: Observation, rng: np.random.Generator, scale: float) -> Bands:
    """Blurs by the PSF, adds correlated sky noise and background; all in Fourier space, so periodic.

    The PSF is two Gaussians, a core and a wing of twice its width with 10% of the light.
    """
    side = bands.shape[-1]
    squared = _squared_frequencies(side)
    sigma = observation.seeing * scale / 2.355
    spectrum = np.fft.rfft2(bands)
    spectrum *= 0.9 * _gaussian_transfer(squared, sigma) + 0.1 * _gaussian_transfer(squared, 2 * sigma)
    noise = _draw_noise(rng, side, squared, observation.noise_length * scale)
    noise *= np.float32(observation.noise) * SKY_NOISE[:, None, None]
    spectrum += noise
    blurred = np.asarray(np.fft.irfft2(spectrum, s=(side, side)), np.float32)
    blurred += np.float32(observation.sky) * SKY_LEVEL[:, None, None]
    return blurred


def _squared_frequencies(side: int) -> NDArray[np.float32]:
    return np.asarray(np.fft.fftfreq(side)[:, None] ** 2 + np.fft.rfftfreq(side)[None, :] ** 2, np.float32)


def _gaussian_transfer(squared_frequencies: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(np.exp(squared_frequencies * np.float32(-2 * np.pi**2 * sigma**2)), np.float32)


SHARED_NOISE = 0.6
"""Share of the noise's amplitude common to the three channels, as JPEG's colour subsampling leaves it."""


def _draw_noise(
    rng: np.random.Generator, side: int, squared_frequencies: NDArray[np.float32], length: float
) -> NDArray[np.complex64]:
    """Spectrum (3, side, side // 2 + 1) of Gaussian noise with unit variance per pixel, smooth over `length`."""
    shape = (4, *squared_frequencies.shape)
    white = rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    transfer = _gaussian_transfer(squared_frequencies, length)
    # a real field of unit variance has spectral power side**2, half of it in each of the two parts
    transfer = transfer * np.float32(side / np.sqrt(2 * np.mean(transfer**2)))
    own = np.float32(np.sqrt(1 - SHARED_NOISE**2))
    return np.asarray(transfer * (own * white[1:] + np.float32(SHARED_NOISE) * white[:1]), np.complex64)


def stretch_colours(bands: Bands) -> NDArray[np.uint8]:
    """uint8 (side, side, 3), red green blue = i, r, g: asinh of the summed light, colour kept, peaks clipped to hue."""
    channels = bands * CHANNEL_GAINS[:, None, None]
    total = np.maximum(channels.sum(axis=0), np.float32(1e-6)) * np.float32(NONLINEARITY)
    channels *= np.arcsinh(total) / total
    channels /= np.maximum(channels.max(axis=0), 1)
    np.clip(channels, 0, 1, out=channels)
    return np.ascontiguousarray(np.rint(channels * 255).astype(np.uint8).transpose(1, 2, 0))
