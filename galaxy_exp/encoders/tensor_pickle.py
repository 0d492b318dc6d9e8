"""Reads a pickle that PyTorch wrote of named tensors, and executes nothing.

Python's own unpickler imports and calls what a file names. Here a small stack machine knows the few operations that
`torch.save` writes for a state dictionary; a name in the file is compared with a list and never imported.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

__all__ = ["RefusedWeightsError", "StoredTensor", "find_tensors", "is_possible_place", "read_tensor_pickle"]

STORAGE_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
"""NumPy's dtype by the name of PyTorch's storage; NumPy has no bfloat16."""

_REBUILD, _DICTIONARY = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
_MOST_BYTES = 16 * 2**20
_MOST_TENSORS = 100_000
_DEEPEST = 8
_MOST_ENTRIES = 1_000_000
_LONGEST_NAME = 1_000
_MOST_AXES = 8
_LARGEST = 2**48
"""Of an offset, a side and a stride, in elements: more than any file has."""
_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES",
}  # fmt: skip


class RefusedWeightsError(ValueError):
    """The file has something other than named tensors, or is damaged; the message says what."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where the numbers of a tensor are."""

    storage: str
    """Key of the storage in its file."""
    dtype: str
    """NumPy's, little-endian, or "bfloat16"."""
    offset: int
    """Of the first element in the storage, in elements."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """Steps between elements, in elements."""


@dataclass(frozen=True, slots=True)
class _Name:
    """The module and name of something that Python's unpickler would import."""

    text: str


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: str


def read_tensor_pickle(file: IO[bytes]) -> Any:
    """The content of the pickle that begins at the file's position, which is then after it.

    Returns:
        Dictionaries, lists, tuples, numbers, texts and `StoredTensor`.

    Raises:
        RefusedWeightsError: the pickle names something else than tensors and dictionaries, or is damaged.
    """
    try:
        return _Machine().run(_BoundedReader(file))
    except RefusedWeightsError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise RefusedWeightsError(f"its pickle is damaged or truncated ({error})") from None


def find_tensors(content: Any) -> dict[str, StoredTensor]:
    """All tensors in nested dictionaries and lists, by their keys joined with dots.

    A dictionary or list that is in several places is read in the first one.

    Raises:
        RefusedWeightsError: more tensors or entries than any encoder has.
    """
    found: dict[str, StoredTensor] = {}
    for name, tensor in _walk(content):
        found[name] = tensor
        if len(found) > _MOST_TENSORS:
            raise RefusedWeightsError(f"it has more than {_MOST_TENSORS:,} tensors")
    return found


def is_possible_place(offset: Any, shape: Any, strides: Any) -> bool:
    """Whether a tensor can have this offset, shape and strides: tuples of as many whole numbers, none enormous."""
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or not len(shape) == len(strides) <= _MOST_AXES:
        return False
    return all(type(number) is int and 0 <= number < _LARGEST for number in (offset, *shape, *strides))


def _walk(content: Any) -> Iterator[tuple[str, StoredTensor]]:
    pending: list[tuple[tuple[str, ...], Any]] = [((), content)]
    visited: set[int] = set()
    n_entries = 0
    while pending:
        names, value = pending.pop()
        if isinstance(value, StoredTensor):
            yield ".".join(names), value
        elif isinstance(value, dict | list | tuple) and len(names) < _DEEPEST and id(value) not in visited:
            visited.add(id(value))
            n_entries += len(value)
            if n_entries > _MOST_ENTRIES:
                raise RefusedWeightsError(f"it has more than {_MOST_ENTRIES:,} entries")
            items = list(value.items() if isinstance(value, dict) else enumerate(value))
            pending.extend(((*names, str(key)), entry) for key, entry in reversed(items))


