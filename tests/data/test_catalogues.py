"""Tables as users of Galaxy Zoo 2 and Zoobot have them: every kind finds the same files, labels and split."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from galaxy_exp.config.data_section import DataConfig, SplitConfig, TableConfig
from galaxy_exp.data import ImageDataset, load_dataset
from galaxy_exp.errors import DataError

IDS = ("587722981742084097", "587722981742084099", "588015509806252104", "587727178986356823")
"""Those of two galaxies differ less than floating point can tell."""
KINDS = ("spiral", "smooth", "spiral", "smooth")
PARTS = ("train", "val", "Test", "training")

Write = Callable[[Path], Path]


def images(folder: Path, names: list[str]) -> None:
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 10), (20 * index,) * 3).save(folder / name)


def flat(folder: Path, suffix: str = ".png") -> Path:
    images(folder / "stamps", [f"{name}{suffix}" for name in IDS])
    return folder


def text(folder: Path, header: str, mark: str = ",", cells: Any = IDS, name: str = "set.csv", **how: Any) -> Path:
    rows = [header.split(","), *map(list, zip(cells, KINDS, PARTS, strict=True))]
    lines = how.get("end", "\n").join(mark.join(row) for row in rows)
    (folder / name).write_bytes((how.get("before", "") + lines).encode(how.get("encoding", "utf-8")))
    return folder / name


def nested(folder: Path, depth: int) -> Path:
    images(folder / "stamps", [f"{name[:depth]}/{name}.png" for name in IDS])
    return text(folder, "objid,class,split")


def typed(folder: Path, kind: Any, suffix: str = ".png") -> Path:
    flat(folder, suffix)
    columns = {
        "dr7objid": pyarrow.array([int(name) for name in IDS]).cast(kind, safe=False),
        "label": KINDS,
        "split": PARTS,
    }
    parquet.write_table(pyarrow.table(columns), folder / "set.parquet")
    return folder / "set.parquet"


def paths(folder: Path, write: Callable[[str], str], header: str = "file_loc,class,split") -> Path:
    flat(folder)
    return text(folder, header, cells=[write(name) for name in IDS])


def wide(folder: Path) -> Path:
    """As Zoobot's: an index without a name, ids, a path elsewhere, shares of votes, a quoted comma."""
    flat(folder, ".jpg")
    lines = [",id_str,iauname,file_loc,ra,smooth-or-featured_smooth_fraction,note,label,split"]
    for row, (name, kind, part) in enumerate(zip(IDS, KINDS, PARTS, strict=True)):
        lines.append(f'{row},{name},J{row},/share/nas/{name}.jpg,12.5,0.734,"a, b ""c""",{kind},{part}')
    (folder / "set.csv").write_text("\n".join(lines))
    return folder / "set.csv"


def two_ids(folder: Path) -> Path:
    """The images are called by the other one, and there are paths of somebody else's disk."""
    flat(folder)
    rows = [f"J{row};{name};/disk/{name}.png;{KINDS[row]};{PARTS[row]}" for row, name in enumerate(IDS)]
    (folder / "set.csv").write_text("\n".join(["iauname;object id;file_loc;label;split", *rows]))
    return folder / "set.csv"


