"""The artifacts of trials and sweeps in MLflow, made from records and the files of trials."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config import dump_sweep, parse_sweep
from galaxy_exp.config.reading import as_journaled
from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.evaluation import metrics
from galaxy_exp.evaluation.confidence import Calibration
from galaxy_exp.evaluation.held_out_report import answer_records
from galaxy_exp.evaluation.metrics import confusion_record, per_class_table, per_class_text
from galaxy_exp.evaluation.vote_comparison import first_question
from galaxy_exp.evaluation.vote_metrics import find_agreed, summarise_votes
from galaxy_exp.folders import write_csv
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.questions import Votes
from galaxy_exp.report.classification import plot_confusion, plot_coverage, plot_reliability
from galaxy_exp.report.galleries import plot_mistakes_gallery
from galaxy_exp.report.learning_curves import plot_learning_curves
from galaxy_exp.report.page import write_insight
from galaxy_exp.report.votes import plot_differences, plot_fractions

__all__ = [
    "artifacts_folder",
    "leaderboard_rows",
    "write_held_out_figures",
    "write_insight_artifacts",
    "write_sweep_artifacts",
    "write_trial_artifacts",
]


def artifacts_folder(folder: Path) -> Path:
    """The folder with the MLflow artifacts of a trial or sweep; created if need be."""
    target = folder / "artifacts"
    target.mkdir(parents=True, exist_ok=True)
    return target


def write_trial_artifacts(folder: Path, trial: TrialRecord, record: SweepRecord, data: PreparedData) -> Path:
    """Writes the artifacts of a finished trial, with figures if `tracking.figures`; returns their folder."""
    target, figures = artifacts_folder(folder), record.config.tracking.figures
    result = trial.result
    if result is None:
        raise ValueError(f"trial {trial.number} has not ended")
    if result.traceback:
        (target / "traceback.txt").write_text(result.traceback, encoding="utf-8")
    if trial.reports:
        write_csv(target / "history.csv", [report.row() for report in trial.reports])
        if figures:
            plot_learning_curves(
                [report.metrics for report in trial.reports],
                record.objective.name,
                result.best_epoch,
                target / "learning_curves.png",
            )
    if result.state.has_model:
        outputs = np.load(folder / "validation_probabilities.npy")
        of = f"trial {trial.number}{' (SIMULATED galaxies)' if data.simulated else ''}"
        if data.votes is None:
            labels, names = np.load(data.files.validation_labels), data.class_names
            _write_json(target / "per_class.json", per_class_table(labels, outputs, names))
            (target / "per_class.txt").write_text(f"{per_class_text(labels, outputs, names)}\n", encoding="utf-8")
            _write_confusion(target, labels, outputs, names, f"Validation images, {of}", figures)
            if figures:
                images = np.load(data.files.validation_images, mmap_mode="r")
                plot_mistakes_gallery(images, labels, outputs, names, target / "mistakes.png")
        else:
            votes = Votes(data.votes.questions, np.load(data.votes.validation), data.votes.are_counts)
            _write_fractions(target, votes, outputs, of, record)
            if figures:
                images = np.load(data.files.validation_images, mmap_mode="r")
                plot_differences(images, votes, outputs, target / "differences.png")
    return target


def _write_fractions(target: Path, votes: Votes, outputs: NDArray[Any], of: str, record: SweepRecord) -> None:
    """`fractions.json` has the scores and, for each answer, observed against predicted fractions; then the figures.

    The confusion matrix is of the images whose votes agree.
    """
    agreement, figures = record.config.data.votes.agreement, record.config.tracking.figures
    found = {
        "questions": votes.questions.to_list(),
        "agreement": agreement,
        "scores": summarise_votes(votes, outputs, agreement),
        "answers": answer_records(votes, outputs),
    }
    _write_json(target / "fractions.json", found)
    if figures:
        plot_fractions(found, target / "fractions.png", f"Validation images, {of}")
    agreed, (labels, fractions) = find_agreed(votes, agreement), first_question(votes, outputs)
    title = f"Validation images whose votes agree, {of}"
    _write_confusion(target, labels[agreed], fractions[agreed], votes.questions.class_names, title, figures)


def _write_confusion(
    target: Path, labels: NDArray[Any], outputs: NDArray[Any], names: tuple[str, ...], title: str, figures: bool
) -> None:
    matrix = metrics.confusion_matrix(labels, outputs.argmax(axis=1), len(names))
    _write_json(target / "confusion_matrix.json", confusion_record(matrix, names))
    if figures:
        plot_confusion(matrix, names, target / "confusion_matrix.png", title)


def write_sweep_artifacts(folder: Path, record: SweepRecord, data: PreparedData) -> Path:
    """Writes or updates the artifacts of the sweep as a whole; returns their folder."""
    target = artifacts_folder(folder)
    (target / "sweep.yaml").write_text(dump_sweep(parse_sweep(as_journaled(record.config))), encoding="utf-8")
    _write_json(target / "search_space.json", record.started.space)
    _write_json(target / "software.json", record.started.software)
    _write_json(target / "data.json", _describe_data(data))
    write_csv(target / "leaderboard.csv", leaderboard_rows(record))
    for number, report in record.test_reports.items():
        _write_json(target / f"sealed_test_trial_{number:03d}.json", {**report, "simulated": record.simulated})
    return target


def write_held_out_figures(folder: Path, record: SweepRecord) -> None:
    """Draws each report on the held-out test set into the sweep's artifacts, if `tracking.figures`.

    The files are `sealed_test_trial_003_confusion.png`, `..._reliability.png` and `..._coverage.png`; journals of
    earlier releases lack the data of the last two. Of votes, `..._fractions.png` is in place of these.
    """
    target, simulated = artifacts_folder(folder), " (SIMULATED galaxies)" if record.started.simulated else ""
    for number, report in record.test_reports.items() if record.config.tracking.figures else ():
        name, title = f"sealed_test_trial_{number:03d}", f"Held-out test, trial {number}{simulated}"
        if report.get("confusion"):
            matrix = np.array(report["confusion"], np.int64)
            plot_confusion(matrix, report["class_names"], target / f"{name}_confusion.png", title)
        if report.get("votes"):
            plot_fractions(report["votes"], target / f"{name}_fractions.png", title)
        if report.get("reliability"):
            before, after = report["reliability"], report.get("calibrated")
            plot_reliability(
                Calibration.from_dict(before),
                Calibration.from_dict(after) if after else None,
                report.get("temperature"),
                target / f"{name}_reliability.png",
                title,
            )
        if report.get("coverage"):
            plot_coverage(report["coverage"], target / f"{name}_coverage.png", title)


def write_insight_artifacts(folder: Path, record: SweepRecord) -> Path:
    """Draws the sweep's hyperparameters and scores into `insight/` in its artifacts; returns that folder."""
    return write_insight(record, artifacts_folder(folder) / "insight")


