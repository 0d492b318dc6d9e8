"""Observed against predicted fractions: the numbers that are drawn, and the part of the page."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from galaxy_exp.evaluation.held_out_report import build_vote_report
from galaxy_exp.journal.events import SealedTestOpened
from galaxy_exp.questions import Question, Questions, Votes
from galaxy_exp.report.canvas import new_figure
from galaxy_exp.report.material import VoteMaterial
from galaxy_exp.report.page import build_page
from galaxy_exp.report.votes import (
    describe_fractions,
    draw_fractions,
    find_differences,
    plot_differences,
    plot_fractions,
)

from .materials import finished

TREE = Questions((Question("shape", ("smooth", "<disk>")), Question("bar", ("yes", "no"), after="shape.<disk>")))
VALUES = np.array([[10, 0, 0, 0], [5, 5, 5, 0], [1, 9, 0, 9], [0, 10, 5, 5]], np.float32)
VOTES = Votes(TREE, VALUES, are_counts=True)
OUTPUTS = np.array([[9, 1, 1, 1], [5, 5, 5, 1], [9, 1, 1, 9], [1, 9, 5, 5]], np.float32)


def test_the_galaxies_that_differ_most_come_first_with_their_answer():
    first, *others = find_differences(VOTES, OUTPUTS)
    assert (first.index, first.answer) == (2, "shape.smooth")
    assert (first.observed, first.predicted) == (pytest.approx(0.1), pytest.approx(0.9))
    assert [each.deviance for each in [first, *others]] == sorted(
        (each.deviance for each in [first, *others]), reverse=True
    )
    assert [each.index for each in find_differences(VOTES, OUTPUTS, 2)] == [2, others[0].index]
    empty = Votes(TREE, np.zeros_like(VALUES), are_counts=True)
    assert find_differences(empty, OUTPUTS) == []


def test_figures_are_written_also_of_answers_nobody_gave(tmp_path):
    report = build_vote_report(Votes(TREE, VALUES[:1], True), OUTPUTS[:1], "d", 0.8)
    assert describe_fractions(report.votes["answers"][2]).endswith("by the predicted one. No votes.")
    path = plot_fractions(report.votes, tmp_path / "fractions.png", "Title")
    assert Image.open(path).width > 500
    images = np.zeros((4, 24, 24, 3), np.uint8)
    assert Image.open(plot_differences(images, VOTES, OUTPUTS, tmp_path / "differences.png")).height > 200


def test_bins_that_read_alike_are_two_dots(tmp_path):
    bin_ = {"n_images": 1, "predicted": 0.099, "observed": 0.0, "low": 0.0, "high": 0.5}
    answer = {"name": "shape.smooth", "bins": [bin_, bin_ | {"predicted": 0.101}]}
    axes = new_figure(3, 3).add_axes((0.1, 0.1, 0.8, 0.8))
    draw_fractions(axes, answer)
    assert [len(each.get_offsets()) for each in axes.collections if len(each.get_offsets()) > 1] == [2]


class TestPage:
    def _material(self, agreement: float = 0.8):
        material = finished()
        report = build_vote_report(VOTES, OUTPUTS, "digest", agreement).to_dict()
        record = material.record
        for number in list(record.test_reports):
            record.test_reports[number] = SealedTestOpened(number=number, report=report).report
        picture = material.mistakes[0]
        votes = VoteMaterial(TREE, [(picture, "10% shape.smooth", "90% predicted")])
        return replace(material, votes=votes, mistakes=(), n_mistakes=None, calibration=None, gains=())

    @pytest.mark.parametrize("agreement", [0.8, 1.0])
    def test_has_the_scores_the_panels_and_the_pictures(self, agreement):
        page = build_page(self._material(agreement))
        ElementTree.fromstring(page.partition("\n")[2])  # well-formed
        for text in ("shape (smooth, &lt;disk&gt;)", "bar after shape.&lt;disk&gt; (", "RMSE of fractions"):
            assert text in page
        assert "10% shape.smooth" in page and f"at least {100 * agreement:g}% of the votes" in page
        assert page.count("Observed fraction of") == 4
        assert "Calibration</h3>" not in page
        assert page.count("calibration error of fractions") == 1  # one table of scores
        n_agreed = build_vote_report(VOTES, OUTPUTS, "digest", agreement).votes["n_agreed"]
        assert f"The winner on {n_agreed} held-out galaxies whose votes agree" in page

    def test_before_the_test_it_says_what_was_asked(self):
        material = self._material()
        material.record.test_reports.clear()
        page = build_page(material)
        assert "What volunteers were asked" in page and "How well votes are predicted" not in page
