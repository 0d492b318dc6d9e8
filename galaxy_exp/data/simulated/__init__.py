"""Simulated galaxies in the ten classes of Galaxy10 SDSS, to try a sweep without a download.

`classes` has names, class sizes and label noise; `drawing` draws the physical parameters of `morphology`; `light`
renders them; `surroundings` adds stars and neighbours; `imaging` adds seeing, noise and the colour stretch of SDSS;
`truth` records the true parameters; `volunteers` vote on them; `generate` makes a set. Nothing is taken from real
images.
"""

from galaxy_exp.data.simulated.classes import CLASS_NAMES, CONFUSIONS, GALAXY10_COUNTS, allocate_counts
from galaxy_exp.data.simulated.generate import (
    SimulatedGalaxies,
    iter_galaxies,
    simulate_galaxies,
    simulate_galaxy,
    simulate_with_truth,
)
from galaxy_exp.data.simulated.truth import TRUTH_DTYPE, TRUTH_FIELDS
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
