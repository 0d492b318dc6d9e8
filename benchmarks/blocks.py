"""Which parts of modern networks help on real galaxies: one part of a fixed four-block network exchanged at a time.

    python benchmarks/blocks.py --data galaxies.h5 --labels 1000 --test 0.5 --seeds 2 --epochs 30 --kept outputs
    python benchmarks/blocks.py --data galaxies.h5 --seeds 5 --epochs 40 --only plain residual

For each seed the file is divided anew: `--test` of it is held out, and as many labels as stated are drawn from what
remains without 15 %, with the classes in their proportions. All contenders see the same images, the same number of
epochs, and a cosine schedule; the weights after the last epoch are evaluated on the held-out images, which decide
nothing. Contenders that differ only after training share one. The table has means over the seeds; differences are
from `plain`, which is GalaxyCNN's network. The first interval is the 95 % interval of the paired bootstrap over the
held-out images of all seeds; the one in brackets is that of the mean over the seeds (Student's t). Only the second
includes how much two trainings of one network differ.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, format_machine, open_console, write_json
from benchmarks.pretrained import SCORES, draw_labels
from benchmarks.pretrained import TRAINING as SHARED
from benchmarks.trials import hyperparameters
from benchmarks.votes import interval
from galaxy_exp.config.data_section import DataConfig, SplitConfig
from galaxy_exp.data import ImageDataset, load_dataset, split_dataset
from galaxy_exp.evaluation.metrics import summarise_predictions
from galaxy_exp.evaluation.resampling import paired_bootstrap

__all__ = ["CONTENDERS", "PLAIN", "Contender", "Recipe", "main"]

TRAINING: dict[str, Any] = {**SHARED, "augmentation": "flips+rotations", "learning_rate": 2e-3}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network and how it is trained. The defaults are GalaxyCNN's, with four blocks and batch normalisation."""

    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Filters of each block."""
    pool: Literal["max", "centred", "average", "relu, average", "blur"] = "max"
    """`centred`: windows of 3 where a side is odd, so that no edge is left out."""
    second: Literal["", "residual", "plain"] = ""
    """A second convolution in each block, after the pooling; `residual`: its result is added to what it is given."""
    squeeze_excite: bool = False
    average_and_max: bool = False
    """Both are features; else the average alone."""
    separable: bool = False
    """All convolutions but the first are depthwise and pointwise."""
    equivariant: bool = False
    """Convolutions are equivariant under flips and quarter turns."""
    mixup: Literal["", "any", "within"] = ""
    affine: bool = False
    """Augmentation by any angle, shift and zoom instead of flips and turns."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A training, and what is evaluated after it."""

    recipe: Recipe = field(default_factory=Recipe)
    ema: float | None = None
    """Momentum of the moving average of the weights; None: the weights themselves."""
    tta: bool = False
    """The mean over flips and quarter turns of an image."""


