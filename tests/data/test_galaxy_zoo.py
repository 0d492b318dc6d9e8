"""Galaxy Zoo's catalogues: their columns are recognised, and tables in each layout are read (made-up rows)."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.config.plain_yaml import parse_yaml
from galaxy_exp.config.reading import parse_sweep
from galaxy_exp.config.votes_section import VotesConfig, votes_yaml
from galaxy_exp.data import ImageDataset, load_dataset
from galaxy_exp.data.sources.image_table import recognise_votes
from galaxy_exp.data.sources.vote_columns import recognise_questions
from galaxy_exp.errors import DataError

GZ2 = {
    "t01_smooth_or_features": ["a01_smooth", "a02_features_or_disk", "a03_star_or_artifact"],
    "t02_edgeon": ["a04_yes", "a05_no"],
    "t04_spiral": ["a08_spiral", "a09_no_spiral"],
}
GZ2_ENDINGS = ("count", "weight", "fraction", "weighted_fraction", "debiased", "flag")
GZ2_COLUMNS = [
    f"{question}_{answer}_{ending}" for question, answers in GZ2.items() for answer in answers for ending in GZ2_ENDINGS
]
DECALS = {
    "smooth-or-featured": ["smooth", "featured-or-disk", "artifact"],
    "disk-edge-on": ["yes", "no"],
    "has-spiral-arms": ["yes", "no"],
    "spiral-arm-count": ["1", "2", "more-than-4", "cant-tell"],
    "merging": ["none", "merger"],
}


def decals_columns(*endings: str, campaign: str = "", totals: bool = True) -> list[str]:
    """In the order of the catalogue: a question's total, then all forms of each of its answers."""
    return [
        name
        for question, answers in DECALS.items()
        for name in [
            *([f"{question}{campaign}_total-votes"] if totals else []),
            *(f"{question}{campaign}_{answer}{ending}" for answer in answers for ending in endings),
        ]
    ]


def recognise(columns: Sequence[str]) -> VotesConfig:
    votes = recognise_questions(["iauname", "ra", "dec", "redshift", *columns, "wrong_size_statistic"])
    assert votes is not None
    return votes


def test_galaxy_zoo_2() -> None:
    votes = recognise(GZ2_COLUMNS)
    assert (votes.kind, votes.columns, votes.total) == ("counts", "{question}_a*_{answer}_count", None)
    assert [(each.name, each.answers, each.after) for each in votes.questions] == [
        ("t01_smooth_or_features", ("smooth", "features_or_disk", "star_or_artifact"), None),
        ("t02_edgeon", ("yes", "no"), "t01_smooth_or_features.features_or_disk"),
        ("t04_spiral", ("spiral", "no_spiral"), "t02_edgeon.no"),
    ]


@pytest.mark.parametrize("ending", ["fraction", "weighted_fraction", "debiased"])
def test_galaxy_zoo_2_without_counts(ending: str) -> None:
    votes = recognise([name for name in GZ2_COLUMNS if name.endswith((f"_{ending}", "_flag"))])
    assert (votes.kind, votes.columns) == ("fractions", f"{{question}}_a*_{{answer}}_{ending}")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (decals_columns("", "_fraction", "_debiased"), ("counts", "{question}_{answer}", None)),
        (
            decals_columns("_fraction", "_debiased"),
            ("fractions", "{question}_{answer}_fraction", "{question}_total-votes"),
        ),
        (decals_columns("_fraction", totals=False), ("fractions", "{question}_{answer}_fraction", None)),
        (decals_columns("_debiased", totals=False), ("fractions", "{question}_{answer}_debiased", None)),
    ],
)
def test_decals(columns: list[str], expected: tuple[str, str, str | None]) -> None:
    votes = recognise(columns)
    assert (votes.kind, votes.columns, votes.total) == expected
    assert [(each.name, each.after) for each in votes.questions] == [
        ("smooth-or-featured", None),
        ("disk-edge-on", "smooth-or-featured.featured-or-disk"),
        ("has-spiral-arms", "disk-edge-on.no"),
        ("spiral-arm-count", "has-spiral-arms.yes"),
        ("merging", None),
    ]
    assert votes.questions[3].answers == ("1", "2", "more-than-4", "cant-tell")


