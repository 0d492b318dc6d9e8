"""Simulated galaxies in the ten classes of Galaxy10 SDSS, for trying a sweep without a download.

`morphology` draws physical parameters, `light` renders them, `imaging` adds seeing, noise and the SDSS
colour stretch, `generate` makes a set. Nothing here is taken from a real image.
"""

from galaxy_exp.data.simulated.classes import CLASS_NAMES, GALAXY10_COUNTS, allocate_counts
from galaxy_exp.data.simulated.generate import simulate_galaxies, simulate_galaxy

__all__ = ["CLASS_NAMES", "GALAXY10_COUNTS", "allocate_counts", "simulate_galaxies", "simulate_galaxy"]
