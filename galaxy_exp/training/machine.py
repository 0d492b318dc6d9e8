"""What this machine offers to the training of a network, memory and the dtype policy that "auto" means; and the state
of Keras during one trial."""

from __future__ import annotations

import functools
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

__all__ = ["fresh_session", "gpu_capability", "memory_limit", "peak_memory", "resolve_precision"]

_CPU_FLAGS = {"amx_bf16", "avx512_bf16"}
"""Either makes a processor multiply bfloat16 natively (Intel from Sapphire Rapids / Cooper Lake, AMD from Zen 4)."""

_LEAST_CAPABILITY = (8, 0)
"""NVIDIA's first compute capability with bfloat16 tensor cores (Ampere)."""


def resolve_precision(precision: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The name of a Keras dtype policy: `precision` itself unless it is "auto".

    "auto" is mixed_bfloat16 where the GPU that Keras would use has bfloat16 tensor cores or, without a GPU, where the
    processor multiplies bfloat16 natively; else float32. Processors are only known on Linux, by the flags in `cpuinfo`,
    and JAX makes no use of it there.
    """
    if precision != "auto":
        return precision
    capability = gpu_capability()
    on_cpu = keras.backend.backend() != "jax" and _cpu_has_bfloat16(cpuinfo)
    native = capability >= _LEAST_CAPABILITY if capability else on_cpu
    return "mixed_bfloat16" if native else "float32"


def _cpu_has_bfloat16(cpuinfo: Path) -> bool:
    if not (sys.platform.startswith("linux") and cpuinfo.is_file()):
        return False
    with cpuinfo.open() as lines:
        flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(_CPU_FLAGS & set(flags.split()))


def gpu_capability() -> tuple[int, int] | None:
    """Compute capability of the first GPU; None without GPU, (0, 0) if it is not NVIDIA's or unknown."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
        if not devices:
            return None
        major, minor = tf.config.experimental.get_device_details(devices[0]).get("compute_capability", (0, 0))
        return int(major), int(minor)
    if keras.backend.backend() == "jax":
        device = _jax_device()
        if device.platform != "gpu":
            return None
        major, _, minor = str(getattr(device, "compute_capability", "0.0")).partition(".")
        return (int(major), int(minor or 0)) if major.isdigit() else (0, 0)
    return None


def memory_limit(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> tuple[str, int]:
    """The memory that training can use, as ("GPU" or "machine", bytes).

    On a GPU that is all the memory the backend may use there. Else it is the memory of the machine, or the limit of
    this process's control group if that is less (Linux, both versions of control groups).
    """
    gpu = _gpu_memory()
    if gpu is not None:
        return "GPU", gpu
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return "machine", min([physical, *_group_limits(groups, own)])


def peak_memory(status: Path = Path("/proc/self/status")) -> int:
    """The peak of this process's memory in bytes, without what it shares now, such as memory-mapped images.

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
    """The limits of this process's control group and of its parents; within a container its own is at the top."""
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
    if keras.backend.backend() == "jax":
        device = _jax_device()
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


def _jax_device() -> Any:
    return importlib.import_module("jax").devices()[0]  # by name, since JAX need not be installed where mypy runs


@contextmanager
def fresh_session(seed: int, precision: str, deterministic: bool) -> Iterator[None]:
    """Clears the state of the last trial, seeds every generator, and sets the dtype policy within the context.

    `deterministic` refuses operations whose result depends on thread timing. On TensorFlow this holds until the process
    ends; other backends have no such switch after their start.
    """
    if gc.get_freeze_count() == 0:
        # else each collection visits the million objects of the imported libraries: 0.25 s instead of 0.02 s per trial
        gc.freeze()
    if keras.backend.backend() == "tensorflow":
        _forget_custom_gradients()
    keras.backend.clear_session()  # collects garbage, too
    keras.utils.set_random_seed(seed % 2**32)
    if deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _forget_custom_gradients() -> None:
    """Frees the graphs of earlier trials.

    TensorFlow registers the function of each `tf.custom_gradient` (one for every swish activation) by a new name and
    never removes it, and the function refers to the graph.
    """
    from tensorflow.python.framework import ops

    registered = ops.gradient_registry._registry
    for name in [name for name in registered if name.startswith("CustomGradient-")]:
        del registered[name]
