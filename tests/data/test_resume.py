"""Downloads that break off and go on, from a server that sends parts of files."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from galaxy_exp.data.download import PIECE_BYTES
from galaxy_exp.data.fetch import MAX_RESUMES, RemoteFile, fetch_file
from galaxy_exp.errors import FetchError

CONTENT = bytes(range(256)) * 4000
FIRST = 36 * PIECE_BYTES


class Handler(BaseHTTPRequestHandler):
    """Sends parts of files, and breaks off, stalls or vanishes as the path says; notes path and range."""

    requests: list[tuple[str, str | None]]
    release: threading.Event

    def do_GET(self) -> None:
        kind = self.path.strip("/")
        wanted = self.headers.get("Range")
        earlier = sum(path == self.path for path, _ in type(self).requests)
        type(self).requests.append((self.path, wanted))
        if kind == "vanishes" and earlier:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and kind != "ignores" else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        if kind == "odd":
            start = 5
        self.send_response(206 if start else 200)
        if kind != "ignores":
            self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        content = CONTENT[::-1] if kind == "wrong" else CONTENT
        self.wfile.write(content[start : start + self.length(kind, earlier)])
        if kind == "stalls" and not earlier:
            self.release.wait(10)

    @staticmethod
    def length(kind: str, earlier: int) -> int:
        if kind == "crumbs":
            return 2 * PIECE_BYTES
        if kind == "nothing more" and earlier:
            return 0
        return FIRST if kind != "right" and kind != "wrong" and not earlier else len(CONTENT)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.requests, Handler.release = [], threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        Handler.release.set()
        http.shutdown()
        thread.join()


def remote(*urls: str) -> RemoteFile:
    return RemoteFile("big.h5", urls, hashlib.sha256(CONTENT).hexdigest(), f"{len(CONTENT):,} bytes")


def fetch(folder: Path, *urls: str) -> bytes:
    return fetch_file(remote(*urls), folder, timeout_seconds=0.5).read_bytes()


def partial(folder: Path) -> Path:
    return folder / f".big.h5.{remote().sha256[:12]}.part"


@pytest.mark.parametrize("kind", ["breaks", "stalls"])
def test_goes_on_at_once_where_it_broke_off(server: str, tmp_path: Path, kind: str) -> None:
    assert fetch(tmp_path, f"{server}/{kind}") == CONTENT
    assert Handler.requests == [(f"/{kind}", None), (f"/{kind}", f"bytes={FIRST}-")]
    assert [entry.name for entry in tmp_path.iterdir()] == ["big.h5"]


def test_goes_on_in_the_next_call_and_from_another_mirror(server: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"vanishes \(HTTP 404 Not Found\); get it elsewhere"):
        fetch(tmp_path, f"{server}/vanishes")
    assert not (tmp_path / "big.h5").exists()
    assert partial(tmp_path).read_bytes() == CONTENT[:FIRST]
    assert fetch(tmp_path, f"{server}/right") == CONTENT
    assert Handler.requests[-1] == ("/right", f"bytes={FIRST}-")


def test_goes_on_after_the_process_was_killed(server: str, tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT[:1234])
    assert fetch(tmp_path, f"{server}/right") == CONTENT
    assert Handler.requests == [("/right", "bytes=1234-")]


def test_killed_just_before_the_end_needs_no_server(tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT)
    assert fetch(tmp_path, "http://127.0.0.1:9/x") == CONTENT


def test_server_without_ranges_sends_all_again(server: str, tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT[:1234])
    with pytest.raises(FetchError, match=r"ignores \(broke off\)"):
        fetch(tmp_path, f"{server}/ignores")
    assert list(tmp_path.iterdir()) == []
    assert fetch(tmp_path, f"{server}/ignores") == CONTENT
    assert [wanted for _, wanted in Handler.requests] == ["bytes=1234-", None]


@pytest.mark.parametrize("begun", [b"x" * 1234, CONTENT[:-1] + b"x", CONTENT + b"x"])
def test_wrong_beginning_is_fetched_again_from_the_start(server: str, tmp_path: Path, begun: bytes) -> None:
    partial(tmp_path).write_bytes(begun)
    assert fetch(tmp_path, f"{server}/right") == CONTENT
    assert Handler.requests == [("/right", f"bytes={len(begun)}-"), ("/right", None)]


def test_wrong_file_is_fetched_twice_at_most_and_not_kept(server: str, tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT[:1234])
    with pytest.raises(FetchError, match=r"wrong \(sent 1,024,000 bytes with SHA-256"):
        fetch(tmp_path, f"{server}/wrong")
    assert [wanted for _, wanted in Handler.requests] == ["bytes=1234-", None]
    assert list(tmp_path.iterdir()) == []


def test_crumbs_are_kept_but_not_waited_for(server: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"crumbs \(broke off\)"):
        fetch(tmp_path, f"{server}/crumbs")
    assert len(Handler.requests) == MAX_RESUMES + 1
    assert partial(tmp_path).stat().st_size == 2 * PIECE_BYTES * (MAX_RESUMES + 1)


def test_another_part_than_was_asked_for(server: str, tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT[:1234])
    with pytest.raises(FetchError, match=r"odd \(sent another part of the file than was asked for\)"):
        fetch(tmp_path, f"{server}/odd")
    assert len(Handler.requests) == 2


def test_a_second_process_downloads_on_its_own(server: str, tmp_path: Path) -> None:
    import fcntl

    with partial(tmp_path).open("w+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert fetch(tmp_path, f"{server}/right") == CONTENT
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(["big.h5", partial(tmp_path).name])


def test_file_url_is_copied_and_checked(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    original = tmp_path / "there" / "a b.h5"
    original.write_bytes(CONTENT)
    assert fetch(tmp_path / "one", original.as_uri()) == CONTENT
    original.write_bytes(b"else")
    with pytest.raises(FetchError, match=r"a%20b\.h5 \(sent 4 bytes with SHA-256"):
        fetch(tmp_path / "two", original.as_uri())
    original.unlink()
    with pytest.raises(FetchError, match=r"a%20b\.h5 \(No such file or directory\)"):
        fetch(tmp_path / "two", original.as_uri())
    assert list((tmp_path / "two").iterdir()) == []
