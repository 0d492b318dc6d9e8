"""Writes files of tensors as `torch.save` does, without PyTorch."""

from __future__ import annotations

import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["write_torch_legacy", "write_torch_zip"]

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_SYSTEM = {"protocol_version": _PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def write_torch_zip(path: Path, tensors: Mapping[str, NDArray[np.float32]], key: str | None = None) -> Path:
    """The format since PyTorch 1.6; with a key, as the dictionary of that name in a checkpoint."""
    content = _pickled(tensors, is_legacy=False)
    if key is not None:
        content = b"\x80\x02}" + _text("epoch") + _number(3) + b"s" + _text(key) + content[2:-1] + b"s."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", content)
        archive.writestr(f"{path.stem}/byteorder", "little")
        for number, values in enumerate(tensors.values()):
            archive.writestr(f"{path.stem}/data/{number}", values.tobytes())
        archive.writestr(f"{path.stem}/version", "3\n")
    return path


def write_torch_legacy(path: Path, tensors: Mapping[str, NDArray[np.float32]]) -> Path:
    """The format before PyTorch 1.6."""
    keys = [str(number) for number in range(len(tensors))]
    head = [pickle.dumps(value, 2) for value in (_MAGIC, _PROTOCOL, _SYSTEM)]
    storages = [struct.pack("<q", values.size) + values.tobytes() for values in tensors.values()]
    path.write_bytes(b"".join([*head, _pickled(tensors, is_legacy=True), pickle.dumps(keys, 2), *storages]))
    return path


def _pickled(tensors: Mapping[str, NDArray[np.float32]], *, is_legacy: bool) -> bytes:
    """A state dictionary, an OrderedDict, in protocol 2."""
    items = [_text(name) + _tensor(str(key), values, is_legacy) for key, (name, values) in enumerate(tensors.items())]
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + b"".join(items) + b"u."


def _tensor(key: str, values: NDArray[np.float32], is_legacy: bool) -> bytes:
    place = _text("storage") + b"ctorch\nFloatStorage\n" + _text(key) + _text("cpu") + _number(values.size)
    storage = b"(" + place + (b"N" if is_legacy else b"") + b"tQ"
    strides = [math.prod(values.shape[axis + 1 :]) for axis in range(values.ndim)]
    arguments = storage + _number(0) + _numbers(values.shape) + _numbers(strides) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _numbers(values: Any) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"
