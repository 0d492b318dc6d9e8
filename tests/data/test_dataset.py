from __future__ import annotations

import numpy as np
import pytest

from galaxy_exp.data import build_dataset, image_arrays
from galaxy_exp.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 0, 1, 0, 1])


def test_keeps_what_it_was_given() -> None:
    dataset = build_dataset(IMAGES, LABELS.astype(np.uint8), ["a", "b"], source="x.h5")
    assert dataset.labels.dtype == np.int64
    assert dataset.counts == {"a": 3, "b": 3}
    assert dataset.image_shape == (8, 9, 3)
    assert len(dataset) == 6
    assert not dataset.simulated


def test_whole_float_labels_are_accepted() -> None:
    assert build_dataset(IMAGES, LABELS.astype(float), source="x").labels.tolist() == LABELS.tolist()


def test_names_default_to_numbers() -> None:
    assert build_dataset(IMAGES, LABELS, source="x").class_names == ("class 0", "class 1")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0], r"x\.h5: 'images' has shape \(8, 9, 3\); expected uint8 of shape \(n, height, width, 3\)$"),
        (IMAGES[..., 0], r"width, 3\); for grey images: numpy\.stack\(\[images\] \* 3, axis=-1\)$"),
        (IMAGES[..., :1], r"width, 3\); for grey images: numpy\.repeat\(images, 3, axis=-1\)$"),
        (IMAGES.transpose(0, 3, 1, 2), r"width, 3\); for colours first: numpy\.moveaxis\(images, 1, -1\)$"),
        (IMAGES[..., :1], r"shape \(6, 8, 9, 1\)"),
        (IMAGES[:0], "'images' holds none"),
        (IMAGES[:, :4], "expected sides of at least 8 pixels"),
        (IMAGES / 255, "'images' is float64 from 0 to 1; expected uint8"),
        (np.where(np.arange(6).reshape(6, 1, 1, 1) == 4, np.nan, IMAGES), "NaN or infinity at index 4"),
        (IMAGES.astype(str), "'images' is <U"),
    ],
)
def test_wrong_images(images: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        build_dataset(images, LABELS, source="x.h5")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (LABELS[:5], None, r"'labels' has shape \(5,\); expected \(6,\)"),
        (LABELS - 1, None, "'labels' is -1 at index 0; expected a whole number from 0"),
        (LABELS + 0.5, None, r"'labels' is 0\.5 at index 0"),
        (np.array([0, 1, np.nan, 1, 0, 1]), None, "'labels' is nan at index 2"),
        (np.array([0, 1, 2, 1, 0, 1]), ("a", "b"), "'labels' is 2 at index 2, but there are 2 class names; expected 3"),
        (LABELS, ("a", "a"), "expected different names"),
        (LABELS, ("a", " "), "none empty"),
        (LABELS, ("a", "b\0"), r"class name 'b\\x00'; expected text that can be written as UTF-8, without NUL"),
        (LABELS * 0, None, "only one class, 'class 0'; expected at least 2"),
    ],
)
def test_wrong_labels(labels: np.ndarray, names: tuple[str, ...] | None, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        build_dataset(IMAGES, labels, names, source="x.h5")
    assert "\n" not in str(caught.value)


def test_a_class_may_be_empty() -> None:
    assert build_dataset(IMAGES, LABELS, ("a", "b", "c"), source="x").counts["c"] == 0


class TestDigest:
    def test_is_the_same_for_the_same_content_from_elsewhere(self) -> None:
        one = build_dataset(IMAGES, LABELS, source="a")
        other = build_dataset(IMAGES.copy(order="F"), LABELS.astype(np.int8), source="b")
        assert one.digest == other.digest
        assert len(one.digest) == 64

    def test_changes_with_each_ingredient(self) -> None:
        changed = IMAGES.copy()
        changed[5, 7, 8, 2] ^= 1
        digests = {
            build_dataset(IMAGES, LABELS, source="a").digest,
            build_dataset(changed, LABELS, source="a").digest,
            build_dataset(IMAGES.reshape(6, 9, 8, 3), LABELS, source="a").digest,
            build_dataset(IMAGES, LABELS[::-1], source="a").digest,
            build_dataset(IMAGES, LABELS, ("x", "y"), source="a").digest,
        }
        assert len(digests) == 5

    def test_does_not_depend_on_the_chunk_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = build_dataset(IMAGES, LABELS, source="a").digest
        monkeypatch.setattr(image_arrays, "CHUNK_BYTES", IMAGES[:2].nbytes)
        assert build_dataset(IMAGES, LABELS, source="a").digest == whole
