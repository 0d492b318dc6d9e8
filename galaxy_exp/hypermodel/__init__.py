"""The built-in hypermodel, the search space it declares, and how user-defined hypermodels are loaded.

Importing this imports Keras and its backend (seconds); do it where a network is needed.
"""

from galaxy_exp.hypermodel.discovery import discover_space
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.hypermodel.loading import load_hypermodel
from galaxy_exp.hypermodel.saving import to_inference_model

__all__ = [
    "GalaxyCNN",
    "discover_space",
    "load_hypermodel",
    "to_inference_model",
]