def test_names_with_the_campaign() -> None:
    few = [name for name in decals_columns("", campaign="-dr8") if name.startswith("smooth")]
    votes = recognise([*few, *decals_columns("", campaign="-dr5")])
    assert votes.questions[1].name == "disk-edge-on-dr5"
    assert votes.questions[1].after == "smooth-or-featured-dr5.featured-or-disk"
    assert votes.questions[2].after == "disk-edge-on-dr5.no"


CLUMPS = {
    "disk-edge-on": ["yes", "no"],
    "clump-count": ["1", "2", "5-plus"],
    "clumpy-appearance": ["yes", "no"],
    "smooth-or-featured": ["smooth", "features", "artifact"],
    "bar": ["yes", "no"],
}
PROBLEMS = {
    "smooth-or-featured": ["smooth", "featured-or-disk", "problem"],
    "disk-edge-on": ["yes", "no"],
    "clumps": ["yes", "no"],
    "artifact": ["satellite", "ray", "other"],
    "problem": ["star", "artifact", "zoom"],
}


@pytest.mark.parametrize(
    ("campaign", "tree", "expected"),
    [
        (
            "-hubble",
            CLUMPS,
            {
                "smooth-or-featured": None,
                "clumpy-appearance": "smooth-or-featured.features",
                "clump-count": "clumpy-appearance.yes",
                "disk-edge-on": "clumpy-appearance.no",
                "bar": "disk-edge-on.no",
            },
        ),
        (
            "-candels",
            {name: answers for name, answers in CLUMPS.items() if not name.startswith("clump")},
            {
                "smooth-or-featured": None,
                "disk-edge-on": "smooth-or-featured.features",
                "bar": "disk-edge-on.no",
            },
        ),
        (
            "-cd",
            PROBLEMS,
            {
                "smooth-or-featured": None,
                "problem": "smooth-or-featured.problem",
                "artifact": "problem.artifact",
                "disk-edge-on": "smooth-or-featured.featured-or-disk",
                "clumps": "disk-edge-on.no",
            },
        ),
    ],
)
@pytest.mark.parametrize("is_named", [True, False])
def test_trees_of_other_campaigns(
    campaign: str, tree: dict[str, list[str]], expected: dict[str, str | None], is_named: bool
) -> None:
    ending = campaign if is_named else ""
    votes = recognise([f"{question}{ending}_{answer}" for question, answers in tree.items() for answer in answers])
    found = {each.name: each.after for each in votes.questions}
    assert list(found) == [f"{name}{ending}" for name in expected]
    assert found == {f"{name}{ending}": leads and leads.replace(".", f"{ending}.") for name, leads in expected.items()}


def test_a_question_whose_way_there_is_missing_is_left_out() -> None:
    columns = [name for name in decals_columns("") if not name.startswith("disk-edge-on")]
    assert [each.name for each in recognise(columns).questions] == ["smooth-or-featured", "merging"]


@pytest.mark.parametrize(
    "columns",
    [[], ["file", "label"], ["id", "smooth", "featured"], ["bar_yes", "bar_no"], ["smooth-or-featured_smooth"]],
)
def test_other_tables_are_not_recognised(columns: list[str]) -> None:
    assert recognise_questions(columns) is None


N_IMAGES = 24


