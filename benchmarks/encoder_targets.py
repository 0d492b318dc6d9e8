"""What an encoder of simulated galaxies had better be trained to predict: classes, true parameters, or both.

    python benchmarks/encoder_targets.py --data galaxies.h5 --images 12000 --epochs 10

The networks are those of `galaxy-exp encoders pretrain`, trained on the same simulated galaxies in the same order. With
parameters, the network has a second output, one number for each of `PARAMETERS`, scaled to zero mean and unit variance;
its loss is the mean squared error over those that a galaxy has. What an encoder is worth is measured by a logistic
regression on its features of real galaxies: each of `--seeds` splits holds out 15 % of the file, and as many labels as
stated are drawn from 70 %, as benchmarks/pretrained.py does. The table has means over the splits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, format_machine
from benchmarks.pretrained import SCORES, draw_labels
from galaxy_exp.config.data_section import DataConfig, SimulatedConfig, SplitConfig
from galaxy_exp.data import ImageDataset, load_dataset, split_dataset
from galaxy_exp.data.simulated import CLASS_NAMES, SimulatedGalaxies, simulate_with_truth
from galaxy_exp.evaluation.metrics import summarise_predictions
from galaxy_exp.hypermodel import GalaxyCNN, discover_space, to_inference_model
from galaxy_exp.hypermodel.batches import Batches
from galaxy_exp.hypermodel.discovery import to_kerastuner
from galaxy_exp.hypermodel.encoders import cut_encoder, load_encoder
from galaxy_exp.hypermodel.on_device import fit_batches
from galaxy_exp.hypermodel.optimizers import cosine_schedule
from galaxy_exp.pretraining import NETWORK
from galaxy_exp.space.overrides import build_space
from galaxy_exp.training.machine import fresh_session, resolve_precision

__all__ = ["TARGETS", "main", "read_parameters"]

TARGETS = ("classes", "parameters", "both")
LOGARITHMIC = ("half_light_radius", "sersic_index", "r90_arcsec", "noise")
PARAMETERS = (
    *LOGARITHMIC,
    *("axis_ratio", "inclination", "boxiness", "bulge_share", "bar_share", "envelope_share", "n_arms", "pitch"),
    *("arm_strength", "knot_share", "dust", "g_r", "r_i", "surface_brightness", "seeing"),
)
"""Fields of the simulator's truth that do not change if the image is turned; the first ones as logarithms."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains one encoder for each target and prints the table."""
    parsed = _parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(format_machine(describe_machine()), highlight=False)
    real = load_dataset(DataConfig(source=str(parsed.data)))
    simulated = simulate_with_truth(
        SimulatedConfig(
            n_images=parsed.images, image_size=real.image_shape[0], class_proportions="equal", seed=parsed.seed
        )
    )
    table = Table("trained to predict", *(f"{n:,} labels" for n in parsed.labels), "seconds")
    table.title = f"logistic regression on features, {parsed.data.name}: macro-F1 / accuracy, {parsed.seeds} splits"
    rows = []
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_targets_") as folder:
        for target in parsed.only:
            began = time.perf_counter()
            encoder = train_encoder(target, simulated, parsed.epochs, parsed.seed, Path(folder, f"{target}.keras"))
            seconds = time.perf_counter() - began
            scores = probe(encoder, real, parsed.labels, parsed.seeds)
            rows.append({"target": target, "scores": scores, "seconds": round(seconds, 1)})
            table.add_row(target, *_cells(scores), f"{seconds:.0f}")
        for start in parsed.encoders:
            scores = probe(start, real, parsed.labels, parsed.seeds)
            rows.append({"target": start, "scores": scores, "seconds": None})
            table.add_row(start, *_cells(scores), "")
    console.print(table)
    if parsed.json:
        parsed.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="real galaxies, as data.source of a sweep file")
    parser.add_argument("--images", type=int, default=12000, help="simulated galaxies")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--seeds", type=int, default=10, help="splits of the real galaxies")
    parser.add_argument("--seed", type=int, default=1, help="of simulated galaxies and weights")
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS), metavar="TARGET")
    parser.add_argument("--encoders", nargs="+", default=[], metavar="FILE", help="these too, such as pretrained")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON")
    return parser.parse_args(arguments)


def read_parameters(truth: NDArray[Any]) -> NDArray[np.float32]:
    """The true parameters (n, len(PARAMETERS)) in zero mean and unit variance; NaN where a galaxy has none."""
    columns = [truth[name].astype(np.float64) for name in PARAMETERS]
    values = np.stack([*map(np.log, columns[: len(LOGARITHMIC)]), *columns[len(LOGARITHMIC) :]], axis=1)
    return np.asarray((values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0), np.float32)


