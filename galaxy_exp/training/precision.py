"""Which dtype policy "auto" stands for on this machine."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import keras

__all__ = ["resolve_precision"]

CPU_FLAGS = {"amx_bf16", "avx512_bf16"}
"""Either makes a processor multiply bfloat16 natively (Intel from Sapphire Rapids / Cooper Lake, AMD from Zen 4)."""

LEAST_CAPABILITY = (8, 0)
"""NVIDIA's first compute capability with bfloat16 tensor cores (Ampere)."""


def resolve_precision(precision: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The name of a Keras dtype policy.

    Args:
        precision: "auto" or the name of a policy, which is returned as it is. "auto" is mixed_bfloat16 where the GPU
            that Keras would use has bfloat16 tensor cores or, without a GPU, where the processor multiplies
            bfloat16 natively; else float32. Processors are only known on Linux, and JAX makes no use of it there.
        cpuinfo: where Linux lists the processor's flags.
    """
    if precision != "auto":
        return precision
    capability = _gpu_capability()
    on_cpu = keras.backend.backend() != "jax" and _cpu_has_bfloat16(cpuinfo)
    native = capability >= LEAST_CAPABILITY if capability else on_cpu
    return "mixed_bfloat16" if native else "float32"


def _cpu_has_bfloat16(cpuinfo: Path) -> bool:
    if not (sys.platform.startswith("linux") and cpuinfo.is_file()):
        return False
    with cpuinfo.open() as lines:
        flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(CPU_FLAGS & set(flags.split()))


def _gpu_capability() -> tuple[int, int] | None:
    """Compute capability of the first GPU; None without GPU, (0, 0) when it is not NVIDIA's or unknown."""
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_capability()
    if keras.backend.backend() == "jax":
        return _jax_capability()
    return None


def _tensorflow_capability() -> tuple[int, int] | None:
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    if not devices:
        return None
    major, minor = tf.config.experimental.get_device_details(devices[0]).get("compute_capability", (0, 0))
    return int(major), int(minor)


def _jax_capability() -> tuple[int, int] | None:
    # by name, since JAX need not be installed where mypy runs
    device = importlib.import_module("jax").devices()[0]
    if device.platform != "gpu":
        return None
    major, _, minor = str(getattr(device, "compute_capability", "0.0")).partition(".")
    return (int(major), int(minor or 0)) if major.isdigit() else (0, 0)
