"""Scores of networks that predict volunteers' votes, per question and per image.

Outputs are positive numbers (n, n_answers), as `galaxy_exp.questions` says: fractions, or concentrations of a
Dirichlet distribution, which sum to more than 1 and state how sure the network is (Walmsley et al. 2022,
arXiv:2102.08414). A question weighs as the share of an image's volunteers who got to it: 1 if all did, 0 if none did.
The sum over questions is then what a volunteer's path through the tree costs, and each image weighs the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.evaluation.metrics import N_BINS, confusion_matrix, divide, find_bins, overall_scores
from galaxy_exp.questions import Questions, Votes

__all__ = [
    "AGREED_METRICS",
    "IMAGE_MEANS",
    "LEVEL",
    "VOTE_METRICS",
    "VOTE_METRIC_LABELS",
    "VoteBin",
    "VoteSums",
    "bin_fractions",
    "compare_fractions",
    "find_agreed",
    "fraction_intervals",
    "image_brier_scores",
    "image_coverages",
    "image_deviances",
    "image_likelihoods",
    "image_losses",
    "question_shares",
    "states_concentrations",
    "sum_votes",
    "summarise_votes",
]

AGREED_METRICS = ("accuracy", "macro_f1", "balanced_accuracy")
"""Scores of the winning answer to the first question, of the images whose votes agree."""

VOTE_METRICS = ("deviance", "rmse", "brier", "nll", "calibration_error", *AGREED_METRICS, "loss")
"""The metrics that networks can be compared by; `nll` is known for counts alone."""

VOTE_METRIC_LABELS = {
    "deviance": "deviance (nats)",
    "rmse": "RMSE of fractions",
    "brier": "Brier score",
    "nll": "negative log-likelihood of the counts (nats a vote)",
    "calibration_error": "calibration error of fractions",
    "coverage": "coverage of 90% intervals of counts",
    "accuracy": "accuracy where votes agree",
    "macro_f1": "macro-F1 where votes agree",
    "balanced_accuracy": "balanced accuracy where votes agree",
    "loss": "loss (nats)",
}
"""What people are shown for a metric's name."""

LEVEL = 0.9
"""Of the intervals whose coverage is a metric."""

SMALLEST_FRACTION = 1e-7
"""A predicted fraction below it counts as this much, as in Keras's cross-entropy."""

_IMAGES_AT_ONCE = 2048

Vector = NDArray[np.float64]


def summarise_votes(votes: Votes, outputs: NDArray[np.floating], agreement: float) -> dict[str, float]:
    """All scores of outputs (n, n_answers), n above 0.

    Args:
        agreement: the least share of the votes for the first question's winning answer with which an image counts
            for `AGREED_METRICS`; these are 0 if there is no such image.

    Returns:
        The names in `VOTE_METRICS`, means over the images; `nll` and `coverage` for counts alone.
    """
    sums = sum_votes(votes, outputs)
    order = ("deviance", "rmse", "brier", "calibration_error", "nll", "coverage")  # of the columns in `history.csv`
    found = {name: sums[name].total for name in order if name in sums}
    agreed = find_agreed(votes, agreement)
    winners, predicted = (votes.questions.winners(each[agreed]) for each in (votes.values, outputs))
    matrix = confusion_matrix(winners, predicted, len(votes.questions.class_names))
    return found | overall_scores(matrix) | {"loss": _mean(image_losses(votes, outputs)).total}


@dataclass(frozen=True, slots=True)
class VoteSums:
    """A score that follows from sums over images, so that resampled images are weights of these sums."""

    terms: Vector
    """(n, k), summed over the n images."""
    score: Callable[[Vector], Vector]
    """From sums (..., k) to scores (...)."""

    @property
    def total(self) -> float:
        """The score of all images."""
        return float(self.score(self.terms.sum(axis=0)))


