"""Reads the labels of all sources as whole numbers from 0, and finds the names of the classes.

The names are the first of these that exist: `data.class_names` of the sweep file; a sidecar file
`<data file>.classes.txt` beside the data, or `classes.txt` in the same folder (in the folder itself, if the data is a
folder), one name a line in label order, where lines that begin with # are comments; the attribute `class_names` of an
HDF5 file or of its labels; the data set or array `class_names` of the file; the names of an HDF5 enumeration; "class
0", "class 1", ...
"""

from __future__ import annotations

import numbers
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import DataError, short_reason
from galaxy_exp.wording import did_you_mean, parse_number

__all__ = [
    "MISSING_TEXTS",
    "Labels",
    "LabelsAt",
    "find_class_names",
    "find_sidecar",
    "normalise_name",
    "parse_class_names",
    "parse_labels",
]

_MOST_CLASSES = 10_000
_LARGEST = 2**63 - 1
"""Largest whole number of an int64 array."""
MISSING_TEXTS = {"", "nan", "<na>", "null", "none", "na", "n/a", "#n/a", "--"}
"""Lower-case spellings of a missing label or number, unless a class has that name; -- is a masked cell of Astropy's."""
_TRUTH = ("false", "true")
_NEARLY_ALL = 0.9


@dataclass(frozen=True, slots=True)
class LabelsAt:
    """Origin of labels, for messages."""

    source: str
    key: str
    """Name of the data set or column."""
    by_row: bool = False
    """Whether messages count rows from 1 instead of indices from 0."""

    def refusal(self, index: int, value: Any, rest: str) -> DataError:
        """The error for one label: its place and value, then `rest`, which begins with punctuation."""
        if self.by_row:
            return DataError(f"{self.source}: row {index + 1}: {self.key!r} is {_show(value)}{rest}")
        return DataError(f"{self.source}: {self.key!r} is {_show(value)} at index {index}{rest}")


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labels as whole numbers, with the names of the classes."""

    values: NDArray[np.int64]
    """int64 (n,), from 0."""
    class_names: tuple[str, ...]
    """One name per class, in label order."""
    note: str | None = None
    """How the labels were understood, if that is not obvious."""


def parse_labels(
    found: Any, class_names: Sequence[str] | None, at: LabelsAt, n_images: int, first_label: int = 0
) -> Labels:
    """Reads whole numbers (of any dtype, or as text), names (text or bytes), booleans, or one-hot rows.

    Names are matched with `class_names` or, without class names, numbered in alphabetical order. Booleans are the
    classes False and True, matched by name if `class_names` has one of these.

    Args:
        found: (n,), (n, 1) or one-hot (n, n_classes): an array, masked array or list.
        class_names: one name per class in label order; None: the labels' own names, or "class 0", "class 1", ...
        first_label: number of the first class.

    Raises:
        DataError: names the first label that is missing, a fraction or no class; or the shape or number of classes is
            wrong.
    """
    array = _as_array(found, at, n_images)
    if array.ndim == 2:
        positions = _read_one_hot(array, at)
        names = class_names or [f"class {label}" for label in range(array.shape[1])]
        if len(names) != array.shape[1]:
            found = (
                f"has shape {array.shape}, one-hot of {array.shape[1]} classes, but there are {len(names)} class names"
            )
            raise DataError(f"{at.source}: {at.key!r} {found}; expected {array.shape[1]} names (data.class_names)")
        return Labels(positions, tuple(names), f"{at.key!r} is one-hot; each label is the position of the 1")
    values = _read_values(array, class_names or (), at, first_label)
    if isinstance(values, list):
        if not {text.lower() for text in values} <= set(_TRUTH):
            return _match_names(values, class_names, at)
        class_names = class_names or ("False", "True")
        if set(values) <= {name.strip() for name in class_names}:
            return _match_names(values, class_names, at)
        if not set(_TRUTH).isdisjoint(_lower(class_names)):  # `True` is the class `true`
            return Labels(_match_names(_lower(values), _lower(class_names), at).values, tuple(class_names))
        values, first_label = np.array([_TRUTH.index(text) for text in _lower(values)]), 0
    whole = _check_whole(values, at, first_label)
    last = int(whole.max(initial=first_label - 1))
    names = class_names or [f"class {label}" for label in range(first_label, last + 1)]
    _check_named(whole, names, at, first_label)
    return Labels(whole - first_label, tuple(names))


def _as_array(found: Any, at: LabelsAt, n_images: int) -> NDArray[Any]:
    """(n,) or (n, n_classes); None for masked entries."""
    try:
        array = np.asarray(found)
        if array.dtype.kind == "U":  # in which a member of an Enum of texts is its name
            array = np.asarray(found, dtype=object)
    except ValueError:
        raise DataError(f"{at.source}: {at.key!r} has entries of different lengths; expected one label each") from None
    if isinstance(found, np.ma.MaskedArray):
        array = array.astype(object)
        array[np.ma.getmaskarray(found)] = None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or len(array) != n_images:
        raise DataError(f"{at.source}: {at.key!r} has shape {array.shape}; expected ({n_images},), one label per image")
    return array


def _read_one_hot(array: NDArray[Any], at: LabelsAt) -> NDArray[np.int64]:
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{at.source}: {at.key!r} has shape {array.shape}; expected ({len(array)},), one name per image"
        )
    marked = array.astype(np.float64)
    if not np.isin(marked[np.isfinite(marked)], (0, 1)).all():
        raise DataError(
            f"{at.source}: {at.key!r} has shape {array.shape} and is not one-hot, as it holds other numbers than 0 and "
            "1, such as shares of votes; expected one class per image, such as the one with the most votes, or votes "
            "in data.votes"
        )
    wrong = np.flatnonzero(marked.sum(axis=1) != 1)
    if len(wrong):
        row = array[wrong[0]].tolist()
        raise at.refusal(int(wrong[0]), row, f"; expected one 1 in each row, as one-hot labels have{_count(wrong)}")
    return np.asarray(marked.argmax(axis=1), dtype=np.int64)


def _read_values(
    array: NDArray[Any], class_names: Sequence[str], at: LabelsAt, first_label: int
) -> NDArray[Any] | list[str]:
    """Numbers (n,) if all values are numbers; else names. No value is missing."""
    if array.dtype.kind in "iuf":
        return array
    if array.dtype.kind not in "bOSU":
        raise DataError(f"{at.source}: {at.key!r} is of type {array.dtype}; expected whole numbers or names")
    values = array.tolist()
    missing = [index for index, value in enumerate(values) if _is_missing(value) and _text_of(value) not in class_names]
    if missing:
        found = _plain(values[missing[0]])
        hint = "; if it is a class, list it in data.class_names" if isinstance(found, str) and found.strip() else ""
        raise at.refusal(missing[0], found, f"{_expected(first_label)}{_gaps(missing)}{hint}")
    if all(isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_) for value in values):
        return _as_numbers(values, at, first_label)
    texts = [_read_text(value, index, at) for index, value in enumerate(values)]
    parsed = [parse_number(text) for text in texts]
    if not class_names:
        _refuse_decimal_commas(texts, at)
    named = bool(class_names) and set(texts) <= set(class_names)
    return texts if named or None in parsed else np.array(parsed)


def _refuse_decimal_commas(texts: list[str], at: LabelsAt) -> None:
    """Refuses labels that are numbers with a decimal comma, with few exceptions, which would be names otherwise."""
    numeric = [index for index, text in enumerate(texts) if parse_number(text.replace(",", ".")) is not None]
    first = next((index for index in numeric if "," in texts[index]), None)
    if first is not None and len(numeric) >= _NEARLY_ALL * len(texts):
        expected = "expected whole numbers or names; if these are names, list them in data.class_names"
        raise at.refusal(first, texts[first], f", a number with a decimal comma; {expected}")


def _text_of(value: Any) -> str:
    plain = _plain(value)
    return (plain if isinstance(plain, str) else str(plain)).strip()


def _as_numbers(values: Sequence[Any], at: LabelsAt, first_label: int) -> NDArray[Any]:
    """An array of Python's numbers; whole numbers that do not fit into int64 are refused."""
    for index, value in enumerate(values):
        if isinstance(value, numbers.Integral) and abs(int(value)) > _LARGEST:
            raise at.refusal(index, value, _expected(first_label))
    found = np.array(values)
    return found if found.dtype.kind in "iuf" else found.astype(np.float64)


