"""A trial of a frozen encoder's head: on features that are computed once, and with the whole network in each epoch.

    python benchmarks/head_trial.py --data galaxies.h5
    python benchmarks/head_trial.py --data galaxies.h5 --start efficientnet.keras

All run in one process, one after the other: the first trial, which computes the features; a second one, with them; and
one of the whole network with fewer epochs, whose time is scaled. The goal is a second trial of at most 3 s.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, format_machine
from galaxy_exp.config.data_section import DataConfig, SplitConfig
from galaxy_exp.data import load_dataset, prepare_split
from galaxy_exp.encoder_file import PRETRAINED
from galaxy_exp.records import BUILT_IN_HYPERMODEL, Decision, Objective, TrialResult, TrialSpec, TrialState

__all__ = ["GOAL", "main"]

GOAL = 3.0
"""Seconds of a trial on features that are there."""

WHOLE_EPOCHS = 3


def main(arguments: list[str] | None = None) -> None:
    """Prints the seconds of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="galaxies, as data.source of a sweep file")
    parser.add_argument("--start", default=PRETRAINED, help="the encoder")
    parser.add_argument("--epochs", type=int, default=40)
    parsed = parser.parse_args(arguments)
    print(format_machine(describe_machine()))
    with tempfile.TemporaryDirectory() as folder:
        spec = _specify(parsed.data, parsed.start, parsed.epochs, Path(folder))
        first, second = _train(spec, "first"), _train(spec, "second")
        whole = _train(replace(spec, epochs=WHOLE_EPOCHS), "whole", cached=False)
    scaled = whole.seconds * parsed.epochs / WHOLE_EPOCHS
    print(f"first trial, with the features computed: {first.seconds:.1f} s")
    print(
        f"a trial of {parsed.epochs} epochs: {second.seconds:.1f} s "
        f"(goal: {GOAL:g} s, {'met' if second.seconds <= GOAL else 'missed'})"
    )
    print(f"the whole network, from {WHOLE_EPOCHS} epochs: {scaled:.1f} s, {scaled / second.seconds:.1f} times as long")
    for name, result in (("cached", second), ("whole", whole)):
        print(f"macro-F1 on validation, best epoch, {name}: {result.metrics['val_macro_f1']:.4f}")


def _specify(data: Path, start: str, epochs: int, folder: Path) -> TrialSpec:
    from galaxy_exp.hypermodel import GalaxyCNN, discover_space
    from galaxy_exp.space.overrides import build_space

    dataset = load_dataset(DataConfig(source=str(data)))
    prepared = prepare_split(dataset, SplitConfig(), folder / "data")
    hypermodel = GalaxyCNN(dataset.image_shape, dataset.n_classes, [start])
    fixed: dict[str, float | str] = {
        "start": start,
        "body_rate": 0.0,
        "head": "gap",
        "dense_width": 0,
        "dropout_1": 0.0,
        "augmentation": "flips+rotations",
        "schedule": "cosine",
    }
    space = build_space(hypermodel, fixed, discover_space(hypermodel))
    return TrialSpec(
        sweep_id="head",
        number=0,
        values=space.defaults,
        space=space.get_config(),
        hypermodel=BUILT_IN_HYPERMODEL,
        data=prepared.files,
        epochs=epochs,
        seed=1,
        precision="auto",
        deterministic=False,
        jit_compile=False,
        objective=Objective("val_macro_f1", "max"),
        folder=folder,
        attempt=1,
    )


def _train(spec: TrialSpec, name: str, *, cached: bool = True) -> TrialResult:
    from galaxy_exp.training import cached_features
    from galaxy_exp.training.trial import run_trial

    limit = cached_features.MAX_BYTES
    try:
        cached_features.MAX_BYTES = limit if cached else 0
        result = run_trial(replace(spec, folder=spec.folder / name), lambda _: Decision.CONTINUE)
    finally:
        cached_features.MAX_BYTES = limit
    if result.state is not TrialState.COMPLETED:
        raise SystemExit(f"{name}: {result.reason}")
    return result


if __name__ == "__main__":
    main()
