"""`galaxy-exp evaluate`: the registered model on a labelled data set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from galaxy_exp.cli.options import (
    format_option,
    image_folder_flags,
    image_folder_options,
    model_options,
    set_option,
    uri_option,
)
from galaxy_exp.cli.output import print_rows, progress_bar, say, writing
from galaxy_exp.folders import ProjectFolder

if TYPE_CHECKING:
    from galaxy_exp.config.data_section import DataConfig
    from galaxy_exp.data import ImageDataset
    from galaxy_exp.evaluation.held_out_report import TestReport
    from galaxy_exp.questions import Questions
    from galaxy_exp.registry.classifier import GalaxyClassifier

__all__ = ["evaluate_command"]

_SCORES = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "macro_f1_without_rare",
    "top2",
    "loss",
    "calibration_error",
)
_SCORES_OF_CLASSES = ("completeness", "purity", "f1")
_SCORES_OF_ANSWERS = ("observed", "predicted", "rmse")


@click.command("evaluate")
@click.argument("source", metavar="DATA")
@model_options
@click.option(
    "--map",
    "class_map",
    multiple=True,
    metavar="'MODEL CLASS=DATA CLASS'",
    help="where the names differ; several classes of the model may be one class of the data",
)
@set_option("as for sweep, e.g. --set data.table.label_column=class")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="a folder for predictions.csv, report.json, confusion.png, reliability.png and coverage.png, or fractions.png",
)
@image_folder_options
@uri_option
@format_option("table", "json", "csv")
def evaluate_command(
    source: str,
    model: str,
    alias: str,
    class_map: tuple[str, ...],
    overrides: tuple[str, ...],
    output: Path | None,
    image_folder: str | None,
    file_suffix: str | None,
    uri: str | None,
    output_format: str,
) -> None:
    """Score the registered model on DATA, a labelled set.

    DATA is what `data.source` of a sweep file may be (HDF5 or .npz file, folder of classes, table, simulated, ...),
    or a sweep file, of which the data section is taken. All images are used, and all count alike. Classes are
    matched by name; --map gives those that have other names in the model. Labels that are only numbers are taken
    in the order of the model's classes if there are as many; if they start at 1: --set data.first_label=1.
    Intervals are 95%, of the bootstrap over images.

    FITS files are read with the stretch that the model was trained with, unless --set data.fits.KEY=VALUE states
    another. A model that was trained on 8-bit images has none, so one has to be stated: --set data.fits.stretch=asinh.

    If the model was trained on some of these images, a line on stderr warns: the scores then say little about new
    images. If the held-out test set of a sweep is among the images, this counts as an opening of it and is recorded:
    later models need a larger gain to become champion. An opening counts once per sweep, and the sweep that made the
    model has opened its test set already.

    With --output, predictions.csv has a row for each image, or for each row of the table with its id as it is there.

    A model of votes on data with votes on the same questions is scored by the fractions of the answers, and where
    the votes agree (data.votes.agreement) by the winning answer too. In a Galaxy Zoo catalogue without labels, the
    model's questions are found by the names of the columns. If the model or the data has only classes, classes are
    scored; those of votes are the answers to the first question.

    With --format csv, a line has a quantity, its class if any, and the value.

    \b
    galaxy-exp evaluate galaxies.h5
    galaxy-exp evaluate labelled/ --map 'Edge-on=edge_on' --format json -o evaluation/
    """
    from galaxy_exp.cli.data import read_data_config
    from galaxy_exp.registry.labelled import (
        align_classes,
        align_questions,
        describe_overlap,
        evaluate_on,
        list_predictions,
        name_numbered_classes,
        parse_class_map,
    )
    from galaxy_exp.registry.prediction import write_rows

    config = read_data_config(source, overrides, image_folder_flags(image_folder, file_suffix))
    mapped = parse_class_map(class_map)
    from galaxy_exp.data.sources import check_source
    from galaxy_exp.registry.classifier import load_model

    check_source(config)
    if output is not None:
        with writing(output / "report.json"):
            output.mkdir(parents=True, exist_ok=True)
    classifier = load_model(model, alias, uri)
    dataset = _load(config, classifier)
    alignment = align_questions(classifier.questions, dataset, mapped)
    if alignment is None:
        first = config.first_label if "first_label" in config.model_fields_set else None
        named = dataset if mapped else name_numbered_classes(dataset, classifier.class_names, first)
        if named is not dataset:
            say("the labels are numbers; they are taken in the order of the model's classes")
            dataset = named
        alignment = align_classes(classifier.class_names, dataset, mapped)
    say(f"model: {classifier.uri}")
    if dataset.simulated:
        say("these are SIMULATED galaxies")
    if classifier.simulated:
        say("the model was trained on SIMULATED galaxies")
    if overlap := describe_overlap(classifier, dataset, ProjectFolder.default().data_cache):
        say(f"warning: {overlap}; the scores say little about new ones")
    _record_openings(classifier, dataset)
    with progress_bar(len(dataset), transient=True) as show:
        report, probabilities = evaluate_on(classifier, dataset, alignment, show, config.votes.agreement)
    record = {
        **report.to_dict(),
        "confusion_by_row": [[count / max(sum(row), 1) for count in row] for row in report.confusion],
        "simulated": dataset.simulated,
        "model_simulated": classifier.simulated,
    }
    _print_report(report, record, output_format)
    if output is not None:
        with writing(output / "report.json"):
            figures = _write_folder(report, record, output)
            columns, rows = list_predictions(dataset, alignment, probabilities)
            write_rows(rows, columns, output / "predictions.csv", "csv")
        say(f"wrote predictions.csv, report.json, {' and '.join(figures)} to {output}")


def _record_openings(classifier: GalaxyClassifier, dataset: ImageDataset) -> None:
    """Records an opening of every held-out test set among the images, by the sweep of the model."""
    from galaxy_exp.registry.held_out import record_opening
    from galaxy_exp.registry.labelled import find_test_sets

    project = ProjectFolder.default()
    found, n_unknown = find_test_sets(dataset, project.data_cache)
    if n_unknown:
        say(
            "warning: held-out test sets of sweeps with another data.crop, data.resize or data.greyscale cannot be "
            f"compared with these images ({n_unknown} of them); if they are among them, no opening is recorded"
        )
    for digests in found:
        number = record_opening(project, digests, str(classifier.metadata.get("sweep_id") or classifier.uri))
        say(f"the held-out test set of a sweep is among these images; openings of it on record: {number}")


def _load(config: DataConfig, classifier: GalaxyClassifier) -> ImageDataset:
    """Reads FITS files as in the model's training, unless the options say otherwise, as `predict` does."""
    from galaxy_exp.registry.prediction import choose_stretch

    config = _with_votes(config, classifier.questions)
    stated = config.fits.model_dump(include=config.fits.model_fields_set) if "fits" in config.model_fields_set else {}
    if classifier.fits is not None:
        stretch = choose_stretch(classifier.fits, stated, config.source, classifier.uri)
        return _load_raw(config.model_copy(update={"fits": stretch}), classifier)
    dataset = _load_raw(config, classifier)
    if dataset.preprocessing.fits is not None:  # only now it is known that there are FITS files
        choose_stretch(None, stated, dataset.source, classifier.uri)
    return dataset


