"""The exceptions of galaxy_exp: one tree, and every message is one line a user can act on.

A message names where the mistake is (file, key path, index, URL), what was found there and what was
expected. The command line prints `str(error)` and exits with `error.exit_code`; anything that is not a
`GalaxyExpError` is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = [
    "BadInputError",
    "ConfigError",
    "DataError",
    "EngineError",
    "FetchError",
    "GalaxyExpError",
    "JournalError",
    "JournalWriteError",
    "ModelError",
    "SweepFailedError",
    "SweepInterrupted",
    "TrackingError",
    "UnusableImagesError",
    "UnusableStoreError",
    "access_errors",
    "first_line",
    "is_access_error",
    "is_disk_full",
    "is_of_the_machine",
    "one_line",
    "reason_of",
    "short_reason",
    "typed_reason",
]

_LONGEST_LINE = 1000


class GalaxyExpError(Exception):
    """Any failure that was foreseen. `exit_code` is what the command line returns for it."""

    exit_code = 1


class BadInputError(GalaxyExpError):
    """What the user gave cannot be used: a file, a key, a name, an image."""

    exit_code = 2


class ConfigError(BadInputError):
    """One or more mistakes in a sweep file or an override; `problems` holds one line each."""

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = tuple(map(one_line, (problems,) if isinstance(problems, str) else problems))
        super().__init__("\n".join(self.problems))


class DataError(BadInputError):
    """A data set that is missing, damaged, or of the wrong shape, type or size."""


class FetchError(DataError):
    """A data set that could not be downloaded; says where to get it and where to put it."""


class ModelError(BadInputError):
    """A registered model that does not exist, or images that it cannot take."""


class JournalError(BadInputError):
    """A sweep's journal that is missing, locked by another process, or damaged before its last line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class JournalWriteError(GalaxyExpError):
    """The journal cannot be written (disk full, say); what is in it stays intact, and the sweep can be resumed."""


class UnusableImagesError(GalaxyExpError):
    """All rows of a prediction are written, and some say why an image could not be classified."""

    exit_code = 3


class TrackingError(GalaxyExpError):
    """MLflow refused or could not be reached; the sweep itself goes on."""


class UnusableStoreError(TrackingError):
    """An MLflow store that no waiting makes usable: says why, and how to have another one."""

    exit_code = BadInputError.exit_code


class EngineError(GalaxyExpError):
    """The workers are out of reach for good, or have no disk left for their files; the sweep can be resumed."""


class SweepFailedError(GalaxyExpError):
    """The sweep itself cannot go on or has no usable trial, as opposed to one failed trial."""


_DISK_FULL = ("No space left on device", "Disk quota exceeded")
"""In what h5py and TensorFlow say of a full disk, without its number."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception says that a file could not be written for want of space."""
    if isinstance(error, OSError):
        numbers, text = (errno.ENOSPC, errno.EDQUOT), str(error)
        # NumPy: "8192 requested and 1024 written"
        return error.errno in numbers or any(word in text for word in (*_DISK_FULL, " requested and "))
    return any(word in str(error) for word in _DISK_FULL)


_OF_THE_MACHINE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOLCK
}  # fmt: skip


def is_of_the_machine(error: OSError) -> bool:
    """Whether the machine and no bug is the reason: a full disk, a missing permission, a disk that fails."""
    return is_disk_full(error) or error.errno in _OF_THE_MACHINE


def first_line(error: BaseException) -> str:
    """An exception in one line: its message's first line, or its type if it has none; odd types are named."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return (
        lines[0] if isinstance(error, GalaxyExpError | OSError | ValueError) else f"{type(error).__name__}: {lines[0]}"
    )


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


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PREAMBLE = re.compile(
    r"Exception encountered when calling |Graph execution error|Detected at node |<stack traces unavailable>|File \"|"
    r"Traceback \(most recent call last\)|Stack trace for op definition|Arguments received by |"
    r"Could not automatically infer the output shape "
)
"""How lines begin in which Keras and TensorFlow say where something happened before they say what."""


def reason_of(error: BaseException) -> str:
    """What an exception says in one line: its first paragraph that gives a reason, or its type if it has no message.

    Lines that belong together are joined, and after a colon what follows is kept; see `_PREAMBLE`.
    """
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines()]
    found: list[str] = []
    for line in lines:
        if line and not _PREAMBLE.match(line):
            found.append(line)
        elif found and not line and not found[-1].endswith((":", ",")):
            break
    if found:
        return " ".join(found)
    return " ".join(filter(None, lines)) or type(error).__name__


def typed_reason(error: BaseException) -> str:
    """An exception's type and, if it has a message, its `reason_of`, in one line."""
    name = type(error).__name__
    return f"{name}: {reason_of(error)}" if str(error).strip() else name


def one_line(text: str) -> str:
    """A message fit to be printed: line breaks and control characters escaped, the rest beyond 1,000 letters cut."""
    plain = text if text.isprintable() else "".join(map(_printable, text))
    return plain if len(plain) <= _LONGEST_LINE else f"{plain[:_LONGEST_LINE]}..."


def _printable(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")


class SweepInterrupted(GalaxyExpError):
    """Ctrl-C or SIGTERM; everything finished so far is in the journal. Names the sweep to resume."""

    exit_code = 130

    def __init__(self, sweep_id: str) -> None:
        self.sweep_id = sweep_id
        super().__init__(f"sweep {sweep_id} interrupted; go on with: galaxy-exp resume {sweep_id}")
