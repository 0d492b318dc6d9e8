"""An encoder pretrained on simulated galaxies: a sweep of one trial, of whose network the body is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from galaxy_exp.config import SweepConfig, parse_sweep
from galaxy_exp.config.reading import as_journaled, parse_overrides
from galaxy_exp.encoder_file import SIMULATED
from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.observers import Observer
from galaxy_exp.folders import ProjectFolder, SweepFolder
from galaxy_exp.journal.journal import read_record
from galaxy_exp.preparation import resting_sweeps
from galaxy_exp.quiet import import_keras_quietly
from galaxy_exp.sweep import SweepResult, resume_sweep, run_sweep
from galaxy_exp.wording import Say

__all__ = ["comparable", "pretrain_encoder", "pretraining_sweep"]

NETWORK: Mapping[str, Any] = {
    "n_blocks": 4,
    "convs_per_block": 1,
    "width_growth": 2.0,
    "residual": True,
    "equivariant": True,
    "filters_1": 32,
    "filters_2": 64,
    "kernel_size": 3,
    "batch_norm": True,
    "head": "gap",
    "dense_width": 0,
    "dropout_1": 0.0,
    "dropout_2": 0.3,
    "augmentation": "flips+rotations+shift+zoom",
    "learning_rate": 2e-3,
    "batch_size": 64,
    "optimizer": "adam",
    "weight_decay": 4e-3,
    "schedule": "cosine",
    "label_smoothing": 0.05,
    "class_weighting": "none",
}
"""The network and its training, unless stated otherwise."""

_FROM_AN_ENCODER: Mapping[str, Any] = {"body_rate": 1.0, "head_warm_up": True, "frozen_share": 0.0}
"""In addition, where the network starts from another encoder: the defaults, stated so that `comparable` sees them."""

_NAME = "encoder"
_WRITTEN = "encoder_written"
"""An empty file in the folder of a sweep whose encoder was written."""


def pretraining_sweep(
    n_images: int, epochs: int, seed: int, image_size: int, settings: Sequence[str] = ()
) -> SweepConfig:
    """The sweep that pretrains: one configuration, trained once on simulated galaxies in ten equal classes.

    Raises:
        ConfigError: one line for each of the `settings`, `space.NAME=VALUE`, that is not possible.
    """
    problems = [f"--set {each}: expected space.NAME=VALUE" for each in settings if not each.startswith("space.")]
    stated = {} if problems else parse_overrides(settings).space
    problems += [
        f"--set space.{name}: one network is trained; expected a single value"
        for name, value in stated.items()
        if not isinstance(value, str | bool | int | float)
    ]
    if problems:
        raise ConfigError(problems)
    network = {**NETWORK, **(_FROM_AN_ENCODER if "start" in stated else {}), **stated}
    return parse_sweep(
        {
            "name": _NAME,
            "data": {
                "source": "simulated",
                "simulated": {
                    "n_images": n_images,
                    "image_size": image_size,
                    "seed": seed,
                    "class_proportions": "equal",
                },
                "split": {"validation": 0.08, "test": 0.02, "seed": seed, "duplicates": "identical"},
            },
            "space": network,
            "training": {"epochs": epochs, "deterministic": True},
            "search": {
                "sampler": "random",
                "scheduler": "none",
                "max_trials": 1,
                "baseline": False,
                "seed": seed,
                "max_failures": 1,
            },
            "registry": {"model": f"simulated-{_NAME}", "finalists": 0},
        }
    )


def pretrain_encoder(
    config: SweepConfig, path: Path, *, observers: Sequence[Observer] = (), say: Say = lambda _: None
) -> SweepResult:
    """Runs the sweep and writes the winner's body to `path`; raises as `run_sweep`.

    A sweep of the same content that was interrupted is continued; one that had ended when its encoder was not written
    yet is not trained again.
    """
    result = _trained(config, observers, say)
    import_keras_quietly()
    from galaxy_exp.hypermodel.encoders import cut_encoder

    model = SweepFolder(result.folder).model(result.winner.number)
    cut_encoder(model, path, describe_pretraining(result))
    (result.folder / _WRITTEN).touch()
    return result


def _trained(config: SweepConfig, observers: Sequence[Observer], say: Say) -> SweepResult:
    folder = _find_unwritten(config)
    if folder is None:
        return run_sweep(config, observers=observers, say=say, verbose=0)
    record = read_record(folder.path)
    if record.ended is not None:
        say(f"{folder.sweep_id} is finished; only its encoder was not written")
        return SweepResult(record, folder.path)
    say(f"continuing {folder.sweep_id}, which was interrupted")
    return resume_sweep(folder.sweep_id, observers=observers, say=say, verbose=0)


def describe_pretraining(result: SweepResult) -> dict[str, Any]:
    """The card of the encoder, in JSON types."""
    record, winner = result.record, result.winner
    simulated, trained = record.config.data.simulated, winner.result
    test = record.winner_test or {}
    return {
        "trained_on": SIMULATED,
        "simulated": True,
        "images": simulated.n_images,
        "image_size": simulated.image_size,
        "seed": simulated.seed,
        "epochs": trained.epochs if trained else 0,
        "predicted": "the ten classes of Galaxy10 SDSS",
        "network": dict(winner.values),
        "simulated_test": {name: round(test[name], 4) for name in ("accuracy", "macro_f1") if name in test},
        "precision": trained.precision if trained else "",
        "software": dict(record.started.software),
        "licence": "MIT, as galaxy_exp",
    }


def _find_unwritten(config: SweepConfig) -> SweepFolder | None:
    """The newest sweep that trains the same and whose encoder was not written: it is unfinished, or has its model."""
    wanted = comparable(config)
    for folder, record in resting_sweeps(ProjectFolder.default(), f"{_NAME}-"):
        if comparable(record.config) != wanted:
            continue
        winner, succeeded = record.winning_trial, record.ended is not None and record.ended.succeeded
        has_model = succeeded and winner is not None and folder.model(winner.number).is_file()
        if record.ended is None or (has_model and not (folder.path / _WRITTEN).exists()):
            return folder
    return None


def comparable(config: SweepConfig) -> dict[str, Any]:
    """What two sweeps that train the same have in common; a sweep of an earlier release lacks new hyperparameters."""
    from galaxy_exp.hypermodel.galaxy_space import EARLIER_VALUES

    content = as_journaled(config)
    return {
        "space": {**EARLIER_VALUES, **content["space"]},
        **{key: content[key] for key in ("data", "training", "search")},
    }
