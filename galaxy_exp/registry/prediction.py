"""Predictions as a table, one row per image, readable or not, and its files: CSV, JSON, JSON lines and Parquet.

Rows are made and written as images are read, so that memory does not grow with their number.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

from galaxy_exp.errors import BadInputError, escape_unprintable
from galaxy_exp.folders import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from galaxy_exp.config.data_section import FitsConfig
    from galaxy_exp.data.inputs import NamedImage
    from galaxy_exp.questions import Questions
    from galaxy_exp.registry.classifier import GalaxyClassifier, Predictions

__all__ = [
    "FORMATS",
    "Row",
    "choose_format",
    "choose_stretch",
    "columns_of",
    "name_id_columns",
    "predict_to_rows",
    "write_lines_to_terminal",
    "write_rows",
    "write_rows_to_stdout",
]

Row = dict[str, Any]
"""`name`, the ids of a table as text, `label` (int), `class_name`, `probability`, a `p_<class name>` for each class,
`error`, in this order; None for what is not known.

Of a model of votes, `label`, `class_name` and `probability` are the winning answer to the first question and its
fraction; then come `p_<answer>`, `low_<answer>` and `high_<answer>` for each answer, the fraction and the ends of its
90% interval, and `concentration_<question>` for each question. Ends and concentrations are None if the model states
none."""

FORMATS = ("csv", "json", "jsonl", "parquet")
"""json: one list, a row a line; jsonl: an object a line."""
_ROWS_PER_GROUP = 8192
"""Of a Parquet file; as many rows are held in memory."""


def choose_stretch(
    trained: Mapping[str, Any] | None, stated: Mapping[str, Any], where: Path | str, model: str
) -> FitsConfig:
    """How FITS files are read for a model: as in its training, with the stated keys in place of the trained ones.

    Args:
        trained: `data.fits` of the training, in full; None if the model was not trained on FITS files.
        stated: some keys of `data.fits`; with `trained` None, `stretch` among them.
        where: a FITS file to be read, or the folder or file that holds them, for messages.
        model: its URI, for messages.

    Raises:
        BadInputError: the model has no stretch and none is stated, or the two do not go together.
    """
    from galaxy_exp.config import parse_sweep

    if trained is None and "stretch" not in stated:
        raise BadInputError(
            f"add --set data.fits.stretch=asinh, or another stretch: {where} is FITS, and {model}, which was not "
            "trained on FITS files, has no stretch"
        )
    name = f"stretch for {model}"
    before = parse_sweep({"data": {"fits": dict(trained or {})}}, name).data.fits.model_dump(mode="json")
    return parse_sweep({"data": {"fits": {**before, **stated}}}, name).data.fits


def predict_to_rows(
    classifier: GalaxyClassifier, batches: Iterable[Sequence[NamedImage]], id_columns: Mapping[str, str] | None = None
) -> Iterator[Row]:
    """One row per image, in order, a batch at a time.

    Args:
        classifier: a loaded model.
        batches: images as they are read; only one batch is held in memory.
        id_columns: of `name_id_columns`.

    Yields:
        The keys of a `Row`, numbers rounded to 6 decimals, ids None for an image of another table. An image that could
        not be read or that the model refuses has None in all but `name`, the ids and `error`; one that was classified
        has None in `error`.
    """
    for batch in batches:
        errors = [_error_of(classifier, item) for item in batch]
        fit = [item.image for item, error in zip(batch, errors, strict=True) if error is None]
        predicted = _prediction_rows(classifier, fit)
        for item, error in zip(batch, errors, strict=True):
            ids = {
                called: item.id[1] if item.id is not None and item.id[0] == column else None
                for column, called in (id_columns or {}).items()
            }
            yield {"name": item.name, **ids, **(_empty_row(classifier, error) if error else next(predicted))}


def columns_of(classifier: GalaxyClassifier, id_columns: Mapping[str, str] | None = None) -> list[str]:
    """The keys of a row, in order; `id_columns` is of `name_id_columns`."""
    return ["name", *(id_columns or {}).values(), *_empty_row(classifier, "")]


def name_id_columns(columns: Iterable[str], taken: Sequence[str]) -> dict[str, str]:
    """The names of the tables' id columns in the rows, by those in the tables: the same, unless it is `taken`."""
    return {name: f"{name} (table)" if name in taken else name for name in columns}


def _error_of(classifier: GalaxyClassifier, item: NamedImage) -> str | None:
    if item.error is not None or item.image is None:
        return item.error or "could not be read"
    reason = classifier.refusal(item.image)
    return None if reason is None else f"image {reason}"


def _prediction_rows(classifier: GalaxyClassifier, images: Sequence[Any]) -> Iterator[Row]:
    if not images:
        return
    predictions = classifier.predict(images)
    numbers: NDArray[Any] = predictions.probabilities
    if classifier.questions is not None:
        numbers = _vote_numbers(classifier.questions, predictions)
    for label, name, probabilities in zip(
        predictions.labels.tolist(), predictions.class_names, numbers.tolist(), strict=True
    ):
        values = [None if math.isnan(value) else round(value, 6) for value in probabilities]
        best = label if classifier.questions is None else 3 * label
        known = (label, name, values[best], *values, None)
        yield dict(zip(_empty_row(classifier, ""), known, strict=True))