PLAIN = "plain"
CONTENDERS: dict[str, Contender] = {
    PLAIN: Contender(),
    "tta": Contender(tta=True),
    "ema 0.99": Contender(ema=0.99),
    "centred pooling": Contender(Recipe(pool="centred")),
    "average pooling": Contender(Recipe(pool="average")),
    "norm, relu, average": Contender(Recipe(pool="relu, average")),
    "blur pooling": Contender(Recipe(pool="blur")),
    "average and max head": Contender(Recipe(average_and_max=True)),
    "residual": Contender(Recipe(widths=(24, 48, 88, 128), second="residual")),
    "two convolutions": Contender(Recipe(widths=(24, 48, 88, 128), second="plain")),
    "squeeze-excite": Contender(Recipe(squeeze_excite=True)),
    "mixup": Contender(Recipe(mixup="any")),
    "mixup within classes": Contender(Recipe(mixup="within")),
    "separable": Contender(Recipe(widths=(32, 128, 384, 768), separable=True)),
    "equivariant, 1/8 parameters": Contender(Recipe(pool="centred", equivariant=True)),
    "equivariant, 1/2 parameters": Contender(Recipe(widths=(64, 128, 256, 512), pool="centred", equivariant=True)),
    "equivariant, residual, 1/4 parameters": Contender(
        Recipe(widths=(32, 64, 128, 192), pool="centred", equivariant=True, second="residual")
    ),
}
"""By name; widths are chosen for about as many parameters as `plain` has, unless the name has another number."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is not in `--kept` and prints one table for each number of labels."""
    parsed = _parse(arguments)
    chosen = {name: CONTENDERS[name] for name in dict.fromkeys([PLAIN, *parsed.only])}
    dataset = load_dataset(DataConfig(source=str(parsed.data)))
    console = open_console(180)
    console.print(format_machine(describe_machine()), highlight=False)
    report = []
    for n_labels in parsed.labels or [len(dataset.labels)]:
        rows = _measure(dataset, n_labels, chosen, parsed)
        console.print(_table(rows, n_labels, parsed))
        report.append({"labels": n_labels, "epochs": parsed.epochs, "test": parsed.test, "rows": rows})
    write_json(parsed.json, report)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="real galaxies, as data.source of a sweep file")
    parser.add_argument("--labels", type=int, nargs="+", help="left out: all")
    parser.add_argument("--test", type=float, default=0.15, help="fraction held out (0.15)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--kept", type=Path, metavar="FOLDER", help="outputs are kept there and not computed again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON")
    return parser.parse_args(arguments)


def _measure(
    dataset: ImageDataset, n_labels: int, chosen: Mapping[str, Contender], parsed: argparse.Namespace
) -> list[dict[str, Any]]:
    """One row a contender: its scores by seed, and the difference from `plain` with its intervals."""
    seeds = range(parsed.first_seed, parsed.first_seed + parsed.seeds)
    outputs: dict[str, list[NDArray[np.float32]]] = {name: [] for name in chosen}
    facts: dict[str, list[Mapping[str, Any]]] = {name: [] for name in chosen}
    truth = []
    for seed in seeds:
        split = split_dataset(dataset, SplitConfig(validation=0.15, test=parsed.test, seed=seed))
        train = split.train[draw_labels(dataset.labels[split.train], n_labels, seed)]
        truth.append(dataset.labels[split.test])
        for recipe in dict.fromkeys(each.recipe for each in chosen.values()):
            names = [name for name, each in chosen.items() if each.recipe == recipe]
            found = _find_or_train(dataset, train, split.test, {name: chosen[name] for name in names}, seed, parsed)
            for name in names:
                outputs[name].append(found[name][0])
                facts[name].append(found[name][1])
    return [_row(name, truth, outputs[name], outputs[PLAIN], facts[name]) for name in chosen]


