"""A registered model on a user's labelled data set: its scores, a row per image, and whether it knows the images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data import ImageDataset, PreparedData
from galaxy_exp.data.dataset import preprocess_dataset
from galaxy_exp.data.image_arrays import Preprocessing, digest_each
from galaxy_exp.errors import DataError, ModelError
from galaxy_exp.evaluation.confidence import scale_probabilities
from galaxy_exp.evaluation.held_out_report import TestReport, build_report, build_vote_report
from galaxy_exp.questions import Questions
from galaxy_exp.records import AGREEMENT
from galaxy_exp.registry.held_out import digests_of_test_set
from galaxy_exp.registry.prediction import Row, name_id_columns

if TYPE_CHECKING:
    from galaxy_exp.registry.classifier import GalaxyClassifier

__all__ = [
    "Alignment",
    "align_classes",
    "align_questions",
    "describe_overlap",
    "evaluate_on",
    "find_test_sets",
    "list_predictions",
    "name_numbered_classes",
    "parse_class_map",
]

_IMAGES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Alignment:
    """The classes to score in: those of the data, then those that only the model knows."""

    class_names: tuple[str, ...]
    columns: tuple[int, ...]
    """For each class of the model, its place in `class_names`."""
    questions: Questions | None = None
    """If votes are scored instead: those of the data and of the model."""

    def merge(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """Probabilities (n, classes of the model) added up in `class_names`: (n, len(class_names)), the same dtype."""
        merged = np.zeros((len(probabilities), len(self.class_names)), probabilities.dtype)
        for column, place in enumerate(self.columns):
            merged[:, place] += probabilities[:, column]
        return merged


def parse_class_map(entries: Sequence[str]) -> dict[str, str]:
    """ "MODEL CLASS=DATA CLASS" entries as a dictionary.

    Raises:
        ModelError: an entry without =, or a class of the model twice.
    """
    parsed: dict[str, str] = {}
    for entry in entries:
        known, _, meant = (part.strip() for part in entry.partition("="))
        if not known or not meant:
            raise ModelError(f"--map {entry}: expected MODEL CLASS=DATA CLASS")
        if known in parsed:
            raise ModelError(f"--map {entry}: {known!r} is mapped twice; expected each class of the model once")
        parsed[known] = meant
    return parsed


def align_classes(
    model_classes: Sequence[str], dataset: ImageDataset, class_map: Mapping[str, str] | None = None
) -> Alignment:
    """Matches classes by name.

    A class of the model that the data does not have stays a class of its own: predicting it is always wrong. Several
    classes of the model may be mapped to one of the data; their probabilities are added.

    Args:
        model_classes: in label order.
        dataset: a class without images needs no counterpart.
        class_map: data class by class of the model, if the names differ.

    Raises:
        ModelError: an unknown name in the map, or a class of the data that the model does not know.
    """
    class_map = class_map or {}
    _check_known("the model", class_map, model_classes)
    _check_known(dataset.source, class_map.values(), dataset.class_names)
    meant = [class_map.get(name, name) for name in model_classes]
    missing = [name for name, count in dataset.counts.items() if count and name not in meant]
    for name in missing:
        if name in class_map:
            raise ModelError(
                f"--map {name}={class_map[name]}: no class of the model is left for {name!r}, which {dataset.source} "
                f"has too; leave this out, or map another class to {name!r}"
            )
    if missing:
        raise ModelError(
            "add --map 'MODEL CLASS=DATA CLASS' for each class with another name, or name the data's classes with "
            f"--set data.class_names=[...]: {dataset.source}: {_quoted(missing)} not among the model's classes "
            f"({'; '.join(model_classes)})"
        )
    names = tuple(dict.fromkeys([*dataset.class_names, *meant]))
    return Alignment(names, tuple(names.index(name) for name in meant))


def name_numbered_classes(
    dataset: ImageDataset, model_classes: Sequence[str], first_label: int | None = None
) -> ImageDataset:
    """The data set with the names of the model's classes, if its labels are numbers and it has as many classes.

    It is unchanged if its images are of classes that the model has under these names; with a first label, only if the
    model's classes are numbered from it too.

    Args:
        dataset: labelled images.
        model_classes: in label order.
        first_label: number of the first class, if it is stated; the last classes may be missing then.

    Raises:
        ModelError: no first label is stated, and no image has label 0, so that the labels may start at 1.
    """
    names, n_known, first = dataset.class_names, len(model_classes), first_label or 0
    used = {name for name, count in dataset.counts.items() if count}
    if names != tuple(f"class {first + place}" for place in range(len(names))):
        return dataset
    if used <= set(model_classes) and (first_label is None or model_classes[0] == names[0]):
        return dataset
    if first_label is None and names[0] not in used and len(names) in (n_known, n_known + 1):
        raise ModelError(
            f"{dataset.source}: its labels are numbers, and none is 0; if the labels start at 1: "
            "--set data.first_label=1; if they start at 0: --set data.first_label=0"
        )
    if len(names) > n_known or (first_label is None and len(names) < n_known):
        return dataset
    return replace(dataset, class_names=tuple(model_classes))


def align_questions(
    questions: Questions | None, dataset: ImageDataset, class_map: Mapping[str, str] | None = None
) -> Alignment | None:
    """Matches a model of votes with data that has votes; None if one of the two has classes alone.

    Raises:
        ModelError: other questions or answers, or a class map, which votes do not have.
    """
    if questions is None or dataset.votes is None:
        return None
    if class_map:
        raise ModelError("--map: both the model and the data have votes, whose answers must have the same names")
    if questions != dataset.votes.questions:
        raise ModelError(
            f"{dataset.source}: has votes on {_named(dataset.votes.questions)}; expected {_named(questions)}, which "
            "the model was trained on, in this order: state them as data.votes.questions"
        )
    names = questions.class_names
    return Alignment(names, tuple(range(len(names))), questions)


def _named(questions: Questions) -> str:
    return "; ".join(map(str, questions.items))


def _check_known(whose: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ModelError(f"--map: {whose} has no class {name!r}; expected one of {'; '.join(known)}")


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"class {shown} is" if len(names) == 1 else f"classes {shown} are"


def evaluate_on(
    classifier: GalaxyClassifier,
    dataset: ImageDataset,
    alignment: Alignment,
    on_progress: Callable[[int], None] = lambda done: None,
    agreement: float = AGREEMENT,
) -> tuple[TestReport, NDArray[np.float32]]:
    """Classifies the whole set and scores it.

    Args:
        classifier: a loaded model, not calibrated.
        dataset: raw images, which the model prepares itself, or images with the steps of the model's training.
        alignment: of the two.
        on_progress: called with the number of images done.
        agreement: of votes, as of `held_out_report.build_vote_report`.

    Returns:
        The report, and the probabilities, float32 (n, len(alignment.class_names)), or with questions the fractions of
        their answers, float32 (n, n_answers).

    Raises:
        ModelError: images that the model refuses, or that were preprocessed in another way than in its training.
    """
    if not _is_comparable(dataset, Preprocessing()):
        classifier = classifier.without_steps(dataset.preprocessing)
    batches: list[NDArray[Any]] = []
    questions = alignment.questions
    for start in range(0, len(dataset), _IMAGES_AT_ONCE):
        try:
            images = np.asarray(dataset.images[start : start + _IMAGES_AT_ONCE])
            predicted = classifier.predict(images)
            batches.append(predicted.outputs(questions) if questions is not None else predicted.probabilities)
        except ModelError as error:
            raise ModelError(f"{dataset.source}: {error}") from error
        on_progress(start + len(images))
    probabilities = np.concatenate(batches)
    if questions is not None and dataset.votes is not None:
        report = build_vote_report(dataset.votes, probabilities, dataset.digest, agreement)
        return report, questions.fractions(probabilities).astype(np.float32)
    merged = alignment.merge(probabilities).astype(np.float32)
    temperature: float | None = classifier.metadata.get("temperature")
    scaled = None if temperature is None else alignment.merge(scale_probabilities(probabilities, temperature))
    return build_report(dataset.labels, merged, alignment.class_names, dataset.digest, temperature, scaled), merged


def list_predictions(
    dataset: ImageDataset, alignment: Alignment, probabilities: NDArray[np.float32]
) -> tuple[list[str], Iterator[Row]]:
    """The predictions of `evaluate_on`, image by image, or row by row for a table.

    Returns:
        The columns, and a row for each image: `name`, the table's id as text, `true_class`, `class_name`,
        `probability`, a `p_<class name>` for each class, `error`. With questions, a `p_<answer>` for each answer and
        an `observed_<answer>`, the fraction of the votes, None without any. A row of the table that was left out has
        only its `error`.
    """
    names: Sequence[str] = alignment.class_names
    observed: Sequence[str] = ()
    if alignment.questions is not None:
        names = alignment.questions.answers
        observed = [f"observed_{name}" for name in names]
    columns = ["true_class", "class_name", "probability", *(f"p_{name}" for name in names), *observed, "error"]
    rows = dataset.rows
    id_columns = [] if rows is None else list(name_id_columns([rows.id_column], ["name", *columns]).values())
    return ["name", *id_columns, *columns], _iter_predictions(dataset, alignment, probabilities, id_columns, columns)


def _iter_predictions(
    dataset: ImageDataset,
    alignment: Alignment,
    probabilities: NDArray[np.float32],
    id_columns: Sequence[str],
    columns: Sequence[str],
) -> Iterator[Row]:
    rows, names, skipped = dataset.rows, alignment.class_names, iter(dataset.skipped)
    index_of = range(len(dataset)) if rows is None else {int(row): index for index, row in enumerate(rows.kept)}
    for row in range(len(dataset) if rows is None else len(rows.ids)):
        if rows is not None:
            name = rows.files[row]
        else:
            name = dataset.names[row] if dataset.names else f"{dataset.source}[{row}]"
        found: Row = {"name": name, **({} if rows is None else {id_columns[0]: rows.ids[row]})}
        if row not in index_of:
            yield {**found, **dict.fromkeys(columns), "error": next(skipped, None)}
            continue
        index = index_of[row]
        values = [round(value, 6) for value in probabilities[index].tolist()]
        best = int(probabilities[index, : len(names)].argmax())
        observed = _observed_fractions(dataset, index) if alignment.questions is not None else []
        known = (names[dataset.labels[index]], names[best], values[best], *values, *observed, None)
        yield {**found, **dict(zip(columns, known, strict=True))}


def _observed_fractions(dataset: ImageDataset, index: int) -> list[float | None]:
    if dataset.votes is None:
        return []
    fractions = dataset.votes.questions.fractions(dataset.votes.values[index : index + 1])[0].tolist()
    return [None if math.isnan(value) else round(value, 6) for value in fractions]


def _is_comparable(dataset: ImageDataset, preprocessing: Preprocessing) -> bool:
    """Whether its images are raw or have these steps, whatever the stretch of FITS files."""
    return replace(dataset.preprocessing, fits=None) in (Preprocessing(), replace(preprocessing, fits=None))


def _prepare_as_trained(classifier: GalaxyClassifier, dataset: ImageDataset) -> ImageDataset:
    """Raw images with the steps of the model's training; others unchanged, and those that are too small."""
    crop, (height, width) = classifier.crop, classifier.image_size
    shape = dataset.image_shape[:2] if crop is None else (crop, crop)
    resize = height if height == width and shape != (height, width) else None
    try:
        return preprocess_dataset(dataset, Preprocessing(crop, resize, classifier.greyscale))
    except DataError:
        return dataset