class _BoundedReader:
    """The part of a file's interface that `pickletools.genops` uses, with a limit on the bytes read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = _MOST_BYTES

    def read(self, size: int) -> bytes:
        self._take(size)
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline(1000)
        self._take(len(line))
        return line

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise RefusedWeightsError(f"its pickle is larger than {_MOST_BYTES // 2**20} MiB, or damaged")


class _Machine:
    """Executes the operations of one pickle on a stack of plain values."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, source: _BoundedReader) -> Any:
        for operation, argument, _ in pickletools.genops(source):  # type: ignore[arg-type]
            if operation.name == "STOP":
                return self._stack.pop()
            self._execute(operation.name, argument)
        raise RefusedWeightsError("its pickle is truncated")

    def _execute(self, operation: str, argument: Any) -> None:
        stack = self._stack
        match operation:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case _ if operation in _CONSTANTS:
                stack.append(_CONSTANTS[operation])
            case _ if operation in _LITERALS:
                stack.append(argument)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "TUPLE":
                stack.append(tuple(self._pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(operation[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(_admitted(*argument.partition(" ")[::2]))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_admitted(module, name))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_rebuild(function, arguments))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "SETITEM" | "SETITEMS":
                items = self._pop_to_mark() if operation == "SETITEMS" else [stack.pop(-2), stack.pop()]
                self._set_items(items)
            case "APPEND" | "APPENDS":
                items = self._pop_to_mark() if operation == "APPENDS" else [stack.pop()]
                if not isinstance(stack[-1], list):
                    raise RefusedWeightsError("its pickle adds entries to something that is not a list")
                stack[-1].extend(items)
            case "BUILD":
                stack.pop()  # attributes of a dictionary, such as the versions of PyTorch's modules
            case _:
                raise RefusedWeightsError(f"its pickle has the operation {operation}, which no tensor needs")

    def _pop_to_mark(self) -> list[Any]:
        for start in reversed(range(len(self._stack))):
            if self._stack[start] is _MARK:
                items = self._stack[start + 1 :]
                del self._stack[start:]
                return items
        raise RefusedWeightsError("its pickle is damaged")

    def _set_items(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict):
            raise RefusedWeightsError("its pickle adds entries to something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int | float):  # hashing a deeply nested tuple ends the process
                raise RefusedWeightsError("its pickle has a dictionary with keys that are neither text nor numbers")
            if isinstance(key, str) and len(key) > _LONGEST_NAME:
                raise RefusedWeightsError(f"its pickle has a key of more than {_LONGEST_NAME:,} characters")
            self._stack[-1][key] = value


def _admitted(module: Any, name: Any) -> _Name:
    if not isinstance(module, str) or not isinstance(name, str):  # as text, nested tuples can be enormous
        raise RefusedWeightsError("its pickle names something with a value that is not text")
    text = f"{module} {name}"
    is_storage = module in ("torch", "torch.storage") and name in STORAGE_DTYPES
    if text not in (_REBUILD, _DICTIONARY) and not is_storage:
        raise RefusedWeightsError(f"it names {f'{module}.{name}'[:_LONGEST_NAME]}, which is not part of a tensor")
    return _Name(text)


def _rebuild(function: Any, arguments: Any) -> Any:
    if function == _Name(_DICTIONARY) and not arguments:
        return {}
    if function != _Name(_REBUILD):
        raise RefusedWeightsError(f"its pickle calls {getattr(function, 'text', 'a value')} in an unusual way")
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, _Storage) or not is_possible_place(offset, shape, strides):
        raise RefusedWeightsError("it has a tensor of an impossible shape or place")
    return StoredTensor(storage.key, storage.dtype, offset, shape, strides)


def _storage(identifier: Any) -> _Storage:
    kind, storage, key, _, _, *view = identifier
    is_key = isinstance(key, str) and len(key) <= _LONGEST_NAME
    if kind != "storage" or not isinstance(storage, _Name) or not is_key or any(view):
        raise RefusedWeightsError("its pickle refers to something else than a tensor's storage")
    return _Storage(key, STORAGE_DTYPES[storage.text.partition(" ")[2]])
