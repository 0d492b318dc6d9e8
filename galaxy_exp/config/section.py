"""What all sections of a sweep file have in common: each key accepts values of its own type only."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import to_jsonable_python

from galaxy_exp.errors import is_storable
from galaxy_exp.wording import parse_number

__all__ = ["Options", "Section", "annotation_at", "kinds_of"]

_EXPECTED = {int: "a valid integer", float: "a valid number", bool: "true or false"}
_NUMBERS = {int, float}


class Section(BaseModel):
    """A frozen part of the sweep file; refuses unknown keys and values of another type, such as text for a number.

    A whole number may be written as a float, such as 20.0 or 1e3. Values from Python may be NumPy's or pandas' numbers
    and arrays, which become Python's numbers and lists, or paths, which become text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _of_its_kind(cls, value: Any, info: ValidationInfo) -> Any:
        value = _plain(value)
        _refuse_sets(value)
        _refuse_other_kinds(value, cls.model_fields[info.field_name or ""].annotation)
        return value


def _plain(value: Any) -> Any:
    """As a sweep file would have it, so that a resumed sweep gets the same."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _storable(value: Any) -> Any:
    """Refuses what the journal cannot store as JSON: nan, inf, sets and the like."""
    _refuse_infinite(value)
    try:
        to_jsonable_python(value)
    except ValueError as error:
        raise ValueError(f"{error}; expected numbers, text, true or false, null, lists and mappings") from None
    return value


def _refuse_infinite(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"holds {value}; expected finite numbers")
    _refuse_sets(value)
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _refuse_infinite(each)


def _refuse_sets(value: Any) -> None:
    """Pydantic would make a list of a set, in any order: class names would go to other classes."""
    if isinstance(value, set | frozenset):
        raise ValueError("found a set, which has no order; expected a list")


Options = Annotated[dict[str, Any], AfterValidator(_storable)]
"""Keyword arguments of a user-defined or third-party class."""


def kinds_of(annotation: Any, *, with_items: bool = False) -> set[Any]:
    """The types among str, int, float, bool, NoneType, list, dict and Any that an annotation allows.

    With items, those of lists count too; the values of mappings and the keys of sections never do.
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return {type(value) for value in inner}
    if origin is Annotated:
        return kinds_of(inner[0], with_items=with_items)
    if origin in (Union, UnionType):
        return set[Any]().union(*(kinds_of(each, with_items=with_items) for each in inner))
    if origin in (list, tuple):
        items = [each for each in inner if with_items and each is not Ellipsis]
        return {list}.union(*(kinds_of(each, with_items=True) for each in items))
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return {dict}
    return {NoneType} if annotation is None else {annotation}


def annotation_at(model: type[BaseModel], key: str) -> Any:
    """The annotation of a key path below a section; Any for an unknown key or one of any type."""
    annotation: Any = model
    for part in key.split("."):
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(part)
            annotation = field.annotation if field else Any
        else:
            while get_origin(annotation) is Annotated:
                annotation = get_args(annotation)[0]
            annotation = get_args(annotation)[1] if get_origin(annotation) is dict else Any
    return annotation


def _refuse_other_kinds(value: Any, annotation: Any) -> None:
    """Refuses values that pydantic would convert, also in lists: text to a number, true to 1, 1 to true.

    Raises:
        ValueError: what was found and what is expected; also for text that no file can hold.
    """
    if isinstance(value, str) and not is_storable(value):
        raise ValueError("text with a character that no file can hold")
    kinds = kinds_of(annotation, with_items=True)
    expected = " or ".join(_EXPECTED[kind] for kind in _EXPECTED if kind in kinds)
    if Any in kinds or not expected:
        return
    for each in value if isinstance(value, list | tuple) else [value]:
        if isinstance(each, str) and str not in kinds:
            unquoted = ", without quotes" if parse_number(each) is not None and kinds & _NUMBERS else ""
            null = ", or null" if each.lower() == "none" and NoneType in kinds else ""
            raise ValueError(f"found {each[:100]!r}; expected {expected}{unquoted or null}")
        is_number = isinstance(each, int | float) and not isinstance(each, bool)
        if (isinstance(each, bool) and bool not in kinds) or (is_number and not kinds & _NUMBERS):
            raise ValueError(f"found {each!r}; expected {expected}")
