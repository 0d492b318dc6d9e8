"""How sure one can be of the scores of votes, and that one network predicts them better than another.

All scores but those of the winning answer follow from sums over images, so images are resampled by weighting these
sums. The scores of the winning answer are those of classes, on the images whose votes agree (`resampling`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import BadInputError
from galaxy_exp.evaluation import vote_metrics
from galaxy_exp.evaluation.resampling import Interval, interval_of, paired_bootstrap, paired_permutation, permute_gains
from galaxy_exp.questions import Votes

__all__ = [
    "COMPARED",
    "compare_votes",
    "first_question",
    "gate_metric",
    "vote_intervals",
    "vote_permutation",
]

COMPARED = tuple(name for name in vote_metrics.VOTE_METRICS if name != "loss")
"""The metrics that two networks of the same votes are compared by; their losses may be of different kinds."""

_RESAMPLES_AT_ONCE = 50

Vector = NDArray[np.float64]


def gate_metric(objective: str) -> str:
    """What decides between two networks: the objective where a paired test knows it, else the deviance."""
    name = objective.removeprefix("val_")
    return name if name in (*vote_metrics.IMAGE_MEANS, *vote_metrics.AGREED_METRICS) else "deviance"


def first_question(votes: Votes, outputs: NDArray[Any]) -> tuple[NDArray[np.int64], Vector]:
    """The winning answers to the first question, (n,), and the predicted fractions of its answers, (n, n_classes)."""
    questions = votes.questions
    return questions.winners(votes.values), questions.fractions(outputs)[:, : questions.widths[0]]


def vote_intervals(votes: Votes, outputs: NDArray[Any]) -> dict[str, Interval]:
    """95% percentile intervals over images drawn with replacement, of all scores but `AGREED_METRICS` and `loss`.

    Of votes of n_images, above 0, and outputs (n_images, n_answers), by 2,000 resamples, the same ones in each call.
    """
    (resampled,) = _resample([vote_metrics.sum_votes(votes, outputs)], len(votes), 2000, 0)
    return {name: interval_of(values[1:]) for name, values in resampled.items()}


def compare_votes(
    votes: Votes, a: NDArray[Any], b: NDArray[Any], agreement: float, n: int = 2000, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """By metric of `COMPARED`, its difference between networks a and b, with the ends of its 95% interval.

    Images are resampled with replacement, both networks on the same ones. `nll` is left out for fractions, and
    `AGREED_METRICS` are if no image's votes agree.

    Args:
        votes: of n_images, above 0.
        a: outputs (n_images, n_answers), as those of b.
        agreement: as of `vote_metrics.summarise_votes`.
        n: resamples; the same `seed` gives the same intervals.

    Raises:
        BadInputError: no images, or arrays that do not belong together.
    """
    _check(votes, a, b)
    of_a, of_b = _resample([vote_metrics.sum_votes(votes, a), vote_metrics.sum_votes(votes, b)], len(votes), n, seed)
    found = {}
    for name, values in of_a.items():
        difference = values - of_b[name]
        found[name] = (float(difference[0]), *interval_of(difference[1:]))
    if both := _agreed(votes, a, b, agreement):
        found |= {name: paired_bootstrap(*both, name, n, seed) for name in vote_metrics.AGREED_METRICS}
    return {name: found[name] for name in COMPARED if name in found}


def vote_permutation(
    votes: Votes,
    a: NDArray[Any],
    b: NDArray[Any],
    metric: str,
    agreement: float,
    level: float = 0.025,
    seed: int = 0,
) -> float:
    """One-sided p-value of network a being better than b on the same votes, as `resampling.paired_permutation`.

    Votes, outputs and agreement are as of `compare_votes`, and the metric a result of `gate_metric`; 1.0 if it is of
    the images whose votes agree, and there are none.

    Raises:
        BadInputError: another metric, no images, or arrays that do not belong together.
    """
    _check(votes, a, b)
    if metric in vote_metrics.AGREED_METRICS:
        both = _agreed(votes, a, b, agreement)
        return paired_permutation(*both, metric, level, seed) if both else 1.0
    if metric not in vote_metrics.IMAGE_MEANS:
        known = ", ".join((*vote_metrics.IMAGE_MEANS, *vote_metrics.AGREED_METRICS))
        raise BadInputError(f"cannot compare models of votes by {metric!r}; expected one of {known}")
    gains = vote_metrics.IMAGE_MEANS[metric](votes, b) - vote_metrics.IMAGE_MEANS[metric](votes, a)
    return permute_gains(gains[~np.isnan(gains)], level, seed)


def _agreed(
    votes: Votes, a: NDArray[Any], b: NDArray[Any], agreement: float
) -> tuple[NDArray[np.int64], Vector, Vector] | None:
    """Of the images whose votes agree, if any: the winning answers, (n,), and the predictions of both networks."""
    agreed, (labels, of_a) = vote_metrics.find_agreed(votes, agreement), first_question(votes, a)
    _, of_b = first_question(votes, b)
    return (labels[agreed], of_a[agreed], of_b[agreed]) if agreed.any() else None


def _check(votes: Votes, a: NDArray[Any], b: NDArray[Any]) -> None:
    expected = (len(votes), votes.questions.n_answers)
    if not len(votes) or a.shape != expected or b.shape != expected:
        raise BadInputError(f"outputs of shapes {a.shape} and {b.shape}; expected {expected} twice, not empty")


def _resample(
    networks: Sequence[dict[str, vote_metrics.VoteSums]], n_images: int, n: int, seed: int
) -> tuple[dict[str, Vector], ...]:
    """The scores of each network on all images and then on n resamples, (n + 1,) by name."""
    every = [sums for network in networks for sums in network.values()]
    terms = np.concatenate([sums.terms for sums in every], axis=1)
    totals, rng = [terms.sum(axis=0, keepdims=True)], np.random.default_rng(seed)
    for start in range(0, n, _RESAMPLES_AT_ONCE):
        drawn = [rng.integers(0, n_images, n_images) for _ in range(min(_RESAMPLES_AT_ONCE, n - start))]
        times = np.stack([np.bincount(each, minlength=n_images) for each in drawn])  # that an image was drawn
        totals.append(times.astype(np.float64) @ terms)
    ends = np.cumsum([sums.terms.shape[1] for sums in every])
    parts = iter(np.split(np.concatenate(totals), ends[:-1], axis=1))
    return tuple({name: sums.score(next(parts)) for name, sums in network.items()} for network in networks)