def _load_raw(config: DataConfig, classifier: GalaxyClassifier) -> ImageDataset:
    """Without crop, resize and greyscale, as the model prepares images itself; as it does where sizes differ."""
    from galaxy_exp.data import load_dataset
    from galaxy_exp.data.image_arrays import Preprocessing
    from galaxy_exp.errors import DataError, ModelError

    try:
        classifier.without_steps(Preprocessing.from_config(config))
    except ModelError:
        say("data.crop, data.resize and data.greyscale are left out: the model prepares images as in its training")
    height, width = classifier.image_size
    raw: dict[str, Any] = {"crop": None, "resize": None, "greyscale": False}
    try:
        return load_dataset(config.model_copy(update=raw))
    except DataError:  # without the model's size too, unless the sizes differ
        if height != width:
            raise
        trained = {"crop": classifier.crop, "resize": height, "greyscale": classifier.greyscale}
        return load_dataset(config.model_copy(update=trained))


def _with_votes(config: DataConfig, questions: Questions | None) -> DataConfig:
    """With the votes on the model's questions in a table of Galaxy Zoo without labels, unless votes are stated."""
    from galaxy_exp.config.votes_section import QuestionConfig
    from galaxy_exp.data.sources.image_table import recognise_votes

    if questions is None:
        return config
    votes, labels = recognise_votes(config) or (None, None)
    names = {each.name for each in questions.items}
    if votes is None or labels is not None or not names <= {each.name for each in votes.questions}:
        return config
    asked = tuple(QuestionConfig(name=each.name, answers=each.answers, after=each.after) for each in questions.items)
    say(f"{Path(config.source)}: its votes on the model's questions are used")
    return config.model_copy(update={"votes": votes.model_copy(update={"questions": asked})})


def _print_report(report: TestReport, record: dict[str, Any], output_format: str) -> None:
    if output_format == "json":
        click.echo(json.dumps(record, indent=2))
    elif output_format == "csv":
        print_rows(list(_long_rows(report, record)), "csv")
    else:
        simulated = "SIMULATED " if record["simulated"] else ""
        title = f"{report.n_images} {simulated}images of {sum(row['images'] > 0 for row in report.per_class)} classes"
        title += "; the model was trained on SIMULATED galaxies" if record["model_simulated"] else ""
        print_rows(list(_score_rows(report)), "table", title)
        where = ""
        if report.votes is None:
            print_rows(list(_confident_rows(report)), "table", "the most confident images, with 95% intervals")
        else:
            answers = [
                {"answer": row["name"], "images": row["n_images"]} | {name: row[name] for name in _SCORES_OF_ANSWERS}
                for row in report.votes["answers"]
            ]
            print_rows(answers, "table", "mean fraction of each answer, and what the model gives")
            share = f"{100 * report.votes['agreement']:g}%"
            where = f" of the {report.votes['n_agreed']} images where an answer has {share} of the votes or more"
        classes = [
            {"number": place, "class": row["class"], "images": row["images"]}
            | {name: _with_interval(row[name], row[f"{name}_interval"]) for name in _SCORES_OF_CLASSES}
            for place, row in enumerate(report.per_class)
        ]
        print_rows(classes, "table", f"by class{where}, with 95% intervals")
        for key, heading in (("confusion", "images"), ("confusion_by_row", "share of the true class")):
            title = f"true class against predicted, {heading}"
            rows = _matrix_rows(report.class_names, record[key])
            print_rows(rows, "table", title, importance=("number", "as 0", "true class"))


