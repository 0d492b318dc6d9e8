"""Reads sweep files and `--set` overrides into a `SweepConfig`, and describes each mistake in one line."""

from __future__ import annotations

import copy
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from galaxy_exp.config.data_section import ARRAY_SUFFIXES, TABLE_SUFFIXES
from galaxy_exp.config.plain_yaml import dump_block, parse_scalar, parse_yaml
from galaxy_exp.config.section import annotation_at, kinds_of
from galaxy_exp.config.sweep import SPACE_ENTRY_TAGS, PriorConfig, RangeSpace, SweepConfig
from galaxy_exp.errors import ConfigError
from galaxy_exp.redaction import remember_address
from galaxy_exp.search_methods import scheduler_of_pruner
from galaxy_exp.wording import did_you_mean, nearest, shorten

__all__ = [
    "FlagValue",
    "SweepFile",
    "as_journaled",
    "change_sweep",
    "current_key",
    "digest_of",
    "dump_sweep",
    "load_sweep",
    "parse_overrides",
    "parse_sweep",
    "read_sweep",
]

_MOST_BYTES = 2**20
"""Largest sweep file; one with 3,000 enqueued configurations is half as large."""


@dataclass(frozen=True, slots=True)
class FlagValue:
    """A value for one key of the sweep file from a command-line flag for that key."""

    flag: str
    """Name of the flag, such as `--max-trials`."""
    key: str
    """Path of the key, such as `search.max_trials`."""
    value: Any
    """Value of the key; unlike the text after `--set`, it is not parsed."""


@dataclass(frozen=True, slots=True)
class SweepFile:
    """Origin of a sweep: its file, and the settings from the command line, without passwords."""

    path: str = ""
    """Absolute path; empty for a sweep that is not from a file."""
    digest: str = ""
    """SHA-256 of the file in hexadecimal."""
    settings: tuple[tuple[str, Any], ...] = ()
    """Key paths and values that replace those of the file, in order."""


def load_sweep(path: Path | str, overrides: Sequence[str] = (), flags: Sequence[FlagValue] = ()) -> SweepConfig:
    """The sweep described by a YAML file, with `key.path=value` overrides applied on top, then `flags`.

    Raises:
        ConfigError: for an unreadable file or any mistake in it; one line per mistake, each naming the
            file, override or flag, the key path, what was found and what was expected.
    """
    return read_sweep(path, overrides, flags)[0]


def read_sweep(
    path: Path | str, overrides: Sequence[str] = (), flags: Sequence[FlagValue] = (), earlier: SweepFile | None = None
) -> tuple[SweepConfig, SweepFile]:
    """As `load_sweep`, and the origin of the sweep, for reading it again later; raises as `load_sweep`.

    The settings of an `earlier` origin, which was recorded when the sweep started, are applied first.
    """
    path = Path(path)
    if path.name.lower().endswith((*ARRAY_SUFFIXES, *TABLE_SUFFIXES)) and path.is_file():
        hint = f"galaxy-exp init --data {shlex.quote(str(path))} writes one for these images"
        raise ConfigError(f"{path}: is data; expected a sweep file; {hint}")
    data = _read_bytes(path)
    content = _parse_mapping(data, path)
    before = earlier.settings if earlier else ()
    origins = {key: f"{path}, with {key} as first set" for key, _ in before}
    for key, value in (current_key(key, value) for key, value in before):
        _put(content, key, value, origins[key])
    settings = _apply(content, overrides, flags, origins)
    config = _validate(content, str(path), origins)
    return config, SweepFile(str(path.resolve()), hashlib.sha256(data).hexdigest(), (*before, *settings))


def digest_of(path: Path) -> str:
    """As `SweepFile.digest`; OSError if the file cannot be read."""
    with path.open("rb") as file:
        return hashlib.sha256(file.read(_MOST_BYTES + 1)).hexdigest()


def change_sweep(
    config: SweepConfig, overrides: Sequence[str], flags: Sequence[FlagValue], where: str
) -> tuple[SweepConfig, tuple[tuple[str, Any], ...]]:
    """A sweep with overrides and then flags applied, and their key paths and values.

    Raises:
        ConfigError: as `load_sweep`; a mistake outside the overrides and flags names `where`.
    """
    content, origins = config.model_dump(mode="json"), dict[str, str]()
    settings = _apply(content, overrides, flags, origins)
    return _validate(content, where, origins), settings


