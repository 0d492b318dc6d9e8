"""Describes validation errors of pydantic in one line each: where, what was found, what was expected."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from galaxy_exp.config.sweep import SPACE_ENTRY_TAGS, PriorConfig, SweepConfig
from galaxy_exp.wording import did_you_mean, nearest, shorten

__all__ = ["describe_problems"]


def describe_problems(error: ValidationError, where: str) -> list[str]:
    """One line per mistake, `where: key.path: what was found; what was expected`."""
    return [_describe(dict(problem), where) for problem in error.errors(include_url=False)]


def _describe(problem: dict[str, Any], where: str) -> str:
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
        known = _known_keys(location[:-1])
        return f"unknown key; {did_you_mean(str(location[-1]), known)}" if known else "unknown key"
    if kind == "missing":
        return "missing"
    if kind == "literal_error":
        expected = context["expected"].replace("'", "")
        return f"found {found}; expected {expected}{_close_literal(value, expected)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return f"found {found}; expected text matching {context['pattern']}"
    if kind == "too_short":
        return f"found {found}; expected at least {context['min_length']}"
    if kind == "model_type":
        return f"found {found}; expected a section of keys"
    return f"found {found}; expected {_expected(problem['msg'])}"


def _expected(message: str) -> str:
    """Makes "a value greater than 0" of pydantic's "Input should be greater than 0"."""
    text = message.removeprefix("Input should be ").removeprefix("expected ")
    return f"a value {text}" if text.startswith(("greater", "less")) else text


def _close_literal(found: Any, expected: str) -> str:
    choices = [choice.strip() for choice in expected.replace(" or ", ", ").split(",")]
    close = nearest(str(found), choices)
    return f'; did you mean "{close}"?' if close else ""


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