def _vote_numbers(questions: Questions, predictions: Predictions) -> NDArray[np.float64]:
    """The columns of fractions, their intervals and concentrations; NaN for what the model does not state."""
    import numpy as np

    from galaxy_exp.evaluation.vote_metrics import fraction_intervals

    outputs = predictions.outputs(questions)
    low, high = fraction_intervals(outputs, questions)
    by_answer = np.stack([questions.fractions(outputs), low, high], axis=2).reshape(len(outputs), -1)
    stated = ~np.isnan(low).any(axis=1, keepdims=True)
    return np.hstack([by_answer, np.where(stated, questions.totals(outputs), np.nan)])


def _empty_row(classifier: GalaxyClassifier, error: str) -> Row:
    columns = [f"p_{name}" for name in classifier.class_names]
    if (questions := classifier.questions) is not None:
        columns = [f"{kind}_{name}" for name in questions.answers for kind in ("p", "low", "high")]
        columns += [f"concentration_{each.name}" for each in questions.items]
    return {**dict.fromkeys(["label", "class_name", "probability", *columns]), "error": error}


def choose_format(path: Path | None, stated: str | None) -> str:
    """The stated format, else that of the file's ending, else CSV.

    Raises:
        BadInputError: an unknown ending, or Parquet without a file.
    """
    found = stated or ("csv" if path is None else path.suffix.lower().removeprefix("."))
    if found not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise BadInputError(f"--output {path}: expected a name ending in one of {endings}, or --format as well")
    if path is None and found == "parquet":
        raise BadInputError("--format parquet: expected --output FILE as well; Parquet cannot be written to a pipe")
    return found


def write_rows(rows: Iterable[Row], columns: Sequence[str], path: Path, format: str) -> None:
    """Writes a file atomically: on return it is complete and on disk, and until then an older one stays.

    Args:
        rows: of `predict_to_rows`.
        columns: their keys; the header of a file without rows.
        path: the file to write.
        format: one of `FORMATS`.

    Raises:
        BadInputError: the file cannot be written there.
    """

    def write(temporary: Path) -> None:
        try:
            file = temporary.open("wb")
        except OSError as error:
            raise BadInputError(f"{path}: cannot be written: {error.strerror}") from error
        with file:
            if format == "parquet":
                _write_parquet(rows, columns, file)
            else:
                with io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="") as stream:
                    _WRITERS[format](rows, columns, stream)

    if not path.parent.is_dir():  # which is not made here
        raise BadInputError(f"{path}: cannot be written: {os.strerror(errno.ENOENT)}")
    write_atomically(path, write)


def write_rows_to_stdout(
    rows: Iterable[Row], columns: Sequence[str], format: str, stdout: TextIO | None = None
) -> None:
    """Writes rows as they come, in any format but Parquet; `stdout` replaces `sys.stdout`."""
    if stdout is None and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names that are no UTF-8 are written as they are
    _WRITERS[format](rows, columns, stdout or sys.stdout)


def write_lines_to_terminal(rows: Iterable[Row], name_width: int, class_width: int) -> None:
    """Prints one line an image: its name, class and probability to 2 decimals, or the error.

    The widths are the characters of the longest name and of the longest class, so that the columns are aligned.
    """
    for row in rows:
        name, error = escape_unprintable(row["name"]), row["error"]
        if error is None:
            print(f"{name:<{name_width}}  {row['class_name']:<{class_width}}  {row['probability']:.2f}", flush=True)
        else:
            print(f"{name:<{name_width}}  {escape_unprintable(error).removeprefix(f'{name}: ')}", flush=True)


def _write_csv(rows: Iterable[Row], columns: Sequence[str], stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row[column] for column in columns] for row in rows)


def _write_json(rows: Iterable[Row], columns: Sequence[str], stream: TextIO) -> None:
    before = "[\n"
    for row in rows:
        stream.write(f"{before}{json.dumps(_as_utf8(row), ensure_ascii=False)}")
        before = ",\n"
    stream.write("[]\n" if before == "[\n" else "\n]\n")


def _write_json_lines(rows: Iterable[Row], columns: Sequence[str], stream: TextIO) -> None:
    for row in rows:
        stream.write(json.dumps(_as_utf8(row), ensure_ascii=False) + "\n")


_WRITERS: dict[str, Callable[[Iterable[Row], Sequence[str], TextIO], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "jsonl": _write_json_lines,
}


def _write_parquet(rows: Iterable[Row], columns: Sequence[str], file: IO[bytes]) -> None:
    import pyarrow
    from pyarrow import parquet

    probabilities = columns[columns.index("probability") : -1]  # by place: an id column may be called p_id
    numbers = {"label": pyarrow.int64(), **dict.fromkeys(probabilities, pyarrow.float64())}
    schema = pyarrow.schema([(column, numbers.get(column, pyarrow.string())) for column in columns])
    remaining = iter(rows)
    with parquet.ParquetWriter(file, schema) as writer:
        while group := [_as_utf8(row) for row in islice(remaining, _ROWS_PER_GROUP)]:
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


def _as_utf8(row: Row) -> Row:
    """The row for a format that takes UTF-8 alone: bytes of a file name that are not are replaced."""
    texts = {key: row[key] for key in ("name", "error") if row[key] is not None}
    return row | {key: text.encode(errors="surrogateescape").decode(errors="replace") for key, text in texts.items()}