def _apply(
    content: dict[str, Any], overrides: Sequence[str], flags: Sequence[FlagValue], origins: dict[str, str]
) -> tuple[tuple[str, Any], ...]:
    """Applies overrides and then flags; adds the flag of each key to `origins`; returns keys and values."""
    settings = []
    for override in overrides:
        named, key, value = _apply_override(content, override)
        origins[key] = f"--set {named}"
        settings.append((key, _without_password(key, value)))
    for each in flags:
        key, value = current_key(each.key, each.value)
        _put(content, key, value, f"{each.flag} {each.value}")
        origins[key] = each.flag
        settings.append((key, value))
    return tuple(settings)


def current_key(key: str, value: Any) -> tuple[str, Any]:
    """The present name of a key, and its value in present words."""
    return ("search.scheduler", scheduler_of_pruner(value)) if key == "search.pruner" else (key, value)


def as_journaled(config: SweepConfig) -> dict[str, Any]:
    """The resolved sweep in JSON types, without the password of its MLflow store, which this process remembers."""
    content = config.model_dump(mode="json")
    content["tracking"] = _without_password("tracking", content["tracking"])
    return content


def _without_password(key: str, value: Any) -> Any:
    if key == "tracking" and isinstance(value, dict):
        return {name: _without_password(f"tracking.{name}", each) for name, each in value.items()}
    return remember_address(value) if key == "tracking.uri" and isinstance(value, str) else value


def parse_overrides(overrides: Sequence[str], flags: Sequence[FlagValue] = ()) -> SweepConfig:
    """The defaults with `key.path=value` overrides and then flags applied; raises as `load_sweep`."""
    content: dict[str, Any] = {}
    origins: dict[str, str] = {}
    _apply(content, overrides, flags, origins)
    return _validate(content, "--set", origins)


def parse_sweep(
    content: Mapping[str, Any],
    where: str = "sweep",
    overrides: Sequence[str] = (),
    flags: Sequence[FlagValue] = (),
) -> SweepConfig:
    """A `SweepConfig` from a mapping, with overrides and then flags applied on top; raises as `load_sweep`."""
    copied, origins = copy.deepcopy(dict(content)), dict[str, str]()
    _apply(copied, overrides, flags, origins)
    return _validate(copied, where, origins)


def dump_sweep(config: SweepConfig) -> str:
    """The resolved sweep as YAML with every key; `load_sweep` reads an equal sweep from it."""
    return dump_block(config.model_dump(mode="json"))


def _validate(content: dict[str, Any], where: str, origins: Mapping[str, str]) -> SweepConfig:
    try:
        return SweepConfig.model_validate(content)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    raise ConfigError([_name_flag(_describe(dict(problem), where), where, origins) for problem in problems])


def _name_flag(problem: str, where: str, origins: Mapping[str, str]) -> str:
    """Names the flag instead of the file if the key is from a flag; `origins` has the flags by key path."""
    body = problem.removeprefix(f"{where}: ")
    key = body.partition(": ")[0]
    for flag_key, flag in origins.items():
        if flag_key.startswith(f"{key}.") and re.search("unknown key|; expected a list", body):
            return f"{flag}: {body}"
        if key == flag_key or key.startswith(f"{flag_key}."):
            message = body.partition(": ")[2]
            return f"{flag}: {message}" if key == flag_key else f"{flag}: {key}: {message}"
    return problem


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; galaxy-exp init writes a sweep file, sweep.yaml") from None
    except IsADirectoryError:
        hint = f"for the images of a folder, galaxy-exp init --data {shlex.quote(str(path))} writes one"
        raise ConfigError(f"{path}: is a folder; expected a sweep file; {hint}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{path}: is larger than {_MOST_BYTES:,} bytes; expected a sweep file")
    return data


def _parse_mapping(data: bytes, path: Path) -> dict[str, Any]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: cannot be read: {error.reason}; expected text in UTF-8") from None
    content = parse_yaml(text, str(path))
    if content is None:
        raise ConfigError(f"{path}: is empty; expected a sweep file, such as galaxy-exp init writes")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: found {type(content).__name__} at the top; expected keys such as name: and data:")
    return content


def _apply_override(content: dict[str, Any], override: str) -> tuple[str, str, Any]:
    """Returns the key as it was typed, its present name, and the value."""
    path, equals, value = override.partition("=")
    parts = [part.strip() for part in path.split(".")]
    if not equals or not all(parts):
        raise ConfigError(f"--set {override}: expected key.path=value, as in --set search.max_trials=50")
    named = ".".join(parts)
    key, _ = current_key(named, "")
    parsed = _read_value(value, annotation_at(SweepConfig, key), f"--set {override}")
    _, parsed = current_key(named, parsed)
    _put(content, key, parsed, f"--set {override}")
    return named, key, parsed


