"""Finds the hyperparameters that a hypermodel declares, by building its network and rehearsing its `fit`."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import keras_tuner
from keras_tuner.engine.hyperparameters import Boolean, Choice, Float, Int

from galaxy_exp.errors import ConfigError, typed_reason
from galaxy_exp.records import HyperparameterValue
from galaxy_exp.space.search_space import Hyperparameter, SearchSpace, plain_text
from galaxy_exp.wording import shorten

__all__ = ["FitProbe", "discover_space", "to_kerastuner"]

_MAX_EXPLORING_BUILDS = 100
"""Builds after which scopes that never became active are taken as unreachable."""

MAX_CHOICE_BUILDS = 16
"""Of these, builds for single values of choices: some may be large networks."""

_MAX_LAYERS = 32
"""A whole number with no more values than this may be a number of layers, each with hyperparameters of its own."""

_NETWORK_SECONDS = 20.0
"""How long a build waits for an answer from the network, for weights that it downloads."""

_MAX_LETTERS = 400
"""Letters of an error message of a hypermodel; the traceback has the rest."""

FitProbe = Callable[[keras_tuner.HyperModel, keras_tuner.HyperParameters, Any], None]
"""Calls a hypermodel's `fit` with a built network so that it declares its hyperparameters; see `training.fit_probe`."""

_Scope = list[Any]


