"""Simulated galaxies in the ten classes of Galaxy10 SDSS, for trying a sweep without a download.

`drawing` draws the physical parameters that `morphology` lists, `light` and `spiral` render them, `surroundings` adds
stars and neighbours, `imaging` seeing, noise and the SDSS colour stretch, `truth` says what was drawn, `label_noise`
gives wrong labels, `generate` makes a set. Nothing here is taken from a real image.
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

__all__ = [
    "CLASS_NAMES",
    "CONFUSIONS",
    "GALAXY10_COUNTS",
    "TRUTH_DTYPE",
    "TRUTH_FIELDS",
    "SimulatedGalaxies",
    "allocate_counts",
    "iter_galaxies",
    "simulate_galaxies",
    "simulate_galaxy",
    "simulate_with_truth",
]