def sum_votes(votes: Votes, outputs: NDArray[np.floating]) -> dict[str, VoteSums]:
    """All scores but `AGREED_METRICS` and `loss`, by name; `nll` and `coverage` for counts alone."""
    found = {
        name: _mean(measure(votes, outputs))
        for name, measure in IMAGE_MEANS.items()
        if name != "nll" or votes.are_counts
    }
    observed, predicted, weights = compare_fractions(votes, outputs)
    squares, weight = (weights * (observed - predicted) ** 2).sum(axis=1), weights.sum(axis=1)
    found["rmse"] = VoteSums(np.stack([squares, weight], axis=1), lambda sums: np.sqrt(_ratio(sums)))
    places, surplus = find_bins(predicted), weights * (predicted - observed)
    columns = [np.where(places == place, surplus, 0.0).sum(axis=1) for place in range(N_BINS)]
    found["calibration_error"] = VoteSums(
        np.stack([*columns, weight], axis=1),
        lambda sums: divide(np.abs(sums[..., :-1]).sum(axis=-1), sums[..., -1], empty=math.nan),
    )
    if votes.are_counts:
        found["coverage"] = VoteSums(np.stack(image_coverages(votes, outputs, LEVEL), axis=1), _ratio)
    return found


def _mean(values: Vector) -> VoteSums:
    """The mean of the images' values, (n,), that are known."""
    known = ~np.isnan(values)
    return VoteSums(np.stack([np.where(known, values, 0.0), known.astype(np.float64)], axis=1), _ratio)


def _ratio(sums: Vector) -> Vector:
    return divide(sums[..., 0], sums[..., 1], empty=math.nan)


def question_shares(votes: Votes) -> Vector:
    """The share of each image's volunteers who got to each question, (n, n_questions); zeros without votes."""
    totals = votes.questions.totals(votes.values)
    return divide(totals, np.broadcast_to(totals.max(axis=1, keepdims=True), totals.shape), empty=0.0)


def states_concentrations(questions: Questions, outputs: NDArray[np.floating]) -> bool:
    """Whether outputs are concentrations; fractions sum to 1, also when they were computed in bfloat16."""
    return bool(len(outputs) and np.abs(questions.totals(outputs) - 1).max() > 0.01)


def image_deviances(votes: Votes, outputs: NDArray[np.floating]) -> Vector:
    """The Kullback-Leibler divergence of the predicted fractions from the observed ones, (n,), in nats.

    Multiplied by twice the number of votes, it is the deviance of a multinomial model. Questions add up, each
    weighted by its share. 0 is perfect; NaN for an image without votes.
    """
    from scipy import special

    observed, predicted, weights = compare_fractions(votes, outputs)
    return _known((weights * special.rel_entr(observed, predicted)).sum(axis=1), weights.sum(axis=1) > 0)


def image_brier_scores(votes: Votes, outputs: NDArray[np.floating]) -> Vector:
    """The mean squared error of the fractions as the forecast of a single vote, summed over the answers, (n,).

    Between 0 and 2 (Brier 1950); questions are averaged by their shares. NaN for an image without votes.
    """
    observed, predicted, weights = compare_fractions(votes, outputs)
    errors = observed * (1 - 2 * predicted) + predicted**2
    shares = question_shares(votes).sum(axis=1)
    return _known((weights * errors).sum(axis=1) / np.maximum(shares, 1), shares > 0)


def image_likelihoods(votes: Votes, outputs: NDArray[np.floating]) -> Vector:
    """The negative log-likelihood of counts in nats, divided by the image's number of votes, (n,).

    Dirichlet-multinomial with concentrations, else multinomial; the sum over questions. NaN for an image without votes.
    """
    from scipy import special

    questions, counts = votes.questions, votes.values.astype(np.float64)
    totals = questions.totals(counts)
    if states_concentrations(questions, outputs):
        sums = questions.totals(outputs)
        alphas = _fractions(questions, outputs) * questions.by_answer(sums)
        by_question = special.gammaln(totals + 1) + special.gammaln(sums) - special.gammaln(sums + totals)
        by_answer = special.gammaln(counts + alphas) - special.gammaln(alphas) - special.gammaln(counts + 1)
    else:
        by_question = special.gammaln(totals + 1)
        by_answer = special.xlogy(counts, _fractions(questions, outputs)) - special.gammaln(counts + 1)
    likelihoods = by_question.sum(axis=1) + by_answer.sum(axis=1)
    n_votes = totals.max(axis=1)
    return _known(-likelihoods / np.maximum(n_votes, 1), n_votes > 0)


