"""Streaming one URL into an open file, going on from what is in it where the server can."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import BinaryIO
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

__all__ = ["BrokenOffError", "download", "size_of"]

PIECE_BYTES = 2**14
"""Of an incomplete piece, nothing is kept."""


class BrokenOffError(OSError):
    """The rest did not come; the cause says why, and the file keeps what came if the server sends parts of files."""

    def __init__(self, resumable: bool) -> None:
        self.resumable = resumable
        super().__init__("broke off")


def size_of(file: BinaryIO) -> int:
    """Bytes in the file; its position is then at the end."""
    return file.seek(0, 2)


def download(url: str, file: BinaryIO, *, timeout_seconds: float, progress: bool) -> None:
    """Appends to `file` what it lacks of `url`, or writes it anew if the server does not send parts of files.

    Args:
        url: http, https, or file, which is copied.
        file: open for reading and writing; nothing but the beginning of the same download may be in it.
        timeout_seconds: how long the server may stay silent, when connecting and between two pieces.
        progress: whether to draw a bar on stderr.

    Raises:
        BrokenOffError: the connection ended early or went silent. What came stays in `file` if a later call can go
            on from it; otherwise the file is empty.
        OSError, ValueError: the server refused, cannot be reached, or the URL is none. The file is as it was.
    """
    if url.startswith("file:"):
        _copy(Path(url2pathname(urlsplit(url).path)), file)
        return
    with _request(url, size_of(file), timeout_seconds) as response:
        if _fits_behind(file, response):
            _stream(response, file, progress)
            return
    download(url, file, timeout_seconds=timeout_seconds, progress=progress)  # the file is empty now


def _fits_behind(file: BinaryIO, response: requests.Response) -> bool:
    """Whether the answer goes on from the end of the file, which is emptied where that helps."""
    if response.status_code == requests.codes.requested_range_not_satisfiable and size_of(file):
        file.truncate(0)  # it holds as much as there is, or more
        return False
    response.raise_for_status()
    start = _first_byte(response)
    if start == size_of(file):
        return True
    if not size_of(file):
        raise ValueError("sent another part of the file than was asked for")
    file.truncate(0)
    return start == 0


def _copy(path: Path, file: BinaryIO) -> None:
    with path.open("rb") as source:
        file.truncate(0)
        file.seek(0)
        shutil.copyfileobj(source, file)
        file.flush()


def _request(url: str, start: int, timeout_seconds: float) -> requests.Response:
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    return requests.get(url, headers=headers, timeout=timeout_seconds, stream=True)


def _first_byte(response: requests.Response) -> int:
    if response.status_code != requests.codes.partial_content:
        return 0
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _stream(response: requests.Response, file: BinaryIO, progress: bool) -> None:
    start = size_of(file)
    sends_parts = response.status_code == requests.codes.partial_content
    resumable = sends_parts or response.headers.get("Accept-Ranges") == "bytes"
    total = int(response.headers.get("Content-Length", 0)) + start or None
    try:
        with _progress_bar(progress) as bar:
            task = bar.add_task("", total=total, completed=start)
            for piece in response.iter_content(PIECE_BYTES):
                file.write(piece)
                bar.advance(task, len(piece))
    except OSError as error:  # every error of requests is one
        if not isinstance(error, requests.RequestException):
            raise  # the disk, not the network
        raise BrokenOffError(resumable) from error
    finally:
        file.flush()
        if not resumable and total is not None and size_of(file) < total:
            file.truncate(0)


def _progress_bar(visible: bool) -> Progress:
    columns = (BarColumn(), TaskProgressColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not visible)
