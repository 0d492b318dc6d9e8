"""The search space of a sweep, parsed once from what a hypermodel declares and the sweep file changes.

Whoever needs to know something of a hyperparameter asks these types: the samplers, `galaxy-exp check`, reports and
cards. KerasTuner's configuration (`HyperParameters.get_config()`) is the form in which the journal stores a space and
in which it reaches the worker that builds the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.space.domains import Domain, Prior, Range, Steps, ValueList

__all__ = ["Condition", "Hyperparameter", "Kind", "SearchSpace", "Values", "fingerprint", "plain_text"]

Values = dict[str, HyperparameterValue]


class Kind(StrEnum):
    """The class of a hyperparameter in KerasTuner."""

    FIXED = "Fixed"
    BOOLEAN = "Boolean"
    CHOICE = "Choice"
    INT = "Int"
    FLOAT = "Float"


@dataclass(frozen=True)
class Condition:
    """A hyperparameter under this condition is active only if another one has one of some values."""

    name: str
    values: tuple[HyperparameterValue, ...]

    def holds(self, values: Mapping[str, HyperparameterValue]) -> bool:
        """Whether it is met by a configuration."""
        return self.name in values and values[self.name] in self.values

    def describe(self, text: Callable[[Any], str]) -> str:
        """`optimizer is adamw`; `n_blocks is 2 to 5`."""
        whole = [value for value in self.values if isinstance(value, int) and not isinstance(value, bool)]
        if len(whole) == len(self.values) > 2 and whole == list(range(whole[0], whole[-1] + 1)):
            return f"{self.name} is {whole[0]} to {whole[-1]}"
        return f"{self.name} is {' or '.join(map(text, self.values))}"


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter, as declared. A hyperparameter is active where all its conditions hold."""

    kind: Kind
    name: str
    default: HyperparameterValue
    conditions: tuple[Condition, ...] = ()
    listed: tuple[HyperparameterValue, ...] = ()
    """The values of a fixed one, a boolean and a choice; empty for a range."""
    ordered: bool = False
    """Whether the values of a choice are numbers whose neighbours are alike."""
    low: float = 0.0
    high: float = 0.0
    """Ends of a range, both included; int for `Kind.INT`."""
    step: float | None = None
    """Distance between neighbouring values of a linear range, their ratio on the other scales."""
    scale: str = ""
    """linear, log or reverse_log for a range; see `galaxy_exp.space.domains.value_at`."""
    key: str = ""
    """Unique in the space: the name, numbered from its second declaration on (`units#2`)."""
    prior: Prior | None = None
    """What an expert expects; None for nothing."""

    @classmethod
    def from_config(cls, class_name: str, config: Mapping[str, Any]) -> Hyperparameter:
        """Reads an entry of KerasTuner's configuration, also one that has been written as JSON."""
        kind, name, default = Kind(class_name), config["name"], config.get("default")
        stored = [each["config"] for each in config.get("conditions", ())]
        conditions = tuple(Condition(each["name"], tuple(each["values"])) for each in stored)
        if kind is Kind.FIXED:
            return cls.fixed(name, config["value"], conditions)
        if kind is Kind.BOOLEAN:
            return cls(kind, name, bool(default), conditions, (False, True))
        if kind is Kind.CHOICE:
            values = tuple(config["values"])
            default = values[0] if default is None else default
            ordered = config.get("ordered", isinstance(values[0], int | float))
            return cls(kind, name, default, conditions, values, ordered)
        ends = config["min_value"], config["max_value"]
        return cls.range(kind, name, *ends, config.get("step"), config.get("sampling"), default, conditions)

    @classmethod
    def fixed(cls, name: str, value: HyperparameterValue, conditions: tuple[Condition, ...]) -> Hyperparameter:
        """One with a single value."""
        return cls(Kind.FIXED, name, value, conditions, (value,))

    @classmethod
    def range(
        cls,
        kind: Kind,
        name: str,
        low: float,
        high: float,
        step: float | None,
        scale: str | None,
        default: HyperparameterValue | None,
        conditions: tuple[Condition, ...],
    ) -> Hyperparameter:
        """Numbers from `low` to `high`; what is None takes KerasTuner's default."""
        number = int if kind is Kind.INT else float
        scale = scale or "linear"
        if step is None and kind is Kind.INT and scale == "linear":
            step = 1
        return cls(
            kind,
            name,
            number(low) if default is None else default,
            conditions,
            low=number(low),
            high=number(high),
            step=None if step is None else number(step),
            scale=scale,
        )

    def get_config(self) -> dict[str, Any]:
        """The inverse of `from_config`: KerasTuner's entry."""
        conditions = [
            {"class_name": "Parent", "config": {"name": each.name, "values": list(each.values)}}
            for each in self.conditions
        ]
        config: dict[str, Any] = {"name": self.name, "default": self.default, "conditions": conditions}
        if self.kind is Kind.FIXED:
            config = {"name": self.name, "conditions": conditions, "value": self.listed[0]}
        elif self.kind is Kind.CHOICE:
            config |= {"values": list(self.listed), "ordered": self.ordered}
        elif self.kind is not Kind.BOOLEAN:
            config |= {"min_value": self.low, "max_value": self.high, "step": self.step, "sampling": self.scale}
        prior = {} if self.prior is None else {"prior": asdict(self.prior)}  # which KerasTuner passes over
        return {"class_name": str(self.kind), "config": config, **prior}

    @cached_property
    def domain(self) -> Domain:
        """Its values, and how they map to the unit interval."""
        if self.listed:
            return ValueList(self.listed, ordered=self.ordered)
        if self.scale == "linear" and self.step is not None:
            return Steps(self.low, self.high, self.step)
        if self.low == self.high:
            return ValueList([self.low], ordered=True)
        if self.step is None:
            return Range(self.low, self.high, self.scale)
        return ValueList(self._powers(self.step), ordered=True)

    def _powers(self, ratio: float) -> Iterator[float]:
        """The values of a range whose step is a ratio."""
        for index in range(int(math.log(self.high / self.low, ratio) + 1e-8) + 1):
            value = self.low * math.pow(ratio, index)
            value = value if self.scale == "log" else self.high + self.low - value
            yield int(value) if self.kind is Kind.INT else value

    @property
    def value_type(self) -> type:
        """bool, int, float or str."""
        return float if self.kind is Kind.FLOAT else type(self.default)

    @property
    def is_tunable(self) -> bool:
        """Whether there is anything to choose: more than one value."""
        return self.domain.n_values != 1

    @property
    def is_continuous(self) -> bool:
        """Whether its values cannot be listed."""
        return self.domain.n_choices is None

    @property
    def is_numeric(self) -> bool:
        """Whether there are several values, and they have an order."""
        return self.is_tunable and self.domain.is_ordered

    def takes_one_of(self, values: Iterable[HyperparameterValue]) -> bool:
        """Whether one of these is among its values."""
        return any(self.domain.find(value) is not None for value in values)

    def is_active(self, values: Mapping[str, HyperparameterValue]) -> bool:
        """Whether its conditions hold, given the values of what was declared before it."""
        return all(condition.holds(values) for condition in self.conditions)

    def describe_values(self, text: Callable[[Any], str]) -> str:
        """`32, 64, 128`; `0 to 0.6, step 0.05`; `text` writes a single value."""
        if self.listed:
            return ", ".join(map(text, self.listed))
        step = "" if self.step is None or (self.kind is Kind.INT and self.step == 1) else f", step {self.step:g}"
        return f"{text(self.low)} to {text(self.high)}{step}"

    def describe_prior(self, text: Callable[[Any], str]) -> str:
        """`prior at 0.25 with confidence 0.7`; empty without one."""
        if self.prior is None:
            return ""
        return f"prior at {text(self.prior.centre)} with confidence {self.prior.confidence:g}"

    def describe_conditions(self, text: Callable[[Any], str]) -> str:
        """`optimizer is adamw`; empty if it is always active."""
        return " and ".join(condition.describe(text) for condition in self.conditions)


