"""Named tensors in a file of PyTorch's: `.safetensors`, or what `torch.save` writes (`.pth`, `.pt`, `.ckpt`, `.bin`).

Only the tensors are read, without PyTorch, and nothing in the file is executed. The content tells the format.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.encoders.tensor_pickle import (
    RefusedWeightsError,
    StoredTensor,
    find_tensors,
    is_possible_place,
    read_tensor_pickle,
)
from galaxy_exp.errors import BadInputError, access_errors

__all__ = ["WeightFile", "open_weights"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LONGEST_HEADER = 100 * 2**20
"""Of a safetensors file, in bytes; the format's own limit."""
_SAFETENSORS_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bfloat16", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "|i1", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


_DAMAGED = (
    ValueError, TypeError, KeyError, EOFError, RuntimeError, OverflowError, zipfile.BadZipFile, struct.error
)  # fmt: skip
"""What the readers raise; zipfile has no exception of its own for many kinds of damage."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """The tensors of a file; their numbers are read when they are asked for."""

    path: Path
    tensors: Mapping[str, StoredTensor]
    """By name; keys of nested dictionaries are joined with dots."""
    _read_storage: Callable[[str], bytes]

    def read(self, name: str) -> NDArray[np.float32]:
        """The numbers of one tensor as float32, in its shape.

        Raises:
            BadInputError: the tensor is damaged, truncated, or not made of finite floating point numbers.
        """
        tensor = self.tensors[name]
        if tensor.dtype not in ("<f2", "bfloat16", "<f4", "<f8"):
            raise BadInputError(f"{self.path}: tensor {name}: has the dtype {tensor.dtype}, expected floating point")
        try:
            with access_errors(str(self.path)):
                raw = self._read_storage(tensor.storage)
        except _DAMAGED as error:
            raise BadInputError(f"{self.path}: tensor {name}: damaged or truncated ({error})") from None
        values = np.frombuffer(raw[: len(raw) - len(raw) % _item_size(tensor.dtype)], _storage_dtype(tensor.dtype))
        if not _fits(tensor, len(values)):
            raise BadInputError(
                f"{self.path}: tensor {name}: shape {tensor.shape} does not fit into its {len(raw):,} bytes; "
                "expected a complete file"
            )
        steps = [step * values.itemsize for step in tensor.strides]
        strided = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps)
        placed = np.ascontiguousarray(strided).reshape(tensor.shape)
        if tensor.dtype == "bfloat16":
            numbers = (placed.astype(np.uint32) << 16).view(np.float32)
        else:
            with np.errstate(over="ignore"):
                numbers = placed.astype(np.float32)
        if not np.isfinite(numbers).all():
            raise BadInputError(f"{self.path}: tensor {name}: has values that are not finite")
        return numbers


def open_weights(path: Path) -> WeightFile:
    """Reads the names, shapes and places of a file's tensors.

    Raises:
        BadInputError: the file is not one of PyTorch's or of safetensors', is damaged, or has more than tensors.
    """
    with access_errors(str(path)), path.open("rb") as file:
        start = file.read(16)
        file.seek(0)
        try:
            weights = _format_of(start)(path, file)
        except _DAMAGED as error:
            raise BadInputError(f"{path}: cannot be read as weights: {error}; {_ADVICE}") from None
    if not weights.tensors:
        raise BadInputError(f"{path}: has no tensors; {_ADVICE}")
    return weights


_ADVICE = "expected a state dictionary as .safetensors, or written by torch.save(model.state_dict(), FILE)"


def _format_of(start: bytes) -> Callable[[Path, IO[bytes]], WeightFile]:
    if start.startswith(b"PK"):
        return _open_zip
    if start.startswith(b"\x80") and _LEGACY_MAGIC.to_bytes(10, "little") in start:
        return _open_legacy
    if start[8:9] == b"{":
        return _open_safetensors
    if start.startswith(b"version https://"):
        raise RefusedWeightsError("it is only Git LFS's pointer to the file, which git lfs pull downloads")
    raise RefusedWeightsError("it is neither a safetensors file nor one that torch.save wrote")


def _open_safetensors(path: Path, file: IO[bytes]) -> WeightFile:
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if length > min(_LONGEST_HEADER, size - 8):
        raise RefusedWeightsError(f"its header of {length:,} bytes is longer than the file or than the format allows")
    try:
        header = json.loads(file.read(length))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        places = {name: _safetensors_place(name, entry, size - 8 - length) for name, entry in entries.items()}
    except RefusedWeightsError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedWeightsError(f"its header is damaged ({type(error).__name__}: {error})") from None

    def read(name: str) -> bytes:
        begin, end = entries[name]["data_offsets"]
        return _read_at(path, 8 + length + begin, end - begin)

    return WeightFile(path, places, read)


def _safetensors_place(name: str, entry: Any, n_bytes: int) -> StoredTensor:
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if entry["dtype"] not in _SAFETENSORS_DTYPES:
        raise RefusedWeightsError(f"tensor {name} has the dtype {entry['dtype']}")
    dtype = _SAFETENSORS_DTYPES[entry["dtype"]]
    if not is_possible_place(begin, shape, shape) or not is_possible_place(end, (), ()):
        raise RefusedWeightsError(f"tensor {name} has an impossible shape or place")
    if end > n_bytes:
        raise RefusedWeightsError(f"it is truncated: tensor {name} ends at byte {end:,} of {n_bytes:,}")
    if end - begin != math.prod(shape) * _item_size(dtype):
        raise RefusedWeightsError(f"tensor {name} has {end - begin:,} bytes, which is not what shape {shape} needs")
    steps = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return StoredTensor(name, dtype, 0, shape, steps)


def _open_zip(path: Path, file: IO[bytes]) -> WeightFile:
    """The format of `torch.save` since PyTorch 1.6: a zip archive of a pickle and of the storages, uncompressed."""
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        packed = [info.filename for info in members.values() if info.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise RefusedWeightsError(f"its member {packed[0]} is compressed, which torch.save never does")
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise RefusedWeightsError("it is a zip archive that torch.save did not write")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") != b"little":
            raise RefusedWeightsError("its numbers are big-endian")
        with archive.open(pickles[0]) as pickled:
            tensors = find_tensors(read_tensor_pickle(pickled))
    absent = [name for name, tensor in tensors.items() if f"{folder}data/{tensor.storage}" not in members]
    if absent:
        raise RefusedWeightsError(f"the numbers of tensor {absent[0]} are missing")

    def read(key: str) -> bytes:
        with zipfile.ZipFile(path) as archive:
            return archive.read(f"{folder}data/{key}")

    return WeightFile(path, tensors, read)


def _open_legacy(path: Path, file: IO[bytes]) -> WeightFile:
    """The format of `torch.save` before PyTorch 1.6: five pickles, then the storages, each after its length."""
    _, _, system, content, keys = (read_tensor_pickle(file) for _ in range(5))
    if not isinstance(system, dict) or not system.get("little_endian", False):
        raise RefusedWeightsError("its numbers are big-endian")
    if not isinstance(keys, list):
        raise RefusedWeightsError("its list of storages is damaged")
    tensors = find_tensors(content)
    dtypes = {tensor.storage: tensor.dtype for tensor in tensors.values()}
    size = os.fstat(file.fileno()).st_size
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        if not isinstance(key, str) or key not in dtypes:  # hashing a deeply nested tuple ends the process
            raise RefusedWeightsError("it is damaged: it lists a storage that no tensor has")
        length = int.from_bytes(file.read(8), "little") * _item_size(dtypes[key])
        if file.tell() + length > size:
            raise RefusedWeightsError("it is truncated or damaged: a storage is incomplete")
        places[key] = (file.tell(), length)
        file.seek(length, os.SEEK_CUR)
    if set(dtypes) - set(places):
        raise RefusedWeightsError("it is damaged: a storage is missing")
    return WeightFile(path, tensors, lambda key: _read_at(path, *places[key]))


def _read_at(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def _item_size(dtype: str) -> int:
    return _storage_dtype(dtype).itemsize


def _storage_dtype(dtype: str) -> np.dtype[Any]:
    return np.dtype("<u2" if dtype == "bfloat16" else dtype)


def _fits(tensor: StoredTensor, n_stored: int) -> bool:
    """Whether all elements are in the storage, and not more of them than it has."""
    n_elements = math.prod(tensor.shape)
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    return 0 < n_elements <= n_stored and last < n_stored
