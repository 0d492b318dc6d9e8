from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from galaxy_exp.config.data_section import SplitConfig
from galaxy_exp.data import ImageDataset, image_arrays, split_dataset
from galaxy_exp.data.summary import channel_statistics, summarise_dataset

MakeDataset = Callable[..., ImageDataset]


def test_channel_statistics_are_those_of_all_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 9, 9, 3), dtype=np.uint8) // [1, 2, 4]
    images = images.astype(np.uint8)
    monkeypatch.setattr(image_arrays, "CHUNK_BYTES", images[:7].nbytes)
    means, deviations = channel_statistics(images)
    np.testing.assert_allclose(means, (images / 255).mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(deviations, (images / 255).std(axis=(0, 1, 2)))


def test_counts_by_class_and_part(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(30, 20)
    summary = summarise_dataset(dataset, SplitConfig())
    assert summary.counts["class 1"] == {"train": 14, "validation": 3, "test": 3, "all": 20}
    assert summary.split_digest == split_dataset(dataset, SplitConfig()).digest
    assert (summary.digest, summary.n_images, summary.split_problem) == (dataset.digest, 50, None)


def test_data_that_cannot_be_split_is_described_all_the_same(make_dataset: MakeDataset) -> None:
    summary = summarise_dataset(make_dataset(30, 2), SplitConfig())
    assert summary.counts == {"class 0": {"all": 30}, "class 1": {"all": 2}}
    assert summary.split_digest is None
    assert "class 1 ('class 1') has 2 different images" in str(summary.split_problem)