def discover_space(
    hypermodel: keras_tuner.HyperModel,
    *,
    name: str = "",
    probe_fit: FitProbe | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> SearchSpace:
    """All hyperparameters of a hypermodel, the conditional ones included.

    A hypermodel that sets `declares_everything` is only asked to declare; a subclass of it that overrides `build` or
    `fit` is explored for what it declares in addition. Any other is built with its defaults; then with values that
    activate each conditional scope not entered so far; then with the other value of each boolean and the largest of
    each small whole number, which may be a number of layers; and then with each value of the choices, texts first,
    `MAX_CHOICE_BUILDS` in all; until no build finds anything new. A choice that conditional scopes look at is left to
    them.

    Args:
        name: of the hypermodel in messages.
        probe_fit: called after each build, for what a hypermodel declares in its `fit`; None leaves that out.
        note: takes one line about each of these networks but the first that cannot be built, or whose `fit` cannot be
            rehearsed; what was declared before the error is in the space. And one about each hyperparameter that is
            declared again, in the same scope, with other values.

    Raises:
        ConfigError: one line, if the network cannot be built with the defaults, and its cause is what `build` raised;
            or if a range has no end, or a step of 0 or less.
    """
    space = keras_tuner.HyperParameters()
    name = name or type(hypermodel).__name__
    with _short_network_timeout():
        try:
            hypermodel.declare_hyperparameters(space)
        except (Exception, SystemExit) as error:
            raise ConfigError(f"hypermodel: {name}.declare_hyperparameters raised {_describe(error)}") from error
        if overridden := _methods_that_may_declare(hypermodel):
            exploration = _Exploration(hypermodel, space, name, probe_fit if "fit" in overridden else None, note)
            if getattr(hypermodel, "declares_everything", False):
                exploration.settle()
            exploration.run()
    _refuse_unusable_ranges(space, name)
    return SearchSpace.of(space)


def _methods_that_may_declare(hypermodel: keras_tuner.HyperModel) -> set[str]:
    """Those of `build` and `fit` that are overridden below the class that declares everything, if there is one."""
    overridden: set[str] = set()
    if getattr(hypermodel, "declares_everything", False):
        for each in type(hypermodel).__mro__ if "declares_everything" not in vars(hypermodel) else ():
            if "declares_everything" in vars(each):
                break
            overridden |= {"build", "fit"} & vars(each).keys()
        return overridden
    return {"build", "fit"}


def to_kerastuner(
    space: SearchSpace, values: Mapping[str, HyperparameterValue] | None = None
) -> keras_tuner.HyperParameters:
    """What a hypermodel's `build` takes: the space with these `values`, or its defaults."""
    return keras_tuner.HyperParameters.from_config(space.get_config(values))


def _space_of(entries: list[Any], values: Mapping[str, HyperparameterValue] | None = None) -> _Space:
    """A space of these hyperparameters with these `values`, and defaults elsewhere (active ones only)."""
    space = _Space()
    space.values = dict(values or {})
    space.merge(entries, overwrite=not values)
    return space


class _Space(keras_tuner.HyperParameters):  # type: ignore[misc]
    """KerasTuner's, which also keeps what is declared again, in the same scope, with other values."""

    def __init__(self) -> None:
        super().__init__()
        self.declared_again: list[tuple[Hyperparameter, Hyperparameter]] = []
        """As first declared, and as then, which KerasTuner passes over in silence."""

    def _retrieve(self, hp: Any) -> Any:
        """Called by KerasTuner with each declaration."""
        for known in self.space:
            if known.name == hp.name and known.conditions == hp.conditions:
                both = (Hyperparameter.from_config(type(each).__name__, each.get_config()) for each in (known, hp))
                first, then = (replace(each, default=0) for each in both)
                if first != then:
                    self.declared_again.append((first, then))
        return super()._retrieve(hp)


@dataclass
class _Exploration:
    """Builds until nothing new is found; see `discover_space`."""

    hypermodel: keras_tuner.HyperModel
    space: keras_tuner.HyperParameters
    name: str
    probe_fit: FitProbe | None
    note: Callable[[str], None]
    scopes: list[_Scope] = field(default_factory=list)
    """Met in any build, entered or not."""
    known_scopes: list[_Scope] = field(default_factory=list)
    """Entered or tried."""
    fit_notes: set[str] = field(default_factory=set)
    noted_again: set[str] = field(default_factory=set)
    """Names of hyperparameters of which a note says that they are declared again with other values."""
    values_seen: set[tuple[str, HyperparameterValue]] = field(default_factory=set)
    n_choice_builds: int = 0
    settled: set[str] = field(default_factory=set)
    """Hyperparameters on whose values no other one depends."""

    def settle(self) -> None:
        """Takes what is declared so far as complete: nothing is built with other values of it."""
        self.settled = {entry.name for entry in self.space.space}
        self.known_scopes += [*self.space.active_scopes, *self.space.inactive_scopes]

    def run(self) -> None:
        attempt = _space_of(self.space.space)
        try:
            self._build(attempt)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"hypermodel: {self.name} cannot be built with its defaults ({_format(attempt.values)}): "
                f"{_describe(error)}"
            ) from error
        for _ in range(_MAX_EXPLORING_BUILDS):
            values = self._next()
            if values is None:
                return
            attempt = _space_of(self.space.space, values)
            try:
                self._build(attempt)
            except ConfigError as error:
                self.note(f"note: with {_format(self._changed(attempt.values))}: {error}; such trials will fail")
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a hypermodel can raise anything
                self.note(
                    f"note: hypermodel {self.name} cannot be built with {_format(self._changed(attempt.values))}: "
                    f"{_describe(error)}; such trials are tried anyway"
                )

    def _build(self, attempt: _Space) -> None:
        try:
            model = self.hypermodel.build(attempt)
            self._rehearse_fit(attempt, model)
        finally:
            self._note_declared_again(attempt)
            self.space.merge(attempt, overwrite=False)
            self.scopes += attempt.inactive_scopes
            self.known_scopes += [scope for scope in attempt.active_scopes if scope not in self.known_scopes]
            self.values_seen |= set(attempt.values.items())

    def _note_declared_again(self, attempt: _Space) -> None:
        for first, then in attempt.declared_again:
            if first.name not in self.noted_again:
                self.noted_again.add(first.name)
                self.note(
                    f"note: hypermodel {self.name} declares {first.name!r} again with other values: {_domain(first)}, "
                    f"then {_domain(then)}; the first ones are searched: declare it once, or take another name"
                )

    def _rehearse_fit(self, attempt: keras_tuner.HyperParameters, model: Any) -> None:
        if self.probe_fit is None:
            return
        try:
            self.probe_fit(self.hypermodel, attempt, model)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a hypermodel can raise anything
            line = (
                f"note: hypermodel {self.name}: rehearsing its fit, on a few images without training, raised "
                f"{_describe(error)}; hyperparameters that it declares after that are not searched"
            )
            if line not in self.fit_notes:
                self.fit_notes.add(line)
                self.note(line)

    def _next(self) -> dict[str, HyperparameterValue] | None:
        """The values to build with next; None if nothing is left to find."""
        _refuse_unusable_ranges(self.space, self.name)
        entries = [entry for entry in self.space.space if entry.name not in self.settled]
        declared = (entry.conditions for entry in entries if entry.conditions)
        for scope in (*self.scopes, *declared):
            if scope not in self.known_scopes:
                self.known_scopes.append(scope)
                return _activating(scope)
        for entry in entries:
            value = _other_value(entry)
            if value is not None and (entry.name, value) not in self.values_seen:
                self.values_seen.add((entry.name, value))
                return {**_activating(entry.conditions), entry.name: value}
        return self._next_choice(entries)

    def _next_choice(self, entries: list[Any]) -> dict[str, HyperparameterValue] | None:
        if self.n_choice_builds == MAX_CHOICE_BUILDS:
            return None
        scoped = {condition.name for scope in self.known_scopes for condition in scope}
        choices = [entry for entry in entries if isinstance(entry, Choice) and entry.name not in scoped]
        for entry in sorted(choices, key=lambda entry: not isinstance(entry.default, str)):
            for value in entry.values:
                if (entry.name, value) not in self.values_seen:
                    self.n_choice_builds += 1
                    self.values_seen.add((entry.name, value))
                    return {**_activating(entry.conditions), entry.name: value}
        return None

    def _changed(self, values: Mapping[str, HyperparameterValue]) -> dict[str, HyperparameterValue]:
        defaults = _space_of(self.space.space).values
        return {name: value for name, value in values.items() if defaults.get(name) != value} or dict(values)


