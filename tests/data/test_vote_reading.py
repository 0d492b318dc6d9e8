"""Votes as files have them: what is understood, and what is refused with one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.config.votes_section import VotesConfig
from galaxy_exp.data import ImageDataset, load_dataset
from galaxy_exp.data.votes import ReadVotes, VotesAt, read_votes
from galaxy_exp.errors import DataError

QUESTIONS = [
    {"name": "shape", "answers": ["smooth", "disc"]},
    {"name": "arms", "answers": ["yes", "no"], "after": "shape.disc"},
    {"name": "number", "answers": ["1", "2"], "after": "arms.yes"},
]
ANSWERS = ("a", "b", "c", "d", "e", "f")


def section(**more: Any) -> VotesConfig:
    return VotesConfig.model_validate({"questions": QUESTIONS, **more})


def read(values: Any, totals: Any = None, **more: Any) -> ReadVotes:
    """As from rows of a table."""
    at = VotesAt("t.csv", ANSWERS, ("t1", "t2", "t3"), "row")
    counted = None if totals is None else np.array(totals, float)
    return read_votes(np.array(values, float), counted, section(**more), at)


def test_counts() -> None:
    found = read([[3, 4, 2, 2, 2, 0], [5, 0, np.nan, np.nan, 0, 0]])
    assert found.votes.are_counts
    assert found.votes.values.dtype == np.float32
    assert found.votes.values.tolist() == [[3, 4, 2, 2, 2, 0], [5, 0, 0, 0, 0, 0]]
    assert (found.kept.tolist(), found.dropped, found.note) == ([0, 1], {}, None)


def test_fractions_are_weighted_by_who_got_to_the_question() -> None:
    found = read([[0.2, 0.8, 0.5, 0.5, 0.25, 0.75], [1, 0, np.nan, np.nan, 0, 0]], kind="fractions")
    assert not found.votes.are_counts
    expected = [[0.2, 0.8, 0.4, 0.4, 0.1, 0.3], [1, 0, 0, 0, 0, 0]]
    np.testing.assert_allclose(found.votes.values, expected, atol=1e-7)
    np.testing.assert_allclose(found.votes.questions.fractions(found.votes.values)[0], [0.2, 0.8, 0.5, 0.5, 0.25, 0.75])


def test_fractions_within_the_tolerance_are_divided_by_their_sum() -> None:
    rough = [[0.33, 0.66, 0.5, 0.5, 0, 0]]
    np.testing.assert_allclose(read(rough, kind="fractions").votes.values[0, :2], [1 / 3, 2 / 3], rtol=1e-6)
    debiased = [[1.2, 0.05, 0, 0, 0, 0]]
    np.testing.assert_allclose(
        read(debiased, kind="fractions", tolerance=0.25).votes.values[0, :2], [0.96, 0.04], rtol=1e-6
    )


def test_fractions_times_totals_are_whole_votes() -> None:
    found = read(
        [[0.333, 0.667, 0.5, 0.5, 0, 0], [0.35, 0.65, 1, 0, 0.6, 0.4]], [[3, 2, 0], [40, 26, 25.6]], kind="fractions"
    )
    assert found.votes.are_counts
    assert found.votes.values.tolist() == [[1, 2, 1, 1, 0, 0], [14, 26, 26, 0, 16, 10]]


def test_weighted_votes_are_rounded_and_noted() -> None:
    found = read([[3.4, 4.4, 1.5, 0.5, 0, 0], [1, 2, 0, 0, 0, 0]])
    assert found.votes.values.tolist() == [[3, 5, 2, 0, 0, 0], [1, 2, 0, 0, 0, 0]]
    assert found.note == "votes of 1 row are not whole numbers, such as weighted votes; they are rounded"


def test_debiased_fractions_are_no_votes_that_could_be_rounded() -> None:
    rows = [[0.6, 0.4, 0, 0, 0, 0], [0.45, 0.35, 0.2, 0, 0, 0], [1.05, 0.1, 0, 0, 0, 0]]
    with pytest.raises(
        DataError, match=r"expected whole numbers of votes; for fractions: data\.votes\.kind: fractions"
    ):
        read(rows)


def test_images_without_votes_may_be_left_out() -> None:
    found = read([[0, 0, 1, 0, 0, 0], [1, 2, 0, 0, 0, 0], [np.nan] * 6], missing="drop")
    assert found.kept.tolist() == [1]
    assert found.votes.values.tolist() == [[1, 2, 0, 0, 0, 0]]
    assert found.dropped == {0: "t.csv: row 1: no votes on 'shape'", 2: "t.csv: row 3: no votes on 'shape'"}


GOOD = [1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("row", "more", "message"),
    [
        ([1, -1, 0, 0, 0, 0], {}, "row 2: 'b' is -1; expected a number of at least 0"),
        ([1, np.inf, 0, 0, 0, 0], {}, "row 2: 'b' is inf; expected a number of at least 0"),
        ([1, np.nan, 0, 0, 0, 0], {}, "row 2: 'b' is empty; expected a number in all of 'a', 'b', or in none"),
        (
            [0.5, 0.5, 0, 0, 0, 0],
            {},
            "row 2: 'a' is 0.5; expected whole numbers of votes; for fractions: data.votes.kind: f",
        ),
        ([0, 0, 0, 0, 0, 0], {}, "row 2 has no votes on 'shape'; expected some, or data.votes.missing: drop"),
        (
            [0.5, 0.4, 0, 0, 0, 0],
            {"kind": "fractions"},
            "row 2: the fractions of 'shape' sum to 0.9; expected 1 (data.votes.tolerance is 0.02",
        ),
        (
            [0.5, 0.5, 0.1, 0.1, 0, 0],
            {"kind": "fractions"},
            "row 2: the fractions of 'arms' sum to 0.2; expected 1 (data.votes.tolerance is 0.02",
        ),
        ([0, 1.1, 0, 0, 0, 0], {"kind": "fractions"}, "row 2: 'b' is 1.1; expected a fraction from 0 to 1"),
    ],
)
def test_refused(row: list[float], more: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read([GOOD, row], **more)
    assert str(caught.value).startswith(f"t.csv: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("totals", "message"),
    [
        ([5, -3, 0], "t.csv: row 1: 't2' is -3; expected a number of at least 0"),
        ([5, 3, 0], "t.csv: row 1: 't2' is 3; expected fractions of its answers too, or 0 votes if nobody"),
        ([0, 0, 0], "t.csv: row 1 has no votes on 'shape'"),
    ],
)
def test_refused_totals(totals: list[float], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read([GOOD], [totals], kind="fractions")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("total", [0, np.nan])
def test_fractions_without_their_number_of_votes_are_refused(total: float) -> None:
    dropped = read([[0.4, 0.6, 0.5, 0.5, 0, 0], GOOD], [[total, total, 0], [3, 0, 0]], kind="fractions", missing="drop")
    assert dropped.kept.tolist() == [1]
    with pytest.raises(
        DataError, match=r"t\.csv: row 1: 't2' is 0; its answers have fractions; expected their number, not"
    ):
        read([[0.4, 0.6, 0.5, 0.5, 0, 0]], [[10, total, 0]], kind="fractions")


def test_no_image_has_a_million_volunteers() -> None:
    with pytest.raises(DataError, match=r"t\.csv: row 2: 'a' is 1e\+06; expected at most 100,000 votes"):
        read([[5, 1, 0, 0, 0, 0], [1e6, 1, 0, 0, 0, 0]])


def test_a_question_with_more_votes_than_the_answer_that_leads_to_it_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    read([[3, 4, 2, 2, 2, 0], [5, 2, 9, 8, 8, 0]])
    assert caplog.messages == []
    read([[3, 4, 6, 2, 2, 0], [5, 2, 9, 8, 8, 0]])
    (line,) = caplog.messages
    assert line.startswith("t.csv: 'arms' has more votes than 'shape.disc', which leads to it, for 2 of 2 rows; check")


def test_a_question_that_nobody_answered_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    read([[3, 4, 2, 2, 0, 0], [5, 2, 1, 1, 0, 0]])
    assert caplog.messages == ["t.csv: nobody answered 'number'; networks learn nothing about it"]


def test_nothing_is_left() -> None:
    with pytest.raises(DataError, match=r"t\.csv: no image has votes on 'shape', the first question"):
        read([[0, 0, 1, 0, 0, 0]], missing="drop")


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 9, 9, 3), dtype=np.uint8)
COUNTS = np.array([[3, 1], [0, 0], [1, 4], [2, 0], [1, 2], [5, 4]])
SHAPE = {"questions": QUESTIONS[:1], "missing": "drop"}
PARTS = ["train", "train", "val", "test", "train", "val"]


def write(path: Path, **arrays: Any) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for key, value in arrays.items():
                file[key] = value
    return path


def load(source: Any, **votes: Any) -> ImageDataset:
    return load_dataset(DataConfig.model_validate({"source": str(source), "votes": {**SHAPE, **votes}}))


def check_five(dataset: ImageDataset) -> None:
    assert dataset.votes is not None
    assert dataset.votes.values.tolist() == COUNTS[[0, 2, 3, 4, 5]].tolist()
    np.testing.assert_array_equal(dataset.images, IMAGES[[0, 2, 3, 4, 5]])
    assert (dataset.class_names, dataset.labels.tolist()) == (("smooth", "disc"), [0, 1, 0, 1, 0])
    assert len(dataset.skipped) == 1
    assert dataset.skipped[0].endswith("image 1: no votes on 'shape'")


@pytest.mark.parametrize("name", ["x.h5", "x.npz"])
def test_array_files(tmp_path: Path, name: str) -> None:
    dataset = load(write(tmp_path / name, images=IMAGES, votes=COUNTS, split=PARTS))
    check_five(dataset)
    assert dataset.own_split is not None
    assert dataset.own_split.tolist() == [0, 1, 2, 0, 1]
    other = write(tmp_path / f"other{name}", images=IMAGES, counts=COUNTS, ans=np.zeros(6, int))
    check_five(load(other, dataset="counts"))


def test_array_files_with_totals(tmp_path: Path) -> None:
    totals = COUNTS.sum(axis=1)
    fractions = COUNTS / np.maximum(totals, 1)[:, None]
    for shaped in (totals, totals[:, None]):
        path = write(tmp_path / f"{shaped.ndim}.h5", images=IMAGES, votes=fractions, n=shaped)
        check_five(load(path, kind="fractions", total="n"))


@pytest.mark.parametrize(
    ("arrays", "votes", "message"),
    [
        ({}, {}, r"x\.h5: has no data set 'votes' \(data\.votes\.dataset\); known: images"),
        ({"vote": COUNTS}, {}, 'data\\.votes\\.dataset\\); did you mean "vote"'),
        (
            {"votes": COUNTS[:, :1]},
            {},
            r"'votes' has shape \(6, 1\); expected \(6, 2\), images and answers \(smooth, disc",
        ),
        ({"votes": COUNTS[:5]}, {}, r"'votes' has shape \(5, 2\); expected \(6, 2\)"),
        ({"votes": COUNTS.astype("S3")}, {}, r"'votes' is of type \|S3; expected numbers"),
        ({"votes": COUNTS}, {"missing": "refuse"}, r"x\.h5: image 1 has no votes on 'shape'; expected some"),
        ({"votes": -COUNTS}, {}, r"x\.h5: image 0: 'votes: smooth' is -3; expected a number of at least 0 \(4 more"),
        ({"votes": COUNTS / 9}, {"kind": "fractions", "total": "n"}, r"no data set 'n' \(data\.votes\.total\)"),
        (
            {"votes": COUNTS / 9, "n": COUNTS},
            {"kind": "fractions", "total": "n"},
            r"'n' has shape \(6, 2\); expected \(6, 1\), one per question",
        ),
    ],
)
def test_wrong_array_files(tmp_path: Path, arrays: dict[str, Any], votes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(write(tmp_path / "x.h5", images=IMAGES, **arrays), **votes)


SOURCE = """
import numpy as np
from galaxy_exp.questions import Question, Questions, Votes

