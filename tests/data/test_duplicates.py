from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from galaxy_exp.data import build_dataset, duplicates
from galaxy_exp.data.duplicates import (
    MAX_BITS,
    MAX_DIFFERENCE,
    Groups,
    find_close_hashes,
    find_near_duplicates,
    fingerprint_images,
    group_duplicates,
    load_groups,
)

SIDE = 48


def make_galaxies(n: int, seed: int = 0) -> np.ndarray:
    """Inclined galaxies with a companion, no two alike, in noise."""
    rng = np.random.default_rng(seed)
    return np.stack([draw(rng, *rng.uniform([0, 4, 0.4, 8], [3.1, 8, 0.9, 15])) for _ in range(n)])


def make_alike(n: int, seed: int = 0) -> np.ndarray:
    """The same smooth galaxy n times, each in noise of its own."""
    rng = np.random.default_rng(seed)
    return np.stack([draw(rng, 0.5, 6, 0.6, 12) for _ in range(n)])


def draw(rng: np.random.Generator, angle: float, size: float, axis_ratio: float, distance: float) -> np.ndarray:
    """uint8 (SIDE, SIDE, 3)."""
    rows, columns = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    along = rows * np.sin(angle) + columns * np.cos(angle)
    across = (columns * np.sin(angle) - rows * np.cos(angle)) / axis_ratio
    light = 180 * np.exp(-(along**2 + across**2) / (2 * size**2))
    light += 80 * np.exp(-((along - distance) ** 2 + (across - distance / 2) ** 2) / 8)
    return np.clip(light[..., None] + rng.normal(12, 2, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def save_as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def scale_twice(image: np.ndarray) -> np.ndarray:
    larger = Image.fromarray(image).resize((56, 56), Image.Resampling.BILINEAR)
    return np.asarray(larger.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "jpeg 90": lambda image: save_as_jpeg(image, 90),
    "brighter": lambda image: np.clip(image * 1.05, 0, 255).astype(np.uint8),
    "scaled": scale_twice,
    "one pixel": lambda image: np.where(np.arange(image.size).reshape(image.shape) == 77, image ^ 64, image),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_picture_again_is_found(change: str) -> None:
    images = make_galaxies(60)
    again = np.stack([CHANGES[change](image) for image in images[:10]])
    pairs = find_near_duplicates(np.concatenate([images, again]), np.arange(70))
    assert pairs.tolist() == [[index, 60 + index] for index in range(10)]


def test_smooth_galaxies_are_not_merged() -> None:
    images = make_alike(60)
    prints = fingerprint_images(images, np.arange(60))
    pairs = find_close_hashes(prints.hashes)
    similar = np.einsum("ij,ij->i", *(prints.thumbnails[side] for side in pairs.T)) > 1 - MAX_DIFFERENCE**2 / 2
    assert similar.sum() > 100, "the first two tests would merge these"
    assert len(find_near_duplicates(images, np.arange(60))) == 0


def test_galaxies_are_not_merged() -> None:
    assert len(find_near_duplicates(make_galaxies(300), np.arange(300))) == 0


def test_flat_images_are_like_no_other() -> None:
    images = np.arange(30, dtype=np.uint8).reshape(30, 1, 1, 1) * np.ones((30, 8, 8, 3), np.uint8)
    assert len(find_near_duplicates(images, np.arange(30))) == 0


def test_only_the_positions_are_compared() -> None:
    images = make_galaxies(6)
    images[[2, 5]] = images[1]
    assert find_near_duplicates(images, np.array([0, 2, 3, 5])).tolist() == [[2, 5]]


def test_bands_find_what_all_pairs_would() -> None:
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 2**63, 40, dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (40, 10, 5)).astype(np.uint64)
    hashes = (centres[:, None] ^ np.bitwise_xor.reduce(flips, axis=2)).ravel()
    left, right = np.triu_indices(len(hashes), 1)
    close = np.bitwise_count(hashes[left] ^ hashes[right]) <= MAX_BITS
    assert close.sum() > 100
    assert find_close_hashes(hashes).tolist() == np.stack([left, right], axis=1)[close].tolist()


def test_many_hashes_take_no_time() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**63, 22_000, dtype=np.uint64)
    start = time.perf_counter()
    find_close_hashes(hashes)
    assert time.perf_counter() - start < 20


class TestGroups:
    def test_counts_identical_and_near_apart(self) -> None:
        images = make_galaxies(8)
        images[3] = images[0]
        images[[5, 6]] = save_as_jpeg(images[0], 90)
        groups = group_duplicates(images, "near")
        assert groups.identical.tolist() == [0, 1, 2, 0, 4, 5, 5, 7]
        assert groups.joined.tolist() == [0, 1, 2, 0, 4, 0, 0, 7]
        assert (groups.n_identical, groups.n_near) == (2, 1)

    def test_near_can_be_left_out(self) -> None:
        images = make_galaxies(4)
        images[3] = save_as_jpeg(images[0], 90)
        groups = group_duplicates(images, "identical")
        assert groups.joined.tolist() == [0, 1, 2, 3]
        assert (groups.n_identical, groups.n_near) == (0, 0)

    def test_chains_are_one_group(self) -> None:
        image = make_galaxies(1)[0]
        images = np.stack([image, save_as_jpeg(image, 92), CHANGES["brighter"](save_as_jpeg(image, 92))])
        assert group_duplicates(images, "near").joined.tolist() == [0, 0, 0]


class TestRecalledGroups:
    def recall(self, folder: Path, which: Literal["near", "identical"] = "near") -> Groups:
        images = make_galaxies(6)
        images[4] = save_as_jpeg(images[0], 90)
        images[5] = images[1]
        return load_groups(build_dataset(images, np.arange(6) % 2, source="x"), which, folder)

    def test_are_those_that_were_found_first(self, tmp_path: Path) -> None:
        assert self.recall(tmp_path).joined.tolist() == [0, 1, 2, 3, 0, 1]
        (file,) = tmp_path.iterdir()
        np.savez(file, identical=np.arange(6), joined=np.zeros(6, np.int64))
        assert self.recall(tmp_path).joined.tolist() == [0, 0, 0, 0, 0, 0]

    def test_of_another_method_or_of_other_images_are_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.recall(tmp_path)
        other = build_dataset(make_galaxies(6, seed=1), np.arange(6) % 2, source="x")
        assert load_groups(other, "near", tmp_path).n_near == 0
        assert len(list(tmp_path.iterdir())) == 2
        monkeypatch.setattr(duplicates, "MAX_DIFFERENCE", 0.0)
        assert self.recall(tmp_path).n_near == 0
        assert len(list(tmp_path.iterdir())) == 3

    def test_need_no_folder_that_can_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert self.recall(tmp_path / "file" / "groups").joined.tolist() == [0, 1, 2, 3, 0, 1]

    def test_of_identical_images_are_others(self, tmp_path: Path) -> None:
        assert self.recall(tmp_path).n_near == 1
        assert self.recall(tmp_path, "identical").n_near == 0
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize(
        "damage",
        [
            lambda file: file.write_bytes(b""),
            lambda file: file.write_bytes(b"PK not a zip"),
            lambda file: file.write_bytes(file.read_bytes()[:-30]),
            lambda file: file.write_bytes(file.read_bytes().replace(b"NUMPY", b"NUMPX")),
            lambda file: file.write_bytes(file.read_bytes().replace(b"\x00\x00\x00\x00", b"\x09\x00\x63\x00", 1)),
            lambda file: np.save(file.open("wb"), np.arange(6)),
            lambda file: np.savez(file, identical=np.arange(6)),
            lambda file: np.savez(file, identical=np.arange(5), joined=np.arange(5)),
            lambda file: np.savez(file, identical=np.arange(6), joined=np.arange(6) + 1),
            lambda file: np.savez(file, identical=np.arange(6), joined=-np.arange(6)),
            lambda file: np.savez(file, identical=np.arange(6), joined=np.arange(6.0)),
            lambda file: np.savez(file, identical=np.arange(6), joined=np.array([None] * 6)),
        ],
    )
    def test_in_a_damaged_file_are_found_anew(self, tmp_path: Path, damage: Callable[[Path], object]) -> None:
        self.recall(tmp_path)
        (file,) = tmp_path.iterdir()
        damage(file)
        assert self.recall(tmp_path).joined.tolist() == [0, 1, 2, 3, 0, 1]
        with np.load(file) as arrays:
            assert arrays["joined"].tolist() == [0, 1, 2, 3, 0, 1]
