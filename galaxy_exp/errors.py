"""The exceptions of galaxy_exp, and one-line descriptions of exceptions.

A message is one line: where the mistake is (file, key path, index, URL), what was found and what was expected. The
command line prints `str(error)` and exits with `error.exit_code`. Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = [
    "FOLDER_GONE",
    "HOW_TO_START",
    "BadInputError",
    "ConfigError",
    "DataError",
    "EngineError",
    "FetchError",
    "GalaxyExpError",
    "JournalError",
    "JournalWriteError",
    "ModelError",
    "OrderRefusedError",
    "OrderWithdrawn",
    "SweepFailedError",
    "SweepInterrupted",
    "TrackingError",
    "UnusableImagesError",
    "UnusableStoreError",
    "access_errors",
    "escape_unprintable",
    "first_line",
    "is_access_error",
    "is_disk_full",
    "is_of_the_machine",
    "is_storable",
    "machine_reason",
    "one_line",
    "reason_of",
    "short_reason",
    "storable",
    "typed_reason",
]

FOLDER_GONE = "the current folder does not exist any more; expected one that does"

HOW_TO_START = "galaxy-exp init && galaxy-exp sweep sweep.yaml"
"""Commands that run a first sweep in any folder, for messages."""

_LONGEST_LINE = 1000


class GalaxyExpError(Exception):
    """An expected failure. `exit_code` is the exit code of the command line."""

    exit_code = 1


class BadInputError(GalaxyExpError):
    """The user's input cannot be used: a file, a key, a name, an image."""

    exit_code = 2


class ConfigError(BadInputError):
    """One or more mistakes in a sweep file or an override; `problems` has one line each."""

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = tuple(map(one_line, (problems,) if isinstance(problems, str) else problems))
        super().__init__("\n".join(self.problems))


class DataError(BadInputError):
    """A data set is missing, damaged, or of the wrong shape, type or size; one line, whatever its files are called."""

    def __init__(self, message: str) -> None:
        super().__init__(escape_unprintable(message))


class FetchError(DataError):
    """A data set could not be downloaded; the message says where to get it and where to put it."""


class ModelError(BadInputError):
    """A registered model does not exist, or cannot classify the images."""


class JournalError(BadInputError):
    """A journal is missing, locked by another process, or damaged before its last line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class JournalWriteError(GalaxyExpError):
    """The journal cannot be written, as with a full disk; its content is intact, and the sweep can be resumed."""


class OrderRefusedError(GalaxyExpError):
    """An order to a sweep cannot be carried out, or no process works on the sweep."""


class OrderWithdrawn(GalaxyExpError):
    """Ctrl-C withdrew an order before the sweep took it."""

    exit_code = 130


class UnusableImagesError(GalaxyExpError):
    """All rows of a prediction are written; some have an error instead of a class."""

    exit_code = 3


class TrackingError(GalaxyExpError):
    """MLflow refused or could not be reached; the sweep itself continues."""


class UnusableStoreError(TrackingError):
    """An MLflow store can never be used; the message says why, and how to use another one."""

    exit_code = BadInputError.exit_code


class EngineError(GalaxyExpError):
    """The workers cannot be reached any more, or the machine failed, as with a full disk; the sweep can be resumed."""


class SweepFailedError(GalaxyExpError):
    """The sweep cannot continue or has no usable trial; one failed trial is no reason for it."""


_DISK_FULL = ("No space left on device", "Disk quota exceeded", "No usable temporary directory")
"""Texts of h5py, TensorFlow and Python's tempfile for a full disk, which they report without its error number."""


def is_disk_full(error: BaseException) -> bool:
    """Whether a file could not be written because the disk is full."""
    if isinstance(error, OSError):
        numbers, text = (errno.ENOSPC, errno.EDQUOT), str(error)
        # NumPy: "8192 requested and 1024 written"
        return error.errno in numbers or any(word in text for word in (*_DISK_FULL, " requested and "))
    return any(word in str(error) for word in _DISK_FULL)


_OF_THE_MACHINE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOLCK
}  # fmt: skip


def is_of_the_machine(error: OSError) -> bool:
    """Whether the cause is the machine and not a bug: a full disk, a missing permission, a failing disk."""
    return is_disk_full(error) or error.errno in _OF_THE_MACHINE


_NO_RIGHT = "let this user read and write it, and its folder"
_REMEDIES = {
    errno.EACCES: _NO_RIGHT, errno.EPERM: _NO_RIGHT, errno.EROFS: "work in a folder that can be written to"
}  # fmt: skip


def machine_reason(error: OSError) -> str:
    """The file, if it is known, what the operating system says, and what to do if a permission is missing."""
    if not isinstance(error.filename, str):
        return one_line(error.strerror or str(error))
    remedy = f"; {_REMEDIES[error.errno]}" if error.errno in _REMEDIES else ""
    return one_line(f"{error.filename}: {error.strerror}{remedy}")


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type without one; unusual types are named too."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return (
        lines[0] if isinstance(error, GalaxyExpError | OSError | ValueError) else f"{type(error).__name__}: {lines[0]}"
    )


def is_access_error(error: Exception) -> bool:
    """Whether the operating system refused, as with a missing permission; False for damaged content."""
    return isinstance(error, OSError) and bool(error.errno)


def short_reason(error: Exception) -> str:
    """A reason of at most 200 characters in one line; for an error of the operating system, without number and path."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def access_errors(where: str) -> Iterator[None]:
    """Turns an OSError into a `DataError` that names the file, or else `where`."""
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
"""Beginnings of lines in which Keras and TensorFlow say where an error occurred, before they say what."""


def reason_of(error: BaseException) -> str:
    """The first paragraph of an exception's message that gives a reason, in one line; its type without a message."""
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
    """An exception's type and its `reason_of`, in one line; for SystemExit, what raises it too."""
    name = type(error).__name__
    said = f"{name}: {reason_of(error)}" if str(error).strip() else name
    return f"{said} (from sys.exit or argparse)" if isinstance(error, SystemExit) else said


def one_line(text: str) -> str:
    """A printable message of at most 1,000 characters, with line breaks and control characters escaped."""
    plain = escape_unprintable(text)
    return plain if len(plain) <= _LONGEST_LINE else f"{plain[:_LONGEST_LINE]}..."


def escape_unprintable(text: str) -> str:
    """The text with line breaks, control characters and the like as their escapes, such as `\\x07`."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def is_storable(text: str) -> bool:
    """Whether every file and journal can hold the text: it has no null character and is UTF-8."""
    return "\0" not in text and storable(text) == text


def storable(text: str) -> str:
    """The text with what no file can hold, as in the name of a file that is no UTF-8, as escapes."""
    return text.encode(errors="backslashreplace").decode()


class SweepInterrupted(GalaxyExpError):
    """Ctrl-C, SIGTERM or a closed terminal ended the sweep; the message names the sweep to resume."""

    exit_code = 130

    def __init__(self, sweep_id: str) -> None:
        self.sweep_id = sweep_id
        super().__init__(f"sweep {sweep_id} interrupted; continue with: galaxy-exp resume {sweep_id}")