class Made:
    def __init__(self, form):
        self.form = form

    def load(self):
        images = np.load({images!r})
        votes = np.load({counts!r})
        if self.form == "none":
            return {{"images": images}}
        if self.form == "array":
            return {{"images": images, "votes": votes}}
        questions = Questions((Question("shape", ("smooth", "disc")),))
        votes = Votes(questions, votes[votes.sum(axis=1) > 0].astype(np.float32), True)
        return {{"images": images[[0, 2, 3, 4, 5]], "votes": votes}}
"""


@pytest.fixture
def made_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "counts.npy", COUNTS)
    text = SOURCE.format(images=str(tmp_path / "images.npy"), counts=str(tmp_path / "counts.npy"))
    (tmp_path / "made_votes.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made_votes", raising=False)
    return "made_votes:Made"


def test_user_defined_sources(made_source: str) -> None:
    check_five(load_dataset(DataConfig(source=made_source, options={"form": "array"}, votes=section(**SHAPE))))
    own = load_dataset(DataConfig(source=made_source, options={"form": "votes"}))
    assert own.votes is not None
    assert own.votes.values.tolist() == COUNTS[[0, 2, 3, 4, 5]].tolist()


def test_mistakes_of_user_defined_sources(made_source: str) -> None:
    with pytest.raises(DataError, match=r"gave votes of type ndarray and data\.votes\.questions is left out"):
        load_dataset(DataConfig(source=made_source, options={"form": "array"}))
    with pytest.raises(DataError, match=r"gave no 'labels'; expected images and labels, or images and votes"):
        load_dataset(DataConfig(source=made_source, options={"form": "none"}))
    with pytest.raises(DataError, match=r"has votes with questions of their own, and data\.votes\.questions is stated"):
        load_dataset(DataConfig(source=made_source, options={"form": "votes"}, votes=section()))
    with pytest.raises(DataError, match=r"has votes, so its classes are answers; expected no data\.class_names"):
        load_dataset(DataConfig(source=made_source, options={"form": "votes"}, class_names=("x", "y")))


def test_a_folder_has_no_votes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(IMAGES[0]).save(tmp_path / name / "1.png")
    with pytest.raises(
        DataError, match=r"has no votes, and data\.votes\.questions is stated; expected a table, an HDF5"
    ):
        load(tmp_path)


def write_table(folder: Path, header: str, rows: list[str]) -> Path:
    for index in range(len(rows)):
        Image.fromarray(IMAGES[index]).save(folder / f"{index}.png")
    path = folder / "t.csv"
    path.write_text("\n".join([header, *rows]))
    return path


def test_a_table_without_labels(tmp_path: Path) -> None:
    rows = [f"{index}.png,{a},{b}" for index, (a, b) in enumerate(COUNTS.tolist())]
    path = write_table(tmp_path, "file,smooth,disc", rows)
    check_five_rows(load(path, columns="{answer}"))
    check_five_rows(load(path, questions=[{**QUESTIONS[0], "columns": ["smooth", "disc"]}]))


def check_five_rows(dataset: ImageDataset) -> None:
    assert dataset.votes is not None
    assert dataset.votes.values.tolist() == COUNTS[[0, 2, 3, 4, 5]].tolist()
    assert dataset.skipped[0].endswith("t.csv: row 2: no votes on 'shape'")


@pytest.mark.parametrize(
    ("header", "row", "votes", "message"),
    [
        ("file,shape_smoth,shape_disc", "0.png,1,2", {},
         "no column 'shape_smooth' .data.votes.columns., of the answer 'smooth' to 'shape'; did you mean"),
        ("file,shape_smooth,shape_disc", "0.png,x,2", {}, "row 1: 'shape_smooth' is 'x'; expected a number of votes"),
        ("file,shape_smooth,shape_disc", "0.png,1_0,2", {}, "'shape_smooth' is '1_0'; expected a number of votes"),
        ("file,a_smooth,a_disc", "0.png,1,2", {"questions": [{**QUESTIONS[0], "columns": ["a_smooth", "b"]}]},
         r"no column 'b' \(data\.votes\.questions\), of the answer 'disc'"),
        ("file,shape_a1_smooth,shape_a2_smooth,shape_disc", "0.png,1,2,3", {"columns": "{question}_*_{answer}"},
         "may be any of ."),
        ("file,n,smooth,disc", "0.png,1,2,3", {"columns": "*{answer}", "kind": "fractions", "total": "m"},
         r"no column 'm' \(data\.votes\.total\), of the number of votes on 'shape'"),
        ("file,smooth", "0.png,1", {"questions": [{**QUESTIONS[0], "columns": ["smooth", "smooth"]}]},
         "'smooth' is the column of two answers"),
    ],
)  # fmt: skip
def test_wrong_tables(tmp_path: Path, header: str, row: str, votes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(write_table(tmp_path, header, [row]), **votes)
    assert str(caught.value).startswith(str(tmp_path / "t.csv"))