def zipped(folder: Path) -> Path:
    path = text(flat(folder), "id_str,label,split")
    (folder / "set.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return folder / "set.csv.gz"


FOLDER = {"image_folder": "stamps"}
IDED = {**FOLDER, "file_suffix": ".png"}


def hexadecimal(folder: Path) -> Path:
    """Ids of which one could be a number."""
    names = ["12e45678", "1e9", "3E17", "00ab12cd"]
    images(folder / "stamps", [f"{name}.png" for name in names])
    return text(folder, "objid,label,split", cells=names)


def hidden_copies(folder: Path) -> Path:
    """Images behind a link, beside folders of the same names that no other source looks into."""
    for place in ("elsewhere", "stamps/.ipynb_checkpoints", "stamps/__MACOSX"):
        images(folder / place, [f"{name}.png" for name in IDS])
    (folder / "stamps" / "linked").symlink_to(folder / "elsewhere")
    return text(folder, "objid,label,split")


KNOWN: dict[str, tuple[Write, dict[str, Any]]] = {
    "ids": (lambda at: text(flat(at), "id_str,label,split"), IDED),
    "ids, ending without a dot": (lambda at: text(flat(at), "objid,class,split"), {**IDED, "file_suffix": "png"}),
    "ids, capitals": (lambda at: text(flat(at), "GalaxyID,Class,Split"), IDED),
    "ids as files": (lambda at: text(flat(at), "file,label,split"), IDED),
    "ids by a name of one's own": (
        lambda at: text(flat(at), "stamp,kind,use"),
        {
            **IDED,
            "table": TableConfig(file_column="stamp", label_column="kind"),
            "split": SplitConfig(column="use"),
        },
    ),
    "subfolders of 6 digits": (lambda at: nested(at, 6), IDED),
    "subfolders of 4 digits": (lambda at: nested(at, 4), IDED),
    "hexadecimal": (hexadecimal, IDED),
    "hidden copies and a link": (hidden_copies, IDED),
    "int64": (lambda at: typed(at, pyarrow.int64()), IDED),
    "uint64": (lambda at: typed(at, pyarrow.uint64()), IDED),
    "ending of two parts": (lambda at: typed(at, pyarrow.int64(), ".bmp.png"), {**FOLDER, "file_suffix": ".bmp.png"}),
    "wide": (wide, {**FOLDER, "file_suffix": ".jpg"}),
    "semicolons": (lambda at: text(flat(at), "id_str,label,split", ";"), IDED),
    "tabs": (lambda at: text(flat(at), "id_str,label,split", "\t", name="set.tsv"), IDED),
    "tabs in txt": (lambda at: text(flat(at), "id_str,label,split", "\t", name="SET.TXT"), IDED),
    "spreadsheet": (lambda at: text(flat(at), "id_str,label,split", "\t", encoding="utf-16", end="\r\n"), IDED),
    "mark of UTF-8": (lambda at: text(flat(at), "id_str,label,split", ";", encoding="utf-8-sig", end="\r\n"), IDED),
    "blank lines": (lambda at: text(flat(at), "id_str,label,split", before="\n\n", end="\n\n ,,\n"), IDED),
    "quotes": (lambda at: text(flat(at), '"id_str","label","split"', cells=[f'"{name}"' for name in IDS]), IDED),
    "zipped": (zipped, IDED),
    "paths": (lambda at: paths(at, lambda name: f"stamps/{name}.png"), {}),
    "paths in the folder": (lambda at: paths(at, lambda name: f"{name}.png", "filename,class,split"), FOLDER),
    "paths of Windows": (lambda at: paths(at, lambda name: f"stamps\\{name}.png", "path,class,split"), {}),
    "absolute paths below the table": (lambda at: paths(at, lambda name: f"{at}/stamps/{name}.png"), {}),
    "ids of two surveys": (lambda at: two_ids(at), IDED),
    "absolute paths": (lambda at: paths(at, lambda name: f"{at}/stamps/{name}.png"), {"image_folder": "/"}),
}


def load(path: Path, **config: Any) -> ImageDataset:
    return load_dataset(DataConfig(source=str(path), **config))


@pytest.mark.parametrize("kind", KNOWN)
def test_finds_files_labels_and_split(tmp_path: Path, kind: str) -> None:
    write, config = KNOWN[kind]
    dataset = load(write(tmp_path), **config)
    assert abs(dataset.images[:, 0, 0, 0].astype(int) - [0, 20, 40, 60]).max() <= 1
    assert [dataset.class_names[label] for label in dataset.labels] == list(KINDS)
    assert dataset.own_split is not None
    assert dataset.own_split.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("kind", ["ids", "subfolders of 6 digits", "int64", "wide", "ids as files", "zipped"])
def test_ids_stay_as_they_are(tmp_path: Path, kind: str) -> None:
    write, config = KNOWN[kind]
    rows = load(write(tmp_path), **config).rows
    assert rows is not None
    assert rows.ids == IDS


def test_a_comma_is_not_noted(tmp_path: Path) -> None:
    assert load(text(flat(tmp_path), "id_str,label,split"), **IDED).notes[0] == "files are in column 'id_str'"


def test_a_header_that_is_marked_as_a_comment(tmp_path: Path) -> None:
    dataset = load(text(flat(tmp_path), "# id_str,label,split"), **IDED)
    assert dataset.rows is not None
    assert dataset.rows.ids == tuple(IDS)


def test_what_was_understood_is_noted(tmp_path: Path) -> None:
    assert load(text(flat(tmp_path), "id_str,Class,split", ";"), **IDED).notes == (
        "files are in column 'id_str'; cells are separated by semicolon",
        "labels are in column 'Class', the split in 'split'",
    )


def short(folder: Path, kind: Any, number: int) -> Path:
    """A Parquet table of two such ids, whose files have other names, as text."""
    images(folder, ["a.png", "b.png"])
    ids = pyarrow.array(np.array([number, number + 2], "f8")).cast(kind, safe=False)
    columns = {"objid": ids, "file": ["a.png", "b.png"], "label": KINDS[:2]}
    parquet.write_table(pyarrow.table(columns), folder / "set.parquet")
    return folder / "set.parquet"


def twice(folder: Path) -> Path:
    images(folder / "stamps", ["a/1.png", "b/1.png"])
    return lines("1,a", "2,b")(folder)


def lines(*rows: str, header: str = "id_str,label") -> Write:
    def write(folder: Path) -> Path:
        (flat(folder) / "set.csv").write_text("\n".join([header, *rows]))
        return folder / "set.csv"

    return write


ABSENT = (
    "expected those of column 'id_str' (data.table.file_column) below the table's folder, or as data.image_folder and "
    "data.file_suffix say; data.on_error: skip"
)

REFUSED: dict[str, tuple[Write, dict[str, Any], str]] = {
    "float64": (lambda at: typed(at, pyarrow.float64()), IDED, "row 1: 'dr7objid' is 5.87722981742084"),
    "float32": (lambda at: typed(at, pyarrow.float32()), IDED, "row 1: 'dr7objid' is 5.877"),
    "small ids as float32": (
        lambda at: short(at, pyarrow.float32(), 2**24 + 1),
        {"table": TableConfig(id_column="objid")},
        "row 1: 'objid' is 1.6777216000000000e+07, an id that has lost digits",
    ),
    "small ids as float16": (
        lambda at: short(at, pyarrow.float16(), 2049),
        {"table": TableConfig(id_column="objid")},
        "an id that has lost digits",
    ),
    "rounded in text": (lines("5.877229817420841e+17,a"), IDED, "row 1: 'id_str' is 5.877229817420841e+17, an id that"),
    "with a point": (lines("587722981742084097.0,a"), IDED, "has lost digits as a floating-point number; expected all"),
    "rounded ids to carry": (
        lines("1e+17,a.png,a", header="objid,file,label"),
        {"table": TableConfig(id_column="objid")},
        "row 1: 'objid' is 1e+17, an id that has lost digits",
    ),
    "no ending": (
        lines(*(f"{name},a" for name in IDS)),
        FOLDER,
        f"4 of its 4 image files not found: {{}}/stamps/{IDS[0]}, {{}}/stamps/{IDS[1]}, {{}}/stamps/{IDS[2]}, ... "
        f"({IDS[0]}.png is there: data.file_suffix: .png); {ABSENT}",
    ),
    "another ending": (
        lines(f"{IDS[0]},a", f"{IDS[1]},b"),
        {**FOLDER, "file_suffix": ".jpg"},
        f"2 of its 2 image files not found: {{}}/stamps/{IDS[0]}.jpg, {{}}/stamps/{IDS[1]}.jpg ({IDS[0]}.png is there: "
        "data.file_suffix: .png)",
    ),
    "one missing": (
        lines(f"{IDS[0]},a", "17,b"),
        IDED,
        "1 of its 2 image files not found: {}/stamps/17.png; expected those",
    ),
    "no such folder": (
        lines(f"{IDS[0]},a"),
        {"image_folder": "none"},
        "data.image_folder: none: no such folder, neither",
    ),
    "folder of an unknown user": (
        lines(f"{IDS[0]},a"),
        {"image_folder": "~no-such-user/stamps"},
        "data.image_folder: ~no-such-user/stamps: no such folder, neither",
    ),
    "a longer id beside": (
        lambda at: (images(at / "stamps", ["10.png"]), lines("1,a", f"{IDS[0]},b")(at))[1],
        FOLDER,
        f"2 of its 2 image files not found: {{}}/stamps/1, {{}}/stamps/{IDS[0]}; expected those",
    ),
    "rounded with a point": (lines("5.8E17,a"), IDED, "row 1: 'id_str' is 5.8E17, an id that has lost digits"),
    "rounded with a comma": (lines("5,8E+17;a", header="id_str;label"), IDED, "row 1: 'id_str' is 5,8E+17, an id that"),
    "masked": (lines("1,a", "2,--"), IDED, "row 2: 'label' is '--'; expected a whole number from 0, or a name"),
    "id and file": (lines("1,a", "1.png,b"), IDED, "'id_str' is '1' in row 1 and '1.png', the same file, in row 2; ex"),
    "file written twice": (
        lines("sub/0.png,a", "./sub/0.png,b"),
        IDED,
        "'id_str' is 'sub/0.png' in row 1 and './sub/0.png', the same file, in row 2; expected each file once",
    ),
    "absolute and relative": (
        lambda at: lines("0.png,a", f"{at}/stamps/0.png,b")(at),
        IDED,
        "/stamps/0.png', the same file, in row 2; expected each file once",
    ),
    "id and path": (
        lambda at: (images(at / "stamps", ["sub/9.png"]), lines("9,a", "sub/9,b")(at))[1],
        IDED,
        "'id_str' is '9' in row 1 and 'sub/9', the same file, in row 2; expected each file once",
    ),
    "no header, another format": (lines("b.webp,x", header="a.webp,x"), {}, "its first line holds 'a.webp', which is"),
    "no header, packed": (lines("b.fits.fz,x", header="a.fits.fz,x"), {}, "its first line holds 'a.fits.fz', which"),
    "same id twice": (lines("1,a", "2,b", "1,a"), IDED, "'id_str' is '1' in row 1 and row 3; expected each file once"),
    "one id, two files": (twice, IDED, "row 1: 'id_str' is 1, and there are {}/stamps/"),
    "no id": (lines("1,a", ",b"), IDED, "row 2: 'id_str' is empty; expected a path relative to the table, or an id"),
    "no header": (lines("2.png,b", header="1.png,a"), {}, "its first line holds '1.png', which is not a column name"),
    "blanks between cells": (
        lines("1.png a", header="file  label"),
        {},
        "is 'file  label', a single column; expe",
    ),
    "bars between cells": (
        lines("1.png|a", header="file|label"),
        {},
        "is 'file|label', a single column",
    ),
    "a comment": (
        lines("file,label", "1.png,a", header="# of 2024"),
        {},
        "is '# of 2024', a single column",
    ),
    "a line for Excel": (
        lines("file;label", "1.png;a", header="sep=;"),
        {},
        "is 'sep=', a single column",
    ),
    "ids without a header": (lines(header=f"{IDS[0]},a"), IDED, f"its first line holds '{IDS[0]}', which is no"),
    "nothing known": (
        lines("1,2,3", header="ra,dec,z"),
        {},
        "has no column 'file' (data.table.file_column); known: ra, dec, z",
    ),
    "a column twice": (lines("1,a,b", header="id_str,label,label"), IDED, "has 2 columns 'label'; expected one"),
    "too few cells": (lines("1,a", "2"), IDED, "row 2 has 1 cells; expected 2, as the header"),
    "out of the folder": (lines("../a,x"), IDED, "row 1: 'id_str' is '../a.png', which leaves the table's folder"),
    "absolute, elsewhere": (lines("/etc/a.png,x"), FOLDER, "an absolute path; expected one relative to the table's"),
    "absolute, with dots": (lines("/tmp/../etc/a.png,x"), {"image_folder": "/tmp"}, "an absolute path; expected one"),
    "shares of votes": (lines("1,0.61", "2,0.2"), IDED, "row 1: 'label' is 0.61; expected a whole number from 0, or a"),
    "another part": (
        lines("1,a,train", "2,b,holdout", header="id_str,label,split"),
        IDED,
        "row 2: 'split' is 'holdout'; expected train, validation, test",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refuses_in_one_line(tmp_path: Path, kind: str) -> None:
    write, config, message = REFUSED[kind]
    path = write(tmp_path)
    with pytest.raises(DataError) as caught:
        load(path, **config)
    assert message.replace("{}", str(tmp_path)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_can_be_left_out(tmp_path: Path) -> None:
    dataset = load(lines(f"{IDS[0]},a", "17,a", f"{IDS[1]},b")(tmp_path), on_error="skip", **IDED)
    assert dataset.rows is not None
    assert dataset.rows.ids == (IDS[0], "17", IDS[1])
    assert dataset.rows.kept.tolist() == [0, 2]
    assert [line.split(": ")[0] for line in dataset.skipped] == [str(tmp_path / "stamps/17.png")]


def test_the_image_folder_is_here_or_beside_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lines(f"{IDS[0]},a", f"{IDS[1]},b")(tmp_path / "catalogue")
    images(tmp_path / "here" / "stamps", [f"{name}.png" for name in IDS[::-1]])
    monkeypatch.chdir(tmp_path)
    beside = load(path, **IDED)
    monkeypatch.chdir(tmp_path / "here")
    assert not np.array_equal(load(path, **IDED).images, beside.images)
