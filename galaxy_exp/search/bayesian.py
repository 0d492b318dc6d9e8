"""Bayesian optimisation with a Gaussian process."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

from galaxy_exp.search.cube import UnitCube
from galaxy_exp.search.gaussian_process import GaussianProcess, fit_kernel
from galaxy_exp.search.history import History
from galaxy_exp.search.prior_knowledge import ExpertPrior
from galaxy_exp.search.samplers import Sampler, SobolSampler
from galaxy_exp.seeding import derive_seed
from galaxy_exp.space.search_space import SearchSpace, Values

__all__ = ["GaussianProcessSampler", "thread_pools"]

FIRST_POINTS = 5
"""Trials with a result before the process is asked; until then points of a Sobol sequence."""

EARLY_TRIALS = 3
"""So many trials that were paused or stopped count as one of the `FIRST_POINTS`: early scores are worth less, and cost
less."""

MAX_POINTS = 150
"""The process knows this many trials at most, its cost being cubic: the best half, and the latest others."""

MAX_KERNEL_POINTS = 75
"""Its kernel, which is looked for step by step, is fitted to this many of them, chosen in the same way."""

N_RANDOM = 400
N_LOCAL = 120
LOCAL_STEPS = (0.2, 0.05, 0.0125)
"""The acquisition is looked for among random points, and then near the best of them in ever smaller steps."""

N_STARTS = 6

LITTLE_GAIN = 0.01
"""When less is expected, in standard deviations of the losses, every second configuration explores instead: what the
process takes for hopeless, after few trials, may be another branch of the space."""

PRIOR_FADING = 10.0
"""The acquisition is multiplied by the priors' density to the power of this over the number of results of this sweep,
or over `FIRST_POINTS` while there are fewer: the beta of Hvarfner et al. (2022, ICLR). A trust in the priors below a
half lowers the power in proportion."""

COST_POWER = 0.5
"""The acquisition is divided by the seconds of an epoch to this power: with 1 the search keeps to cheap networks, and
finds the best ones later (docs/search.md)."""

COST_CANDIDATES = 4
"""Where seconds count, as many points of the Sobol sequence as this stand for each that is needed; the one that is
expected to be cheapest is taken. Without, a few expensive networks would take most of the beginning's time."""

COST_RIDGE = 1.0
"""Ridge penalty on each slope of the logarithm of the seconds, where features are 0 to 1. It halves the slope of a
number after 12 evenly spread trials, so that few trials, which are noisy, say little."""

Matrix = NDArray[np.float64]
Weigh = Callable[[Matrix], Matrix]
"""What the expected improvement is multiplied by (n,) at points (n, d) with nan for what is inactive."""