def train_encoder(target: str, simulated: SimulatedGalaxies, epochs: int, seed: int, path: Path) -> str:
    """Trains a network on simulated galaxies and writes its body; returns the name of the file."""
    one_hot = np.eye(len(CLASS_NAMES), dtype=np.float32)[simulated.labels]
    wanted = np.concatenate([one_hot, read_parameters(simulated.truth)], axis=1)
    with fresh_session(seed, resolve_precision("auto"), False):
        hypermodel = GalaxyCNN(simulated.images.shape[1:], len(CLASS_NAMES))
        hp = to_kerastuner(build_space(hypermodel, NETWORK, discover_space(hypermodel)))
        model = _with_parameters(hypermodel.build(hp), build_loss(target, NETWORK["label_smoothing"]))
        batches = Batches(simulated.images, wanted, NETWORK["batch_size"], seed=seed, classes=simulated.labels)
        model.optimizer.learning_rate = cosine_schedule(NETWORK["learning_rate"], epochs * len(batches))
        fit_batches(model, batches, epochs=epochs, callbacks=[])
        trained = path.with_stem(f"{path.stem}_network")
        to_inference_model(model).save(trained)
    cut_encoder(trained, path, {"trained_on": "SIMULATED galaxies", "simulated": True, "predicted": target})
    return str(path)


def _with_parameters(network: keras.Sequential, loss: Callable[[Any, Any], Any]) -> keras.Sequential:
    """The network with a number for each of `PARAMETERS` after its probabilities, compiled with its optimizer."""
    *layers, probabilities = network.layers
    features = keras.Input(probabilities.input.shape[1:], name="features")
    parameters = keras.layers.Dense(len(PARAMETERS), dtype="float32", name="parameters")(features)
    outputs = keras.layers.Concatenate(dtype="float32")([probabilities(features), parameters])
    model = keras.Sequential(
        [keras.Input(network.input_shape[1:], dtype="uint8"), *layers, keras.Model(features, outputs, name="outputs")]
    )
    optimizer = type(network.optimizer).from_config(network.optimizer.get_config())
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    return model


def build_loss(target: str, label_smoothing: float) -> Callable[[Any, Any], Any]:
    """The loss of (n, classes and parameters) against as many outputs, (n,)."""
    n_classes = len(CLASS_NAMES)

    def of_classes(wanted: Any, found: Any) -> Any:
        shares = wanted[:, :n_classes], found[:, :n_classes]
        return keras.losses.categorical_crossentropy(*shares, label_smoothing=label_smoothing)

    def of_parameters(wanted: Any, found: Any) -> Any:
        numbers = wanted[:, n_classes:]
        is_known = ops.logical_not(ops.isnan(numbers))
        difference = ops.where(is_known, numbers, 0.0) - ops.where(is_known, found[:, n_classes:], 0.0)
        return ops.sum(difference * difference, axis=1) / len(PARAMETERS)

    def of_both(wanted: Any, found: Any) -> Any:
        return of_classes(wanted, found) + of_parameters(wanted, found)

    return {"classes": of_classes, "parameters": of_parameters, "both": of_both}[target]


def probe(start: str, real: ImageDataset, n_labels: Sequence[int], n_splits: int) -> dict[str, list[list[float]]]:
    """The scores of a logistic regression on an encoder's features, by score: a list for each number of labels."""
    encoder = load_encoder(start)
    maps = encoder.predict(real.images.astype(np.float32), batch_size=128, verbose=0)
    features = maps.mean(axis=(1, 2))
    found: dict[str, list[list[float]]] = {name: [[] for _ in n_labels] for name in SCORES}
    for seed in range(1, n_splits + 1):
        split = split_dataset(real, SplitConfig(validation=0.15, test=0.15, seed=seed))
        for position, n in enumerate(n_labels):
            train = split.train[draw_labels(real.labels[split.train], n, seed)]
            regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000))
            regression.fit(features[train], real.labels[train])
            outputs = regression.predict_proba(features[split.test]).astype(np.float32)
            scores = summarise_predictions(real.labels[split.test], outputs)
            for name in SCORES:
                found[name][position].append(scores[name])
    return found


def _cells(scores: dict[str, list[list[float]]]) -> list[str]:
    pairs = zip(*(scores[name] for name in SCORES), strict=True)
    return [" / ".join(f"{statistics.fmean(each):.3f}" for each in pair) for pair in pairs]


if __name__ == "__main__":
    main()