def _is_missing(value: Any) -> bool:
    if isinstance(value, str | bytes):
        return _text_of(value).lower() in MISSING_TEXTS
    nan = isinstance(value, float | np.floating) and bool(np.isnan(value))
    return value is None or nan or type(value).__name__ in ("NAType", "NaTType")


def _read_text(value: Any, index: int, at: LabelsAt) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode().strip()
        except UnicodeDecodeError:
            raise at.refusal(index, value, "; expected text that is UTF-8") from None
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool | np.bool_ | numbers.Real):
        return str(value).strip()
    raise at.refusal(index, value, "; expected a whole number or a name")


def _lower(texts: Sequence[str]) -> list[str]:
    return [text.strip().lower() for text in texts]


def _match_names(values: list[str], class_names: Sequence[str] | None, at: LabelsAt) -> Labels:
    names = tuple(class_names or sorted(set(values)))
    if class_names is None:
        _refuse_variants(values, names, at)
    positions = {normalise_name(name.strip()): label for label, name in enumerate(names)}
    positions |= {name.strip(): label for label, name in enumerate(names)}
    found = [positions.get(text, positions.get(normalise_name(text))) for text in values]
    if None in found:
        index = found.index(None)
        raise at.refusal(index, values[index], f", no class name; {did_you_mean(values[index], names)}")
    return Labels(np.array(found, dtype=np.int64), names)


