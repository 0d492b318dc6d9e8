"""Simulated volunteers, who answer questions as in Galaxy Zoo and see less of a faint, small or blurred galaxy.

The probabilities of answers depend on the true parameters of a galaxy alone, so its true fractions are known. How they
depend on them is assumed; in Galaxy Zoo 2 too, features fade with resolution and brightness (Willett et al. 2013,
arXiv:1308.3496, section 3.3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import SimulatedConfig
from galaxy_exp.data.simulated.imaging import NATIVE_PIXEL_AREA
from galaxy_exp.questions import Question, Questions, Votes

__all__ = ["VOLUNTEER_QUESTIONS", "draw_votes", "true_fractions"]

VOLUNTEER_QUESTIONS = Questions(
    (
        Question("smooth-or-featured", ("smooth", "featured")),
        Question("edge-on", ("yes", "no"), after="smooth-or-featured.featured"),
        Question("spiral-arms", ("yes", "no"), after="edge-on.no"),
    )
)
"""What simulated volunteers are asked."""

_STREAM = 2
"""Last number of the seed of a galaxy's volunteers; label noise has 1."""
_RESOLVED = 0.35
"""Seeing over half-light radius at which half of the features are lost."""
_SEEN = 40.0
"""Signal to noise of a pixel at which half of the features are lost."""
_LEAST, _MOST = 0.02, 0.98
"""Probabilities of an answer, as some volunteers click on anything."""


def true_fractions(truth: NDArray[Any]) -> NDArray[np.float64]:
    """The expected fractions of the votes on each galaxy: float64 (n, 6), in the layout of `Votes.values`.

    The columns of a question sum to the share of volunteers who get to it; `Questions.fractions` gives the fractions of
    those.

    Args:
        truth: (n,) of `TRUTH_DTYPE`, such as `simulate_with_truth` returns.
    """
    featured, edge_on, arms = _probabilities(truth).T
    discs = featured * (1 - edge_on)
    columns = (1 - featured, featured, featured * edge_on, discs, discs * arms, discs * (1 - arms))
    return np.stack(columns, axis=1)


def draw_votes(truth: NDArray[Any], config: SimulatedConfig) -> Votes:
    """The votes on each galaxy: of a number of volunteers that `config.volunteers` states, drawn for each galaxy.

    Every galaxy has a separate random stream, so that its image does not change, and a set with the same seed and more
    galaxies of each class contains the galaxies and votes of a smaller one. The stream is raw PCG64 output, the same on
    every machine.
    """
    probabilities = _probabilities(truth)
    rows = [
        _draw(probability, [config.seed, label, number, _STREAM], config.n_votes)
        for probability, label, number in zip(
            probabilities, truth["label"].tolist(), truth["number"].tolist(), strict=True
        )
    ]
    return Votes(VOLUNTEER_QUESTIONS, np.array(rows, np.float32), are_counts=True)


def _draw(probabilities: NDArray[np.float64], seed: list[int], n_votes: tuple[int, int]) -> list[int]:
    """The votes on one galaxy: the questions in turn, each asked of those whose answer leads to it."""
    fewest, most = n_votes
    bits = np.random.PCG64(np.random.SeedSequence(seed))
    n = fewest + int(bits.random_raw()) % (most - fewest + 1)
    # the draws of a volunteer stay the same if there are more volunteers
    says = (bits.random_raw(3 * n).reshape(n, 3) >> np.uint64(11)) * 2.0**-53 < probabilities
    featured = says[:, 0]
    edge_on = featured & says[:, 1]
    disc = featured & ~says[:, 1]
    arms = disc & says[:, 2]
    counts = (n - featured.sum(), featured.sum(), edge_on.sum(), disc.sum(), arms.sum(), disc.sum() - arms.sum())
    return [int(count) for count in counts]


def _probabilities(truth: NDArray[Any]) -> NDArray[np.float64]:
    """The probabilities of featured, edge-on and arms, each of those who are asked: float64 (n, 3)."""
    values = {name: truth[name].astype(np.float64) for name in truth.dtype.names or ()}
    is_disc = np.isfinite(values["inclination"])
    is_edge_on = is_disc & (values["inclination"] > 80)
    visible = _visibility(values)
    arms = values["arm_strength"]
    structure = 4 * arms + 6 * values["bar_share"] + 5 * values["knot_share"]
    face_on = visible * (2 + 3 * structure)
    flat = 4.3 * np.maximum(0.5 - values["axis_ratio"], 0)  # a cigar may be a disc from the side
    extended = 1.8 * values["envelope_share"] + 0.5 * np.clip(2.5 - values["sersic_index"], -1.5, 1.5)
    evidence = np.where(is_edge_on, visible * (7 + 2 * values["dust"]), np.where(is_disc, face_on, flat + extended))
    seen = np.degrees(np.arccos(np.clip(values["axis_ratio"], 0, 1)))
    inclination = np.where(is_disc, values["inclination"], seen)
    logits = np.stack(
        [-1.8 + evidence, (inclination - 72) / 6 * (0.6 + 0.8 * visible), -1.5 + 12 * visible * arms], axis=1
    )
    return np.clip(1 / (1 + np.exp(-logits)), _LEAST, _MOST)


def _visibility(values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """From 0 for a galaxy without visible features to 1: resolution times signal to noise, (n,)."""
    blur = values["seeing"] / (_RESOLVED * values["half_light_radius"])
    signal = 10 ** (0.4 * (22.5 - values["surface_brightness"])) * NATIVE_PIXEL_AREA / values["noise"]
    return np.asarray(1 / (1 + blur**2) * signal / (signal + _SEEN))
