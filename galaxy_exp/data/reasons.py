"""Why something could not be read, in a few words, whatever library said it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from galaxy_exp.errors import DataError

__all__ = ["access_errors", "is_access_error", "short_reason"]


def is_access_error(error: Exception) -> bool:
    """Whether the operating system refused (no permission, no space), as opposed to damaged content."""
    return isinstance(error, OSError) and bool(error.errno)


def short_reason(error: Exception) -> str:
    """One line of at most 200 characters; where the operating system refused, its own words without number and path."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def access_errors(where: str) -> Iterator[None]:
    """Turns what the operating system refuses into a `DataError` that names the file, or else `where`."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or where}: cannot be read ({short_reason(error)})") from None