def normalise_name(name: str) -> str:
    """The name with accents in one encoding, as macOS encodes them in another way than other systems."""
    return unicodedata.normalize("NFC", name)


def _refuse_variants(values: list[str], names: Sequence[str], at: LabelsAt) -> None:
    """Refuses names that differ only in case, white space, invisible characters or the encoding of accents, and one
    number in two forms, as one of them is probably misspelt.
    """
    first: dict[str | Decimal, str] = {}
    for name in names:
        if (known := first.setdefault(_without_variation(name), name)) != name:
            index = max(values.index(name), values.index(known))
            other = known if values[index] == name else name
            same = " with its accents in another encoding" if normalise_name(name) == normalise_name(known) else ""
            rest = f", and {other!r} is another label{same}; expected one spelling, or both in data.class_names"
            raise at.refusal(index, values[index], rest)


def _without_variation(name: str) -> str | Decimal:
    """The name without what a typing error may change; of a number, its value."""
    if parse_number(name) is not None:
        with suppress(InvalidOperation):  # digits or an exponent without end
            return Decimal(name)
    visible = "".join(letter for letter in normalise_name(name) if unicodedata.category(letter) != "Cf")
    return " ".join(visible.casefold().split())


def _check_whole(values: NDArray[Any], at: LabelsAt, first_label: int) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):
        missing = np.isnan(values) | (values < 0)
        fraction = ~missing & np.isfinite(values) & (values != np.floor(values))
        wrong = missing | fraction | ~((values >= first_label) & (values < _MOST_CLASSES))
    if not wrong.any():
        return np.ascontiguousarray(values, dtype=np.int64)
    index, expected = int(wrong.argmax()), _expected(first_label)
    if missing[index]:
        expected += _gaps(np.flatnonzero(missing))
    elif fraction[index]:
        expected += "; fractions, such as shares of votes, are no classes: take the class with the most votes, or "
        expected += "see data.votes"
    raise at.refusal(index, values[index], expected)


