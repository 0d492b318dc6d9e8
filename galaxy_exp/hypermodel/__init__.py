"""The built-in hypermodel, the search space it declares, and how users' own hypermodels are loaded.

Importing this imports Keras and its backend (seconds); do it where a network is needed.
"""

from galaxy_exp.hypermodel.description import HyperparameterDescription, describe_space
from galaxy_exp.hypermodel.discovery import discover_space
from galaxy_exp.hypermodel.export import to_inference_model
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.hypermodel.loading import load_hypermodel
from galaxy_exp.hypermodel.search_space import (
    baseline_values,
    build_space,
    is_fixed,
    space_from_config,
)

__all__ = [
    "GalaxyCNN",
    "HyperparameterDescription",
    "baseline_values",
    "build_space",
    "describe_space",
    "discover_space",
    "is_fixed",
    "load_hypermodel",
    "space_from_config",
    "to_inference_model",
]