def _scores(report: TestReport) -> tuple[str, ...]:
    from galaxy_exp.evaluation.held_out_report import shown_names

    return _SCORES if report.votes is None else (*shown_names(report.to_dict()), "loss")


def _score_rows(report: TestReport) -> Iterator[dict[str, Any]]:
    from galaxy_exp.evaluation.held_out_report import label_of
    from galaxy_exp.evaluation.metrics import METRIC_LABELS

    for name in _scores(report):
        low, high = report.intervals.get(name, (None, None))
        yield {"score": label_of(name, report.to_dict()), "value": getattr(report, name), "low": low, "high": high}
    for name, value in _calibrated_scores(report).items():
        yield {"score": f"{METRIC_LABELS[name]} at temperature {report.temperature:.3f}", "value": value}


def _calibrated_scores(report: TestReport) -> dict[str, float]:
    """Scores at the model's temperature, by the names of `_SCORES`; empty without a temperature."""
    calibrated = report.calibrated
    return {} if calibrated is None else {"loss": calibrated["loss"], "calibration_error": calibrated["error"]}


def _confident_rows(report: TestReport) -> Iterator[dict[str, Any]]:
    from galaxy_exp.evaluation.confidence import COVERAGES_SHOWN

    for row in report.coverage:
        if row["coverage"] in COVERAGES_SHOWN:
            accuracy = _with_interval(row["accuracy"], row["interval"])
            yield {"kept": f"{row['coverage']:.0%}", "images": row["n_images"], "accuracy": accuracy}


def _with_interval(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" + ("" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})")


def _matrix_rows(class_names: list[str], matrix: list[list[int]] | list[list[float]]) -> list[dict[str, Any]]:
    """The columns are numbered, and shares have two digits, so that the table of ten classes fits 80 characters."""
    shown = [[f"{value:.2f}" if isinstance(value, float) else value for value in row] for row in matrix]
    return [
        {"number": place, "true class": name, **{f"as {column}": value for column, value in enumerate(row)}}
        for place, (name, row) in enumerate(zip(class_names, shown, strict=True))
    ]


def _long_rows(report: TestReport, record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    def row(
        quantity: str, value: Any, of: str | None = None, interval: Sequence[float] | None = None
    ) -> dict[str, Any]:
        low, high = interval or (None, None)
        return {"quantity": quantity, "class": of, "value": value, "low": low, "high": high}

    for name in ("simulated", "model_simulated", "n_images"):
        yield row(name, record[name])
    for name in _scores(report):
        yield row(name, getattr(report, name), interval=report.intervals.get(name))
    for name, value in _calibrated_scores(report).items():
        yield row(f"calibrated_{name}", value)
    for kept in report.coverage:
        yield row(f"accuracy_on_{kept['coverage']:.0%}", kept["accuracy"], interval=kept["interval"])
    for answer in report.votes["answers"] if report.votes is not None else ():
        for name in _SCORES_OF_ANSWERS:
            yield row(name, answer[name], answer["name"])
    for each in report.per_class:
        yield row("images", each["images"], each["class"])
        for name in _SCORES_OF_CLASSES:
            yield row(name, each[name], each["class"], each[f"{name}_interval"])


def _write_folder(report: TestReport, record: dict[str, Any], folder: Path) -> list[str]:
    """Writes the report and its figures; returns the names of the figures."""
    import numpy as np

    from galaxy_exp.evaluation.confidence import Calibration
    from galaxy_exp.report.classification import plot_confusion, plot_coverage, plot_reliability
    from galaxy_exp.report.votes import plot_fractions

    (folder / "report.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    of = " (SIMULATED galaxies)" if record["simulated"] else ""
    plot_confusion(
        np.array(report.confusion), report.class_names, folder / "confusion.png", f"{report.n_images} images{of}"
    )
    if report.votes is not None:
        plot_fractions(report.votes, folder / "fractions.png", f"Fractions{of}")
        return ["confusion.png", "fractions.png"]
    if report.reliability is not None:
        before = Calibration.from_dict(report.reliability)
        after = None if report.calibrated is None else Calibration.from_dict(report.calibrated)
        plot_reliability(before, after, report.temperature, folder / "reliability.png", f"Reliability{of}")
    plot_coverage(report.coverage, folder / "coverage.png", f"Accuracy and coverage{of}")
    return ["confusion.png", "reliability.png", "coverage.png"]
