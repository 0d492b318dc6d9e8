"""The scores of votes agree with scipy's distributions, and with sums written out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from galaxy_exp.evaluation import vote_metrics
from galaxy_exp.questions import Question, Questions, Votes

SHAPE = Question("shape", ("smooth", "disk", "star"))
BAR = Question("bar", ("yes", "no"), after="shape.disk")
ONE, TREE = Questions((SHAPE,)), Questions((SHAPE, BAR))


def draw_votes(n: int, n_votes: int, concentration: float, seed: int = 0) -> tuple[Votes, np.ndarray]:
    """Counts drawn from the Dirichlet-multinomial distribution, and its concentrations."""
    rng = np.random.default_rng(seed)
    alphas = concentration * rng.dirichlet((2.0, 2.0, 1.0), n)
    counts = np.stack([rng.multinomial(n_votes, rng.dirichlet(each)) for each in alphas])
    return Votes(ONE, counts.astype(np.float32), are_counts=True), alphas


@pytest.fixture(scope="module")
def tree():
    counts = np.array([[8, 2, 0, 1, 1], [0, 10, 10, 10, 0], [5, 0, 0, 0, 0]], np.float32)
    outputs = np.array([[0.7, 0.2, 0.1, 0.5, 0.5], [0.1, 0.5, 0.4, 0.8, 0.2], [1 / 3, 1 / 3, 1 / 3, 0.9, 0.1]])
    return Votes(TREE, counts, are_counts=True), outputs


def test_deviance_is_the_divergence_of_each_question_weighted_by_who_got_there(tree):
    votes, outputs = tree
    by_hand = [
        stats.entropy([0.8, 0.2, 0.0], [0.7, 0.2, 0.1]) + 0.2 * stats.entropy([0.5, 0.5], [0.5, 0.5]),
        stats.entropy([0.0, 0.5, 0.5], [0.1, 0.5, 0.4]) + 0.5 * stats.entropy([1.0, 0.0], [0.8, 0.2]),
        math.log(3),
    ]
    np.testing.assert_allclose(vote_metrics.image_deviances(votes, outputs), by_hand)
    shares = votes.values / votes.values[:, :3].sum(axis=1, keepdims=True)
    fractions = Votes(TREE, shares, are_counts=False)
    np.testing.assert_allclose(vote_metrics.image_deviances(fractions, outputs), by_hand, rtol=1e-6)


def test_perfect_fractions_have_no_deviance_and_no_error(tree):
    votes, _ = tree
    perfect = np.nan_to_num(TREE.fractions(votes.values), nan=0.5)
    found = vote_metrics.summarise_votes(votes, perfect, agreement=0.0)
    assert found["deviance"] == pytest.approx(0, abs=1e-6)
    assert found["rmse"] == pytest.approx(0, abs=1e-6)
    assert found["calibration_error"] == pytest.approx(0, abs=1e-6)
    assert found["accuracy"] == found["macro_f1"] == 1


def test_the_tree_s_deviance_is_that_of_a_volunteer_s_whole_path(tree):
    votes, outputs = tree
    observed = [0.0, 0.5 * 1.0, 0.5 * 0.0, 0.5]  # smooth, disk with bar, disk without, star
    predicted = [0.1, 0.5 * 0.8, 0.5 * 0.2, 0.4]
    assert vote_metrics.image_deviances(votes, outputs)[1] == pytest.approx(stats.entropy(observed, predicted))


def test_likelihoods_equal_scipy_s(tree):
    votes, outputs = tree
    alphas = outputs * np.array([30, 30, 30, 4, 4])
    for parameters, distribution in ((outputs, stats.multinomial), (alphas, stats.dirichlet_multinomial)):
        by_hand = []
        for counts, row in zip(votes.values.astype(int), parameters, strict=True):
            given = [(row[:3], counts[:3])] + ([(row[3:], counts[3:])] if counts[3:].any() else [])
            log_likelihoods = [
                distribution.logpmf(n, n.sum(), p) if distribution is stats.multinomial else
                distribution.logpmf(n, p, n.sum())
                for p, n in given
            ]  # fmt: skip
            by_hand.append(-sum(log_likelihoods) / counts[:3].sum())
        np.testing.assert_allclose(vote_metrics.image_likelihoods(votes, parameters), by_hand, rtol=1e-6)


def test_brier_score_is_the_mean_over_single_votes():
    votes = Votes(ONE, np.array([[3, 1, 0]], np.float32), are_counts=True)
    forecast = np.array([[0.6, 0.3, 0.1]])
    singles = [np.eye(3)[0]] * 3 + [np.eye(3)[1]]
    by_hand = np.mean([((forecast[0] - vote) ** 2).sum() for vote in singles])
    assert vote_metrics.image_brier_scores(votes, forecast)[0] == pytest.approx(by_hand)


def test_rmse_weighs_answers_by_the_share_of_their_question(tree):
    votes, outputs = tree
    observed = np.array([[0.8, 0.2, 0, 0.5, 0.5], [0, 0.5, 0.5, 1, 0], [1, 0, 0, 0, 0]])
    weights = np.array([[1, 1, 1, 0.2, 0.2], [1, 1, 1, 0.5, 0.5], [1, 1, 1, 0, 0]])
    by_hand = np.sqrt(np.average((observed - outputs) ** 2, weights=weights))
    assert vote_metrics.summarise_votes(votes, outputs, 0.5)["rmse"] == pytest.approx(by_hand, rel=1e-6)


def test_calibration_error_is_the_mean_difference_by_bin():
    values = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], np.float32)
    outputs = np.array([[0.75, 0.2, 0.05], [0.75, 0.2, 0.05]])
    votes = Votes(ONE, values, are_counts=False)
    bins = vote_metrics.bin_fractions(votes, outputs)
    assert [(each.predicted, each.observed) for each in bins] == [
        pytest.approx(pair) for pair in ((0.05, 0.0), (0.2, 0.25), (0.75, 0.75))
    ]
    found = vote_metrics.summarise_votes(votes, outputs, 0.5)
    assert found["calibration_error"] == pytest.approx((0.05 + 0.05 + 0.0) / 3)
    assert {"nll", "coverage"}.isdisjoint(found)


def coverage(votes, outputs, level):
    inside, weight = vote_metrics.image_coverages(votes, outputs, level)
    return inside.sum() / weight.sum()


@pytest.mark.parametrize("concentration", [4.0, 60.0])
def test_intervals_of_well_predicted_counts_cover_their_level(concentration):
    votes, alphas = draw_votes(4000, 20, concentration)
    assert coverage(votes, alphas, 0.9) == pytest.approx(0.9, abs=0.01)
    assert coverage(votes, alphas, 0.5) == pytest.approx(0.5, abs=0.015)
    too_sure = coverage(votes, ONE.fractions(alphas), 0.9)
    assert too_sure < 0.87


def test_intervals_of_multinomial_counts_cover_their_level():
    rng = np.random.default_rng(1)
    fractions = rng.dirichlet((1.0, 1.0, 1.0), 4000)
    votes = Votes(ONE, rng.multinomial(30, fractions).astype(np.float32), are_counts=True)
    assert coverage(votes, fractions, 0.9) == pytest.approx(0.9, abs=0.01)


def test_coverage_takes_the_part_of_a_count_that_is_inside():
    votes = Votes(ONE, np.array([[3, 4, 1]], np.float32), are_counts=True)
    alphas = np.array([[2.0, 3.0, 4.0]])
    parts = []
    for count, alpha in zip((3, 4, 1), alphas[0], strict=True):
        known = stats.betabinom(8, alpha, 9 - alpha)
        inside = min(known.cdf(count), 0.95) - max(known.cdf(count - 1), 0.05)
        parts.append(max(inside, 0) / known.pmf(count))
    assert coverage(votes, alphas, 0.9) == pytest.approx(np.mean(parts))


def test_fraction_intervals_equal_those_of_the_beta_distribution():
    alphas = np.random.default_rng(3).uniform(1, 40, (50, 5))
    sums = np.repeat(TREE.totals(alphas), (3, 2), axis=1)
    low, high = vote_metrics.fraction_intervals(alphas, TREE, 0.9)
    np.testing.assert_allclose(low, stats.beta(alphas, sums - alphas).ppf(0.05))
    np.testing.assert_allclose(high, stats.beta(alphas, sums - alphas).ppf(0.95))
    assert np.isnan(vote_metrics.fraction_intervals(TREE.fractions(alphas), TREE, 0.9)).all()


def test_scores_of_the_winning_answer_count_images_whose_votes_agree():
    counts = np.array([[8, 2, 0], [4, 6, 0], [0, 0, 10], [5, 5, 0]], np.float32)
    outputs = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    votes = Votes(ONE, counts, are_counts=True)
    assert vote_metrics.find_agreed(votes, 0.8).tolist() == [True, False, True, False]
    found = vote_metrics.summarise_votes(votes, outputs, agreement=0.8)
    assert found["accuracy"] == 0.5
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert vote_metrics.summarise_votes(votes, outputs, agreement=1.1)["accuracy"] == 0
    fractions = Votes(ONE, np.array([[0.8, 0.2, 0.0]], np.float32), are_counts=False)
    assert vote_metrics.find_agreed(fractions, 0.8).all()


def test_images_without_votes_weigh_nothing():
    votes, alphas = draw_votes(30, 10, 20.0)
    more = Votes(ONE, np.concatenate([votes.values, np.zeros((5, 3), np.float32)]), are_counts=True)
    found = vote_metrics.summarise_votes(more, np.concatenate([alphas, alphas[:5]]), 0.6)
    assert found == pytest.approx(vote_metrics.summarise_votes(votes, alphas, 0.6))


def test_loss_is_the_likelihood_with_concentrations_and_the_cross_entropy_without():
    votes, alphas = draw_votes(30, 10, 20.0)
    found = vote_metrics.summarise_votes(votes, alphas, 0.6)
    assert found["loss"] == found["nll"]
    without = vote_metrics.summarise_votes(votes, ONE.fractions(alphas), 0.6)
    entropies = stats.entropy(ONE.fractions(votes.values), axis=1)
    assert without["loss"] == pytest.approx(without["deviance"] + entropies.mean())
    assert without["deviance"] == pytest.approx(found["deviance"])


def test_every_score_is_finite_for_certain_predictions_that_are_wrong():
    votes = Votes(ONE, np.array([[10, 0, 0]], np.float32), are_counts=True)
    found = vote_metrics.summarise_votes(votes, np.array([[0.0, 1.0, 0.0]], np.float32), 0.5)
    assert all(map(math.isfinite, found.values()))
    assert set(found) == {*vote_metrics.VOTE_METRICS, "coverage"}
    assert set(found) == set(vote_metrics.VOTE_METRIC_LABELS)
