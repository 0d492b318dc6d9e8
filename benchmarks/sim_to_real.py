"""Trains on simulated galaxies alone and classifies a file of real ones.

    python benchmarks/sim_to_real.py --data galaxies.h5 --map 1:0,2:1,3:2,4:3,5:3,6:3,7:4,8:4,9:4 --json result.json
    python benchmarks/sim_to_real.py --data galaxies.h5 --map ... --model .galaxy_exp/sweeps/ID/trials/0000/model.keras

The file has Galaxy10's layout. `--map` says which of the ten simulated classes is which of its classes. A simulated
class without a counterpart (in the example 0, face-on discs without arms) is not trained on, so that no probability is
spent on it. The simulated classes are equally frequent; nothing about the mixture of the file is used. Its images and
labels are opened once, after the training.

The network is that of `galaxy-exp encoders pretrain`, trained as any trial is. With `--model` nothing is trained: the
file is a network of all ten classes, such as the trial of `galaxy-exp encoders pretrain` leaves, the options of the
training have no effect, and the probability of a class without a counterpart is left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, fill_in, write_json
from benchmarks.trials import build_spec
from galaxy_exp.config.data_section import DataConfig, SimulatedConfig, SplitConfig
from galaxy_exp.data import ImageDataset, build_dataset, load_dataset, prepare_split
from galaxy_exp.data.simulated import CLASS_NAMES, simulate_galaxies
from galaxy_exp.evaluation.metrics import confusion_matrix, per_class_table, per_class_text, summarise_predictions
from galaxy_exp.pretraining import NETWORK
from galaxy_exp.records import Decision, EpochReport, TrialState

QUICK: dict[str, Any] = {"images": 300, "epochs": 1}


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, evaluates and prints; 1 if the training failed."""
    parsed = parse_arguments(arguments)
    mapped = parse_map(parsed.map, len(CLASS_NAMES))
    if parsed.model is not None:
        real = evaluate(parsed.model, parsed.data, mapped, CLASS_NAMES)
        report: dict[str, Any] = {"task": {"data": parsed.data.name, "map": parsed.map}, "real": real}
        print(describe_real(report))
        write_json(parsed.json, report)
        return 0
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_sim_to_real_") as temporary:
        folder = Path(temporary)
        dataset = simulate_classes(parsed.images, parsed.seed, parsed.label_noise, parsed.image_size, sorted(mapped))
        trained = train(dataset, folder, parsed.epochs, parsed.seed)
        if trained["state"] is not TrialState.COMPLETED:
            print(f"error: {trained['reason']}", file=sys.stderr)
            return 1
        result = evaluate(folder / "model.keras", parsed.data, mapped, dataset.class_names)
    report = {
        "task": {"data": parsed.data.name, **{name: getattr(parsed, name) for name in _TASK}},
        "network": dict(NETWORK),
        "machine": describe_machine(),
        "seconds": round(time.perf_counter() - began, 1),
        "training": trained,
        "real": result,
    }
    print(describe(report))
    write_json(parsed.json, report)
    return 0