class SearchSpace:
    """Hyperparameters in the order of their declaration: a condition looks at what was declared before.

    Attributes:
        hyperparameters: all of them.
        tunable: those with more than one value.
        with_prior: those of them of which an expert expects something.
    """

    def __init__(self, hyperparameters: Iterable[Hyperparameter]) -> None:
        counts: dict[str, int] = {}
        keyed = []
        for each in hyperparameters:
            count = counts[each.name] = counts.get(each.name, 0) + 1
            keyed.append(replace(each, key=each.name if count == 1 else f"{each.name}#{count}"))
        self.hyperparameters = tuple(keyed)
        self.tunable = tuple(each for each in keyed if each.is_tunable)
        self.with_prior = tuple(each for each in self.tunable if each.prior is not None)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SearchSpace:
        """Reads KerasTuner's configuration, as the journal has it, with the priors that it does not know."""
        hyperparameters = []
        for each in config.get("space", ()):
            declared = Hyperparameter.from_config(each["class_name"], each["config"])
            prior = Prior(**each["prior"]) if "prior" in each else None
            hyperparameters.append(replace(declared, prior=prior))
        return cls(hyperparameters)

    @classmethod
    def of(cls, hyperparameters: Any) -> SearchSpace:
        """The space that a `keras_tuner.HyperParameters` declares."""
        return cls.from_config(hyperparameters.get_config())

    def get_config(self, values: Mapping[str, HyperparameterValue] | None = None) -> dict[str, Any]:
        """KerasTuner's configuration, with the default values unless others are stated."""
        return {
            "space": [each.get_config() for each in self.hyperparameters],
            "values": dict(self.defaults if values is None else values),
        }

    @property
    def names(self) -> list[str]:
        """Each name once."""
        return list(dict.fromkeys(each.name for each in self.hyperparameters))

    @property
    def defaults(self) -> Values:
        """The default of every hyperparameter that is active under the defaults."""
        values: Values = {}
        for each in self.hyperparameters:
            if each.is_active(values):
                values[each.name] = each.default
        return values

    @property
    def fixed(self) -> Values:
        """The values of the hyperparameters that are the same in every configuration, and in every one active."""
        possible = self.possible
        found: Values = {}
        for each in possible:
            is_only = sum(other.name == each.name for other in possible) == 1
            if each.kind is Kind.FIXED and is_only and each.is_active(found):
                found[each.name] = each.default
        return found

    @property
    def possible(self) -> list[Hyperparameter]:
        """Those that are active in some configuration: a sweep file may fix what a condition needs to another value."""
        found: list[Hyperparameter] = []
        for each in self.hyperparameters:
            if all(
                any(other.name == condition.name and other.takes_one_of(condition.values) for other in found)
                for condition in each.conditions
            ):
                found.append(each)
        return found

    def fill(self, choose: Callable[[Hyperparameter], HyperparameterValue]) -> Values:
        """The active hyperparameters of a configuration; `choose` gives the value where there is more than one."""
        values: Values = {}
        for each in self.hyperparameters:
            if each.name not in values and each.is_active(values):
                values[each.name] = choose(each) if each.is_tunable else next(iter(each.domain.values()))
        return values

    def at(self, coordinates: Mapping[str, float]) -> Values:
        """The configuration at a point of the unit cube: a coordinate, 0 to 1, by the key of each tunable one."""
        return self.fill(lambda each: each.domain.from_unit(coordinates[each.key]))

    @property
    def expected(self) -> Values:
        """The centre of every prior, and the defaults of the others."""
        return self.fill(lambda each: each.default if each.prior is None else each.prior.centre)

    def find(self, values: Mapping[str, HyperparameterValue]) -> Values:
        """By key, the values of the active tunable hyperparameters; values outside the space are left out."""
        found = {
            each.key: each.domain.find(values[each.name])
            for each in self.tunable
            if each.name in values and each.is_active(values)
        }
        return {key: value for key, value in found.items() if value is not None}

    def misfit(self, values: Mapping[str, HyperparameterValue]) -> str | None:
        """Why a configuration is not one of the space, None if it is."""
        active = [each for each in self.hyperparameters if each.is_active(values)]
        unknown = set(values) - {each.name for each in active}
        if unknown:
            return f"{min(unknown)} is not among its hyperparameters"
        for each in active:
            if each.name not in values:
                return f"{each.name} is missing"
            if each.domain.find(values[each.name]) is None:
                return f"{each.name} = {values[each.name]} is outside the space"
        return None

    def fill_in(
        self, values: Mapping[str, HyperparameterValue], implied: Mapping[str, HyperparameterValue]
    ) -> dict[str, HyperparameterValue]:
        """A configuration with the `implied` values of hyperparameters that are active and that it lacks."""
        filled = dict(values)
        for each in self.hyperparameters:
            if each.name in implied and each.name not in filled and each.is_active(filled):
                filled[each.name] = implied[each.name]
        return filled

    def normalise(self, values: Mapping[str, HyperparameterValue]) -> Values:
        """A configuration of the space with its values as KerasTuner gives them: 48 for 48.0 of an `Int`."""
        active = (each for each in self.hyperparameters if each.is_active(values))
        found = {each.name: each.domain.find(values[each.name]) for each in active}
        return {name: value for name, value in found.items() if value is not None}

    def first_continuous(self) -> Hyperparameter | None:
        """A hyperparameter whose values cannot be listed; None in a finite space."""
        return next((each for each in self.tunable if each.is_continuous), None)

    def configurations(self) -> Iterator[Values]:
        """Every configuration of a finite space once, the last hyperparameter varying fastest."""
        return self._extend({}, self.hyperparameters)

    def _extend(self, values: Values, rest: Sequence[Hyperparameter]) -> Iterator[Values]:
        if not rest:
            yield values
            return
        first, *later = rest
        if first.name in values or not first.is_active(values):
            yield from self._extend(values, later)
            return
        for value in first.domain.values():
            yield from self._extend({**values, first.name: value}, later)


def fingerprint(values: Mapping[str, HyperparameterValue]) -> frozenset[tuple[str, HyperparameterValue]]:
    """Equal for equal configurations, whatever the order of their hyperparameters."""
    return frozenset(values.items())


def plain_text(value: Any) -> str:
    """A value as the sweep file writes it: `true`, `0.001`, `adam`."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
