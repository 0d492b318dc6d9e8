"""Simulated galaxies in the ten classes of Galaxy10 SDSS, to try a sweep without a download.

`morphology` has and draws the physical parameters; `light` renders them; `imaging` adds stars, neighbours, seeing,
noise and the colour stretch of SDSS; `volunteers` vote on the true parameters; `generate` makes a set with its labels
and true parameters. Nothing is taken from real images.
"""

from galaxy_exp.data.simulated.generate import (
    CLASS_NAMES,
    CONFUSIONS,
    GALAXY10_COUNTS,
    TRUTH_DTYPE,
    TRUTH_FIELDS,
    SimulatedGalaxies,
    allocate_counts,
    iter_galaxies,
    simulate_galaxies,
    simulate_galaxy,
    simulate_with_truth,
)
from galaxy_exp.data.simulated.volunteers import VOLUNTEER_QUESTIONS, true_fractions

__all__ = [
    "CLASS_NAMES",
    "CONFUSIONS",
    "GALAXY10_COUNTS",
    "TRUTH_DTYPE",
    "TRUTH_FIELDS",
    "VOLUNTEER_QUESTIONS",
    "SimulatedGalaxies",
    "allocate_counts",
    "iter_galaxies",
    "simulate_galaxies",
    "simulate_galaxy",
    "simulate_with_truth",
    "true_fractions",
]
