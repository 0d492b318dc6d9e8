"""Downloads one URL into an open file; resumes an incomplete file if the server supports it."""

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
"""Size of the pieces that are written; an incomplete piece is lost."""


class BrokenOffError(OSError):
    """The download ended early. The cause has the reason; the file keeps its content if the server can resume."""

    def __init__(self, resumable: bool) -> None:
        self.resumable = resumable
        super().__init__("broke off")


def size_of(file: BinaryIO) -> int:
    """Bytes in the file; moves its position to the end."""
    return file.seek(0, 2)


def download(url: str, file: BinaryIO, *, timeout_seconds: float, progress: bool) -> None:
    """Appends the missing rest of `url` to `file`, or downloads it from the start if the server cannot resume.

    Args:
        url: http, https, or file, which is copied.
        file: open for reading and writing; empty, or with the beginning of the same download.
        timeout_seconds: longest silence of the server, when connecting and between two pieces.
        progress: whether to show a progress bar on stderr.

    Raises:
        BrokenOffError: the connection ended early or became silent. The file keeps its content if a later call can
            resume; otherwise it is empty.
        OSError, ValueError: the server refused or cannot be reached, or the URL is not valid. The file is unchanged.
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
    """Whether the response continues at the end of the file; otherwise empties the file if that helps."""
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
