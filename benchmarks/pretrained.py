"""With few labels: networks from scratch against networks that start from an encoder of simulated galaxies.

    python benchmarks/pretrained.py --data galaxies.h5 --labels 100 300 1000 --seeds 5
    python benchmarks/pretrained.py --data galaxies.h5 --labels 300 --start wide.keras --only scratch fine-tuned
    python benchmarks/pretrained.py --data galaxies.h5 --labels 2126 --seeds 5 --only fine-tuned --networks 3

For each seed the file is divided anew: 15 % of it are held out, and as many labels as stated are drawn from 70 %, with
the classes in their proportions and at least one image of each. All contenders see the same images, turned, mirrored,
shifted and zoomed; the frozen encoder turned by quarters and mirrored alone. Each is trained for a fixed number of
epochs with a cosine schedule, and the weights after the last one are evaluated on the held-out images, which decide
nothing. The table has means over the seeds; the differences are from the first contender, with the 95 % interval of the
paired bootstrap over the held-out images of all seeds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, format_machine, open_console, write_json
from benchmarks.trials import hyperparameters
from galaxy_exp.config.data_section import DataConfig, SplitConfig
from galaxy_exp.data import ImageDataset, load_dataset, split_dataset
from galaxy_exp.encoder_file import PRETRAINED, SCRATCH, describe_encoder, find_encoder
from galaxy_exp.evaluation.metrics import summarise_predictions
from galaxy_exp.evaluation.resampling import paired_bootstrap
from galaxy_exp.pretraining import NETWORK

__all__ = ["CONTENDERS", "draw_labels", "main"]

TRAINING: dict[str, Any] = {
    "head": "gap",
    "dense_width": 0,
    "dropout_1": 0.0,
    "dropout_2": 0.3,
    "augmentation": "flips+rotations+shift+zoom",
    "batch_size": 32,
    "schedule": "cosine",
}
BODY_NAMES = ("n_blocks", "convs_per_block", "width_growth", "residual", "equivariant", "filters_1", "filters_2")
BODY = {name: NETWORK[name] for name in (*BODY_NAMES, "batch_norm")}
CONTENDERS: dict[str, dict[str, Any]] = {
    "scratch": {**TRAINING, **BODY, "learning_rate": 2e-3},
    "fine-tuned": {**TRAINING, "start": PRETRAINED, "learning_rate": 1e-3},
    "without warm-up": {**TRAINING, "start": PRETRAINED, "learning_rate": 1e-3, "head_warm_up": False},
    "half frozen": {**TRAINING, "start": PRETRAINED, "learning_rate": 1e-3, "frozen_share": 0.5},
    "body at 0.3": {**TRAINING, "start": PRETRAINED, "body_rate": 0.3, "learning_rate": 2e-3},
    "body at 0.1": {**TRAINING, "start": PRETRAINED, "body_rate": 0.1, "learning_rate": 2e-3},
    "frozen": {
        **TRAINING,
        "start": PRETRAINED,
        "body_rate": 0.0,
        "augmentation": "flips+rotations",  # the only features of a frozen encoder that a sweep can store
        "learning_rate": 3e-2,  # with 100 labels, 3e-3 is far too low for the steps that there are
    },
}
"""What differs from GalaxyCNN's defaults."""

SCORES = ("macro_f1", "accuracy")
MIN_STEPS, MAX_EPOCHS = 1500, 80


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints one table for each number of labels."""
    parsed = _parse(arguments)
    chosen = {name: CONTENDERS[name] for name in parsed.only}
    dataset = load_dataset(DataConfig(source=str(parsed.data)))
    console = open_console(140)
    console.print(format_machine(describe_machine()), highlight=False)
    if any(values.get("start") for values in chosen.values()):
        console.print(f"start: {parsed.start}, {describe_encoder(find_encoder(parsed.start))}", highlight=False)
    report = []
    for n_labels in parsed.labels:
        rows = _measure(dataset, n_labels, chosen, parsed)
        console.print(_table(rows, n_labels, parsed))
        report.append({"labels": n_labels, "rows": rows})
    write_json(parsed.json, report)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="real galaxies, as data.source of a sweep file")
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help=f"left out: {MIN_STEPS} steps, at most {MAX_EPOCHS} epochs")
    parser.add_argument("--start", default=PRETRAINED, help="the encoder of those that start from one")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--networks", type=int, default=1, help="also the mean of so many, as with registry.ensemble")
    parser.add_argument("--tta", action="store_true", help="the mean over flips and quarter turns of an image")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON")
    return parser.parse_args(arguments)


def draw_labels(labels: NDArray[np.int64], n_labels: int, seed: int) -> NDArray[np.int64]:
    """Positions of `n_labels` labels, with the classes in their proportions and at least one of each; sorted."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    first_of_each = [order[labels[order] == label][0] for label in np.unique(labels)]
    others = order[~np.isin(order, first_of_each)]
    return np.sort(np.concatenate([first_of_each, others[: max(n_labels - len(first_of_each), 0)]]))


