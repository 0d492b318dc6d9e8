"""Which hyperparameters distinguish the best trials of a sweep from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from galaxy_exp.report.axes import Axis, axes_of, scored_trials
from galaxy_exp.report.canvas import GREY, INK, TRAIN, draw_headline, new_figure, plain_text

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from galaxy_exp.journal.record import SweepRecord, TrialRecord

__all__ = ["LEAST_TRIALS", "NO_TEST", "Importances", "draw_importances", "measure_importances", "plot_importances"]

LEAST_TRIALS = 8
"""Number of trials below which nothing is computed."""

NO_TEST = "This describes the trials that were made; it is not a significance test."
"""Written beside the shares in every figure and page: shuffled scores are no null distribution for a sampler that
learns from scores, and its few random trials are too few for a test."""

_LEAST_BEST = 3
"""Number of best trials in which a hyperparameter has to be active; below it, its share is 0."""


@dataclass(frozen=True, slots=True)
class Importances:
    """Shares by hyperparameter, the largest first."""

    objective: str
    n_trials: int
    """Number of trials that were compared."""
    n_best: int
    """Number of best trials, whose distribution is compared with that of all."""
    shares: dict[str, float]
    """Sum to 1, or are all 0; empty with fewer than `LEAST_TRIALS` trials, or if nothing varied."""

    @property
    def description(self) -> str:
        """In words; without shares, the reason."""
        if self.n_trials < LEAST_TRIALS:
            return f"trials that can be compared: {self.n_trials}; needed: {LEAST_TRIALS}"
        if not self.shares:
            return "no hyperparameter was varied"
        return f"Importance of the hyperparameters: {', '.join(f'{n} {s:.0%}' for n, s in self.shares.items())}."


def measure_importances(record: SweepRecord) -> Importances:
    """PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255) by Optuna, on the first objective.

    It compares how the best trials, a tenth of all and at least five (of eight or nine trials, four), are distributed
    along each hyperparameter with how all trials are; along one that is not always active, those of them in which it
    is. Unlike fANOVA it looks at the order of the trials only, so that it makes no difference how bad a trial was when
    it was stopped early.

    The shares are descriptive: a sampler that learns from scores shifts them, and they carry no significance.
    """
    scored = scored_trials(record)
    trials = [trial for trial, _ in scored]
    axes = axes_of(record, trials)
    n_best = min(max(5, len(trials) // 10), len(trials) // 2)
    if len(trials) < LEAST_TRIALS or not axes:
        return Importances(record.objective.name, len(trials), n_best, {})
    found = _evaluate(record, scored, axes, n_best)
    total = sum(found.values()) or 1.0
    declared = [axis.name for axis in axes]
    ranked = sorted(found, key=lambda name: (-found[name], declared.index(name)))
    return Importances(record.objective.name, len(trials), n_best, {name: found[name] / total for name in ranked})


def plot_importances(found: Importances) -> Figure:
    """The shares as bars, or why there are none."""
    figure = new_figure(7.6, 1.7 + 0.34 * max(3, len(found.shares)))
    height = figure.get_figheight()
    title = f"What matters for {found.objective}"
    if not found.shares:
        draw_headline(figure, title)
        figure.text(0.02, 0.5, found.description, fontsize=11, color=GREY, va="center")
        return figure
    draw_headline(figure, title, f"PED-ANOVA: the best {found.n_best} of {found.n_trials} trials against all")
    axes = figure.add_axes((0.27, 0.62 / height, 0.66, 1 - 1.5 / height))
    draw_importances(axes, found)
    axes.set_xlabel(f"Share. {NO_TEST}", color=GREY, fontsize=9)
    return figure


def draw_importances(axes: Axes, found: Importances) -> None:
    """Draws the shares as bars, the largest at the top."""
    names, shares = list(found.shares), list(found.shares.values())
    bars = axes.barh(range(len(names)), shares, height=0.62, color=TRAIN)
    axes.bar_label(bars, [f"{share:.0%}" for share in shares], padding=5, fontsize=10, color=INK)
    axes.set_yticks(range(len(names)), [plain_text(name) for name in names], fontsize=10, color=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.15 * max(*shares, 0.05))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=9, colors=GREY)


def _evaluate(
    record: SweepRecord, scored: Sequence[tuple[TrialRecord, float]], axes: Sequence[Axis], n_best: int
) -> dict[str, float]:
    """Not normalised. Hyperparameters that are active in the same trials are evaluated together, on these trials."""
    keys = [record.objective.sort_key(score) for _, score in scored]
    best = set(sorted(range(len(keys)), key=keys.__getitem__)[:n_best])
    together: dict[tuple[int, ...], list[Axis]] = {}  # by the positions of the trials
    for axis in axes:
        active = tuple(position for position, (trial, _) in enumerate(scored) if axis.name in trial.values)
        together.setdefault(active, []).append(axis)
    found: dict[str, float] = {}
    for active, alike in together.items():
        n_best_here = len(best.intersection(active))
        if len(active) < LEAST_TRIALS or n_best_here < _LEAST_BEST:
            found |= {axis.name: 0.0 for axis in alike}
        else:
            study = _build_study(record, [scored[position] for position in active], alike)
            found |= _pearson_divergences(study, n_best_here / len(active), [keys[position] for position in active])
    return found


def _pearson_divergences(study: optuna.Study, quantile: float, keys: list[float]) -> dict[str, float]:
    """Without the square of the quantile, with which Optuna multiplies them: it differs between studies."""
    import warnings

    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile),
            target=lambda trial: keys[trial.number],
            normalize=False,
        )
    return {name: float(value) / quantile**2 for name, value in found.items()}


def _build_study(
    record: SweepRecord, scored: Sequence[tuple[TrialRecord, float]], axes: Sequence[Axis]
) -> optuna.Study:
    """A study in memory of trials in which all these hyperparameters are active, in their order, all as complete."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if record.objective.direction == "max" else "minimize")
    for trial, score in scored:
        params = {axis.name: trial.values[axis.name] for axis in axes}
        # Optuna has no reverse logarithmic scale; a value on one is replaced by its position, 0 to 1
        params |= {axis.name: axis.position(params[axis.name]) for axis in axes if axis.is_reversed}
        distributions = {axis.name: _distribution(axis) for axis in axes}
        study.add_trial(optuna.trial.create_trial(value=score, params=params, distributions=distributions))
    return study


def _distribution(axis: Axis) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.is_reversed:
        return FloatDistribution(0.0, 1.0)
    if axis.is_whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.is_log)
    return FloatDistribution(axis.low, axis.high, log=axis.is_log)
