"""The training of one trial in one process: from a `TrialSpec` to a `TrialResult` and the files of the best epoch.

Importing this imports Keras and its backend (seconds); do it in the worker.
"""

from galaxy_exp.training.machine import resolve_precision
from galaxy_exp.training.trial import run_trial

__all__ = ["resolve_precision", "run_trial"]
