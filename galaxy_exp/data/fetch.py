"""Downloading one file, verified before it gets its name."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests

from galaxy_exp.errors import FetchError

__all__ = ["RemoteFile", "fetch_file"]

TIMEOUT_SECONDS = 30.0
"""How long a server may stay silent, when connecting and between two pieces."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the network."""

    name: str
    """File name on disk."""
    urls: tuple[str, ...]
    """Mirrors, tried once each, in this order."""
    sha256: str
    """64 lower-case hex digits."""
    size: str
    """For people: "210,234,548 bytes"."""


def fetch_file(
    remote: RemoteFile,
    folder: Path,
    *,
    urls: Sequence[str] | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    progress: bool | None = None,
) -> Path:
    """`folder/name`, verified; downloaded when it is not there. One attempt per mirror.

    The download goes to a temporary file in `folder` and is renamed only after its checksum was found
    right, so the final name never stands for a partial file; interrupting leaves nothing behind. A
    damaged file that already has the name is not deleted or replaced: it may be the user's.

    Args:
        remote: what to fetch.
        folder: made when missing.
        urls: mirrors instead of `remote.urls`.
        timeout_seconds: how long a server may stay silent.
        progress: whether to draw a bar on stderr; by default when that is a terminal.

    Raises:
        FetchError: one line with each mirror and what it answered, the checksum, the size, and the path
            where a file fetched by hand is found.
    """
    path = folder / remote.name
    if path.exists():
        _check_present(path, remote)
        return path
    show = sys.stderr.isatty() if progress is None else progress
    failures = []
    for url in remote.urls if urls is None else urls:
        try:
            _download(url, path, remote, timeout_seconds, show)
        except (OSError, ValueError) as error:  # every error of requests is an OSError
            failures.append(f"{url} ({_describe(error)})")
        else:
            return path
    raise FetchError(
        f"{remote.name} could not be downloaded from {', nor from '.join(failures)}; get it elsewhere "
        f"({remote.size}, SHA-256 {remote.sha256}) and put it at {path}"
    )


def _check_present(path: Path, remote: RemoteFile) -> None:
    found = pooch.file_hash(str(path), alg="sha256")
    if found != remote.sha256:
        raise FetchError(
            f"{path}: is damaged or another file ({path.stat().st_size:,} bytes, SHA-256 {found}); expected "
            f"{remote.size}, SHA-256 {remote.sha256}; remove it and it is downloaded from {remote.urls[0]}"
        )


def _download(url: str, path: Path, remote: RemoteFile, timeout_seconds: float, show: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(descriptor)
    partial = Path(name)
    try:
        pooch.HTTPDownloader(progressbar=show, timeout=timeout_seconds)(url, str(partial), None)
        found = pooch.file_hash(str(partial), alg="sha256")
        if found != remote.sha256:
            raise ValueError(f"sent {partial.stat().st_size:,} bytes with SHA-256 {found}")
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _describe(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return " ".join(str(error).split())