def image_losses(votes: Votes, outputs: NDArray[np.floating]) -> Vector:
    """What networks minimise (`galaxy_exp.hypermodel.scoring`), without smoothing and class weights, (n,) in nats.

    `image_likelihoods` of counts with concentrations, else the cross-entropy of the observed fractions.
    """
    from scipy import special

    if votes.are_counts and states_concentrations(votes.questions, outputs):
        return image_likelihoods(votes, outputs)
    observed, predicted, weights = compare_fractions(votes, outputs)
    return _known(-(weights * special.xlogy(observed, predicted)).sum(axis=1), weights.sum(axis=1) > 0)


IMAGE_MEANS: dict[str, Callable[[Votes, NDArray[np.floating]], Vector]] = {
    "deviance": image_deviances,
    "brier": image_brier_scores,
    "nll": image_likelihoods,
}
"""Scores that are means over the images, less being better; NaN for an image without votes."""


@dataclass(frozen=True, slots=True)
class VoteBin:
    """Answers whose predicted fraction is within some range."""

    n_images: int
    """An image counts once for each answer."""
    predicted: float
    """The weighted mean of the predicted fractions."""
    observed: float
    """The weighted mean of the observed fractions."""
    low: float
    """Lower end of its 95% interval, by the normal approximation."""
    high: float
    """Upper end."""


def bin_fractions(
    votes: Votes, outputs: NDArray[np.floating], columns: slice | int = slice(None)
) -> tuple[VoteBin, ...]:
    """Observed against predicted fractions in ten bins of equal width, from low to high, without empty ones.

    Args:
        columns: of one question or answer; all by default.
    """
    flat = [np.ravel(each[:, columns]) for each in compare_fractions(votes, outputs)]
    observed, predicted, weights = (each[flat[2] > 0] for each in flat)
    places = find_bins(predicted)
    bins = []
    for place in np.unique(places):
        inside = places == place
        n, weight = int(inside.sum()), weights[inside] / weights[inside].sum()
        mean = float(weight @ observed[inside])
        variance = float(weight**2 @ (observed[inside] - mean) ** 2) * n / (n - 1) if n > 1 else math.inf
        low, high = (mean + sign * 1.96 * math.sqrt(variance) for sign in (-1, 1))
        bins.append(VoteBin(n, float(weight @ predicted[inside]), mean, max(0.0, low), min(1.0, high)))
    return tuple(bins)


def find_agreed(votes: Votes, agreement: float) -> NDArray[np.bool_]:
    """The images whose winning answer to the first question has at least this share of its votes, (n,)."""
    fractions = votes.questions.fractions(votes.values)[:, : votes.questions.widths[0]]
    # float32 fractions: 0.8 is a little less, or more, than 0.8
    return np.asarray(np.nan_to_num(fractions.max(axis=1)) >= agreement - 1e-6)