def made_up_counts(tree: dict[str, list[str]], seed: int = 1) -> list[dict[str, list[int]]]:
    """Made-up votes of each image by question; each of the first answers wins somewhere."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(N_IMAGES):
        row = {name: rng.integers(0, 9, len(answers)).tolist() for name, answers in tree.items()}
        first = next(iter(tree))
        row[first][index % len(tree[first])] += 20
        rows.append(row)
    return rows


def write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(N_IMAGES):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"J{index:03}.png")


def write_table(folder: Path, header: list[str], rows: list[list[Any]], parquet: bool = False) -> Path:
    path = folder / ("catalogue.parquet" if parquet else "catalogue.csv")
    if parquet:
        import pyarrow
        from pyarrow import parquet as parquet_files

        columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
        parquet_files.write_table(pyarrow.table(columns), path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    return path


def load(path: Path, columns: list[str], **more: Any) -> ImageDataset:
    """As a user does: the recognised section is written into a sweep file, and that is read."""
    votes = recognise_questions(columns)
    assert votes is not None
    content = parse_yaml(f"data:\n{votes_yaml(votes)}", "x")
    content["data"] |= {"source": str(path), "file_suffix": ".png"}
    content["data"]["votes"] |= more
    return load_dataset(parse_sweep(content).data)


@pytest.mark.parametrize("parquet", [False, True])
def test_a_table_of_galaxy_zoo_2(tmp_path: Path, parquet: bool) -> None:
    counts = made_up_counts(GZ2)
    rows = []
    for index, row in enumerate(counts):
        cells: list[Any] = [f"J{index:03}"]
        for votes in row.values():
            total = sum(votes)
            for vote in votes:
                fraction = vote / total if total else 0.0
                cells += [vote, vote * 0.97, round(fraction, 3), round(fraction, 3), round(fraction * 1.1, 3), 0]
        rows.append(cells)
    write_images(tmp_path)
    path = write_table(tmp_path, ["asset_id", *GZ2_COLUMNS], rows, parquet)
    dataset = load(path, GZ2_COLUMNS)
    assert dataset.votes is not None
    assert dataset.votes.are_counts
    np.testing.assert_array_equal(
        dataset.votes.values, [list(itertools.chain.from_iterable(row.values())) for row in counts]
    )
    assert dataset.class_names == ("smooth", "features_or_disk", "star_or_artifact")
    assert dataset.labels.tolist() == [index % 3 for index in range(N_IMAGES)]


def test_votes_are_recognised_in_a_table_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_table(tmp_path, ["id", *decals_columns("")], [])
    votes, labels = recognise_votes(DataConfig(source="~/catalogue.csv")) or (None, None)
    assert (votes, labels) == (recognise(decals_columns("")), None)
    with pytest.raises(DataError, match=r"'~nobody-here/x\.csv' is neither a source nor a file"):
        load_dataset(DataConfig(source="~nobody-here/x.csv"))


def test_fractions_with_totals_become_counts(tmp_path: Path) -> None:
    counts = made_up_counts(DECALS)
    columns = decals_columns("_fraction")
    rows = [
        [f"J{index:03}", *(cell for votes in row.values() for cell in _with_total(votes))]
        for index, row in enumerate(counts)
    ]
    write_images(tmp_path)
    dataset = load(write_table(tmp_path, ["iauname", *columns], rows, parquet=True), columns)
    assert dataset.votes is not None
    assert dataset.votes.are_counts
    expected = [list(itertools.chain.from_iterable(row.values())) for row in counts]
    np.testing.assert_array_equal(dataset.votes.values, expected)


def _with_total(votes: list[int]) -> list[float]:
    total = sum(votes)
    return [total, *(round(vote / total, 3) if total else float("nan") for vote in votes)]


def test_rows_without_votes_are_left_out_and_listed(tmp_path: Path) -> None:
    columns = decals_columns("_fraction", totals=False)
    fractions = {"smooth-or-featured": [0.5, 0.3, 0.2], "disk-edge-on": [0.25, 0.75], "has-spiral-arms": [1, 0]}
    full = [*itertools.chain.from_iterable(fractions.values()), *[""] * 4, 0.5, 0.5]
    rows = [[f"J{index:03}", *([""] * len(columns) if index % 6 == 4 else full)] for index in range(N_IMAGES)]
    write_images(tmp_path)
    (tmp_path / "J004.png").unlink()  # not looked for
    (tmp_path / "J007.png").write_bytes(b"")
    path = write_table(tmp_path, ["iauname", *columns], rows)
    votes = recognise_questions(columns)
    assert votes is not None
    config = DataConfig(source=str(path), file_suffix="png", on_error="skip", votes=votes)
    dataset = load_dataset(config)
    assert dataset.votes is not None
    assert not dataset.votes.are_counts
    assert len(dataset) == N_IMAGES - 5
    assert [line.split(": ")[1] for line in dataset.skipped if "no votes" in line] == [
        "row 5",
        "row 11",
        "row 17",
        "row 23",
    ]
    assert "J007.png" in dataset.skipped[1]
    assert dataset.rows is not None
    assert set(dataset.rows.kept.tolist()) == set(range(N_IMAGES)) - {4, 7, 10, 16, 22}
    np.testing.assert_allclose(
        dataset.votes.values[0], [0.5, 0.3, 0.2, 0.075, 0.225, 0.225, 0, 0, 0, 0, 0, 0.5, 0.5], atol=1e-6
    )
    with pytest.raises(
        DataError, match=r"catalogue\.csv: row 5 has no votes on 'smooth-or-featured', and so have 3 more"
    ):
        load(path, columns, missing="refuse")
