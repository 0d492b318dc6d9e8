"""What the benchmarks' commands have in common: sizes that were not given, the machine, the console, JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column

from galaxy_exp.execution.resources import available_cores

__all__ = ["describe_machine", "fill_in", "format_machine", "numbers", "open_console", "parse_flags", "write_json"]

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Processor features that decide how fast float32 and bfloat16 are multiplied."""

_PACKAGES = ("galaxy-exp", "tensorflow", "keras", "keras-tuner", "mlflow", "numpy")


def fill_in(parsed: argparse.Namespace, sizes: Mapping[str, Any]) -> None:
    """Sets every option that was not given (None) to its size."""
    for name, value in sizes.items():
        if getattr(parsed, name) is None:
            setattr(parsed, name, value)


def open_console(width: int) -> Console:
    """A console as wide as the terminal, or of `width` characters if stdout is none."""
    return Console(width=None if sys.stdout.isatty() else width)


def numbers(*headings: str) -> list[Column]:
    """Columns of a table, aligned to the right."""
    return [Column(heading, justify="right") for heading in headings]


def write_json(file: Path | None, report: Any) -> None:
    """Writes the report if a file was asked for."""
    if file is not None:
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def describe_machine() -> dict[str, Any]:
    """Cores, processor features, load and versions; what is unknown here is left out."""
    cpuinfo = Path("/proc/cpuinfo")
    return {
        "cores": available_cores(),
        "processor_flags": parse_flags(cpuinfo.read_text() if cpuinfo.is_file() else ""),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def format_machine(machine: Mapping[str, Any]) -> str:
    """What `describe_machine` found, as two lines for people."""
    flags = ", ".join(machine["processor_flags"]) or "processor features unknown"
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"machine: {machine['cores']} cores ({flags}), load {machine['load_before']} before, {machine['system']}\n"
        f"software: Python {machine['python']}, {packages}"
    )


def parse_flags(cpuinfo: str) -> list[str]:
    """Those of `FLAGS` that Linux's /proc/cpuinfo lists."""
    line = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    return [flag for flag in FLAGS if flag in line.split()]
