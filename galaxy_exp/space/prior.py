"""What an expert expects of a hyperparameter before the search has begun."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.space.domains import Domain

__all__ = ["WIDTH", "Prior"]

Matrix = NDArray[np.float64]

WIDTH = 0.1
"""Standard deviation of numbers around the centre, as a fraction of their range on the hyperparameter's own scale."""

MANY_VALUES = 10_000
"""With more of them, the density of an ordered domain is that of a continuous one."""


@dataclass(frozen=True, slots=True)
class Prior:
    """The values that are expected to be good: a share of `confidence` at the centre, the rest anywhere.

    At the centre means, for numbers, a normal distribution around it that is cut off at the ends of the range, and for
    choices and booleans the centre itself. So every value keeps some probability, and a confidence of 0 is no prior.
    """

    centre: HyperparameterValue
    """A value of the domain."""
    confidence: float
    """0 or more, and below 1."""

    def density(self, domain: Domain, quantiles: Matrix) -> Matrix:
        """The probability density (n,) at quantiles (n,) of the domain, where 1 is that of no prior.

        It is the same at all quantiles that give the same value.
        """
        from scipy.special import ndtr

        if not domain.is_ordered:
            first, last = self._choice(domain)
            at_centre = np.where((quantiles >= first) & (quantiles < last), 1 / (last - first), 0.0)
        elif domain.n_choices is None or domain.n_choices > MANY_VALUES:
            middle, below, above = self._normal(domain)
            height = 1 / (WIDTH * math.sqrt(2 * math.pi) * (above - below))
            at_centre = height * np.exp(-0.5 * ((quantiles - middle) / WIDTH) ** 2)
        else:
            middle, below, above = self._normal(domain)
            distinct, places = np.unique(quantiles, return_inverse=True)
            firsts, lasts = np.array([domain.cell(quantile) for quantile in distinct.tolist()]).T.reshape(2, -1)
            mass = ndtr((lasts - middle) / WIDTH) - ndtr((firsts - middle) / WIDTH)
            at_centre = (mass / ((lasts - firsts) * (above - below)))[places]
        return np.asarray(1 - self.confidence + self.confidence * at_centre)

    def draw(self, domain: Domain, uniform: Matrix) -> Matrix:
        """Quantiles (n,) of the domain that have this distribution, from evenly distributed numbers (n,), 0 to 1."""
        from scipy.special import ndtri

        is_near = uniform < self.confidence
        left = np.where(is_near, uniform, uniform - self.confidence)
        share = left / np.where(is_near, max(self.confidence, 1e-12), 1 - self.confidence)
        if not domain.is_ordered:
            first, last = self._choice(domain)
            near = first + share * (last - first)
        else:
            middle, below, above = self._normal(domain)
            near = np.clip(middle + WIDTH * ndtri(below + share * (above - below)), 0.0, 1.0)
        return np.where(is_near, near, share)

    def _choice(self, domain: Domain) -> tuple[float, float]:
        """The quantiles from which and up to which an unordered domain has the centre."""
        middle, half = domain.to_unit(self.centre), 0.5 / (domain.n_choices or 1)
        return middle - half, middle + half

    def _normal(self, domain: Domain) -> tuple[float, float, float]:
        """The quantile of the centre, and the normal distribution's share below 0 and below 1."""
        from scipy.special import ndtr

        middle = domain.to_unit(self.centre)
        return middle, float(ndtr(-middle / WIDTH)), float(ndtr((1 - middle) / WIDTH))