def describe_overlap(classifier: GalaxyClassifier, dataset: ImageDataset, data_cache: Path) -> str | None:
    """One line if the model was trained on some of these images, as far as that is known; else None.

    The model knows the digests of its sweep's data set and split. If that sweep's prepared images are still in
    `data_cache`, its training images are looked for one by one. A model that an earlier release packaged does not know
    its split: any split of the data is searched, and the line is vague. It is vague too if the images cannot be
    compared, because they were preprocessed in another way.
    """
    digest, split_digest = (str(classifier.metadata.get(key, "")) for key in ("data_digest", "split_digest"))
    if not digest:
        return None
    if digest in (dataset.digest, _prepare_as_trained(classifier, dataset).digest):
        return "these images are the data set of the model's sweep and include its training images"
    for prepared in _load_prepared(data_cache, digest, split_digest):
        if not _is_comparable(dataset, prepared.preprocessing):
            done = ", ".join(dataset.preprocessing.describe())
            return f"these images are preprocessed already ({done}), and may be among the model's training images"
        try:
            alike = preprocess_dataset(dataset, prepared.preprocessing)
        except DataError:  # smaller than the crop
            continue
        if alike.image_shape != prepared.image_shape:
            continue
        trained = set(digest_each(np.load(prepared.files.train_images, mmap_mode="r")))
        if seen := sum(image in trained for image in digest_each(alike.images)):
            were = "were" if split_digest else "may have been"
            return f"{seen} of these {len(dataset)} images {were} among the model's training images"
    return None


