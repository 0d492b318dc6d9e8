"""Trials and hyperparameters of the built-in network, or of another one, as a sweep's worker gets them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from galaxy_exp.records import BUILT_IN_HYPERMODEL, Objective, SplitFiles, TrialSpec

if TYPE_CHECKING:
    import keras_tuner

__all__ = ["build_spec", "hyperparameters"]


def build_spec(
    files: SplitFiles,
    folder: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    hypermodel: str = BUILT_IN_HYPERMODEL,
    **settings: Any,
) -> TrialSpec:
    """A trial of a network's default values.

    Args:
        files: of a prepared split.
        folder: for the files of the trial.
        changes: values in place of the defaults, as `space` of a sweep file.
        hypermodel: as `hypermodel` of a sweep file.
        settings: fields of `TrialSpec`, in place of one epoch with seed 1.
    """
    from galaxy_exp.hypermodel.discovery import discover_space
    from galaxy_exp.hypermodel.loading import load_hypermodel
    from galaxy_exp.space.overrides import build_space

    image_shape = np.load(files.train_images, mmap_mode="r").shape[1:]
    questions = None if files.votes is None else files.votes.questions
    are_counts = files.votes is not None and files.votes.are_counts
    network = load_hypermodel(hypermodel, image_shape, len(files.class_names), questions, are_counts)
    space = build_space(network, changes or {}, discover_space(network))
    fields: dict[str, Any] = {
        "sweep_id": "benchmark",
        "number": 0,
        "values": space.defaults,
        "space": space.get_config(),
        "hypermodel": hypermodel,
        "data": files,
        "epochs": 1,
        "seed": 1,
        "precision": "auto",
        "deterministic": False,
        "jit_compile": False,
        "objective": Objective("val_macro_f1", "max"),
        "folder": folder,
    }
    return TrialSpec(**fields | settings)


def hyperparameters(network: Any, changes: Mapping[str, Any]) -> keras_tuner.HyperParameters:
    """The default values of a network, with `changes` in their place."""
    from galaxy_exp.hypermodel.discovery import discover_space, to_kerastuner
    from galaxy_exp.space.overrides import build_space

    return to_kerastuner(build_space(network, changes, discover_space(network)))
