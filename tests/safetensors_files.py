"""Writes safetensors files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["to_bfloat16", "write_safetensors"]

_DTYPES = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64", "uint16": "BF16"}


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> Path:
    """Writes tensors; uint16 ones are taken as the bits of bfloat16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    content = b""
    for name, values in tensors.items():
        begin = len(content)
        content += values.tobytes()
        dtype = _DTYPES[str(values.dtype)]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [begin, len(content)]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of the numbers' bits."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)
