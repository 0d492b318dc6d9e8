"""The source `simulated`: galaxies that are computed, not observed."""

from __future__ import annotations

from collections.abc import Sequence

from galaxy_exp.config.data_section import SimulatedConfig
from galaxy_exp.data.dataset import ImageDataset, build_dataset
from galaxy_exp.data.simulated import CLASS_NAMES, simulate_galaxies

__all__ = ["load_simulated"]


def load_simulated(config: SimulatedConfig, class_names: Sequence[str] | None = None) -> ImageDataset:
    """Simulates the ten classes of Galaxy10 SDSS; the result is marked `simulated`.

    Raises:
        DataError: `class_names` are not ten.
    """
    images, labels = simulate_galaxies(config)
    return build_dataset(images, labels, class_names or CLASS_NAMES, source="simulated", simulated=True)