def _refuse_unusable_ranges(space: keras_tuner.HyperParameters, name: str) -> None:
    """KerasTuner accepts any range, and divides by the step when it asks for a value."""
    for entry in space.space:
        if not isinstance(entry, Int | Float):
            continue
        step = 1 if entry.step is None else entry.step
        if not (math.isfinite(entry.min_value) and math.isfinite(entry.max_value) and 0 < step < math.inf):
            steps = "" if entry.step is None else f" in steps of {entry.step}"
            raise ConfigError(
                f"hypermodel: {name}: the hyperparameter {entry.name!r} is from {entry.min_value} to {entry.max_value}"
                f"{steps}; expected finite numbers and a step above 0"
            )


def _domain(hyperparameter: Hyperparameter) -> str:
    scale = "" if hyperparameter.scale in ("", "linear") else f" ({hyperparameter.scale})"
    return f"{hyperparameter.kind} of {hyperparameter.describe_values(plain_text)}{scale}"


def _activating(scope: _Scope) -> dict[str, HyperparameterValue]:
    """Values that make all conditions of a scope true."""
    return {condition.name: condition.values[0] for condition in scope}


def _other_value(entry: Any) -> HyperparameterValue | None:
    """A value with which a hypermodel may declare more than with the default, outside of any scope."""
    if isinstance(entry, Boolean):
        return not entry.default
    is_small = isinstance(entry, Int) and entry.sampling == "linear" and entry.max_value - entry.min_value < _MAX_LAYERS
    return entry.max_value - (entry.max_value - entry.min_value) % entry.step if is_small else None


def _format(values: Mapping[str, HyperparameterValue]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items()) or "no hyperparameters"


def _describe(error: BaseException) -> str:
    text = shorten(typed_reason(error), _MAX_LETTERS)
    is_download = isinstance(error, ConnectionError | TimeoutError) or "URL fetch failure" in text
    hint = " (weights from the network have to be downloaded before, on a machine that reaches it)"
    return f"{text}{hint}" if is_download else text


@contextmanager
def _short_network_timeout() -> Iterator[None]:
    """A network that does not answer raises an error, instead of a build that never ends."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or _NETWORK_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
