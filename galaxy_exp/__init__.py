"""galaxy_exp: hyperparameter sweeps for galaxy image classifiers, tracked in MLflow.

    import galaxy_exp

    result = galaxy_exp.run_sweep("sweep.yaml")  # galaxy-exp init writes one
    result.trials, result.test               # data frames; open_sweep() gives the result back in another session
    model = result.load_model()              # or galaxy_exp.load_model(): models:/galaxy10-cnn@champion
    model.predict(images)                    # uint8 (n, height, width, 3)

Importing this package is cheap: Keras and MLflow are imported by the functions that need them.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from galaxy_exp.config import SweepConfig, load_sweep
    from galaxy_exp.errors import GalaxyExpError
    from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
    from galaxy_exp.registry.classifier import GalaxyClassifier, Predictions, load_model
    from galaxy_exp.result import SweepResult, list_sweeps, open_sweep
    from galaxy_exp.search.oracle import Oracle
    from galaxy_exp.sweep import resume_sweep, run_sweep
    from galaxy_exp.tell import tell_sweep
    from galaxy_exp.tracking.tuner import track_tuner

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow asks at its import and at each call of it

__all__ = [
    "GalaxyCNN",
    "GalaxyClassifier",
    "GalaxyExpError",
    "Oracle",
    "Predictions",
    "SweepConfig",
    "SweepResult",
    "list_sweeps",
    "load_model",
    "load_sweep",
    "open_sweep",
    "resume_sweep",
    "run_sweep",
    "tell_sweep",
    "track_tuner",
]

_HOMES = {
    "GalaxyCNN": "galaxy_exp.hypermodel.galaxy_cnn",
    "GalaxyClassifier": "galaxy_exp.registry.classifier",
    "GalaxyExpError": "galaxy_exp.errors",
    "Oracle": "galaxy_exp.search.oracle",
    "Predictions": "galaxy_exp.registry.classifier",
    "SweepConfig": "galaxy_exp.config",
    "SweepResult": "galaxy_exp.result",
    "list_sweeps": "galaxy_exp.result",
    "open_sweep": "galaxy_exp.result",
    "load_model": "galaxy_exp.registry.classifier",
    "load_sweep": "galaxy_exp.config",
    "resume_sweep": "galaxy_exp.sweep",
    "run_sweep": "galaxy_exp.sweep",
    "tell_sweep": "galaxy_exp.tell",
    "track_tuner": "galaxy_exp.tracking.tuner",
}


_OF_KERAS = ("GalaxyCNN", "Oracle")
"""Names whose modules import Keras."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'galaxy_exp' has no attribute {name!r}")
    if name in _OF_KERAS:
        from galaxy_exp.quiet import import_keras_quietly

        import_keras_quietly()
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