def _read_value(text: str, annotation: Any, where: str) -> Any:
    """The value after `--set KEY=`: unchanged if the key accepts text, else parsed as YAML.

    Quotes around the whole value are removed, and null is None if the key allows it.
    """
    kinds, bare = kinds_of(annotation), text.strip()
    if bare[:1] in ('"', "'") and bare[1:].endswith(bare[:1]):
        with suppress(ConfigError):  # such as 'a' and 'b', which is text
            return parse_yaml(text, where)
    opens = {"[": list, "{": dict}.get(bare[:1])
    if kinds <= {list, dict, NoneType} or (opens and kinds & {opens, Any}):
        return parse_yaml(text, where)
    if kinds <= {str, list, NoneType}:
        return None if NoneType in kinds and bare in ("", "~", "null", "Null", "NULL") else text
    return parse_scalar(text, where)


def _put(content: dict[str, Any], key: str, value: Any, where: str) -> None:
    *sections, last = key.split(".")
    section: Any = content
    for depth, part in enumerate(sections, start=1):
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            found = ".".join(sections[:depth])
            raise ConfigError(f"{where}: {found} is {section!r}, not a section that could hold {last}")
    if key == "search.scheduler":
        section.pop("pruner", None)
    section[last] = value


def _describe(problem: dict[str, Any], where: str) -> str:
    """A mistake as `where: key.path: what was found; what was expected`."""
    location = _without_tags(problem["loc"])
    key = ".".join(shorten(str(part)) for part in location) or "the whole file"
    return f"{where}: {key}: {_explain(problem, location)}"


def _without_tags(location: tuple[Any, ...]) -> tuple[Any, ...]:
    """A location without pydantic's union tags, as in ("space", "filters_1", "values", "values", 0, "int")."""
    if len(location) < 3 or location[0] != "space":
        return location
    rest = location[3:] if location[2] in SPACE_ENTRY_TAGS else location[2:]
    kept = rest[:2] if len(rest) > 1 and (isinstance(rest[1], int) or rest[0] == "prior") else rest[:1]
    return location[:2] + kept


def _explain(problem: dict[str, Any], location: tuple[Any, ...]) -> str:
    kind, value, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    found = shorten(repr(value))
    if kind == "extra_forbidden":
        if location[0] == "space" and len(location) == 3 and location[-1] in PriorConfig.model_fields:
            return f"is a key of prior; expected prior: {{centre: ..., {location[-1]}: {found}}}".replace(
                "centre: ..., centre", "centre"
            )
        if location[0] == "space" and len(location) == 3 and location[-1] in RangeSpace.model_fields:
            return "does not go with values; expected {values: [...]}, or {min: ..., max: ...} without values"
        known = _known_keys(location[:-1])
        return f"unknown key; {did_you_mean(str(location[-1]), known)}" if known else "unknown key"
    if kind == "missing":
        return "missing"
    if kind == "literal_error":
        expected = context["expected"].replace("'", "")
        close = nearest(str(value), [choice.strip() for choice in expected.replace(" or ", ", ").split(",")])
        hint = f'; did you mean "{close}"?' if close else ""
        return f"found {found}; expected {expected}{hint}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return f"found {found}; expected text matching {context['pattern']}"
    if kind == "too_short":
        return f"found {found}; expected at least {context['min_length']}"
    if kind == "model_type":
        return f"found {found}; expected a section of keys"
    return f"found {found}; expected {_expected(problem['msg'])}"


_PLAIN = {
    "a valid tuple": "a list, such as [a, b]",
    "a valid dictionary": "keys with values",
    "Keys should be strings": "text as the key",
    "String should have at least 1 character": "text that is not empty",
}
"""Pydantic's words for what it expects, and those of a sweep file."""


def _expected(message: str) -> str:
    """Makes "a value greater than 0" of pydantic's "Input should be greater than 0"."""
    text = message.removeprefix("Input should be ").removeprefix("expected ")
    text = _PLAIN.get(text, text).replace("String should have", "text with")
    return f"a value {text}" if text.startswith(("greater", "less")) else text


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    if location[:1] == ("space",):
        return list(PriorConfig.model_fields) if location[2:] else ["values", "min", "max", "step", "scale", "prior"]
    model: type[BaseModel] = SweepConfig
    for part in location:
        if isinstance(part, int):  # an item of a list of sections
            continue
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        inner = get_args(inner)[0] if get_origin(inner) is tuple else inner
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
