"""Downloads one file from one of several mirrors; it gets its name after its checksum was verified."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom, BufferedReader
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from galaxy_exp.errors import FetchError
from galaxy_exp.folders import take_lock

__all__ = ["RemoteFile", "fetch_file"]

TIMEOUT_SECONDS = 30.0
"""Longest silence of a server, when connecting and between two pieces."""

MAX_RESUMES = 5
"""How often a broken download is resumed at one mirror in one call."""

PIECE_BYTES = 2**14
"""Size of the pieces that are written; an incomplete piece is lost."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that can be downloaded, and its checksum."""

    name: str
    """File name on disk."""
    urls: tuple[str, ...]
    """Mirrors in the order in which they are tried."""
    sha256: str
    """64 lower-case hex digits."""
    size: str
    """Size for messages: "210,234,548 bytes"."""


def fetch_file(
    remote: RemoteFile,
    folder: Path,
    *,
    urls: Sequence[str] | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    progress: bool | None = None,
) -> Path:
    """The path `folder/name` of the verified file, which is downloaded if it is missing. Each mirror is tried once.

    The download goes into a hidden file in `folder`, which is renamed only after its checksum was verified. A broken or
    interrupted download is resumed if the server supports it: up to `MAX_RESUMES` times in this call, then in the next
    call, from any mirror. A file with a wrong checksum is deleted after the download, but not if it had the final name
    before the call: it may be the user's.

    Args:
        urls: mirrors instead of `remote.urls`; http, https or file.
        progress: whether to show a progress bar on stderr; by default if that is a terminal.

    Raises:
        FetchError: one line with each mirror and its answer, the checksum, the size, and the path for a file that is
            downloaded by hand.
    """
    path = folder / remote.name
    if path.exists():
        _check_present(path, remote)
        return path
    show = sys.stderr.isatty() if progress is None else progress
    failures = []
    with _partial_file(path, remote) as file:
        for url in remote.urls if urls is None else urls:
            try:
                _download_from(url, file, remote, timeout_seconds, show)
            except (OSError, ValueError) as error:  # every error of requests is an OSError
                failures.append(f"{url} ({_describe(error)})")
            else:
                Path(file.name).replace(path)
                return path
    raise FetchError(
        f"{remote.name} could not be downloaded from {', nor from '.join(failures)}; get it elsewhere "
        f"({remote.size}, SHA-256 {remote.sha256}) and put it at {path}"
    )


def _check_present(path: Path, remote: RemoteFile) -> None:
    with path.open("rb") as file:
        found = _sha256(file)
    if found != remote.sha256:
        raise FetchError(
            f"{path}: is damaged or another file ({path.stat().st_size:,} bytes, SHA-256 {found}); expected "
            f"{remote.size}, SHA-256 {remote.sha256}; remove it and it is downloaded from {remote.urls[0]}"
        )


