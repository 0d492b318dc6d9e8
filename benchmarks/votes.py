"""Trained on volunteers' votes against trained on their majority, on simulated galaxies whose true fractions are known.

    python benchmarks/votes.py --seeds 5 --json votes.json

For each seed, galaxies are simulated and volunteers vote on them; 85 % are trained on, 14 % choose the epoch. As many
other galaxies are simulated with another seed and tested on. All contenders see the same images, and have the same
network, seed and number of epochs; they are trained in turn, in an order that changes with the seed. The majority is of
the first question, whose fractions and winning answer are compared; what the table has beside these is of all questions
that a contender answers. Intervals are those of the paired differences over the seeds (Student's t, 95 %).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, fill_in, format_machine, numbers, open_console, write_json
from benchmarks.trials import build_spec
from galaxy_exp.config.data_section import SimulatedConfig, SplitConfig
from galaxy_exp.data import ImageDataset, build_dataset, prepare_split
from galaxy_exp.data.simulated import simulate_with_truth, true_fractions
from galaxy_exp.evaluation.vote_metrics import image_deviances, summarise_votes
from galaxy_exp.pretraining import NETWORK
from galaxy_exp.questions import Questions, Votes
from galaxy_exp.records import AGREEMENT, Decision, EpochReport, Objective, SplitFiles, TrialState

__all__ = ["CONTENDERS", "interval", "main", "simulate"]

TRAINING: dict[str, Any] = {**NETWORK, "label_smoothing": 0.0}
MAJORITY = "majority"
CONTENDERS: dict[str, dict[str, Any]] = {
    MAJORITY: TRAINING,
    "crossentropy": {**TRAINING, "loss": "crossentropy"},
    "dirichlet_multinomial": {**TRAINING, "loss": "dirichlet_multinomial"},
}
"""What differs from GalaxyCNN's defaults, by name; all but the first are trained on votes."""