def leaderboard_rows(record: SweepRecord) -> list[dict[str, Any]]:
    """One row per trial: first the leaderboard, best first, then the others by number.

    A hyperparameter with the name of another column, as `rank`, is called `params.rank`.
    """
    ranks = {trial.number: rank for rank, trial in enumerate(record.leaderboard(), start=1)}
    trials = sorted(record.trials.values(), key=lambda trial: ranks.get(trial.number, math.inf))
    rows = [
        {
            "rank": ranks.get(trial.number, ""),
            "trial": trial.number,
            "state": trial.state_name,
            "simulated": record.simulated,
            record.objective.name: trial.objective_value(record.objective),
            "epochs": trial.epochs,
            "seconds": round(trial.seconds, 3) if trial.result else "",
            "run_id": trial.run_id,
        }
        for trial in trials
    ]
    return [
        row | {f"params.{name}" if name in row else name: value for name, value in trial.values.items()}
        for trial, row in zip(trials, rows, strict=True)
    ]


def _describe_data(data: PreparedData) -> dict[str, Any]:
    return {
        "source": data.source,
        "simulated": data.simulated,
        "digest": data.digest,
        "split_digest": data.split_digest,
        "image_shape": data.image_shape,
        "counts": data.counts,
        "preprocessing": data.preprocessing.to_dict(),
        "own_split": data.own_split,
        "identical_to_another": data.n_identical,
        "near_duplicates": data.n_near,
        "skipped": list(data.skipped),
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
