from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.data import ImageDataset, load_dataset
from galaxy_exp.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 9, 9, 3), dtype=np.uint8)


class Good:
    """What a user would write."""

    def __init__(self, n_images: int = 6) -> None:
        self.n_images = n_images

    def load(self) -> dict[str, Any]:
        return {"images": IMAGES[: self.n_images], "labels": np.arange(self.n_images) % 2, "class_names": ["E", "S"]}


class WithSplit(Good):
    def load(self) -> dict[str, Any]:
        return {**super().load(), "split": ["train", "test", "validation"] * 2, "simulated": True}


class MaskedSplit(Good):
    def load(self) -> dict[str, Any]:
        return {**super().load(), "split": np.ma.masked_equal(["train", "test", "validation"] * 2, "test")}


class Simulated(Good):
    def load(self) -> dict[str, Any]:
        return {**super().load(), "simulated": "no"}


class SomeVotes:
    def load(self) -> dict[str, Any]:
        return {"images": list(IMAGES), "votes": [[3, 1], [0, 0]] * 3}


class FloatsWithVotes:
    def load(self) -> dict[str, Any]:
        return {"images": IMAGES / 255.0, "votes": [[3, 1], [0, 0]] * 3}


class WithoutLoad:
    pass


class Gives:
    def __init__(self, what: Any) -> None:
        self.what = what

    def load(self) -> Any:
        return self.what


class Dictionary(dict):  # type: ignore[type-arg]
    """A class without a signature."""

    def load(self) -> dict[str, Any]:
        return Good().load()


class Raises:
    def load(self) -> Any:
        raise OSError("the disk\nis away")


def load(name: str, **settings: Any) -> ImageDataset:
    return load_dataset(DataConfig(source=f"{__name__}:{name}", **settings))


def test_gives_a_data_set() -> None:
    dataset = load("Good")
    assert dataset.counts == {"E": 3, "S": 3}
    assert dataset.source == f"{__name__}:Good"
    assert not dataset.simulated


def test_may_have_no_signature() -> None:
    assert len(load("Dictionary")) == 6


def test_takes_options_names_and_preprocessing() -> None:
    dataset = load("Good", options={"n_images": 4}, class_names=("a", "b"), resize=8)
    assert dataset.counts == {"a": 2, "b": 2}
    assert dataset.image_shape == (8, 8, 3)


def test_images_in_a_list_may_lack_votes() -> None:
    questions = [{"name": "shape", "answers": ["E", "S"]}]
    dataset = load("SomeVotes", votes={"questions": questions, "missing": "drop"})
    np.testing.assert_array_equal(dataset.images, IMAGES[::2])


def test_images_that_are_no_bytes_are_refused_if_some_lack_votes_too() -> None:
    questions = [{"name": "shape", "answers": ["E", "S"]}]
    with pytest.raises(DataError, match="'images' is float64 from 0 to"):
        load("FloatsWithVotes", votes={"questions": questions, "missing": "drop"})


def test_may_bring_a_split_and_be_simulated() -> None:
    dataset = load("WithSplit")
    assert dataset.own_split is not None
    assert dataset.own_split.tolist() == [0, 2, 1] * 2
    assert dataset.simulated


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("God", {}, 'test_user_source has no God; did you mean "Good"'),
        ("IMAGES", {}, "is of type ndarray; expected a class with a method load()"),
        ("WithoutLoad", {}, "is a class without load(); expected a class with a method load()"),
        ("Good", {"images": 4}, "cannot be constructed with data.options {'images': 4} (got an unexpected keyword"),
        ("Good", {"n_images": "x"}, "Good.load() raised TypeError: "),
        ("Raises", {}, "Raises.load() raised OSError: the disk is away"),
        ("Gives", {"what": 3}, "Gives.load() gave int; expected a mapping with images and labels"),
        ("Gives", {"what": {"images": 1}}, "Gives.load() gave no 'labels'; expected images and labels"),
        ("Gives", {"what": {"image": 1}}, "Gives.load() gave an unknown key 'image'; did you mean \"images\"?"),
        ("Gives", {"what": {"images": None, "votes": [[1, 2]]}}, "Gives.load() gave no 'images'; expected images and"),
        ("Gives", {"what": {"images": [1], "labels": [0]}}, "Gives: 'images' has shape (1,); expected uint8"),
        ("Gives", {"what": {"images": [[1], [1, 2]], "labels": [0, 1]}}, "Gives: 'images' are of different shapes"),
        ("Simulated", {}, "Simulated.load() gave 'simulated' of type str; expected True or False"),
        ("MaskedSplit", {}, "MaskedSplit: 'split' is '' at index 1; expected train, validation, test"),
    ],
)
def test_is_checked(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        load(name, options=options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_module_that_cannot_be_imported() -> None:
    with pytest.raises(DataError, match=r"data\.source: no_such:X: importing no_such raised ModuleNotFoundError"):
        load_dataset(DataConfig(source="no_such:X"))


def test_what_it_prints_is_not_among_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"print('imported')\nfrom {__name__} import Good\nclass Talks(Good):\n    def load(self):\n"
    (tmp_path / "talks.py").write_text(f"{source}        print('loading')\n        return super().load()\n")
    monkeypatch.syspath_prepend(tmp_path)
    load_dataset(DataConfig(source="talks:Talks"))
    assert capsys.readouterr() == ("", "imported\nloading\n")


def test_module_that_ends_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source_that_exits.py").write_text("import sys\n\nsys.exit()\n")
    monkeypatch.syspath_prepend(tmp_path)
    expected = r"importing source_that_exits raised SystemExit \(from sys.exit or argparse\)$"
    with pytest.raises(DataError, match=expected):
        load_dataset(DataConfig(source="source_that_exits:X"))
