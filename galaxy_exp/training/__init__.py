"""One trial in one process: a `TrialSpec` in, a `TrialResult` and the files of its best epoch out.

Importing this imports Keras and its backend (seconds); do it in the worker.
"""

from galaxy_exp.training.precision import resolve_precision
from galaxy_exp.training.trial import run_trial

__all__ = ["resolve_precision", "run_trial"]
