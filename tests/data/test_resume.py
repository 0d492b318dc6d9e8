"""Downloads that break off and go on, from a server that sends parts of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from galaxy_exp.data.fetch import MAX_RESUMES, PIECE_BYTES
from galaxy_exp.errors import FetchError

from .conftest import CONTENT, Fetch, RecordingHandler, remote

FIRST = 36 * PIECE_BYTES


class Handler(RecordingHandler):
    """Sends parts of files, and breaks off, stalls or vanishes as the path says."""

    def answer(self, kind: str, wanted: str | None, earlier: int) -> None:
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


def partial(folder: Path) -> Path:
    return folder / f".Galaxy10.h5.{remote().sha256[:12]}.part"


@pytest.mark.parametrize("kind", ["breaks", "stalls"])
def test_goes_on_at_once_where_it_broke_off(server: str, fetch: Fetch, tmp_path: Path, kind: str) -> None:
    assert fetch(f"{server}/{kind}").read_bytes() == CONTENT
    assert Handler.requests == [(f"/{kind}", None), (f"/{kind}", f"bytes={FIRST}-")]
    assert [entry.name for entry in tmp_path.iterdir()] == ["Galaxy10.h5"]


def test_goes_on_in_the_next_call_and_from_another_mirror(server: str, fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"vanishes \(HTTP 404 Not Found\); get it elsewhere"):
        fetch(f"{server}/vanishes")
    assert not (tmp_path / "Galaxy10.h5").exists()
    assert partial(tmp_path).read_bytes() == CONTENT[:FIRST]
    assert fetch(f"{server}/right").read_bytes() == CONTENT
    assert Handler.requests[-1] == ("/right", f"bytes={FIRST}-")


def test_goes_on_after_the_process_was_killed(server: str, fetch: Fetch, tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT[:1234])
    assert fetch(f"{server}/right").read_bytes() == CONTENT
    assert Handler.requests == [("/right", "bytes=1234-")]


def test_killed_just_before_the_end_needs_no_server(fetch: Fetch, tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT)
    assert fetch("http://127.0.0.1:9/x").read_bytes() == CONTENT


def test_server_without_ranges_sends_all_again(server: str, fetch: Fetch, tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT[:1234])
    with pytest.raises(FetchError, match=r"ignores \(broke off\)"):
        fetch(f"{server}/ignores")
    assert list(tmp_path.iterdir()) == []
    assert fetch(f"{server}/ignores").read_bytes() == CONTENT
    assert [wanted for _, wanted in Handler.requests] == ["bytes=1234-", None]


@pytest.mark.parametrize("begun", [b"x" * 1234, CONTENT[:-1] + b"x", CONTENT + b"x"])
def test_wrong_beginning_is_fetched_again_from_the_start(
    server: str, fetch: Fetch, tmp_path: Path, begun: bytes
) -> None:
    partial(tmp_path).write_bytes(begun)
    assert fetch(f"{server}/right").read_bytes() == CONTENT
    assert Handler.requests == [("/right", f"bytes={len(begun)}-"), ("/right", None)]


def test_wrong_file_is_fetched_twice_at_most_and_not_kept(server: str, fetch: Fetch, tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT[:1234])
    with pytest.raises(FetchError, match=r"wrong \(sent 1,024,000 bytes with SHA-256"):
        fetch(f"{server}/wrong")
    assert [wanted for _, wanted in Handler.requests] == ["bytes=1234-", None]
    assert list(tmp_path.iterdir()) == []


def test_crumbs_are_kept_but_not_waited_for(server: str, fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"crumbs \(broke off\)"):
        fetch(f"{server}/crumbs")
    assert len(Handler.requests) == MAX_RESUMES + 1
    assert partial(tmp_path).stat().st_size == 2 * PIECE_BYTES * (MAX_RESUMES + 1)


def test_another_part_than_was_asked_for(server: str, fetch: Fetch, tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT[:1234])
    with pytest.raises(FetchError, match=r"odd \(sent another part of the file than was asked for\)"):
        fetch(f"{server}/odd")
    assert len(Handler.requests) == 2


def test_a_second_process_downloads_on_its_own(server: str, fetch: Fetch, tmp_path: Path) -> None:
    import fcntl

    with partial(tmp_path).open("w+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert fetch(f"{server}/right").read_bytes() == CONTENT
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(["Galaxy10.h5", partial(tmp_path).name])


def test_file_url_is_copied_and_checked(fetch: Fetch, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    original = tmp_path / "there" / "a b.h5"
    original.write_bytes(CONTENT)
    assert fetch(original.as_uri(), folder=tmp_path / "one").read_bytes() == CONTENT
    original.write_bytes(b"else")
    with pytest.raises(FetchError, match=r"a%20b\.h5 \(sent 4 bytes with SHA-256"):
        fetch(original.as_uri(), folder=tmp_path / "two")
    original.unlink()
    with pytest.raises(FetchError, match=r"a%20b\.h5 \(No such file or directory\)"):
        fetch(original.as_uri(), folder=tmp_path / "two")
    assert list((tmp_path / "two").iterdir()) == []
