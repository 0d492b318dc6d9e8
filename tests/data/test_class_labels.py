"""Every form of labels that people have gives the same labels through every source of arrays or a table."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.data import ImageDataset, load_dataset
from galaxy_exp.data.sources.array_file import store_data
from galaxy_exp.errors import DataError

EXPECTED = [2, 0, 1, 2, 0, 1, 1]
NUMBERS = np.array(EXPECTED)
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 9, 10, 3), dtype=np.uint8)
KINDS = ("elliptical", "merger", "spiral")
NAMES = [KINDS[label] for label in EXPECTED]
PLAIN = ("class 0", "class 1", "class 2")
BINARY = [1, 0, 1, 1, 0, 0, 1]
OPPOSITE = [1 - label for label in BINARY]
TRUTH = ["true" if label else "false" for label in BINARY]

Load = Callable[..., ImageDataset]


def _from_hdf5(folder: Path, labels: Any, **config: Any) -> ImageDataset:
    array = np.asarray(labels)
    with h5py.File(folder / "set.h5", "w") as file:
        file["images"] = IMAGES
        file["ans"] = array.astype(h5py.string_dtype()) if array.dtype.kind in "OU" else array
    return load_dataset(DataConfig(source=str(folder / "set.h5"), **config))


def _from_npz(folder: Path, labels: Any, **config: Any) -> ImageDataset:
    array = np.asarray(labels)
    np.savez(folder / "set.npz", images=IMAGES, labels=array.astype(str) if array.dtype == object else array)
    return load_dataset(DataConfig(source=str(folder / "set.npz"), **config))


def _from_python(folder: Path, labels: Any, **config: Any) -> ImageDataset:
    return load_dataset(store_data((IMAGES, labels), DataConfig(**config), folder / "given"))


def _from_own_source(folder: Path, labels: Any, **config: Any) -> ImageDataset:
    Survey.labels = labels
    return load_dataset(DataConfig(source=f"{__name__}:Survey", **config))


class Survey:
    labels: Any

    def load(self) -> Any:
        return {"images": IMAGES, "labels": self.labels}


def _files(folder: Path) -> list[str]:
    for index, image in enumerate(IMAGES):
        Image.fromarray(image).save(folder / f"{index}.png")
    return [f"{index}.png" for index in range(len(IMAGES))]


def _from_csv(folder: Path, labels: Any, **config: Any) -> ImageDataset:
    cells = [cell.decode() if isinstance(cell, bytes) else cell for cell in np.asarray(labels).ravel().tolist()]
    lines = [f"{file};{cell}" for file, cell in zip(_files(folder), cells, strict=True)]
    (folder / "set.csv").write_text("\n".join(["file;label", *lines]))
    return load_dataset(DataConfig(source=str(folder / "set.csv"), **config))


def _from_parquet(folder: Path, labels: Any, **config: Any) -> ImageDataset:
    table = pyarrow.table({"file": _files(folder), "label": np.asarray(labels).ravel().tolist()})
    parquet.write_table(table, folder / "set.parquet")
    return load_dataset(DataConfig(source=str(folder / "set.parquet"), **config))


SOURCES = (_from_hdf5, _from_npz, _from_python, _from_own_source, _from_csv, _from_parquet)

FORMS: dict[str, tuple[Any, dict[str, Any], list[int], tuple[str, ...]]] = {
    "int64": (NUMBERS, {}, EXPECTED, PLAIN),
    "uint8": (NUMBERS.astype(np.uint8), {}, EXPECTED, PLAIN),
    "float32": (NUMBERS.astype(np.float32), {}, EXPECTED, PLAIN),
    "a column": (NUMBERS[:, None], {}, EXPECTED, PLAIN),
    "numbers as text": (NUMBERS.astype(str), {}, EXPECTED, PLAIN),
    "numbers with names": (NUMBERS, {"class_names": KINDS}, EXPECTED, KINDS),
    "from 1": (NUMBERS + 1, {"first_label": 1}, EXPECTED, ("class 1", "class 2", "class 3")),
    "from 1 with names": (NUMBERS + 1.0, {"first_label": 1, "class_names": KINDS}, EXPECTED, KINDS),
    "str": (np.array(NAMES), {}, EXPECTED, KINDS),
    "bytes": (np.array(NAMES, dtype="S"), {}, EXPECTED, KINDS),
    "object": (np.array(NAMES, dtype=object), {}, EXPECTED, KINDS),
    "a list, with blanks": ([f" {name} " for name in NAMES], {}, EXPECTED, KINDS),
    "a column of names": (np.array(NAMES)[:, None], {}, EXPECTED, KINDS),
    "names in an order": (NAMES, {"class_names": KINDS[::-1]}, [2 - label for label in EXPECTED], KINDS[::-1]),
    "names that are numbers": (["9", "7"] * 3 + ["7"], {"class_names": ("7", "9")}, [1, 0] * 3 + [0], ("7", "9")),
    "not ASCII": (["спираль", "elliptique é"] * 3 + ["спираль"], {}, [1, 0] * 3 + [1], ("elliptique é", "спираль")),
    "accents in two encodings": (
        ["e\u0301t\u00e9", "b"] * 3 + ["\u00e9te\u0301"],
        {"class_names": ("b", "e\u0301te\u0301")},
        [1, 0] * 3 + [1],
        ("b", "e\u0301te\u0301"),
    ),
    "names that differ in the encoding of accents": (
        ["e\u0301", "\u00e9"] * 3 + ["e\u0301"],
        {"class_names": ("\u00e9", "e\u0301")},
        [1, 0] * 3 + [1],
        ("\u00e9", "e\u0301"),
    ),
    "bool": (np.array(BINARY, dtype=bool), {}, BINARY, ("False", "True")),
    "bool with names": (np.array(BINARY, dtype=bool), {"class_names": ("smooth", "disc")}, BINARY, ("smooth", "disc")),
    "bool, one value": ([True] * 7, {}, [1] * 7, ("False", "True")),
    "bool with names of its own": (
        np.array(BINARY, bool),
        {"class_names": ("true", "false")},
        OPPOSITE,
        ("true", "false"),
    ),
    "truth by name": (TRUTH, {"class_names": ("true", "false")}, OPPOSITE, ("true", "false")),
    "truth by name of another case": (TRUTH, {"class_names": ("TRUE", "FALSE")}, OPPOSITE, ("TRUE", "FALSE")),
    "truth among other names": (TRUTH, {"class_names": ("true", "false", "odd")}, OPPOSITE, ("true", "false", "odd")),
    "truth as text": (TRUTH, {}, BINARY, ("False", "True")),
    "truth by other names": (TRUTH, {"class_names": ("smooth", "disc")}, BINARY, ("smooth", "disc")),
    "names that differ in blanks": (
        ["edge on", "edge  on"] * 3 + ["edge on"],
        {"class_names": ("edge on", "edge  on")},
        [0, 1] * 3 + [0],
        ("edge on", "edge  on"),
    ),
    "long numbers beside a name": (
        ["9007199254740993", "9007199254740992"] * 3 + ["z"],
        {},
        [1, 0] * 3 + [2],
        ("9007199254740992", "9007199254740993", "z"),
    ),
    "names with an underscore": (["1_0", "2_0"] * 3 + ["1_0"], {}, [0, 1] * 3 + [0], ("1_0", "2_0")),
}


@pytest.mark.parametrize("load", SOURCES)
@pytest.mark.parametrize("form", FORMS)
def test_every_source_reads_every_form(tmp_path: Path, load: Load, form: str) -> None:
    labels, config, expected, names = FORMS[form]
    dataset = load(tmp_path, labels, **config)
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.tolist() == expected
    assert dataset.class_names == names


class Kind(str, enum.Enum):  # noqa: UP042  str() of a member of StrEnum is its text
    A, B = "spiral", "edge-on"


@pytest.mark.parametrize("make", [list, lambda made: np.array(made, object), lambda made: [[each] for each in made]])
def test_members_of_an_enum_of_texts_are_their_text(tmp_path: Path, make: Any) -> None:
    labels = make([Kind.A, Kind.B] * 3 + [Kind.A])
    assert _from_python(tmp_path, labels).class_names == ("edge-on", "spiral")
    assert _from_python(tmp_path, labels, class_names=("spiral", "edge-on")).labels.tolist() == [0, 1] * 3 + [0]


@pytest.mark.parametrize("load", SOURCES[:4])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_one_hot_is_noted(tmp_path: Path, load: Load, dtype: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = load(tmp_path, np.eye(4)[NUMBERS].astype(dtype))
    assert dataset.labels.tolist() == EXPECTED
    assert dataset.class_names == (*PLAIN, "class 3")
    assert "is one-hot; each label is the position of the 1" in caplog.text


def _with(value: Any, labels: Any = NAMES, index: int = 3) -> list[Any]:
    return [*list(labels)[:index], value, *list(labels)[index + 1 :]]


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "NaN": (np.array(_with(np.nan, NUMBERS), dtype=float), {}, "leave the image out"),
    "-1": (np.array(_with(-1, NUMBERS)), {}, "is -1{}; expected a whole number from 0, or a name; where a label is"),
    "empty": (_with(""), {}, "is empty{}; expected a whole number from 0, or a name; where a label is missing"),
    "empty bytes": (np.array(_with(""), dtype="S"), {}, "is empty{}; expected a whole number"),
    "blank": (_with("  "), {}, "is empty{}; expected a whole number from 0, or a name; where a label is missing"),
    "no such truth": (_with("false", ["true"] * 7), {"class_names": ("true", "odd")}, "is 'false'{}, no class name"),
    "nan among names": (_with("nan"), {}, "is nan{}; expected a whole number from 0, or a name; where a label"),
    "None as text": (
        _with("None"),
        {},
        "is 'None'{}; expected a whole number from 0, or a name; where a label is missing, leave the image out; if it "
        "is a class, list it in data.class_names",
    ),
    "N/A": (_with("N/A"), {}, "is 'N/A'{}; expected a whole number from 0, or a name; where a label"),
    "two spellings": (_with("Spiral"), {}, "is 'Spiral'{}, and 'spiral' is another label; expected one spelling"),
    "two blanks": (_with("edge  on", ["edge on", "a"] * 4), {}, "is 'edge  on'{}, and 'edge on' is another label; exp"),
    "invisible": (
        _with("a\u200bb", ["ab", "c"] * 4),
        {},
        "is 'a\\u200bb'{}, and 'ab' is another label; expected one spelling, or both in data.class_names",
    ),
    "a number twice": (_with("1.0", ["1", "a"] * 4), {}, "is 1.0{}, and '1' is another label; expected one spelling"),
    "two encodings": (
        _with("e\u0301", ["\u00e9"] * 7),
        {},
        "is 'e\u0301'{}, and '\u00e9' is another label with its accents in another encoding; expected one spelling",
    ),
    "decimal comma": (
        ["0", "1", "0", "0,5", "1,0", "1", "0"],
        {},
        "is '0,5'{}, a number with a decimal comma; expected whole numbers or names; if these are names, list them in "
        "data.class_names",
    ),
    "fraction": (
        _with(0.734, NUMBERS),
        {},
        "is 0.734{}; expected a whole number from 0, or a name; fractions, such as",
    ),
    "below the first": (_with(0, NUMBERS + 1), {"first_label": 1}, "is 0{}; expected a whole number from 1"),
    "an id": (_with(10**17, NUMBERS), {}, "is 100000000000000000{}; expected a whole number from 0"),
    "from 1": (_with(3, [1, 2] * 4), {"class_names": KINDS}, "these labels start at 1: data.first_label: 1"),
    "no such name": (_with("spirl"), {"class_names": KINDS}, "is 'spirl'{}, no class name; did you mean \"spiral\"?"),
}


@pytest.mark.parametrize("load", SOURCES)
@pytest.mark.parametrize("form", REFUSED)
def test_every_source_refuses_with_the_place(tmp_path: Path, load: Load, form: str) -> None:
    labels, config, expected = REFUSED[form]
    by_row = load in SOURCES[4:]
    with pytest.raises(DataError) as caught:
        load(tmp_path, labels[:7], **config)
    message = str(caught.value)
    assert "\n" not in message
    assert ("row 4: 'label' " if by_row else " at index 3") in message
    assert expected.format("" if by_row else " at index 3") in message


@pytest.mark.parametrize(
    ("labels", "config"), [(["1,2", "3,4"] * 4, {"class_names": ("1,2", "3,4")}), (["1,2", "a", "b, c"] * 3, {})]
)
def test_names_may_hold_commas(tmp_path: Path, labels: list[str], config: dict[str, Any]) -> None:
    dataset = _from_python(tmp_path, labels[:7], **config)
    assert [dataset.class_names[label] for label in dataset.labels] == labels[:7]


GIVEN_ONLY: dict[str, tuple[Any, str]] = {
    "None": (_with(None), "'labels' is None at index 3; expected a whole number from 0, or a name; where a label is"),
    "two missing": (_with(None, _with(None), 5), r"leave the image out \(2 in all\)"),
    "masked": (np.ma.masked_array(NUMBERS, NUMBERS == 1), "'labels' is None at index 2; .* leave the image out"),
    "ragged": ([[1], [1, 2], [0], [0], [0], [0], [0]], "'labels' has entries of different lengths"),
    "no class": (np.zeros((7, 3)), r"'labels' is \[0.0, 0.0, 0.0\] at index 0; expected one 1 in each row"),
    "two classes": (np.ones((7, 3), int), r"'labels' is \[1, 1, 1\] at index 0; expected one 1 .* \(7 in all\)"),
    "too large": (np.array(_with(2**70, NUMBERS), object), "is 1180591620717411303424 at index 3; expected a whole"),
    "larger than any": (np.array(_with(10**400, NUMBERS), object), "is 10{59} at index 3; expected a whole number"),
    "votes": (np.full((7, 2), 0.5), "is not one-hot, as it holds other numbers than 0 and 1, such as shares of votes"),
    "names twice": (np.array([NAMES, NAMES]).T, r"has shape \(7, 2\); expected \(7,\), one name per image"),
    "dates": (np.array(["2020-01-01"] * 7, dtype="datetime64[D]"), r"of type datetime64\[D\]; expected whole numbers"),
    "too many": ([*NAMES, "spiral"], r"'labels' has shape \(8,\); expected \(7,\), one label per image"),
    "no label at all": (3, r"'labels' has shape \(\); expected \(7,\)"),
    "bytes that are no text": (np.array([b"\xff"] * 7), "at index 0; expected text that is UTF-8"),
}


@pytest.mark.parametrize("n_names", [3, 5])
def test_one_hot_has_a_column_for_each_name(tmp_path: Path, n_names: int) -> None:
    names = tuple("abcde"[:n_names])
    expected = rf"has shape \(7, 4\), one-hot of 4 .* {n_names} class names; expected 4 names \(data\.class_names\)"
    with pytest.raises(DataError, match=expected):
        _from_python(tmp_path, np.eye(4)[NUMBERS], class_names=names)


@pytest.mark.parametrize("form", GIVEN_ONLY)
def test_arrays_that_are_no_labels(tmp_path: Path, form: str) -> None:
    labels, message = GIVEN_ONLY[form]
    with pytest.raises(DataError, match=message) as caught:
        _from_python(tmp_path, labels)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
