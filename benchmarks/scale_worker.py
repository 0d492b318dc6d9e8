"""A worker process that sleeps in place of training: `python -m benchmarks.scale_worker FD`.

Everything else about it is galaxy_exp's own worker: the pipe, the reports and their answers, its end. It imports
neither TensorFlow nor Keras, and leaves predictions but no model.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import numpy as np

from galaxy_exp.execution.worker import RunTrial, main
from galaxy_exp.records import Decision, EpochReport, TrialResult, TrialSpec, TrialState
from galaxy_exp.seeding import derive_seed

__all__ = ["SECONDS_VARIABLE", "made_up_metrics", "sleep_through"]

SECONDS_VARIABLE = "GALAXY_EXP_BENCHMARK_SECONDS"
"""Environment variable: how long a trial sleeps, all its epochs together."""


def sleep_through(spec: TrialSpec, report: Callable[[EpochReport], Decision]) -> TrialResult:
    """A trial whose epochs are naps of equal length."""
    began = time.perf_counter()
    nap = float(os.environ[SECONDS_VARIABLE]) / spec.epochs
    metrics: dict[str, float] = {}
    epoch = 0
    while epoch < spec.epochs:
        epoch += 1
        time.sleep(nap)
        metrics = made_up_metrics(spec.seed, epoch)
        if report(EpochReport(spec.number, spec.attempt, epoch, metrics)) is not Decision.CONTINUE:
            break
    _leave_predictions(spec)
    state = TrialState.COMPLETED if epoch == spec.epochs else TrialState.STOPPED
    return TrialResult(
        spec.number,
        spec.attempt,
        state,
        f"slept through {epoch} of {spec.epochs} epochs",
        best_epoch=epoch,
        metrics=metrics,
        epochs=epoch,
        seconds=time.perf_counter() - began,
        training_seconds=nap * epoch,
        parameters=1,
        flops=1,
        precision="float32",
        backend="none",
    )


def _leave_predictions(spec: TrialSpec) -> None:
    """What the driver makes a trial's tables of: the same probability for every class."""
    n_classes = len(spec.data.class_names)
    shape = (len(np.load(spec.data.validation_labels, mmap_mode="r")), n_classes)
    spec.folder.mkdir(parents=True, exist_ok=True)
    np.save(spec.folder / "validation_probabilities.npy", np.full(shape, 1 / n_classes, np.float32))


def made_up_metrics(seed: int, epoch: int) -> dict[str, float]:
    """What a trained network reports, by the same names; its curve rises to a level that follows from the seed."""
    level = 0.2 + 0.7 * (derive_seed(seed, "level") % 10_000) / 10_000
    score = level * (1 - 0.6**epoch)
    scores = dict.fromkeys(("accuracy", "macro_f1", "val_accuracy", "val_macro_f1", "val_balanced_accuracy"), score)
    losses = {"loss": 1 - score, "val_loss": 1 - score}
    return {**scores, **losses, "learning_rate": 1e-3, "epoch_seconds": 1.0, "images_per_second": 100.0}


def find_sleep() -> RunTrial:
    """For `galaxy_exp.execution.worker.main`."""
    return sleep_through


if __name__ == "__main__":
    main(int(sys.argv[1]), find_sleep)