def _check_named(values: NDArray[np.int64], names: Sequence[str], at: LabelsAt, first_label: int) -> None:
    most = first_label + len(names)
    if len(values) == 0 or values.max() < most:
        return
    index, needed = int((values >= most).argmax()), int(values.max()) - first_label + 1
    from_one = first_label == 0 and values.min() == 1 and values.max() == most
    cause = "; these labels start at 1: data.first_label: 1" if from_one else ""
    rest = f", but there are {len(names)} class names; expected {needed} names (data.class_names){cause}"
    raise at.refusal(index, values[index], rest)


def _expected(first_label: int) -> str:
    return f"; expected a whole number from {first_label}{' (data.first_label)' if first_label else ''}, or a name"


def _gaps(missing: Sequence[int] | NDArray[np.int64]) -> str:
    return f"; where a label is missing, leave the image out{_count(missing)}"


def _count(found: Sequence[int] | NDArray[np.int64]) -> str:
    return f" ({len(found)} in all)" if len(found) > 1 else ""


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _show(value: Any) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    plain = plain.strip() if isinstance(plain, str) else plain
    if plain == "":
        return "empty"
    if isinstance(plain, float):
        return str(int(plain)) if plain.is_integer() else f"{plain:g}"
    return (repr(plain) if isinstance(plain, str) and parse_number(plain) is None else str(plain))[:60]


def parse_class_names(found: Any, where: str) -> tuple[str, ...]:
    """Class names as text from a list, array, index or column of text, bytes (UTF-8) or whole numbers, without blanks
    around them.

    Raises:
        DataError: one text, names without an order, or anything else; the message begins with `where`.
    """
    is_list = isinstance(found, Iterable) and not isinstance(found, str | bytes | Mapping | set | frozenset)
    if not is_list or getattr(found, "ndim", 1) != 1:
        text = " ".join(repr(found).split())[:60]
        raise DataError(f"{where} is {text}; expected a list of names, one per class in label order")
    return tuple(_parse_name(name, where) for name in found)


def _parse_name(name: Any, where: str) -> str:
    try:
        text = name.decode() if isinstance(name, bytes) else name
    except UnicodeDecodeError:
        raise DataError(f"{where} has the name {bytes(name)!r}; expected text that is UTF-8") from None
    if isinstance(text, bool | np.bool_) or not isinstance(text, str | numbers.Integral):
        raise DataError(f"{where} has the name {name!r}; expected text")
    return str.__str__(text) if isinstance(text, str) else str(text)  # a member of an Enum of texts is its text


def find_class_names(path: Path, configured: Sequence[str] | None) -> tuple[str, ...] | None:
    """The configured names (`data.class_names`), else those of a sidecar file of the data; None without either.

    Raises:
        DataError: the sidecar file is empty, not text, or names a class twice.
    """
    if configured is not None:
        return tuple(configured)
    sidecar = find_sidecar(path)
    return None if sidecar is None else _read_names(sidecar)


def find_sidecar(path: Path) -> Path | None:
    """The text file with class names beside `path`, or in it if it is a folder; None without one."""
    path = path.resolve()  # "." has no name to append to
    folder = path if path.is_dir() else path.parent
    candidates = (path.with_name(f"{path.name}.classes.txt"), folder / "classes.txt")
    return next((sidecar for sidecar in candidates if sidecar.is_file()), None)


def _read_names(sidecar: Path) -> tuple[str, ...]:
    try:
        lines = sidecar.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{sidecar}: cannot be read ({short_reason(error)}); expected UTF-8 text, one class name a line"
        ) from None
    names = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not names:
        raise DataError(f"{sidecar}: is empty; expected one class name a line, in label order")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{sidecar}: names {twice!r} twice; expected each class once, a name a line")
    return names
