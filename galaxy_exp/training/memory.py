"""How much memory a network may take where it is trained."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import keras

__all__ = ["memory_limit"]


def memory_limit(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> tuple[str, int]:
    """What training has at most, as ("GPU" or "machine", bytes).

    On a GPU that is all the memory the backend may take there. Else it is the memory of the machine, or the limit of
    the control group that this process is in, whichever is less (Linux, both versions of control groups).
    """
    gpu = _gpu_memory()
    if gpu is not None:
        return "GPU", gpu
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return "machine", min([physical, *_group_limits(groups, own)])


def _group_limits(groups: Path, own: Path) -> Iterator[int]:
    """Of this process's control group and of those around it; within a container its own stands at the top."""
    files = [groups / "memory.max", groups / "memory" / "memory.limit_in_bytes"]
    if own.is_file():
        for line in own.read_text().splitlines():
            controllers, path = line.split(":", 2)[1:]
            group = Path(path.lstrip("/"))
            for each in (group, *group.parents):
                files.append(groups / each / "memory.max")
                if "memory" in controllers:
                    files.append(groups / "memory" / each / "memory.limit_in_bytes")
    for file in files:
        text = file.read_text().strip() if file.is_file() else ""
        if text.isdigit():
            yield int(text)


@functools.cache
def _gpu_memory() -> int | None:
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_memory()
    # by name, since neither need be installed where mypy runs
    if keras.backend.backend() == "jax":
        device = importlib.import_module("jax").devices()[0]
        return int(device.memory_stats()["bytes_limit"]) if device.platform == "gpu" else None
    if keras.backend.backend() == "torch":
        cuda = importlib.import_module("torch").cuda
        return int(cuda.mem_get_info()[1]) if cuda.is_available() else None
    return None


def _tensorflow_memory() -> int | None:
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None
    from tensorflow.python.client import device_lib

    return max(int(device.memory_limit) for device in device_lib.list_local_devices() if device.device_type == "GPU")
