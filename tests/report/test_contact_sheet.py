from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from galaxy_exp.report.galleries import Sample, pick_samples, plot_contact_sheet

LABELS = np.repeat([0, 1, 3], [20, 3, 5])


def test_samples_are_of_their_class_and_follow_the_seed() -> None:
    samples = pick_samples(LABELS, 4, 4, seed=1)
    assert [len(sample.indices) for sample in samples] == [4, 3, 0, 4]
    assert [sample.n_images for sample in samples] == [20, 3, 0, 5]
    assert all((LABELS[list(sample.indices)] == sample.label).all() for sample in samples)
    assert samples == pick_samples(LABELS, 4, 4, seed=1) != pick_samples(LABELS, 4, 4, seed=2)


def test_only_the_images_allowed_are_picked() -> None:
    among = np.arange(0, 28, 2)
    samples = pick_samples(LABELS, 4, 40, seed=1, among=among)
    assert [index for sample in samples for index in sample.indices] == among.tolist()


def test_draws_the_images(tmp_path: Path) -> None:
    images = np.zeros((28, 12, 10, 3), np.uint8)
    images[7] = [255, 0, 0]
    samples = [Sample(0, 20, (7, 8)), Sample(1, 3, (20,)), Sample(2, 0, ())]
    path = tmp_path / "new" / "sheet.png"
    assert plot_contact_sheet(images, samples, ["a $x$", "b" * 90, "c"], path, title="t", simulated=True) == path
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    assert 5_000 < (pixels == [255, 0, 0]).all(axis=1).sum() < 13_000
    assert (pixels == [0, 0, 0]).all(axis=1).sum() > 10_000


def test_without_any_image(tmp_path: Path) -> None:
    samples = [Sample(0, 0, ()), Sample(1, 0, ())]
    assert plot_contact_sheet(np.zeros((0, 9, 9, 3), np.uint8), samples, "ab", tmp_path / "x.png", title="t").is_file()