def find_test_sets(dataset: ImageDataset, data_cache: Path) -> tuple[list[frozenset[str]], int]:
    """The held-out test sets of the project's sweeps of which at least half the images are in the data set.

    Returns:
        Each as the result of `held_out.digests_of_test_set`, and the number of test sets for which this is not known,
        because the images were preprocessed in another way.
    """
    found, n_unknown, hashes = [], 0, dict[str, set[bytes]]()
    for prepared in _load_prepared(data_cache):
        if not _is_comparable(dataset, prepared.preprocessing):
            n_unknown += 1
            continue
        steps = repr(prepared.preprocessing.to_dict())
        if steps not in hashes:
            try:
                hashes[steps] = set(digest_each(preprocess_dataset(dataset, prepared.preprocessing).images))
            except DataError:  # smaller than the crop
                hashes[steps] = set()
        tested = digest_each(np.load(prepared.held_out.images, mmap_mode="r"))
        if 2 * sum(image in hashes[steps] for image in tested) >= len(tested):
            found.append(digests_of_test_set(prepared))
    return found, n_unknown


def _load_prepared(data_cache: Path, digest: str = "", split_digest: str = "") -> list[PreparedData]:
    """Prepared data with these digests; an empty one matches any."""
    found = []
    for folder in sorted(data_cache.glob(f"{digest[:16]}*-{split_digest[:16]}*")):
        try:
            found.append(PreparedData.load(folder))
        except DataError:
            continue
    return [each for each in found if digest in ("", each.digest) and split_digest in ("", each.split_digest)]
