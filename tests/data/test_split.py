from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import StratifiedShuffleSplit

from galaxy_exp.config.data_section import DataConfig, SplitConfig
from galaxy_exp.data import ImageDataset, build_dataset, load_dataset, split_dataset
from galaxy_exp.data.split import PARTS, Split
from galaxy_exp.errors import DataError

MakeDataset = Callable[..., ImageDataset]


def check_partition(split: Split, n_images: int) -> None:
    everything = np.concatenate([split[part] for part in PARTS])
    assert sorted(everything.tolist()) == list(range(n_images))
    assert all((np.diff(split[part]) > 0).all() for part in PARTS)
    assert all(split[part].dtype == np.int64 for part in PARTS)


@pytest.mark.parametrize("counts", [(3, 3), (100, 7, 31), (3, 250, 4, 5)])
@pytest.mark.parametrize(("validation", "test"), [(0.15, 0.15), (0.05, 0.6), (0.3, 0.5), (0.01, 0.01)])
def test_is_a_stratified_partition(
    make_dataset: MakeDataset, counts: tuple[int, ...], validation: float, test: float
) -> None:
    dataset = make_dataset(*counts)
    split = split_dataset(dataset, SplitConfig(validation=validation, test=test))
    check_partition(split, len(dataset))
    for label, count in enumerate(counts):
        shares = {part: int((dataset.labels[split[part]] == label).sum()) for part in PARTS}
        assert min(shares.values()) >= 1
        assert abs(shares["validation"] - count * validation) <= 1
        assert abs(shares["test"] - count * test) <= 1


