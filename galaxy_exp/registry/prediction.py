"""Classifying named images into a table, one row per image, readable or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config import parse_sweep
from galaxy_exp.config.data_section import FitsConfig
from galaxy_exp.errors import BadInputError
from galaxy_exp.registry.row_files import Row

__all__ = ["Classifier", "NamedImageLike", "choose_stretch", "columns_of", "name_id_columns", "predict_to_rows"]


class NamedImageLike(Protocol):
    """An image with its name, or why it could not be read."""

    @property
    def name(self) -> str:
        """Path, or path and index within a file of many images."""

    @property
    def image(self) -> NDArray[np.uint8] | None:
        """(height, width, 3); None if it could not be read."""

    @property
    def error(self) -> str | None:
        """Why it could not be read; None if it could."""

    @property
    def id(self) -> tuple[str, str] | None:
        """The id column of the table that lists it, and its text there; None if it is from no table."""


class _PredictionsLike(Protocol):
    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def class_names(self) -> list[str]: ...

    @property
    def probabilities(self) -> NDArray[np.float32]: ...


class Classifier(Protocol):
    """What is needed of `galaxy_exp.registry.champion.GalaxyClassifier`."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class."""

    def refusal(self, image: NDArray[Any]) -> str | None:
        """Why an image cannot be classified; None if it can."""

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> _PredictionsLike:
        """Classifies images of different sizes."""


def choose_stretch(
    trained: Mapping[str, Any] | None, stated: Mapping[str, Any], where: Path | str, model: str
) -> FitsConfig:
    """How FITS files are to be read for a model: as it was trained, with what is stated put in its place.

    Args:
        trained: `data.fits` of the training, in full; None if the model was not trained on FITS files.
        stated: some keys of `data.fits`; with `trained` None, `stretch` among them.
        where: a FITS file that is to be read, or what holds them, for messages.
        model: its URI, for messages.

    Raises:
        BadInputError: the model has no stretch and none is stated, or the two do not go together.
    """
    if trained is None and "stretch" not in stated:
        raise BadInputError(
            f"{where}: FITS without a stretch: {model} has none, as it was not trained on FITS files; "
            "state one, as in --set data.fits.stretch=asinh"
        )
    name = f"stretch for {model}"
    before = parse_sweep({"data": {"fits": dict(trained or {})}}, name).data.fits.model_dump(mode="json")
    return parse_sweep({"data": {"fits": {**before, **stated}}}, name).data.fits


def predict_to_rows(
    classifier: Classifier, batches: Iterable[Sequence[NamedImageLike]], id_columns: Mapping[str, str] | None = None
) -> Iterator[Row]:
    """One row per image, in order, a batch at a time.

    Args:
        classifier: a loaded model.
        batches: images as they are read; only one batch is held in memory.
        id_columns: of `name_id_columns`.

    Yields:
        `name`, the id columns as text (None for an image of another table), `label` (int), `class_name`,
        `probability`, `p_<class name>` for each class (rounded to 6 decimals), `error`. An image that could not be
        read or that the model refuses has None in all but `name`, the ids and `error`; one that was classified has
        None in `error`.
    """
    for batch in batches:
        errors = [_error_of(classifier, item) for item in batch]
        fit = [
            item.image for item, error in zip(batch, errors, strict=True) if error is None and item.image is not None
        ]
        predicted = _prediction_rows(classifier, fit)
        for item, error in zip(batch, errors, strict=True):
            ids = {called: _id_in(item, column) for column, called in (id_columns or {}).items()}
            yield {"name": item.name, **ids, **(_empty_row(classifier, error) if error else next(predicted))}


def columns_of(classifier: Classifier, id_columns: Mapping[str, str] | None = None) -> list[str]:
    """The keys of a row, in order; `id_columns` is of `name_id_columns`."""
    return ["name", *(id_columns or {}).values(), *_empty_row(classifier, "")]


def name_id_columns(columns: Iterable[str], taken: Sequence[str]) -> dict[str, str]:
    """What the id columns of tables are called in the rows: as in the table, unless another column is called so.

    Args:
        columns: of the tables; repeated ones count once.
        taken: the other columns of a row.
    """
    return {name: f"{name} (table)" if name in taken else name for name in columns}


def _id_in(item: NamedImageLike, column: str) -> str | None:
    return item.id[1] if item.id is not None and item.id[0] == column else None


def _error_of(classifier: Classifier, item: NamedImageLike) -> str | None:
    if item.error is not None or item.image is None:
        return item.error or "could not be read"
    reason = classifier.refusal(item.image)
    return None if reason is None else f"image {reason}"


def _prediction_rows(classifier: Classifier, images: Sequence[NDArray[np.uint8]]) -> Iterator[Row]:
    if not images:
        return
    predictions = classifier.predict(images)
    for label, name, probabilities in zip(
        predictions.labels.tolist(), predictions.class_names, predictions.probabilities.tolist(), strict=True
    ):
        yield _row(classifier, label, name, [round(value, 6) for value in probabilities])


def _row(classifier: Classifier, label: int, class_name: str, probabilities: Sequence[float]) -> Row:
    columns = {f"p_{name}": value for name, value in zip(classifier.class_names, probabilities, strict=True)}
    return {
        "label": label,
        "class_name": class_name,
        "probability": probabilities[label],
        **columns,
        "error": None,
    }


def _empty_row(classifier: Classifier, error: str) -> Row:
    columns = [f"p_{name}" for name in classifier.class_names]
    return {**dict.fromkeys(["label", "class_name", "probability", *columns]), "error": error}
