"""What the benchmarks' commands have in common: sizes that were not given, the console, the figures as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

__all__ = ["fill_in", "open_console", "write_json"]


def fill_in(parsed: argparse.Namespace, sizes: Mapping[str, Any]) -> None:
    """Sets every option that was not given (None) to its size."""
    for name, value in sizes.items():
        if getattr(parsed, name) is None:
            setattr(parsed, name, value)


def open_console(width: int) -> Console:
    """A console as wide as the terminal, or of `width` characters if stdout is none."""
    return Console(width=None if sys.stdout.isatty() else width)


def write_json(file: Path | None, report: Any) -> None:
    """Writes the report if a file was asked for."""
    if file is not None:
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