def _measure(
    dataset: ImageDataset, n_labels: int, chosen: Mapping[str, Mapping[str, Any]], parsed: argparse.Namespace
) -> list[dict[str, Any]]:
    """One row a contender, or two with the mean of several networks: its scores by seed, and the difference from the
    first with its interval."""
    rows: dict[str, dict[str, Any]] = {}
    outputs: dict[str, list[NDArray[np.float32]]] = {}
    truth = []
    for seed in range(1, parsed.seeds + 1):
        split = split_dataset(dataset, SplitConfig(validation=0.15, test=0.15, seed=seed))
        train = split.train[draw_labels(dataset.labels[split.train], n_labels, seed)]
        truth.append(dataset.labels[split.test])
        for contender, values in chosen.items():
            with_start = {**values, "start": parsed.start} if "start" in values else values
            train_one = partial(_train, dataset, train, split.test, with_start, parsed)
            trained = _train_networks(contender, train_one, seed, parsed.networks)
            for name, (probabilities, seconds) in trained.items():
                row = rows.setdefault(name, {"name": name, "seconds": [], **{score: [] for score in SCORES}})
                row["seconds"].append(round(seconds, 1))
                outputs.setdefault(name, []).append(probabilities)
                scores = summarise_predictions(truth[-1], probabilities)
                for score in SCORES:
                    row[score].append(scores[score])
                said = f"{n_labels} labels, seed {seed}, {name}: {scores['macro_f1']:.3f}"
                print(said, file=sys.stderr, flush=True)
    first = np.concatenate(next(iter(outputs.values())))
    for name, row in rows.items():
        own = np.concatenate(outputs[name])
        row["difference"] = {score: paired_bootstrap(np.concatenate(truth), own, first, score) for score in SCORES}
        row["mean"] = {score: statistics.fmean(row[score]) for score in SCORES}
    return list(rows.values())


def _train_networks(
    contender: str, train_one: Callable[[int], NDArray[np.float32]], seed: int, n_networks: int
) -> dict[str, tuple[NDArray[np.float32], float]]:
    """The probabilities and the seconds of a network and, if there are several, of their mean.

    Args:
        train_one: from a seed to probabilities.
    """
    began = time.perf_counter()
    networks = [train_one(seed)]
    trained = {contender: (networks[0], time.perf_counter() - began)}
    if n_networks > 1:
        networks += [train_one(seed + 1000 * n) for n in range(1, n_networks)]
        mean = np.mean(networks, axis=0)
        trained[f"{contender}, mean of {n_networks}"] = mean, time.perf_counter() - began
    return trained


def _train(
    dataset: ImageDataset,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    values: Mapping[str, Any],
    parsed: argparse.Namespace,
    seed: int,
) -> NDArray[np.float32]:
    """The probabilities of the test images, float32 (n_images, n_classes), after the last epoch."""
    from galaxy_exp.hypermodel import GalaxyCNN, to_inference_model
    from galaxy_exp.registry.networks import predict_images
    from galaxy_exp.training.machine import fresh_session, resolve_precision

    steps = max(len(train) // values["batch_size"], 1)
    epochs = parsed.epochs or min(max(MIN_STEPS // steps, 1), MAX_EPOCHS)
    with fresh_session(seed, resolve_precision("auto"), False):
        starts = [values["start"]] if values.get("start", SCRATCH) != SCRATCH else []
        hypermodel = GalaxyCNN(dataset.image_shape, dataset.n_classes, starts)
        hp = hyperparameters(hypermodel, values)
        model = hypermodel.build(hp)
        hypermodel.fit(hp, model, dataset.images[train], dataset.labels[train], epochs=epochs, seed=seed)
        return predict_images(to_inference_model(model), dataset.images[test], parsed.tta)


def _table(rows: Sequence[Mapping[str, Any]], n_labels: int, parsed: argparse.Namespace) -> Table:
    table = Table("", *SCORES, *(f"{name} - {rows[0]['name']}" for name in SCORES), "seconds")
    table.title = f"{n_labels} labels of {parsed.data.name}, {parsed.seeds} seeds" + (", tta" if parsed.tta else "")
    for row in rows:
        differences = ["{:+.3f} ({:+.3f} to {:+.3f})".format(*row["difference"][name]) for name in SCORES]
        means = [f"{row['mean'][name]:.3f}" for name in SCORES]
        table.add_row(row["name"], *means, *differences, f"{statistics.fmean(row['seconds']):.0f}")
    return table


if __name__ == "__main__":
    main()
