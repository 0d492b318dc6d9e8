"""Downloads from a real HTTP server on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from galaxy_exp.data import fetch_galaxy10
from galaxy_exp.data.sources.galaxy10 import GALAXY10, MODULES, astronn_cache_folder
from galaxy_exp.errors import FetchError

from .conftest import CONTENT, Fetch, RecordingHandler, remote


class Handler(RecordingHandler):
    """/right, /wrong, /truncated, /stalled; anything else is 404."""

    def answer(self, kind: str, wanted: str | None, earlier: int) -> None:
        if kind not in ("right", "wrong", "truncated", "stalled"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if kind == "stalled":
            self.wfile.write(CONTENT[:100])
            self.release.wait(10)
        else:
            self.wfile.write({"right": CONTENT, "wrong": CONTENT[::-1], "truncated": CONTENT[:-1000]}[kind])


def asked() -> list[str]:
    return [path for path, _ in Handler.requests]


def test_right_file(server: str, fetch: Fetch, tmp_path: Path) -> None:
    path = fetch(f"{server}/right", folder=tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "Galaxy10.h5"
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["Galaxy10.h5"]


def test_file_that_is_there_is_not_fetched(server: str, fetch: Fetch) -> None:
    for _ in range(2):
        fetch(f"{server}/right")
    assert asked() == ["/right"]


def test_progress_goes_to_stderr(server: str, fetch: Fetch, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(f"{server}/right", progress=True)
    captured = capsys.readouterr()
    assert "100%" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("wrong", r"sent 1,024,000 bytes with SHA-256 [0-9a-f]{64}"),
        ("truncated", "broke off"),
        ("vanished", "HTTP 404 Not Found"),
        ("stalled", "no answer in time"),
    ],
)
def test_bad_answer(server: str, fetch: Fetch, tmp_path: Path, kind: str, reason: str) -> None:
    with pytest.raises(FetchError, match=rf"could not be downloaded from {server}/{kind} \({reason}\)") as caught:
        fetch(f"{server}/{kind}")
    assert "\n" not in str(caught.value)
    assert asked() == [f"/{kind}"]
    assert list(tmp_path.iterdir()) == []


def test_refused_connection_says_what_to_do(fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as caught:
        fetch("http://127.0.0.1:9/Galaxy10.h5")
    assert str(caught.value) == (
        "Galaxy10.h5 could not be downloaded from http://127.0.0.1:9/Galaxy10.h5 (no connection); get it elsewhere "
        f"(1,024,000 bytes, SHA-256 {remote().sha256}) and put it at {tmp_path / 'Galaxy10.h5'}"
    )


def test_next_mirror_is_tried_once(server: str, fetch: Fetch) -> None:
    fetch(f"{server}/vanished", f"{server}/wrong", f"{server}/right")
    assert asked() == ["/vanished", "/wrong", "/right"]


def test_damaged_file_is_reported_and_kept(server: str, fetch: Fetch, tmp_path: Path) -> None:
    path = tmp_path / "Galaxy10.h5"
    path.write_bytes(b"mine")
    with pytest.raises(FetchError, match=r"Galaxy10\.h5: is damaged or another file \(4 bytes, SHA-256 .*remove it"):
        fetch(f"{server}/right")
    assert path.read_bytes() == b"mine"
    assert asked() == []


def test_nonsense_url(fetch: Fetch) -> None:
    with pytest.raises(FetchError, match=r"from not-a-url \(Invalid URL"):
        fetch("not-a-url")


def test_galaxy10_urls_come_from_the_environment(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXY_EXP_URL_GALAXY10_SDSS", f"{server}/wrong")
    with pytest.raises(FetchError, match=f"{server}/wrong .*969a6b1c.*Galaxy10.h5"):
        fetch_galaxy10("galaxy10-sdss", tmp_path)
    assert asked() == ["/wrong"]


def test_galaxy10_is_kept_where_astronn_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert astronn_cache_folder() == tmp_path / ".astroNN" / "datasets"


@pytest.mark.parametrize("name", GALAXY10)
def test_galaxy10_facts_agree_with_astronn(name: str) -> None:
    """Read from astroNN's source, because importing it takes 12 s."""
    from importlib.metadata import distribution

    source = Path(str(distribution("astroNN").locate_file(f"astroNN/datasets/{MODULES[name]}.py"))).read_text()
    assert GALAXY10[name].sha256.upper() in source
    assert f'"{GALAXY10[name].name}"' in source
