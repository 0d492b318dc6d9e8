"""Resampling and permuting scores of votes, against drawing images one by one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from galaxy_exp.errors import BadInputError
from galaxy_exp.evaluation.held_out_report import (
    TestReport,
    build_report,
    build_vote_report,
    compared_names,
    label_of,
    shown_names,
)
from galaxy_exp.evaluation.vote_comparison import (
    COMPARED,
    compare_votes,
    gate_metric,
    vote_intervals,
    vote_permutation,
)
from galaxy_exp.evaluation.vote_metrics import summarise_votes
from galaxy_exp.questions import Question, Questions, Votes

TREE = Questions((Question("shape", ("smooth", "disk")), Question("arms", ("one", "two", "many"), after="shape.disk")))


def made(n: int = 200, seed: int = 0, are_counts: bool = True) -> tuple[Votes, np.ndarray, np.ndarray]:
    """Votes, the outputs of a network that is right, and those of one that is a little off."""
    rng = np.random.default_rng(seed)
    disk = rng.beta(0.7, 0.7, n)
    arms = rng.dirichlet((2, 3, 1), n)
    first = rng.binomial(20, disk)
    second = np.array([rng.multinomial(number, each) for number, each in zip(first, arms, strict=True)])
    values = np.column_stack([20 - first, first, second]).astype(np.float32)
    truth = np.column_stack([1 - disk, disk, arms])
    if not are_counts:
        values = values / 20
    right = 60 * truth + 0.1
    off = np.abs(right + rng.normal(0, 12, right.shape)) + 0.1
    return Votes(TREE, values, are_counts), right.astype(np.float32), off.astype(np.float32)


def drawn_one_by_one(votes: Votes, outputs: np.ndarray, n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    rows = []
    for _ in range(n):
        chosen = rng.integers(0, len(votes), len(votes))
        part = Votes(votes.questions, votes.values[chosen], votes.are_counts)
        rows.append(summarise_votes(part, outputs[chosen], 0.8))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


class TestIntervals:
    @pytest.mark.parametrize("are_counts", [True, False])
    def test_agree_with_drawing_images_one_by_one(self, are_counts: bool) -> None:
        votes, _, off = made(are_counts=are_counts)
        found, scores = vote_intervals(votes, off), summarise_votes(votes, off, 0.8)
        slowly = drawn_one_by_one(votes, off, 400)
        assert set(found) == set(scores) - {"accuracy", "macro_f1", "balanced_accuracy", "loss"}
        for name, (low, high) in found.items():
            expected = np.quantile(slowly[name], [0.025, 0.975])
            assert low < scores[name] < high or name == "calibration_error"  # which resampling makes larger
            assert [low, high] == pytest.approx(expected, abs=0.25 * (high - low)), name

    def test_images_without_votes_count_nothing(self) -> None:
        votes, _, off = made(50)
        with_empty = Votes(TREE, np.vstack([votes.values, np.zeros((5, 5), np.float32)]), True)
        outputs = np.vstack([off, np.ones((5, 5), np.float32)])
        assert summarise_votes(with_empty, outputs, 0.8)["deviance"] == pytest.approx(
            summarise_votes(votes, off, 0.8)["deviance"]
        )
        assert all(np.isfinite(ends).all() for ends in vote_intervals(with_empty, outputs).values())


class TestCompared:
    def test_every_difference_is_that_of_the_scores(self) -> None:
        votes, right, off = made()
        found = compare_votes(votes, right, off, 0.8)
        scores, others = summarise_votes(votes, right, 0.8), summarise_votes(votes, off, 0.8)
        assert tuple(found) == COMPARED
        for name, (difference, low, high) in found.items():
            assert difference == pytest.approx(scores[name] - others[name])
            assert low <= difference <= high
        assert found["deviance"][2] < 0  # clearly less

    def test_fractions_have_no_likelihood_and_disagreement_no_accuracy(self) -> None:
        votes, right, off = made(are_counts=False)
        even = Votes(TREE, np.full_like(votes.values, 0.5), False)
        assert "nll" not in compare_votes(votes, right, off, 0.8)
        assert set(compare_votes(even, right, off, 0.8)) == {"deviance", "rmse", "brier", "calibration_error"}

    def test_arrays_that_do_not_belong_together_are_refused(self) -> None:
        votes, right, off = made(20)
        with pytest.raises(BadInputError, match=r"\(20, 5\) and \(19, 5\); expected \(20, 5\) twice"):
            compare_votes(votes, right, off[1:], 0.8)
        with pytest.raises(BadInputError, match="by 'rmse'; expected one of deviance, brier, nll, accuracy"):
            vote_permutation(votes, right, off, "rmse", 0.8)


class TestPermutation:
    @pytest.mark.parametrize("metric", ["deviance", "brier", "nll"])
    def test_better_is_significant_and_worse_is_not(self, metric: str) -> None:
        votes, right, off = made()
        assert vote_permutation(votes, right, off, metric, 0.8) < 0.01
        assert vote_permutation(votes, off, right, metric, 0.8) > 0.5

    def test_equal_networks_are_seldom_promoted(self) -> None:
        rng = np.random.default_rng(1)
        promoted = 0
        for seed in range(80):
            votes, right, _ = made(60, seed)
            noise = rng.normal(0, 3, (2, *right.shape))
            a, b = (np.maximum(right + each, 0.1) for each in noise)
            promoted += vote_permutation(votes, a, b, "deviance", 0.8, level=0.05) <= 0.05
        assert promoted <= 9  # 4 are expected; 10 or more have a probability of 0.7%

    def test_the_accuracy_where_votes_agree_is_mcnemars(self) -> None:
        votes, right, _ = made()
        wrong = right[:, [1, 0, 2, 3, 4]]
        assert vote_permutation(votes, right, wrong, "accuracy", 0.8) < 1e-6
        even = Votes(TREE, np.ones_like(votes.values), True)
        assert vote_permutation(even, right, wrong, "accuracy", 0.8) == 1.0

    def test_the_gate_is_the_objective_where_a_paired_test_knows_it(self) -> None:
        assert [gate_metric(f"val_{name}") for name in ("nll", "macro_f1", "brier")] == ["nll", "macro_f1", "brier"]
        assert [gate_metric(name) for name in ("val_rmse", "val_loss", "own")] == ["deviance"] * 3


class TestReportOfVotes:
    def test_holds_the_scores_and_is_json(self) -> None:
        votes, right, _ = made()
        report = build_vote_report(votes, right, "digest", 0.8)
        scores = summarise_votes(votes, right, 0.8)
        assert (report.deviance, report.count_coverage) == (scores["deviance"], scores["coverage"])
        assert (report.accuracy, report.loss) == (scores["accuracy"], scores["loss"])
        assert report.n_images == 200
        assert sum(map(sum, report.confusion)) == report.votes["n_agreed"] < 200
        assert set(report.intervals) >= {"deviance", "rmse", "count_coverage", "macro_f1"}
        assert set(report.metrics) == {*COMPARED, "loss"}
        record = json.loads(json.dumps(report.to_dict()))
        assert TestReport.from_dict(record) == report
        assert shown_names(record)[:2] == ("deviance", "rmse")
        assert "accuracy" in compared_names(record)
        assert label_of("accuracy", record) == "accuracy where votes agree"

    def test_each_answer_has_its_bins_with_intervals(self) -> None:
        votes, right, _ = made(500)
        report = build_vote_report(votes, right, "digest", 0.8)
        answers = report.votes["answers"]
        assert [each["name"] for each in answers] == list(TREE.answers)
        assert answers[0]["observed"] + answers[1]["observed"] == pytest.approx(1)
        assert answers[2]["n_images"] < answers[0]["n_images"] == 500  # nobody got to the arms of some
        assert sum(each["n_images"] for each in answers[0]["bins"]) == 500
        inside = [low["low"] <= low["predicted"] <= low["high"] for each in answers for low in each["bins"]]
        assert np.mean(inside) > 0.8
        assert all(each["low"] <= each["observed"] <= each["high"] for row in answers for each in row["bins"])

    def test_without_agreement_nothing_is_said_of_classes(self) -> None:
        votes, right, _ = made(30)
        even = Votes(TREE, np.ones_like(votes.values), True)
        record = build_vote_report(even, right, "digest", 0.8).to_dict()
        assert record["votes"]["n_agreed"] == 0
        assert "accuracy" not in shown_names(record) + compared_names(record)

    def test_a_report_of_labels_has_nothing_new(self) -> None:
        labels = np.arange(40) % 2
        record = build_report(labels, np.eye(2)[labels], ["a", "b"], "digest").to_dict()
        assert not {"votes", "deviance", "rmse", "brier", "nll", "count_coverage"} & set(record)
        assert compared_names(record) == ("accuracy", "macro_f1", "balanced_accuracy", "loss")