QUICK: dict[str, Any] = {"images": 120, "epochs": 1, "image_size": 32, "seeds": 1}
SIZES: dict[str, Any] = {"images": 2000, "epochs": 40, "image_size": 69, "seeds": 5}


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, tests and prints; 1 if a training failed."""
    parsed = parse_arguments(arguments)
    rows: list[dict[str, Any]] = []
    for seed in range(parsed.first_seed, parsed.first_seed + parsed.seeds):
        rows += compare(parsed, seed)
        failed = [row for row in rows if "reason" in row]
        if failed:
            print(f"error: {failed[0]['contender']}, seed {seed}: {failed[0]['reason']}", file=sys.stderr)
            return 1
    report: dict[str, Any] = {
        "task": {name: getattr(parsed, name) for name in (*SIZES, "votes", "first_seed")},
        "network": TRAINING,
        "machine": describe_machine(),
        "rows": rows,
        "gains": {name: gains(rows, name) for name in CONTENDERS if name != MAJORITY},
    }
    console = open_console(140)
    console.print(format_machine(report["machine"]), highlight=False)
    console.print(build_table(report))
    write_json(parsed.json, report)
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `--quick` only fills in what was not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, help=f"galaxies to train on, and as many to test on ({SIZES['images']})")
    parser.add_argument("--votes", type=int, default=20, help="volunteers for each image (20)")
    parser.add_argument("--epochs", type=int, help=f"({SIZES['epochs']})")
    parser.add_argument("--image-size", type=int, help=f"side in pixels ({SIZES['image_size']})")
    parser.add_argument("--seeds", type=int, help=f"how many ({SIZES['seeds']})")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help=f"small: {QUICK}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the result as JSON")
    parsed = parser.parse_args(arguments)
    fill_in(parsed, QUICK if parsed.quick else SIZES)
    return parsed


def compare(parsed: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """A row for each contender."""
    data, _ = simulate(parsed.images, parsed.image_size, parsed.votes, 2 * seed)
    test, truth = simulate(parsed.images, parsed.image_size, parsed.votes, 2 * seed + 1)
    names = list(CONTENDERS)
    rows = []
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_votes_") as temporary:
        folder = Path(temporary)
        split = SplitConfig(validation=0.14, test=0.01, seed=seed, duplicates="identical")
        files = prepare_split(data, split, folder / "cache").files
        for name in names[seed % len(names) :] + names[: seed % len(names)]:
            trained = train(name, files, folder / name, parsed.epochs, seed)
            row = {"contender": name, "seed": seed, **trained}
            if "reason" not in trained:
                row |= score(name, folder / name / "model.keras", test, truth)
            print(json.dumps(row), file=sys.stderr, flush=True)
            rows.append(row)
    return sorted(rows, key=lambda row: names.index(row["contender"]))


def train(name: str, files: SplitFiles, folder: Path, epochs: int, seed: int) -> dict[str, Any]:
    """Trains as a trial does; leaves `model.keras` in `folder`. `reason` if it failed."""
    from galaxy_exp.training.trial import run_trial

    on_votes = name != MAJORITY
    reports: list[EpochReport] = []

    def keep(report: EpochReport) -> Decision:
        reports.append(report)
        return Decision.CONTINUE

    spec = build_spec(
        files if on_votes else replace(files, votes=None),
        folder,
        CONTENDERS[name],
        epochs=epochs,
        seed=seed,
        # each chooses its epoch by the score that its data has
        objective=Objective("val_nll" if on_votes else "val_loss", "min"),
    )
    result = run_trial(spec, keep)
    if result.state is not TrialState.COMPLETED:
        return {"reason": result.reason}
    times = [report.metrics["epoch_seconds"] for report in reports]
    return {"best_epoch": result.best_epoch, "epoch_seconds": statistics.median(times[1:] or times)}


def simulate(n_images: int, image_size: int, n_votes: int, seed: int) -> tuple[ImageDataset, NDArray[np.float64]]:
    """Galaxies with votes, and the true fractions (n, n_answers), as `Votes.values` has fractions."""
    config = SimulatedConfig(
        n_images=n_images, image_size=image_size, seed=seed, volunteers=n_votes, class_proportions="equal"
    )
    galaxies = simulate_with_truth(config)
    dataset = build_dataset(galaxies.images, None, source="simulated", simulated=True, votes=galaxies.votes)
    return dataset, true_fractions(galaxies.truth)


def score(name: str, model_file: Path, test: ImageDataset, truth: NDArray[np.float64]) -> dict[str, float]:
    """A contender's scores on galaxies that nothing was trained on or chosen with.

    `deviance` is from the true fractions and `accuracy` that of the most frequent answer by these; the others are from
    the votes.
    """
    import keras

    from galaxy_exp.training.predictions import predict_outputs

    if test.votes is None:
        raise ValueError("the test galaxies have no votes")
    first = Questions(test.votes.questions.items[:1])
    questions = first if name == MAJORITY else test.votes.questions
    outputs = predict_outputs(keras.saving.load_model(model_file), test.images, test.n_classes, questions)
    found = summarise_votes(Votes(questions, test.votes.values[:, : outputs.shape[1]], True), outputs, AGREEMENT)
    true, winners = truth[:, : first.n_answers], outputs[:, : first.n_answers].argmax(axis=1)
    known = Votes(first, true.astype(np.float32), are_counts=False)
    return {
        "deviance": float(image_deviances(known, outputs[:, : first.n_answers]).mean()),
        "accuracy": float((true.argmax(axis=1) == winners).mean()),
        **{name: found[name] for name in ("calibration_error", "coverage", "rmse", "nll")},
    }


def gains(rows: Sequence[Mapping[str, Any]], contender: str) -> dict[str, Any]:
    """What a contender gains over the majority, with intervals over the seeds; positive is better."""
    found: dict[str, Any] = {}
    for name, sign in (("deviance", -1.0), ("accuracy", 1.0)):
        values = {who: [row[name] for row in rows if row["contender"] == who] for who in (contender, MAJORITY)}
        found[name] = interval([sign * (a - b) for a, b in zip(*values.values(), strict=True)])
    times = [[row["epoch_seconds"] for row in rows if row["contender"] == who] for who in (contender, MAJORITY)]
    found["epoch_cost"] = statistics.median(a / b for a, b in zip(*times, strict=True))
    for name in ("calibration_error", "coverage"):
        found[name] = statistics.fmean(row[name] for row in rows if row["contender"] == contender)
    return found


def interval(differences: Sequence[float]) -> dict[str, float | None]:
    """Mean and 95 % interval; without ends for a single difference."""
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return {"mean": mean, "low": None, "high": None}
    half = stats.t.ppf(0.975, len(differences) - 1) * statistics.stdev(differences) / len(differences) ** 0.5
    return {"mean": mean, "low": mean - half, "high": mean + half}


def build_table(report: Mapping[str, Any]) -> Table:
    """Means over the seeds, and the gains."""
    task = report["task"]
    size = f"{task['images']} SIMULATED galaxies, {task['votes']} votes each"
    title = f"{size}, {task['epochs']} epochs, {task['seeds']} seeds"
    names = ("deviance", "accuracy", "calibration_error", "coverage", "rmse", "nll", "epoch_seconds")
    headings = [name.replace("_", " ") for name in names]
    gained = ("gain in deviance", "gain in accuracy", "epoch cost")
    table = Table("trained on", *numbers(*headings, *gained), title=title, title_justify="left")
    for contender in CONTENDERS:
        rows = [row for row in report["rows"] if row["contender"] == contender]
        cells = [f"{statistics.fmean(row[name] for row in rows):.4f}" for name in names]
        found = report["gains"].get(contender)
        shown = [_show(found["deviance"]), _show(found["accuracy"]), f"{found['epoch_cost']:.3f}"] if found else []
        table.add_row(contender, *cells, *shown)
    return table


def _show(found: Mapping[str, float | None]) -> str:
    ends = "" if found["low"] is None else f" ({found['low']:+.4f} to {found['high']:+.4f})"
    return f"{found['mean']:+.4f}{ends}"


if __name__ == "__main__":
    sys.exit(main())
