"""YAML of plain values for sweep files: bounded in size, and each mistake with its line and column."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import yaml

from galaxy_exp.errors import ConfigError, first_line, is_storable

__all__ = ["dump_block", "dump_flow", "parse_scalar", "parse_yaml"]

MAX_DEPTH = 50
"""Sections and lists inside each other."""

MAX_VALUES = 100_000
"""Keys and values; an alias counts as many as what it refers to."""

MAX_WHOLE_NUMBER = 2**63 - 1

_TAG = "tag:yaml.org,2002:"


def dump_flow(value: Any) -> str:
    """A value as YAML on one line, which `parse_yaml` reads as the same value."""
    text = _dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")


def dump_block(value: Any) -> str:
    """A value as YAML with a line for each key, which `parse_yaml` reads as the same value."""
    return _dump(value)


def _dump(value: Any, **layout: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, **layout)
    return text


def parse_yaml(text: str, where: str) -> Any:
    """One YAML document: None, true/false, numbers, text, lists and dictionaries of these.

    Raises:
        ConfigError: one line with `where`, line and column.
    """

    def parse() -> Any:
        _check_bounds(text)
        return yaml.load(text, Loader=_Loader)

    return _parse(parse, text, where)


def parse_scalar(text: str, where: str) -> Any:
    """One value without quotes or comments: None, true/false, a number, or else the text as it is.

    Raises:
        ConfigError: one line with `where`.
    """
    loader, stripped = _Loader(""), text.strip()
    tag = loader.resolve(yaml.ScalarNode, stripped, (True, False))  # type: ignore[no-untyped-call]
    if tag == f"{_TAG}str":
        return text
    return _parse(lambda: loader.construct_object(yaml.ScalarNode(tag, stripped)), text, where)


def _parse(parse: Callable[[], Any], text: str, where: str) -> Any:
    try:
        return parse()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{where}:{line}: not valid YAML: a control character ({error.character!r})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        reason = getattr(error, "problem", None) or str(error).replace("\n", " ")
        raise ConfigError(f"{place}: not valid YAML: {reason}") from None


def _mistake(what: str, mark: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, what, mark)


@dataclass(slots=True)
class _Extent:
    """Size of a node, with all that is in it so far."""

    anchor: str | None
    mark: Any
    n_values: int = 1
    depth: int = 1


def _check_bounds(text: str) -> None:
    """Refuses a document that is too deep or too large before anything is built from it."""
    parents: list[_Extent] = []
    by_anchor: dict[str, _Extent] = {}
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        match event:
            case yaml.CollectionStartEvent():
                if len(parents) > MAX_DEPTH:
                    raise _mistake(f"nested more than {MAX_DEPTH} deep", event.start_mark)
                parents.append(_Extent(event.anchor, event.start_mark))
                continue
            case yaml.CollectionEndEvent():
                node = parents.pop()
            case yaml.ScalarEvent():
                node = _Extent(event.anchor, event.start_mark)
            case yaml.AliasEvent():
                if any(parent.anchor == event.anchor for parent in parents):
                    raise _mistake(f"*{event.anchor} refers to itself", event.start_mark)
                # an unknown one is refused by the loader
                known = by_anchor.get(str(event.anchor)) or _Extent(None, None)
                node = _Extent(None, event.start_mark, known.n_values, known.depth)
            case _:
                continue
        if node.n_values > MAX_VALUES:
            raise _mistake(f"more than {MAX_VALUES:,} values", node.mark)
        if len(parents) + node.depth > MAX_DEPTH:
            raise _mistake(f"nested more than {MAX_DEPTH} deep", node.mark)
        if node.anchor in by_anchor:
            raise _mistake(f"the anchor &{node.anchor} appears twice", node.mark)
        if node.anchor is not None:
            by_anchor[node.anchor] = node
        if parents:
            parents[-1].n_values += node.n_values
            parents[-1].depth = max(parents[-1].depth, node.depth + 1)


class _Loader(yaml.SafeLoader):
    """Refuses repeated keys, merge keys and tags, and reads numbers, true/false and dates as YAML 1.2 does.

    1e-4 is a number and 010 is ten, while yes, 1:30 and 2026-11-22 are text. PyYAML alone follows YAML 1.1, where
    010 is eight and 1:30 is ninety.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _mistake(first_line(error), node.start_mark) from None


def _mapping_without_repeats(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Hashable] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key == "<<" and key_node.style is None:
            raise _mistake("<<, the merge key of YAML 1.1; expected the keys themselves", key_node.start_mark)
        if not isinstance(key, Hashable):
            raise _mistake("a key is a list or mapping", key_node.start_mark)
        if key in seen:
            raise _mistake(f"key {key!r} appears twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    text = loader.construct_scalar(node)
    if not is_storable(text):
        raise _mistake("text with a character that no file can hold", node.start_mark)
    return text


def _whole_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    digits = loader.construct_scalar(node)
    number = int(digits, 16 if "x" in digits else 10)
    if abs(number) > MAX_WHOLE_NUMBER:
        raise _mistake(f"a whole number beyond {MAX_WHOLE_NUMBER}", node.start_mark)
    return number


_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in ("null", "bool", "float", "seq")
}
_Loader.add_constructor(f"{_TAG}map", _mapping_without_repeats)
_Loader.add_constructor(f"{_TAG}str", _text)
_Loader.add_constructor(f"{_TAG}int", _whole_number)

_FLOAT = (
    r"^[-+]?(?:(?:\d[\d_]*\.[\d_]*|\.\d+)(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == f"{_TAG}null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(r"^[-+]?(?:\d(?:_?\d)*|0x[0-9a-fA-F]+)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", re.compile(_FLOAT), list("-+0123456789."))


class _Dumper(yaml.SafeDumper):
    """Quotes text that `_Loader` or YAML 1.1 would read as something else, such as 08, and escapes line breaks."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """In double quotes if it has several lines; PyYAML would write U+0085 as it is, and read it as a line feed."""
        return self.represent_scalar(f"{_TAG}str", text, '"' if text.splitlines() != [text] else None)


_Dumper.add_representer(str, _Dumper.represent_text)
for _first, _known in _Loader.yaml_implicit_resolvers.items():
    for _resolved, _pattern in _known:
        _Dumper.add_implicit_resolver(_resolved, _pattern, [_first])
