"""YAML as far as sweep files need it: plain values only, in bounds, each mistake with its line and column."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import yaml

from galaxy_exp.errors import ConfigError, first_line

__all__ = ["parse_scalar", "parse_yaml"]

MAX_DEPTH = 50
"""Of sections and lists within each other."""

MAX_VALUES = 100_000
"""Keys and values, with each alias counted as what it stands for."""

MAX_WHOLE_NUMBER = 2**63 - 1

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class _Extent:
    values: int
    depth: int


class _Loader(yaml.SafeLoader):
    """Refuses repeated keys, tags, and what is too deep or too large.

    Reads 1e-4 as a number, 010 as ten, and yes, 1:30 and << as text, as YAML 1.2 does. PyYAML follows YAML 1.1, where
    010 is eight and 1:30 is ninety.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._extents: dict[int, _Extent] = {}
        """By id of a node that is composed; the document keeps the nodes alive."""
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """PyYAML's, with the bounds."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self._depth > MAX_DEPTH:
            raise _mistake(f"nested more than {MAX_DEPTH} deep", event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if not isinstance(event, yaml.AliasEvent):
            self._extents[id(node)] = self._extent_of(node)
        extent = self._extents.get(id(node))
        if extent is None:
            raise _mistake(f"*{event.anchor} is part of what it stands for", event.start_mark)
        if extent.values > MAX_VALUES:
            raise _mistake(f"more than {MAX_VALUES:,} values", event.start_mark)
        if extent.depth > MAX_DEPTH:
            raise _mistake(f"nested more than {MAX_DEPTH} deep", event.start_mark)
        return node

    def _extent_of(self, node: yaml.Node) -> _Extent:
        match node:
            case yaml.MappingNode():
                children = [child for pair in node.value for child in pair]
            case yaml.SequenceNode():
                children = node.value
            case _:
                children = []
        extents = [self._extents[id(child)] for child in children]
        return _Extent(1 + sum(each.values for each in extents), 1 + max((each.depth for each in extents), default=0))

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """PyYAML's, with the place of a value that cannot be had."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _mistake(first_line(error), node.start_mark) from None


def _mistake(what: str, mark: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, what, mark)


_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in ("null", "bool", "float", "seq")
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == f"{_TAG}null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(r"^[-+]?(?:\d(?:_?\d)*|0x[0-9a-fA-F]+)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(
        r"^[-+]?(?:(?:\d[\d_]*\.[\d_]*|\.\d+)(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def _mapping_without_repeats(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Hashable] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise _mistake("a key is a list or mapping", key_node.start_mark)
        if key in seen:
            raise _mistake(f"key {key!r} appears twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    text = loader.construct_scalar(node)
    if any("\ud800" <= letter <= "\udfff" or letter == "\0" for letter in text):
        raise _mistake("text with a character that no file can hold", node.start_mark)
    return text


def _whole_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    digits = loader.construct_scalar(node)
    number = int(digits, 16 if "x" in digits else 10)
    if abs(number) > MAX_WHOLE_NUMBER:
        raise _mistake(f"a whole number beyond {MAX_WHOLE_NUMBER}", node.start_mark)
    return number


_Loader.add_constructor(f"{_TAG}map", _mapping_without_repeats)
_Loader.add_constructor(f"{_TAG}str", _text)
_Loader.add_constructor(f"{_TAG}int", _whole_number)


def parse_yaml(text: str, where: str) -> Any:
    """One YAML document: None, true/false, numbers, text, lists and dictionaries of these.

    Raises:
        ConfigError: one line with `where`, line and column.
    """
    return _parse(lambda: yaml.load(text, Loader=_Loader), text, where)


def parse_scalar(text: str, where: str) -> Any:
    """One value without any of YAML's marks, such as quotes or comments: None, true/false, a number, or the text.

    Raises:
        ConfigError: one line with `where`.
    """
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, text.strip(), (True, False))  # type: ignore[no-untyped-call]
    if tag.removeprefix(_TAG) not in ("null", "bool", "int", "float"):
        return text
    return _parse(lambda: loader.construct_object(yaml.ScalarNode(tag, text.strip())), text, where)


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
