"""Small data sets, real files to read, and a web server to fetch one from."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest

from galaxy_exp.data import ImageDataset, build_dataset
from galaxy_exp.data.fetch import RemoteFile, fetch_file

CONTENT = bytes(range(256)) * 4000
"""Of the file that servers send."""


class RecordingHandler(BaseHTTPRequestHandler):
    """Notes path and range of every request; what stalls waits for `release`. Subclasses answer."""

    requests: list[tuple[str, str | None]]
    release: threading.Event

    def do_GET(self) -> None:
        earlier = sum(path == self.path for path, _ in self.requests)
        self.requests.append((self.path, self.headers.get("Range")))
        self.answer(self.path.strip("/"), self.headers.get("Range"), earlier)

    def answer(self, kind: str, wanted: str | None, earlier: int) -> None:
        """Sends what this kind of server sends, after `earlier` requests for the same."""
        raise NotImplementedError

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that answers as the `Handler` of the test's module does."""
    handler = request.module.Handler
    handler.requests, handler.release = [], threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        handler.release.set()
        http.shutdown()
        thread.join()


def remote(*urls: str) -> RemoteFile:
    """What is known of the file beforehand."""
    return RemoteFile("Galaxy10.h5", urls, hashlib.sha256(CONTENT).hexdigest(), f"{len(CONTENT):,} bytes")


Fetch = Callable[..., Path]


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    """Fetches the file from the addresses given, into the test's folder or another."""

    def call(*urls: str, folder: Path = tmp_path, progress: bool = False) -> Path:
        return fetch_file(remote(*urls), folder, timeout_seconds=0.5, progress=progress)

    return call


@pytest.fixture
def make_dataset() -> Callable[..., ImageDataset]:
    """Builds random, all different 8x8 images with the given number of images per class."""

    def make(*counts: int, seed: int = 0) -> ImageDataset:
        rng = np.random.default_rng(seed)
        labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
        images = rng.integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8)
        return build_dataset(images, labels, source="test")

    return make


@pytest.fixture
def h5_file(tmp_path: Path) -> Path:
    """Galaxy10's layout: 12 images of 10x9 pixels, labels 0, 1, 2."""
    path = tmp_path / "galaxies.h5"
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        file["images"] = rng.integers(0, 256, (12, 10, 9, 3), dtype=np.uint8)
        file["ans"] = np.arange(12, dtype=np.uint8) % 3
    return path
