"""Regression with a Gaussian process whose parameters are chosen by their posterior probability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

__all__ = ["GaussianProcess", "Kernel", "fit_kernel"]

Matrix = NDArray[np.float64]

_JITTER = 1e-8
_AMPLITUDES = (0.1, 10.0)
_SCALES = (0.05, 50.0)
_NOISES = (1e-6, 0.5)
_MAX_ITERATIONS = 50
_LITTLE = 1e-5
"""The search for the kernel ends when an iteration gains less than this fraction of the logarithm."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A Matern 5/2 covariance with one length scale for each dimension, and independent noise."""

    amplitude: float
    """Variance of the function."""
    scales: Matrix
    """Length scales (d,)."""
    noise: float
    """Variance of the noise."""

    def __call__(self, left: Matrix, right: Matrix) -> Matrix:
        """Covariances (n, m), noise left out, of points (n, d) and (m, d)."""
        root = math.sqrt(5) * _distances(left / self.scales, right / self.scales)
        return np.asarray(self.amplitude * ((1 + root + root**2 / 3) * np.exp(-root)))


class GaussianProcess:
    """Regression of zero-mean targets (n,) on points (n, d)."""

    def __init__(self, kernel: Kernel, points: Matrix, targets: Matrix) -> None:
        self._kernel = kernel
        self._points = points
        covariance = kernel(points, points) + (kernel.noise + _JITTER) * np.eye(len(points))
        self._factor = cho_factor(covariance, lower=True)
        self._weights = cho_solve(self._factor, targets)

    def predict(self, points: Matrix) -> tuple[Matrix, Matrix]:
        """Mean and standard deviation (m,) of the function, without noise, at points (m, d)."""
        covariance = self._kernel(points, self._points)
        explained = solve_triangular(self._factor[0], covariance.T, lower=True)
        variance = self._kernel.amplitude - np.sum(explained**2, axis=0)
        return covariance @ self._weights, np.sqrt(np.maximum(variance, 1e-12))


def fit_kernel(points: Matrix, targets: Matrix) -> Kernel:
    """The kernel of the highest posterior probability for targets (n,) of unit variance at points (n, d).

    Length scales have the log-normal prior of Hvarfner et al. (2024, ICML), which keeps them sensible when there are
    few points and many dimensions. The noise has a log-normal one too, around a thousandth of the variance; without it
    a handful of points may be taken for noise altogether.
    """
    n_dimensions = points.shape[1]
    bounds = np.log([_AMPLITUDES, *[_SCALES] * n_dimensions, _NOISES])
    centres = np.array([*[math.sqrt(2) + math.log(n_dimensions) / 2] * n_dimensions, math.log(1e-3)])
    widths = np.array([*[math.sqrt(3)] * n_dimensions, 2.0])
    start = np.array([0.0, *[math.log(n_dimensions) / 2] * n_dimensions, math.log(1e-3)])

    def negative_log_posterior(logarithms: Matrix) -> tuple[float, Matrix]:
        value, gradient = _negative_log_likelihood(_kernel(logarithms), points, targets)
        away = (logarithms[1:] - centres) / widths
        gradient[1:] += away / widths
        return value + 0.5 * float(away @ away), gradient

    options = {"maxiter": _MAX_ITERATIONS, "ftol": _LITTLE}
    found = minimize(negative_log_posterior, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    return _kernel(found.x)


def _kernel(logarithms: Matrix) -> Kernel:
    values = np.exp(logarithms)
    return Kernel(float(values[0]), values[1:-1], float(values[-1]))


def _negative_log_likelihood(kernel: Kernel, points: Matrix, targets: Matrix) -> tuple[float, Matrix]:
    """The value without its constant, and its gradient by the logarithms of amplitude, scales and noise.

    Rasmussen and Williams (2006), equations 5.8 and 5.9.
    """
    scaled = points / kernel.scales
    root = math.sqrt(5) * _distances(scaled, scaled)
    decay = kernel.amplitude * np.exp(-root)
    linear = 1 + root
    signal = decay * (linear + root**2 / 3)
    covariance = signal.copy()
    covariance.ravel()[:: len(points) + 1] += kernel.noise + _JITTER
    factor, inverse = _inverted(covariance)
    weights = inverse @ targets
    value = 0.5 * float(targets @ weights) + float(np.log(factor.diagonal()).sum())
    slopes = inverse - weights[:, None] * weights
    steepness = (5 / 3) * slopes * decay * linear
    # sum over i, j of steepness_ij (z_i - z_j)^2, without an array of n x n x d
    by_scale = steepness.sum(axis=1) @ scaled**2 - (scaled * (steepness @ scaled)).sum(axis=0)
    gradient = [0.5 * (slopes * signal).sum(), *by_scale, 0.5 * kernel.noise * slopes.trace()]
    return value, np.array(gradient)


def _inverted(covariance: Matrix) -> tuple[Matrix, Matrix]:
    """The Cholesky factor and the inverse of a symmetric matrix.

    Raises:
        numpy.linalg.LinAlgError: it is not positive definite.
    """
    factor, failed = dpotrf(covariance.T, lower=1)  # the same matrix, in the order in which LAPACK stores it
    if failed:
        raise np.linalg.LinAlgError("the covariance is not positive definite")
    lower, _ = dpotri(factor, lower=1)  # above the diagonal both have zeros
    inverse = lower + lower.T
    np.einsum("ii->i", inverse)[:] /= 2
    return factor, inverse


def _distances(left: Matrix, right: Matrix) -> Matrix:
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))