_TASK = ("map", "images", "epochs", "seed", "label_noise", "image_size")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `--quick` only fills in what was not given."""
    parser = argparse.ArgumentParser(description="Trains on simulated galaxies, classifies real ones.")
    parser.add_argument("--data", type=Path, required=True, help="real galaxies: an .h5 file in Galaxy10's layout")
    parser.add_argument("--map", required=True, help="simulated class:class of the file, with commas between")
    parser.add_argument(
        "--model", type=Path, help="a trained network of the ten simulated classes, in place of a training"
    )
    parser.add_argument("--images", type=int, help="how many to simulate, of ten classes (8000)")
    parser.add_argument("--epochs", type=int, help="(12)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--label-noise", type=float, default=0.0, help="share of wrong simulated labels")
    parser.add_argument("--image-size", type=int, default=69, help="side in pixels, that of the file's images")
    parser.add_argument("--quick", action="store_true", help=f"small: {QUICK}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the result as JSON")
    parsed = parser.parse_args(arguments)
    fill_in(parsed, QUICK if parsed.quick else {"images": 8000, "epochs": 12})
    return parsed


def parse_map(text: str, n_classes: int) -> dict[int, int]:
    """ "1:0,2:1,3:2" as {1: 0, 2: 1, 3: 2}: simulated class to class of the file.

    Args:
        text: pairs with commas between; a simulated class that is left out has no counterpart.
        n_classes: simulated ones.

    Raises:
        ValueError: not pairs of whole numbers, a class twice or out of range, or a gap in the file's classes.
    """
    try:
        pairs = [(int(one), int(other)) for one, other in (pair.split(":") for pair in text.split(","))]
    except ValueError:
        raise ValueError(f"{text!r} is no class map; expected pairs such as 1:0,2:1") from None
    mapped = dict(pairs)
    if len(mapped) < len(pairs) or not all(0 <= one < n_classes for one in mapped):
        raise ValueError(f"{text!r}: expected each simulated class at most once, from 0 to {n_classes - 1}")
    if set(mapped.values()) != set(range(len(set(mapped.values())))):
        raise ValueError(f"{text!r}: expected the file's classes from 0 without a gap")
    return mapped


def merge_probabilities(
    probabilities: NDArray[np.floating], classes: Sequence[int], mapped: Mapping[int, int]
) -> NDArray[np.float64]:
    """Sums the probabilities of the simulated classes of each class of the file: float64 (n, classes of the file).

    Args:
        probabilities: (n, len(classes)).
        classes: the simulated class of each column; one without a counterpart is left out and the rest scaled to 1.
        mapped: of `parse_map`.
    """
    merged = np.zeros((len(probabilities), len(set(mapped.values()))))
    for column, label in enumerate(classes):
        if label in mapped:
            merged[:, mapped[label]] += probabilities[:, column]
    merged /= np.maximum(merged.sum(axis=1, keepdims=True), 1e-12)
    return merged


def simulate_classes(
    n_images: int, seed: int, label_noise: float, image_size: int, classes: Sequence[int]
) -> ImageDataset:
    """Simulated galaxies labelled with one of `classes`, whose position in it becomes the label.

    `n_images` are simulated in ten equal classes; those of the other classes are dropped.
    """
    config = SimulatedConfig(
        n_images=n_images, image_size=image_size, seed=seed, label_noise=label_noise, class_proportions="equal"
    )
    images, labels = simulate_galaxies(config)
    kept = np.isin(labels, classes)
    names = [CLASS_NAMES[label] for label in classes]
    return build_dataset(
        images[kept], np.searchsorted(classes, labels[kept]), names, source="simulated", simulated=True
    )


def train(dataset: ImageDataset, folder: Path, epochs: int, seed: int) -> dict[str, Any]:
    """Trains as a trial, on 90%; leaves `model.keras` in `folder` and returns how it went."""
    from galaxy_exp.training.trial import run_trial

    split = SplitConfig(validation=0.08, test=0.02, seed=seed)
    files = prepare_split(dataset, split, folder / "cache").files
    result = run_trial(build_spec(files, folder, NETWORK, epochs=epochs, seed=seed), _print_epoch)
    return {
        "state": result.state,
        "reason": result.reason,
        "images": len(dataset),
        "best_epoch": result.best_epoch,
        "seconds": round(result.training_seconds, 1),
        "precision": result.precision,
        "simulated_validation": {name: value for name, value in result.metrics.items() if name.startswith("val_")},
    }


def _print_epoch(report: EpochReport) -> Decision:
    shown = (f"{name} {report.metrics[name]:.3f}" for name in ("loss", "val_accuracy", "val_macro_f1"))
    speed = f"{report.metrics['images_per_second']:.0f} images/s"
    print(f"epoch {report.epoch}: {', '.join(shown)}, {speed}", file=sys.stderr, flush=True)
    return Decision.CONTINUE


def evaluate(model_file: Path, data: Path, mapped: Mapping[int, int], names: Sequence[str]) -> dict[str, Any]:
    """Scores the network on the real file; `names` are the classes of its outputs."""
    import keras

    from galaxy_exp.training.predictions import predict_outputs

    real = load_dataset(DataConfig(source=str(data)))
    outputs = predict_outputs(keras.saving.load_model(model_file), real.images, len(names))
    classes = [CLASS_NAMES.index(name) for name in names]
    return score(real.labels, merge_probabilities(outputs, classes, mapped), real.class_names)


def score(labels: NDArray[np.int64], probabilities: NDArray[np.float64], class_names: Sequence[str]) -> dict[str, Any]:
    """Accuracy, macro-F1, and completeness and purity of each class of the file."""
    n_classes = probabilities.shape[1]
    if labels.max() >= n_classes:
        raise ValueError(f"the file has class {labels.max()}, to which --map sends no simulated class")
    return {
        **summarise_predictions(labels, probabilities),
        "images": len(labels),
        "largest_class_share": float(np.bincount(labels).max() / len(labels)),
        "classes": per_class_table(labels, probabilities, class_names[:n_classes]),
        "text": per_class_text(labels, probabilities, class_names[:n_classes]),
        "confusion": confusion_matrix(labels, probabilities.argmax(axis=1), n_classes).tolist(),
    }


def describe(report: dict[str, Any]) -> str:
    """What was trained on what, and the figures."""
    trained, task = report["training"], report["task"]
    unmapped = sorted(set(range(len(CLASS_NAMES))) - set(parse_map(task["map"], len(CLASS_NAMES))))
    left_out = ", ".join(CLASS_NAMES[label] for label in unmapped) or "none"
    return (
        f"trained on {trained['images']} SIMULATED galaxies, {task['epochs']} epochs, seed {task['seed']}; "
        f"simulated classes without a counterpart, not trained on: {left_out}\n"
        f"simulated validation: accuracy {trained['simulated_validation']['val_accuracy']:.3f}\n"
        f"{describe_real(report)}"
    )


def describe_real(report: Mapping[str, Any]) -> str:
    """The figures on the real file."""
    real = report["real"]
    return (
        f"{real['images']} REAL galaxies of {report['task']['data']}: accuracy {real['accuracy']:.3f} (largest class "
        f"alone {real['largest_class_share']:.3f}), macro-F1 {real['macro_f1']:.3f}, "
        f"balanced accuracy {real['balanced_accuracy']:.3f}\n\n{real['text']}"
    )


if __name__ == "__main__":
    sys.exit(main())