def _row(
    name: str,
    truth: Sequence[NDArray[np.int64]],
    own: Sequence[NDArray[np.float32]],
    plain: Sequence[NDArray[np.float32]],
    facts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    scores = [summarise_predictions(*each) for each in zip(truth, own, strict=True)]
    others = [summarise_predictions(*each) for each in zip(truth, plain, strict=True)]
    row: dict[str, Any] = {"name": name, "parameters": facts[0]["parameters"]}
    row["seconds"] = [each["seconds"] for each in facts]
    row |= {score: [each[score] for each in scores] for score in SCORES}
    labels, ours, theirs = np.concatenate(truth), np.concatenate(own), np.concatenate(plain)
    row["difference"] = {score: paired_bootstrap(labels, ours, theirs, score) for score in SCORES}
    row["over_seeds"] = {
        score: interval([a[score] - b[score] for a, b in zip(scores, others, strict=True)]) for score in SCORES
    }
    row["mean"] = {score: statistics.fmean(row[score]) for score in SCORES}
    return row


def _find_or_train(
    dataset: ImageDataset,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    contenders: Mapping[str, Contender],
    seed: int,
    parsed: argparse.Namespace,
) -> dict[str, tuple[NDArray[np.float32], Mapping[str, Any]]]:
    """For contenders with one recipe: probabilities of the test images (n, n_classes), and what the training took."""
    kept = {
        name: parsed.kept
        / f"{dataset.digest[:8]}-{len(train)}-{len(test)}-{parsed.epochs}-{seed}-{name.replace('/', ' of ')}.npz"
        for name in contenders
        if parsed.kept is not None
    }
    if kept and all(file.is_file() for file in kept.values()):
        return {name: _read(file) for name, file in kept.items()}
    found = _train(dataset, train, test, contenders, seed, parsed.epochs)
    for name, (outputs, facts) in found.items():
        score = summarise_predictions(dataset.labels[test], outputs)["macro_f1"]
        print(f"{len(train)} labels, seed {seed}, {name}: {score:.3f}, {facts}", file=sys.stderr, flush=True)
        if kept:
            parsed.kept.mkdir(parents=True, exist_ok=True)
            np.savez(kept[name], outputs=outputs, facts=json.dumps(facts))
    return found


def _read(file: Path) -> tuple[NDArray[np.float32], Mapping[str, Any]]:
    with np.load(file) as stored:
        return stored["outputs"], json.loads(str(stored["facts"]))


def _train(
    dataset: ImageDataset,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    contenders: Mapping[str, Contender],
    seed: int,
    epochs: int,
) -> dict[str, tuple[NDArray[np.float32], Mapping[str, Any]]]:
    from benchmarks.networks import BlockCNN, MeanWeights
    from galaxy_exp.registry.networks import predict_images
    from galaxy_exp.training.machine import fresh_session, resolve_precision

    (recipe,) = {contender.recipe for contender in contenders.values()}
    momenta = [each.ema for each in contenders.values() if each.ema is not None]
    means = MeanWeights(momenta)
    hypermodel = BlockCNN(dataset.image_shape, dataset.n_classes, recipe)
    hp = hyperparameters(hypermodel, TRAINING)  # builds a network
    with fresh_session(seed, resolve_precision("auto"), False):
        model = hypermodel.build(hp)
        began = time.perf_counter()
        images, labels = dataset.images[train], dataset.labels[train]
        hypermodel.fit(hp, model, images, labels, epochs=epochs, seed=seed, callbacks=[means] if momenta else [])
        facts = {"seconds": round(time.perf_counter() - began, 1), "parameters": model.count_params()}
        found: dict[str, tuple[NDArray[np.float32], Mapping[str, Any]]] = {}
        for name, contender in sorted(contenders.items(), key=lambda item: item[1].ema or 0):
            if contender.ema is not None:
                means.put(contender.ema)
            found[name] = predict_images(model, dataset.images[test], contender.tta), facts
        return found


def _table(rows: Sequence[Mapping[str, Any]], n_labels: int, parsed: argparse.Namespace) -> Table:
    table = Table("", "parameters", *SCORES, *(f"{name} - {PLAIN}" for name in SCORES), "seconds")
    table.title = f"{n_labels} labels of {parsed.data.name}, {parsed.seeds} seeds, {parsed.epochs} epochs"
    for row in rows:
        means = [f"{row['mean'][name]:.3f}" for name in SCORES]
        differences = [_show(row["difference"][name], row["over_seeds"][name]) for name in SCORES]
        seconds = f"{statistics.fmean(row['seconds']):.0f}"
        table.add_row(row["name"], f"{row['parameters']:,}", *means, *differences, seconds)
    return table


def _show(bootstrap: Sequence[float], seeds: Mapping[str, float | None]) -> str:
    shown = f"{seeds['mean']:+.3f} {bootstrap[1]:+.3f} to {bootstrap[2]:+.3f}"
    return shown if seeds["low"] is None else f"{shown} ({seeds['low']:+.3f} to {seeds['high']:+.3f})"


if __name__ == "__main__":
    main()
