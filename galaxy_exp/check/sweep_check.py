"""The steps of a check: prepare as a sweep would, propose the first trials, probe their networks, add up the cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from galaxy_exp.check.forecast import Forecast, forecast_sweep
from galaxy_exp.check.prober import Prober
from galaxy_exp.config import SweepConfig
from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.trials import proposer_of, trial_spec
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.preparation import check_names, prepare_sweep
from galaxy_exp.records import HyperparameterValue, Probe
from galaxy_exp.search.proposer import NoProposal
from galaxy_exp.seeding import derive_seed
from galaxy_exp.space.search_space import Condition, Hyperparameter, SearchSpace, fingerprint, plain_text
from galaxy_exp.sweep_images import load_prepared
from galaxy_exp.wording import Say, short_value

__all__ = ["Origin", "PreviewedTrial", "SpaceRow", "SweepCheck", "check_sweep", "count_configurations", "reachable"]

_PREVIEWED_TRIALS = 5


@dataclass(frozen=True, slots=True)
class SpaceRow:
    """One hyperparameter of the effective space, in words."""

    name: str
    kind: str
    domain: str
    scale: str
    condition: str
    n_values: int | None
    """None for a continuous range."""
    is_reachable: bool
    """Whether its condition can be met in this space."""


class Origin(StrEnum):
    """Where the values of a trial come from."""

    BASELINE = "baseline"
    ENQUEUED = "enqueued"
    PROPOSED = "proposed"


@dataclass(frozen=True, slots=True)
class PreviewedTrial:
    """One of the first trials of the sweep."""

    trial: TrialRecord
    origin: Origin
    probe: Probe
    broken: tuple[str, ...]
    """Constraints of the sweep that it breaks, among those that a check can measure."""


@dataclass(frozen=True, slots=True)
class SweepCheck:
    """The result of a check."""

    record: SweepRecord
    """The record of a sweep that has not begun."""
    data: PreparedData
    space: tuple[SpaceRow, ...]
    n_configurations: int | None
    """None if the space is infinite."""
    trials: tuple[PreviewedTrial, ...]
    forecast: Forecast


def check_sweep(
    config: SweepConfig, *, with_timing: bool = True, say: Say = lambda _: None, where: str = ""
) -> SweepCheck:
    """Checks a sweep. Writes nothing but the prepared images, which the sweep will use.

    Args:
        with_timing: trains a few steps of each of the first networks.

    Raises:
        ConfigError, DataError: as `run_sweep` would; and one line for each of the first networks that cannot be built,
            or cannot be trained with the memory of this machine.
    """
    try:
        check_names(config, say)
        with Prober() as prober:  # it imports while this process prepares
            return _check(config, prober, with_timing, say)
    except ConfigError as error:
        raise ConfigError([f"{where}: {problem}" for problem in error.problems] if where else error.problems) from (
            error.__cause__
        )


def _check(config: SweepConfig, prober: Prober, with_timing: bool, say: Say) -> SweepCheck:
    project = ProjectFolder.default()
    started = prepare_sweep(config, project, f"{config.name}-check", say)
    record = SweepRecord(started)
    data = load_prepared(record, project.sweep(started.sweep_id))
    trials: list[PreviewedTrial] = []
    for trial in _first_trials(record):
        say(f"trial {trial.number}: {'building and timing' if with_timing else 'building'} its network")
        spec = trial_spec(record, project.sweep(started.sweep_id), data.files, trial, 1)
        found = prober.probe(spec, with_timing=with_timing)
        trials.append(PreviewedTrial(trial, _origin(trial, record), found, _broken(found, record.config)))
    problems = [_describe_problem(trial, started.baseline) for trial in trials if trial.probe.problem]
    if problems:
        raise ConfigError(problems)
    space, size = _describe_space(started.space)
    timings = [trial.probe.timing for trial in trials if trial.probe.timing is not None]
    untried = None if size is None else size - _n_predetermined_in_space(record)
    forecast = forecast_sweep(record.config, len(record.predetermined), untried, timings)
    return SweepCheck(record, data, space, size, tuple(trials), forecast)


def _n_predetermined_in_space(record: SweepRecord) -> int:
    """Configurations of the space that are not proposed, as they are tried first."""
    space = SearchSpace.from_config(record.started.space)
    return len({fingerprint(values) for values in record.predetermined if space.misfit(values) is None})


def _first_trials(record: SweepRecord) -> list[TrialRecord]:
    """The trials that the sweep will try first, unless the results of earlier ones change the proposals."""
    proposer = proposer_of(record)
    trials: list[TrialRecord] = []
    for number in range(min(_PREVIEWED_TRIALS, record.config.search.max_trials)):
        is_predetermined = number < len(record.predetermined)
        if is_predetermined:
            values: Any = record.predetermined[number]
            proposer.adopt(number, values, proposed=False)
        else:
            values = proposer.propose(number)
        if isinstance(values, NoProposal):
            break
        seed = derive_seed(record.config.search.seed, "trial", number)
        trials.append(TrialRecord(number, dict(values), seed, proposed_at=0.0, predetermined=is_predetermined))
    return trials


def _origin(trial: TrialRecord, record: SweepRecord) -> Origin:
    if not trial.predetermined:
        return Origin.PROPOSED
    return Origin.BASELINE if record.is_baseline(trial.number) else Origin.ENQUEUED


def _broken(found: Probe, config: SweepConfig) -> tuple[str, ...]:
    costs = {"parameters": float(found.parameters), "flops": float(found.flops)}
    if found.timing is not None:
        costs["seconds_per_image"] = found.timing.seconds_per_image
    known = [each for each in config.search.constraint_records if costs.get(each.name)]
    return tuple(str(each) for each in known if each.violation(costs[each.name]) > 0)


def _describe_problem(previewed: PreviewedTrial, baseline: dict[str, HyperparameterValue]) -> str:
    trial = previewed.trial
    named = {name: value for name, value in trial.values.items() if baseline.get(name) != value} or trial.values
    values = ", ".join(f"{name}={short_value(value)}" for name, value in named.items())
    return f"trial {trial.number}, {previewed.origin} ({values}): {previewed.probe.problem}"


def _describe_space(config: dict[str, Any]) -> tuple[tuple[SpaceRow, ...], int | None]:
    space = SearchSpace.from_config(config)
    active = reachable(space)
    rows = tuple(
        SpaceRow(
            each.name,
            each.kind.lower(),
            "; ".join(filter(None, (each.describe_values(plain_text), each.describe_prior(plain_text)))),
            each.scale,
            each.describe_conditions(plain_text),
            each.domain.n_values,
            each.key in active,
        )
        for each in space.hyperparameters
    )
    return rows, count_configurations(space)


_OTHER = object()
"""Represents all values of a hyperparameter that no condition depends on."""


def count_configurations(space: SearchSpace) -> int | None:
    """The number of different configurations, without inactive hyperparameters; None if it is infinite.

    They are not enumerated: only values that conditions depend on are distinguished.
    """
    conditions = [condition for each in space.hyperparameters for condition in each.conditions]
    counts: dict[frozenset[tuple[str, Any]], int] = {frozenset(): 1}
    for each in space.hyperparameters:
        n_values = each.domain.n_values
        named_values = _named_values(each, conditions)
        extended: Counter[frozenset[tuple[str, Any]]] = Counter()
        for chosen, count in counts.items():
            if not each.is_active(dict(chosen)):
                extended[chosen] += count
                continue
            if n_values is None:
                return None
            choices = dict.fromkeys(named_values, 1) | {_OTHER: n_values - len(named_values)}
            for value, n in choices.items():
                if n:
                    key = chosen | {(each.name, value)} if named_values else chosen
                    extended[key] += count * n
        counts = extended
    return sum(counts.values())


def reachable(space: SearchSpace) -> set[str]:
    """The keys of hyperparameters whose conditions can be met with the values that are left in the space."""
    return {each.key for each in space.possible}


def _named_values(hyperparameter: Hyperparameter, conditions: Sequence[Condition]) -> list[HyperparameterValue]:
    """The different values of a hyperparameter in the conditions on it."""
    named = [value for condition in conditions if condition.name == hyperparameter.name for value in condition.values]
    found = map(hyperparameter.domain.find, named)
    return list(dict.fromkeys(value for value in found if value is not None))
