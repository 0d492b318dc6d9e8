"""The built-in hypermodel, the search space it declares, and how user-defined hypermodels are loaded.

Keras and its backend (seconds) are imported when one of these names is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from galaxy_exp.hypermodel.discovery import discover_space
    from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
    from galaxy_exp.hypermodel.loading import load_hypermodel
    from galaxy_exp.hypermodel.saving import to_inference_model

__all__ = ["GalaxyCNN", "discover_space", "load_hypermodel", "to_inference_model"]

_HOMES = {
    "GalaxyCNN": "galaxy_cnn",
    "discover_space": "discovery",
    "load_hypermodel": "loading",
    "to_inference_model": "saving",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