def image_coverages(votes: Votes, outputs: NDArray[np.floating], level: float) -> tuple[Vector, Vector]:
    """The weights of the counts within the predicted central interval of that level and of all counts, each (n,).

    A count is a whole number, so most intervals hold more than their level. A count whose probability straddles an end
    of the interval is therefore within it by the part that is inside: the randomised probability integral transform
    of Czado, Gneiting & Held 2009, Biometrics 65, 1254, in its mean. The sums of counts that are as predicted have
    exactly the ratio `level`. Answers weigh as the shares of their questions do.
    """
    questions = votes.questions
    stated = states_concentrations(questions, outputs)
    inside, weight = np.zeros((2, len(votes)))
    for chunk in _chunks(len(votes)):
        part = Votes(questions, votes.values[chunk], votes.are_counts)
        _, fractions, weights = compare_fractions(part, outputs[chunk])
        chosen = weights > 0
        counts = np.rint(part.values[chosen]).astype(np.int64)
        totals = questions.by_answer(questions.totals(part.values).astype(np.float64))[chosen]
        sums = questions.by_answer(questions.totals(outputs[chunk]))[chosen] if stated else None
        below, at = _count_probabilities(counts, totals, fractions[chosen], sums)
        low, high = (1 - level) / 2, (1 + level) / 2
        overlap = np.minimum(below + at, high) - np.maximum(below, low)
        share = np.clip(overlap, 0.0, None) / np.maximum(at, np.finfo(float).tiny)
        of_answers = np.zeros(weights.shape)
        of_answers[chosen] = weights[chosen] * np.minimum(share, 1.0)
        inside[chunk], weight[chunk] = of_answers.sum(axis=1), weights.sum(axis=1)
    return inside, weight


def fraction_intervals(
    outputs: NDArray[np.floating], questions: Questions, level: float = LEVEL
) -> tuple[Vector, Vector]:
    """The central interval of each answer's fraction, (n, n_answers): lower and upper end.

    Quantiles of the Beta distribution that the concentrations state; NaN for a network that states none.
    """
    from scipy import special

    if not states_concentrations(questions, outputs):
        return np.full(outputs.shape, np.nan), np.full(outputs.shape, np.nan)
    alphas = np.maximum(np.asarray(outputs, np.float64), np.finfo(np.float32).tiny)  # a softmax may give 0
    others = questions.by_answer(questions.totals(alphas)) - alphas
    low, high = (special.betaincinv(alphas, others, (1 + sign * level) / 2) for sign in (-1, 1))
    return np.asarray(low), np.asarray(high)


def _count_probabilities(
    counts: NDArray[np.int64], totals: Vector, fractions: Vector, sums: Vector | None
) -> tuple[Vector, Vector]:
    """The probability of fewer votes than the counts of n answers, (n,), and of as many.

    Binomial, or beta-binomial if the concentrations add up to `sums`; all (n,).
    """
    from scipy import special

    if len(counts) == 0:
        return np.zeros(0), np.zeros(0)
    rows = np.repeat(np.arange(len(counts)), counts + 1)
    first = np.cumsum(counts + 1) - (counts + 1)
    numbers, totals, fractions = np.arange(len(rows)) - first[rows], totals[rows], fractions[rows]
    ways = special.gammaln(totals + 1) - special.gammaln(numbers + 1) - special.gammaln(totals - numbers + 1)
    if sums is None:
        others = special.xlogy(numbers, fractions) + special.xlog1py(totals - numbers, -fractions)
    else:
        alphas, betas = fractions * sums[rows], (1 - fractions) * sums[rows]
        others = special.betaln(numbers + alphas, totals - numbers + betas) - special.betaln(alphas, betas)
    terms = np.exp(ways + others)
    at = terms[first + counts]
    return np.clip(np.add.reduceat(terms, first) - at, 0.0, 1.0), at


def compare_fractions(votes: Votes, outputs: NDArray[np.floating]) -> tuple[Vector, Vector, Vector]:
    """Observed and predicted fractions and the share of each answer's question; zeros where nobody voted."""
    observed = np.nan_to_num(votes.questions.fractions(votes.values))
    return observed, _fractions(votes.questions, outputs), votes.questions.by_answer(question_shares(votes))


def _fractions(questions: Questions, outputs: NDArray[np.floating]) -> Vector:
    return np.clip(questions.fractions(np.asarray(outputs, np.float64)), SMALLEST_FRACTION, 1 - SMALLEST_FRACTION)


def _chunks(n: int) -> Iterator[slice]:
    for start in range(0, n, _IMAGES_AT_ONCE):
        yield slice(start, start + _IMAGES_AT_ONCE)


def _known(values: Vector, known: NDArray[np.bool_]) -> Vector:
    return np.where(known, values, np.nan)
