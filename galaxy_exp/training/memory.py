"""How much memory a network may take where it is trained, and how much a process has taken."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import keras

__all__ = ["memory_limit", "peak_memory"]


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


def peak_memory(status: Path = Path("/proc/self/status")) -> int:
    """Bytes that this process has held at most, without what it shares now, such as memory-mapped images.

    Returns:
        0 where it is not known: outside Linux.
    """
    if not status.is_file():
        return 0
    lines = (line.partition(":") for line in status.read_text().splitlines())
    sizes = {name: int(rest.split()[0]) for name, _, rest in lines if rest.endswith("kB")}
    shared = sizes.get("RssFile", 0) + sizes.get("RssShmem", 0)
    return max(0, 1024 * (sizes.get("VmHWM", 0) - shared))


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
