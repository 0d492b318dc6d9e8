"""Sizes that a benchmark's options leave open."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

__all__ = ["fill_in"]


def fill_in(parsed: argparse.Namespace, sizes: Mapping[str, Any]) -> None:
    """Sets every option that was not given (None) to its size."""
    for name, value in sizes.items():
        if getattr(parsed, name) is None:
            setattr(parsed, name, value)