def test_is_as_stratified_as_that_of_scikit_learn(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(100, 37, 11)
    found = split_dataset(dataset, SplitConfig(test=0.2)).test
    splitter = StratifiedShuffleSplit(1, test_size=0.2, random_state=0)
    (_, expected) = next(splitter.split(dataset.images, dataset.labels))
    counts = [np.bincount(dataset.labels[indices]) for indices in (found, expected)]
    assert np.abs(counts[0] - counts[1]).max() <= 1


def test_follows_the_seed_only(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(40, 30)
    same = [split_dataset(dataset, SplitConfig(seed=3)).digest for _ in range(2)]
    other = split_dataset(dataset, SplitConfig(seed=4)).digest
    assert same[0] == same[1] != other


def test_is_the_same_with_every_release() -> None:
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1) * np.ones((20, 8, 8, 3), np.uint8)
    split = split_dataset(build_dataset(images, np.arange(20) % 2, source="x"), SplitConfig(validation=0.2, test=0.2))
    assert split.test.tolist() == [3, 6, 7, 12]
    assert split.validation.tolist() == [5, 8, 15, 18]


def test_one_class_does_not_move_another(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(20, 20)
    fewer = np.flatnonzero((dataset.labels == 0) | (np.cumsum(dataset.labels == 1) <= 10))
    part = build_dataset(dataset.images[fewer], dataset.labels[fewer], source="x")
    whole_test, part_test = split_dataset(dataset, SplitConfig()).test, split_dataset(part, SplitConfig()).test
    assert [i for i in whole_test if dataset.labels[i] == 0] == [fewer[i] for i in part_test if part.labels[i] == 0]


@pytest.mark.parametrize("seed", range(8))
def test_identical_images_stay_together(make_dataset: MakeDataset, seed: int) -> None:
    dataset = make_dataset(20, 12, seed=seed)
    twins = [(0, 5), (1, 9), (2, 11), (3, 30), (4, 31)]
    images = dataset.images.copy()
    for one, other in twins:
        images[other] = images[one]
    dataset = build_dataset(images, dataset.labels, source="x")
    split = split_dataset(dataset, SplitConfig(seed=seed, validation=0.3, test=0.3))
    check_partition(split, len(dataset))
    part_of = {int(index): part for part in PARTS for index in split[part]}
    assert all(part_of[one] == part_of[other] for one, other in twins)


def test_large_groups_still_leave_an_image_in_every_part() -> None:
    kinds = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    images = np.repeat(kinds, 2, axis=0)
    dataset = build_dataset(images, np.repeat([0, 1], 6), source="x")
    split = split_dataset(dataset, SplitConfig())
    check_partition(split, 12)
    assert all(np.bincount(dataset.labels[split[part]]).tolist() == [2, 2] for part in PARTS)


def test_identical_images_with_two_labels_are_told(make_dataset: MakeDataset, caplog: pytest.LogCaptureFixture) -> None:
    images = make_dataset(5, 4).images
    split_dataset(
        build_dataset(np.tile(images, (2, 1, 1, 1)), np.arange(18) % 2, ("E", "S"), source="x"), SplitConfig()
    )
    assert "x: 9 images are identical to an image with another label, as image 9 (S) to image 0 (E)" in caplog.text
    caplog.clear()
    split_dataset(build_dataset(np.tile(images, (2, 1, 1, 1)), np.arange(18) % 9 % 2, source="x"), SplitConfig())
    assert not caplog.text


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_identical_files_are_named(tmp_path: Path, kind: str) -> None:
    places = [f"{part}/{label}/{number}.png" for part in PARTS for label in "ab" for number in range(2)]
    noise = np.random.default_rng(0).integers(0, 256, (len(places), 9, 9, 3), dtype=np.uint8)
    noise[9] = noise[1]
    for place, pixels in zip(places, noise, strict=True):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / place)
    lines = [f"{place},{place.split('/')[1]},{place.split('/')[0]}" for place in places]
    lines.insert(3, "gone.png,a,train")
    (tmp_path / "set.csv").write_text("\n".join(["file,label,split", *lines]))
    config = DataConfig(source=str(tmp_path if kind == "folder" else tmp_path / "set.csv"), on_error="skip")
    with pytest.raises(DataError) as caught:
        split_dataset(load_dataset(config), config.split)
    one, other = (f"{tmp_path}/{part}/a/1.png" for part in ("test", "train"))
    if kind == "table":
        one, other = f"row 11, {one}", f"row 2, {other}"
    assert str(caught.value).startswith(f"{config.source}: {one} (test) is identical to {other} (train), and so are 1")


def test_too_few_images(make_dataset: MakeDataset) -> None:
    with pytest.raises(DataError, match=r"test: class 1 \('class 1'\) has 2 different images \(2 in all\); expected"):
        split_dataset(make_dataset(9, 2), SplitConfig())


def test_class_without_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    dataset = build_dataset(images, np.arange(8) % 2, ("a", "b", "c"), source="x.h5")
    with pytest.raises(DataError, match=r"x\.h5: class 2 \('c'\) has 0 different images \(0 in all\)"):
        split_dataset(dataset, SplitConfig())


def test_too_few_different_images() -> None:
    dataset = build_dataset(np.zeros((8, 8, 8, 3), np.uint8), np.arange(8) % 2, source="x")
    with pytest.raises(DataError, match=r"has 1 different images \(4 in all\); expected at least 3"):
        split_dataset(dataset, SplitConfig())


def test_seventeen_images_are_divided_by_the_stated_rule(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(100, 17)
    split = split_dataset(dataset, SplitConfig())
    assert [int((dataset.labels[split[part]] == 1).sum()) for part in PARTS] == [11, 3, 3]


class TestNearDuplicates:
    @pytest.fixture
    def dataset(self) -> ImageDataset:
        """40 different images, then each again, a little brighter."""
        images = np.random.default_rng(0).integers(0, 240, (40, 16, 16, 3), dtype=np.uint8)
        return build_dataset(np.concatenate([images, images + 5]), np.arange(80) % 2, source="x")

    @pytest.mark.parametrize("seed", range(4))
    def test_stay_together(self, dataset: ImageDataset, seed: int) -> None:
        split = split_dataset(dataset, SplitConfig(seed=seed))
        check_partition(split, 80)
        for part in PARTS:
            assert {index % 40 for index in split[part]} == {index for index in split[part] if index < 40}
        assert (split.n_identical, split.n_near) == (0, 40)

    def test_may_be_divided_when_asked(self, dataset: ImageDataset) -> None:
        split = split_dataset(dataset, SplitConfig(duplicates="identical"))
        assert {index % 40 for index in split.test} != {index for index in split.test if index < 40}
        assert split.n_near == 0


class TestOwnSplit:
    PARTS = np.array([0, 0, 0, 0, 1, 1, 2, 2], np.int8)

    @staticmethod
    def make(parts: np.ndarray, change: tuple[int, int] | None = None, brighter: int = 0) -> ImageDataset:
        images = np.random.default_rng(0).integers(0, 240, (8, 16, 16, 3), dtype=np.uint8)
        if change:
            images[change[1]] = images[change[0]] + brighter
        return build_dataset(images, np.arange(8) % 2, ("E", "S"), source="x.csv", own_split=parts)

    def test_is_honoured(self) -> None:
        split = split_dataset(self.make(self.PARTS), SplitConfig(seed=99))
        assert (split.train.tolist(), split.validation.tolist(), split.test.tolist()) == ([0, 1, 2, 3], [4, 5], [6, 7])
        assert split.user_defined

    @pytest.mark.parametrize("missing", [0, 1, 2])
    def test_needs_every_class_in_every_part(self, missing: int) -> None:
        parts = np.where((missing == self.PARTS) & (np.arange(8) % 2 == 1), (missing + 1) % 3, self.PARTS)
        expected = rf"x\.csv: your split has no image of class 1 \('S'\) in {PARTS[missing]}; expected one at least"
        with pytest.raises(DataError, match=expected):
            split_dataset(self.make(parts), SplitConfig())

    def test_a_missing_part_takes_one_training_image_of_a_class(self) -> None:
        for missing, parts in (("validation", [0, 0, 0, 0, 2, 2, 2, 2]), ("test", [0, 0, 0, 0, 1, 1, 1, 1])):
            split = split_dataset(self.make(np.array(parts, np.int8)), SplitConfig())
            assert len(split.train) == 2
            assert (np.bincount(split[missing] % 2, minlength=2) == 1).all()
        counted = r"class 1 \('S'\) has 1 different images for training in your split \(1 in all\); expected at least 2"
        with pytest.raises(DataError, match=f"{counted}, one each for training and validation$"):
            split_dataset(self.make(np.array([0, 0, 0, 2, 2, 2, 2, 2], np.int8)), SplitConfig())

    def test_identical_images_in_two_parts_are_refused(self) -> None:
        with pytest.raises(DataError, match=r"image 7 \(test\) is identical to image 2 \(train\), and so are 1 in all"):
            split_dataset(self.make(self.PARTS, (2, 7)), SplitConfig())

    def test_near_duplicates_in_two_parts_are_told(self, caplog: pytest.LogCaptureFixture) -> None:
        split = split_dataset(self.make(self.PARTS, (2, 7), brighter=5), SplitConfig())
        assert split.n_near == 1
        assert "1 images are in another set than a near duplicate, as image 7 (test) of image 2 (train)" in caplog.text

    def test_has_one_entry_per_image(self) -> None:
        with pytest.raises(DataError, match=r"x\.csv: data.split.column has 7 entries; expected 8, one per image"):
            self.make(self.PARTS[:7])
