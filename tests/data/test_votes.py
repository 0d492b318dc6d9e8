"""Votes in a data set, in its prepared files, and from Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galaxy_exp.config.data_section import DataConfig, SplitConfig
from galaxy_exp.data import ImageDataset, PreparedData, build_dataset, load_dataset, prepare_split, split_dataset
from galaxy_exp.data.sources.array_file import store_data
from galaxy_exp.errors import DataError
from galaxy_exp.questions import Question, Questions, Votes

TREE = Questions(
    (
        Question("shape", ("smooth", "featured", "artifact")),
        Question("arms", ("yes", "no"), after="shape.featured"),
    )
)


def made_up(n_images: int = 30, are_counts: bool = True, questions: Questions = TREE) -> ImageDataset:
    """Random images, and votes in which each answer wins somewhere."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (n_images, 9, 10, 3), dtype=np.uint8)
    values = rng.integers(0, 4, (n_images, 5)).astype(np.float32)
    values[np.arange(n_images), np.arange(n_images) % 3] += 20
    values[:, 3] = np.minimum(values[:, 1], 15)
    values[:, 4] = values[:, 1] - values[:, 3]
    if not are_counts:
        values /= values[:, :3].sum(axis=1, keepdims=True)
    return build_dataset(images, None, source="x", votes=Votes(questions, values, are_counts))


def test_labels_are_the_most_frequent_answers_to_the_first_question() -> None:
    votes = Votes(TREE, np.array([[3, 3, 1, 2, 1], [0, 1, 4, 1, 0], [0, 2, 1, 0, 2]], np.float32), True)
    dataset = build_dataset(np.zeros((3, 8, 8, 3), np.uint8), None, source="x", votes=votes)
    assert dataset.labels.tolist() == [0, 2, 1]
    assert dataset.labels.dtype == np.int64
    assert dataset.class_names == ("smooth", "featured", "artifact")


def test_the_digest_has_the_votes() -> None:
    dataset = made_up()
    assert dataset.votes is not None
    others = [
        replace(dataset, votes=replace(dataset.votes, values=dataset.votes.values + np.float32(1))),
        replace(dataset, votes=replace(dataset.votes, are_counts=False)),
        replace(dataset, votes=replace(dataset.votes, questions=Questions((TREE.items[0], Question("a", ("b", "c")))))),
        replace(dataset, votes=None),
    ]
    assert len({dataset.digest, *(other.digest for other in others)}) == 5
    assert others[-1].digest == build_dataset(dataset.images, dataset.labels, TREE.class_names, source="y").digest


@pytest.mark.parametrize("are_counts", [True, False])
def test_prepared_files_hold_the_votes_of_each_part(tmp_path: Path, are_counts: bool) -> None:
    dataset = made_up(are_counts=are_counts)
    prepared = prepare_split(dataset, SplitConfig(), tmp_path)
    split, files = split_dataset(dataset, SplitConfig()), prepared.files.votes
    assert dataset.votes is not None
    assert files is not None
    assert (files.questions, files.are_counts) == (TREE, are_counts)
    assert prepared.held_out.votes == prepared.folder / "sealed" / "test_votes.npy"
    for path, indices in [
        (files.train, split.train),
        (files.validation, split.validation),
        (prepared.held_out.votes, split.test),
    ]:
        found = np.load(path)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, dataset.votes.values[indices])
    assert PreparedData.load(prepared.folder) == prepared
    assert prepared.is_present()


def test_prepared_files_without_votes(tmp_path: Path) -> None:
    prepared = prepare_split(replace(made_up(), votes=None), SplitConfig(), tmp_path)
    assert (prepared.votes, prepared.files.votes, prepared.held_out.votes) == (None, None, None)
    assert "votes" not in (prepared.folder / "meta.json").read_text()
    assert not list(prepared.folder.rglob("*votes*"))


@pytest.mark.parametrize("name", ["train_votes.npy", "sealed/test_votes.npy"])
def test_lost_votes_are_written_again(tmp_path: Path, name: str) -> None:
    prepared = prepare_split(made_up(), SplitConfig(), tmp_path)
    (prepared.folder / name).unlink()
    assert prepared.is_present() == (name != "train_votes.npy")
    assert not prepared.is_intact()
    with pytest.raises(DataError, match=r"_votes\.npy: missing or damaged"):
        PreparedData.load(prepared.folder)
    assert prepare_split(made_up(), SplitConfig(), tmp_path).is_intact()


@pytest.mark.parametrize("are_counts", [True, False])
def test_votes_from_python_come_back(tmp_path: Path, are_counts: bool) -> None:
    given = made_up(are_counts=are_counts)
    for data in (given, (given.images, given.votes)):
        back = load_dataset(store_data(data, DataConfig(), tmp_path))
        assert back.votes is not None
        assert given.votes is not None
        assert (back.votes.questions, back.votes.are_counts) == (TREE, are_counts)
        np.testing.assert_array_equal(back.votes.values, given.votes.values)
        assert (back.digest, back.class_names) == (given.digest, given.class_names)
    assert len(list(tmp_path.iterdir())) == 1