@contextmanager
def _partial_file(path: Path, remote: RemoteFile) -> Iterator[BufferedRandom]:
    """A file beside `path` for the download, with the beginning of an earlier one if any; removed if left empty.

    One process at a time has this file; another process gets a temporary file that is always deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = path.with_name(f".{path.name}.{remote.sha256[:12]}.part")
    with kept.open("a+b") as file:
        if _lock(file):
            try:
                yield file
            finally:
                if _size_of(file) == 0:
                    kept.unlink(missing_ok=True)
            return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with temporary.open("x+b") as file:
            yield file
    finally:
        temporary.unlink(missing_ok=True)


def _lock(file: BufferedRandom) -> bool:
    """Whether this process alone may write; False if the file was completed and renamed after it was opened."""
    try:
        return take_lock(file) and os.fstat(file.fileno()).st_ino == Path(file.name).stat().st_ino
    except OSError:
        return False


def _download_from(url: str, file: BufferedRandom, remote: RemoteFile, timeout_seconds: float, show: bool) -> None:
    """Downloads until the file is complete and right; resumes at most `MAX_RESUMES` times, while more data arrives.

    A wrong file from several downloads is downloaded once more from its start.
    """
    begun = _size_of(file) > 0
    if begun and _sha256(file) == remote.sha256:
        return  # killed just before it got its name
    for resumes_left in reversed(range(MAX_RESUMES + 1)):
        before = _size_of(file)
        try:
            _download(url, file, timeout_seconds=timeout_seconds, progress=show)
        except _BrokenOffError as error:
            if not (error.resumable and resumes_left and _size_of(file) > before):
                raise error.__cause__ or error from None
            begun = True
            continue
        digest = _sha256(file)
        if digest == remote.sha256:
            return
        found = f"sent {_size_of(file):,} bytes with SHA-256 {digest}"
        file.truncate(0)
        if not begun:
            raise ValueError(found)
        begun = False
    raise ValueError(found)


def _sha256(file: BufferedReader | BufferedRandom) -> str:
    file.flush()
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _describe(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())


class _BrokenOffError(OSError):
    """The download ended early. The cause has the reason; the file keeps its content if the server can resume."""

    def __init__(self, resumable: bool) -> None:
        self.resumable = resumable
        super().__init__("broke off")


def _size_of(file: BufferedRandom) -> int:
    """Bytes in the file; moves its position to the end."""
    return file.seek(0, 2)


def _download(url: str, file: BufferedRandom, *, timeout_seconds: float, progress: bool) -> None:
    """Appends the missing rest of `url` to `file`, or downloads it from the start if the server cannot resume.

    The file is empty, or has the beginning of the same download. A URL with file: is copied.

    Raises:
        _BrokenOffError: the connection ended early or became silent. The file keeps its content if a later call can
            resume; otherwise it is empty.
        OSError, ValueError: the server refused or cannot be reached, or the URL is not valid. The file is unchanged.
    """
    if url.startswith("file:"):
        with Path(url2pathname(urlsplit(url).path)).open("rb") as source:
            file.truncate(0)
            file.seek(0)
            shutil.copyfileobj(source, file)
            file.flush()
        return
    start = _size_of(file)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, timeout=timeout_seconds, stream=True) as response:
        if _fits_behind(file, response):
            _stream(response, file, progress)
            return
    _download(url, file, timeout_seconds=timeout_seconds, progress=progress)  # the file is empty now


def _fits_behind(file: BufferedRandom, response: requests.Response) -> bool:
    """Whether the response continues at the end of the file; otherwise empties the file if that helps."""
    if response.status_code == requests.codes.requested_range_not_satisfiable and _size_of(file):
        file.truncate(0)  # it is as long as the remote file, or longer
        return False
    response.raise_for_status()
    start = _first_byte(response)
    if start == _size_of(file):
        return True
    if not _size_of(file):
        raise ValueError("sent another part of the file than was asked for")
    file.truncate(0)
    return start == 0


def _first_byte(response: requests.Response) -> int:
    if response.status_code != requests.codes.partial_content:
        return 0
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _stream(response: requests.Response, file: BufferedRandom, progress: bool) -> None:
    start = _size_of(file)
    sends_parts = response.status_code == requests.codes.partial_content
    resumable = sends_parts or response.headers.get("Accept-Ranges") == "bytes"
    total = int(response.headers.get("Content-Length", 0)) + start or None
    columns = (BarColumn(), TaskProgressColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
            task = bar.add_task("", total=total, completed=start)
            for piece in response.iter_content(PIECE_BYTES):
                file.write(piece)
                bar.advance(task, len(piece))
    except OSError as error:  # every error of requests is one
        if not isinstance(error, requests.RequestException):
            raise  # the disk, not the network
        raise _BrokenOffError(resumable) from error
    finally:
        file.flush()
        if not resumable and total is not None and _size_of(file) < total:
            file.truncate(0)