class GaussianProcessSampler(Sampler):
    """Expected improvement (Jones et al. 1998) under a Gaussian process with a Matern 5/2 kernel.

    A dimension for each number, on the hyperparameter's own scale, and for each category (one-hot); inactive
    hyperparameters are put in the middle. Running trials count as average ones, so that several proposals
    at a time keep apart. One objective; a broken constraint is bad evidence.

    Args:
        per_second: divide the expected improvement by the seconds of an epoch to the power of `COST_POWER`, and begin
            with cheap networks.
    """

    prior_trials = float(FIRST_POINTS)

    def __init__(self, space: SearchSpace, history: History, seed: int, *, per_second: bool = False) -> None:
        self._space = space
        self._history = history
        self._seed = seed
        self._per_second = per_second
        self._cube = UnitCube(space)
        self._placed: dict[int, Matrix] = {}
        self._sobol = SobolSampler(space, history, seed)
        self._expert = ExpertPrior(space, history, seed, self.prior_trials) if space.with_prior else None

    def sample(self, number: int, draw: int) -> Values:
        # the matrices are small and the processors busy with training; and the number of threads decides nothing
        with thread_pools().limit(limits=1):
            return self._sample(number, draw)

    def _sample(self, number: int, draw: int) -> Values:
        if not self._space.tunable or not self._knows_enough():
            return self._anywhere(number, draw)
        points, losses = self._evidence()
        rng = np.random.default_rng(derive_seed(self._seed, "proposal", number, draw))
        running = self._features([i for i, o in enumerate(self._history.observations) if o.outcome is None])
        improvement = _fit(points, losses, running.reshape(-1, points.shape[1]))
        values, gain = self._maximise(improvement, self._weighing(), rng)
        explores = gain < LITTLE_GAIN and self._history.n_configurations % 2 == 0
        return self._anywhere(number, draw) if explores else values

    def _anywhere(self, number: int, draw: int) -> Values:
        """A point of the Sobol sequence, whatever the scores are; where seconds count, a cheap one."""
        seconds = self._epoch_seconds() if self._per_second and self._space.tunable else None
        if seconds is None:
            return self._sobol.sample(number, draw)
        first = COST_CANDIDATES * number
        candidates = [self._sobol.sample(each, draw) for each in range(first, first + COST_CANDIDATES)]
        costs = seconds(self._cube.features(np.array([self._cube.place(values) for values in candidates])))
        return candidates[int(np.argmin(costs))]

    def _knows_enough(self) -> bool:
        known = self._history.known_losses()
        n_early = sum(self._history.observations[position].is_stopped for position in known)
        return len(known) - n_early + n_early // EARLY_TRIALS >= FIRST_POINTS

    def _evidence(self) -> tuple[Matrix, Matrix]:
        """Features (n, d) and losses (n,) of at most `MAX_POINTS` trials."""
        known = self._history.known_losses()
        positions, losses = list(known), np.array([loss for loss, *_ in known.values()], float)
        kept = _best_and_latest(losses, MAX_POINTS)
        return self._features([positions[index] for index in kept]), losses[kept]

    def _features(self, positions: Sequence[int]) -> Matrix:
        """Features (n, d) of configurations in the history."""
        if not positions:
            return np.empty((0, 0))
        return self._cube.features(np.array([self._place(position) for position in positions]))

    def _place(self, position: int) -> Matrix:
        if position not in self._placed:
            self._placed[position] = self._cube.place(self._history.observations[position].values)
        return self._placed[position]

    def _weighing(self) -> Weigh:
        """From the priors, and from the seconds of an epoch where these count."""
        power = 0.0
        if self._expert is not None:
            n_results = max(FIRST_POINTS, self._history.n_results)
            power = min(1.0, 2 * self._expert.trust()) * PRIOR_FADING / n_results
        seconds = self._epoch_seconds() if self._per_second else None

        def weigh(points: Matrix) -> Matrix:
            logarithm = power * self._cube.log_prior(points)
            if seconds is not None:
                logarithm = logarithm - COST_POWER * seconds(self._cube.features(points))
            return np.asarray(np.exp(logarithm))

        return weigh

    def _epoch_seconds(self) -> Callable[[Matrix], Matrix] | None:
        """The logarithm of the seconds of an epoch, less their mean, as a function of features (n, d).

        From the trials of this sweep, as an earlier one may have had another machine; None if none has trained.
        """
        trials = ((position, self._history.observations[position]) for position in self._history.ended)
        outcomes = [(position, trial.outcome) for position, trial in trials if trial.is_of_this_sweep]
        known = [(position, each.epoch_seconds) for position, each in outcomes if each and each.epoch_seconds]
        if not known:
            return None
        points = self._features([position for position, _ in known])
        return _ridge(points, np.log([seconds for _, seconds in known]))

    def _maximise(
        self, improvement: Callable[[Matrix], Matrix], weigh: Weigh, rng: np.random.Generator
    ) -> tuple[Values, float]:
        """The most promising configuration that was not tried before, and the highest gain expected of any such."""
        losses = self._history.known_losses()
        best = min(losses, key=lambda position: (losses[position][0], position))
        best_tried = np.tile(self._place(best), (N_LOCAL, 1))
        anywhere = rng.random((N_RANDOM, len(self._space.tunable)))
        anywhere[::2] = self._cube.draw_from_prior(anywhere[::2])
        pool = self._possible(np.vstack([anywhere, self._nearby(best_tried, LOCAL_STEPS[0], rng)]))
        gains = improvement(self._cube.features(pool))
        scores = gains * weigh(pool)
        for step in LOCAL_STEPS:
            starts = pool[np.argsort(-scores, kind="stable")[:N_STARTS]]
            nearby = self._possible(self._nearby(np.repeat(starts, N_LOCAL // N_STARTS, axis=0), step, rng))
            gains_nearby = improvement(self._cube.features(nearby))
            gains = np.append(gains, gains_nearby)
            scores = np.append(scores, gains_nearby * weigh(nearby))
            pool = np.vstack([pool, nearby])
        highest = self._first_untried(pool, np.argsort(-gains, kind="stable"))
        chosen = self._first_untried(pool, np.argsort(-scores, kind="stable"))
        return self._cube.configuration(pool[chosen]), float(gains[highest])

    def _first_untried(self, pool: Matrix, ranked: NDArray[np.int64]) -> int:
        """The first of the ranked points of a pool (n, d) that was not tried; the very first if all were."""
        untried = (int(index) for index in ranked if not self._history.count(self._cube.configuration(pool[index])))
        return next(untried, int(ranked[0]))

    def _possible(self, points: Matrix) -> Matrix:
        """Points (n, d) where values are, nan for what is inactive there."""
        points = self._cube.to_grid(points)
        return np.where(self._cube.active(points), points, math.nan)

    def _nearby(self, points: Matrix, step: float, rng: np.random.Generator) -> Matrix:
        """For each point (n, d) one that differs in some coordinates, numbers by about `step`; what was inactive is
        anywhere."""
        elsewhere = rng.random(points.shape)
        drawn = rng.random(points.shape)
        portion = rng.choice([0.3, 1.0], (len(points), 1))
        by = rng.normal(0.0, step, points.shape)
        by = np.copysign(np.maximum(np.abs(by), self._cube.smallest_steps), by)
        moved = np.where(drawn <= portion, np.clip(points + by, 0.0, 1.0), points)
        kept = np.where(drawn < portion * step, elsewhere, points)
        return np.where(np.isnan(points), elsewhere, np.where(self._cube.numeric, moved, kept))


@cache
def thread_pools() -> ThreadpoolController:
    """Looks through all loaded libraries once, which takes longer than a proposal's arithmetic.

    To be called before other threads import: this holds the dynamic linker's lock and waits for Python's, and a thread
    that loads a library holds Python's and waits for the linker's.
    """
    return ThreadpoolController()


def _fit(points: Matrix, losses: Matrix, running: Matrix) -> Callable[[Matrix], Matrix]:
    """The expected improvement, in standard deviations of the losses, as a function of points (n, d)."""
    targets = _standardised(losses)
    kept = _best_and_latest(losses, MAX_KERNEL_POINTS)
    kernel = fit_kernel(points[kept], targets[kept])
    best = float(np.min(GaussianProcess(kernel, points, targets).predict(points)[0]))
    process = GaussianProcess(kernel, np.vstack([points, running]), np.append(targets, np.zeros(len(running))))

    def improvement(candidates: Matrix) -> Matrix:
        mean, deviation = process.predict(candidates)
        z = (best - mean) / deviation
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        return np.asarray(deviation * (z * ndtr(z) + density))

    return improvement


def _ridge(points: Matrix, targets: Matrix) -> Callable[[Matrix], Matrix]:
    """Linear regression of targets (n,), less their mean, on points (n, d): from points (m, d) to predictions (m,)."""
    middle = points.mean(axis=0)
    centred = points - middle
    covariance = centred.T @ centred + COST_RIDGE * np.eye(points.shape[1])
    slopes = np.linalg.solve(covariance, centred.T @ (targets - targets.mean()))
    return lambda candidates: np.asarray((candidates - middle) @ slopes)


def _best_and_latest(losses: Matrix, count: int) -> NDArray[np.int64]:
    """The indices, in order, of at most `count` trials: the best half of them, and the latest of the others."""
    best = np.argsort(losses, kind="stable")[: count // 2]
    others = np.setdiff1d(np.arange(len(losses)), best)
    return np.sort(np.append(best, others[-(count - count // 2) :])) if len(losses) > count else np.arange(len(losses))


def _standardised(losses: Matrix) -> Matrix:
    """Mean 0 and variance 1, after drawing in what is so bad that how bad does not matter."""
    middle, best = float(np.median(losses)), float(np.min(losses))
    drawn_in = np.minimum(losses, middle + 2 * (middle - best)) if middle > best else losses
    return np.asarray((drawn_in - drawn_in.mean()) / (drawn_in.std() or 1.0))