def _votes(values: Any, are_counts: bool = True, questions: Questions = TREE) -> Votes:
    return Votes(questions, np.array(values, np.float32), are_counts)


def _ask(*questions: Question) -> Votes:
    return _votes(np.ones((2, Questions(questions).n_answers)), questions=Questions(questions))


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        (_votes([[1, 2, 3, 1, 1]]), r"votes are float32 of shape \(1, 5\); expected float32 \(2, 5\)"),
        (_votes([[1, 2, 3, 1, 1], [1, 2, -1, 1, 1]]), "'shape.artifact' is -1 at index 1; expected a whole number"),
        (_votes([[1, 2, 3, 1, 1], [1, 2.5, 1, 1, 1]]), "'shape.featured' is 2.5 at index 1; expected a whole number"),
        (_votes([[1, 2, 3, 1, 1], [1, np.nan, 1, 1, 1]]), "'shape.featured' is nan at index 1"),
        (_votes([[1, 2, 3, 1, 1], [0, 0, 0, 1, 1]]), "votes on 'shape' sum to 0 at index 1; expected at least one"),
        (_votes([[1, 0, 0, 0, 0], [0.5, 0.4, 0, 0, 0]], False), r"votes on 'shape' sum to 0\.9 at index 1; expected 1"),
        (_ask(), "votes without questions"),
        (_ask(Question("a", ("b",))), "question 'a' has answers \\['b'\\]; expected at least two"),
        (_ask(Question("a", ("b", "b"))), "question 'a': answer 'b' exists twice; expected different names"),
        (_ask(Question("a", ("b", "c.d"))), "answer 'c.d': expected a name that is not empty and has no dot"),
        (_ask(Question("a", ("b", "c"), "a.b")), "question 'a' is after 'a.b'; expected no after, as it is the first"),
        (_ask(Question("a", ("b", "c")), Question("a", ("b", "c"))), "question 'a' exists twice"),
        (
            _ask(Question("a", ("b", "c")), Question("d", ("e", "f"), "a.cc")),
            "question 'd' is after 'a.cc'; expected question.answer of an earlier question; did you mean \"a.c\"?",
        ),
    ],
)
def test_wrong_votes(tmp_path: Path, votes: Votes, message: str) -> None:
    with pytest.raises(DataError, match=f"^data: {message}" if "votes" in message[:5] else message):
        store_data((np.zeros((2, 9, 9, 3), np.uint8), votes), DataConfig(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_answer_that_hardly_ever_wins_is_for_training() -> None:
    dataset = made_up(40)
    values = dataset.votes.values.copy() if dataset.votes is not None else None
    assert values is not None
    values[2::3, 0] += 20  # smooth wins where artifact did
    values[:, 2] = 0
    values[0, :3] = 0, 0, 9  # the only artifact
    values[0, 3:] = 0
    rare = build_dataset(dataset.images, None, source="x", votes=Votes(TREE, values, True))
    split = split_dataset(rare, SplitConfig(duplicates="identical"))
    assert 0 in split.train
    assert set(rare.labels[split.test]) == set(rare.labels[split.validation]) == {0, 1}


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_split_without_voted_images_in_a_part_is_refused(part: str) -> None:
    values = np.tile(np.array([9, 1, 0, 0, 1], np.float32), (9, 1))
    images = np.random.default_rng(3).integers(0, 256, (9, 9, 9, 3), dtype=np.uint8)
    codes = np.arange(9) % 3
    kept = codes != ["train", "validation", "test"].index(part)
    votes = Votes(TREE, values[kept], True)
    dataset = build_dataset(images[kept], None, source="x", votes=votes, own_split=codes[kept].astype(np.int8))
    if part == "train":
        with pytest.raises(DataError, match="x: your split has no image with votes in train; expected one at least"):
            split_dataset(dataset, SplitConfig(duplicates="identical"))
    else:  # taken from the training images
        assert len(split_dataset(dataset, SplitConfig(duplicates="identical")).validation)


def test_two_galaxies_are_too_few_to_split() -> None:
    values = np.tile(np.array([9, 1, 0, 0, 1], np.float32), (2, 1))
    images = np.random.default_rng(3).integers(0, 256, (2, 9, 9, 3), dtype=np.uint8)
    dataset = build_dataset(images, None, source="x", votes=Votes(TREE, values, True))
    with pytest.raises(DataError, match="x: no answer wins for 3 different galaxies; expected one for training"):
        split_dataset(dataset, SplitConfig(duplicates="identical"))
