"""The benchmark of pretrained encoders: the labels that it draws, and a run on little."""

import numpy as np
import pytest

from benchmarks.pretrained import draw_labels


def test_labels_are_drawn_in_proportion_with_one_of_each_class():
    labels = np.repeat([0, 1, 2], [700, 290, 1])
    drawn = draw_labels(labels, 100, seed=3)
    assert len(set(drawn.tolist())) == 100
    counts = np.bincount(labels[drawn], minlength=3)
    assert counts[2] == 1
    assert counts[0] == pytest.approx(70, abs=12)
    assert not np.array_equal(drawn, draw_labels(labels, 100, seed=4))


def test_more_labels_than_there_are_gives_all():
    assert draw_labels(np.array([0, 1, 1]), 10, seed=1).tolist() == [0, 1, 2]
