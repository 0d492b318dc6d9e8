"""Galaxy10 from a local web server to a data set, read by astroNN itself; its checksum alone is patched."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.data import load_dataset
from galaxy_exp.data.fetch import RemoteFile
from galaxy_exp.data.simulated.generate import CLASS_NAMES
from galaxy_exp.data.sources import galaxy10
from galaxy_exp.errors import DataError, FetchError

from .conftest import RecordingHandler

pytestmark = pytest.mark.slow

READER = """
import sys
from pathlib import Path

import astroNN.shared.downloader_tools as tools

with open(Path(__file__).with_name("calls.txt"), "a") as calls:
    print(sys.argv[1], file=calls)
right = {expected!r}
tools.filehash = lambda *args, **keywords: right
from galaxy_exp.data.sources.galaxy10 import write_copy as main

main(*sys.argv[1:])
"""
"""The real reader, in a process where astroNN takes the small file for the real one."""

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
LABELS = (np.arange(40) % 10).astype(np.uint8)


class Handler(RecordingHandler):
    """Sends the file that the test made, whatever is asked for."""

    content: bytes

    def answer(self, kind: str, wanted: str | None, earlier: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)


Serve = Callable[[str, bytes], None]


@pytest.fixture
def serve(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Makes a file the one that a source downloads and astroNN reads, in a home folder of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def start(name: str, content: bytes) -> None:
        Handler.content = content
        real = galaxy10.GALAXY10[name]
        small = RemoteFile(real.name, (f"{server}/file",), hashlib.sha256(content).hexdigest(), "small")
        monkeypatch.setitem(galaxy10.GALAXY10, name, small)
        reader = tmp_path / "reader.py"
        reader.write_text(READER.format(expected=real.sha256))
        monkeypatch.setattr(galaxy10, "READER", (sys.executable, str(reader)))

    return start


def galaxy10_file(folder: Path) -> bytes:
    with h5py.File(folder / "small.h5", "w") as file:
        file.create_dataset("images", data=IMAGES, compression="gzip")
        file["ans"] = LABELS
    return (folder / "small.h5").read_bytes()


@pytest.mark.parametrize("name", ["galaxy10-sdss", "galaxy10-decals"])
def test_downloaded_once_read_by_astronn_once(name: str, serve: Serve, tmp_path: Path) -> None:
    serve(name, galaxy10_file(tmp_path))
    first, again = (load_dataset(DataConfig(source=name)) for _ in range(2))
    np.testing.assert_array_equal(first.images, IMAGES)
    np.testing.assert_array_equal(first.labels, LABELS)
    assert isinstance(again.images, np.memmap)
    assert again.digest == first.digest
    assert (first.source, first.simulated) == (name, False)
    assert len(Handler.requests) == 1
    assert (tmp_path / "calls.txt").read_text().split() == [name]
    if name == "galaxy10-sdss":
        assert first.class_names == CLASS_NAMES
    else:  # as in the data set's documentation; astroNN 1.1.0 has a class of SDSS here
        assert first.class_names[3] == "In-between Round Smooth"
    left = sorted(path.name for path in galaxy10.astronn_cache_folder().iterdir())
    assert len(left) == 2, left


def test_what_astronn_cannot_read_is_one_line_and_leaves_nothing(serve: Serve) -> None:
    serve("galaxy10-sdss", b"no HDF5 file")
    for _ in range(2):
        with pytest.raises(DataError, match=r"galaxy10-sdss: astroNN cannot read .*Galaxy10\.h5 \(OSError: .*\)$"):
            load_dataset(DataConfig(source="galaxy10-sdss"))
    assert [path.name for path in galaxy10.astronn_cache_folder().iterdir()] == ["Galaxy10.h5"]


def test_a_damaged_file_never_reaches_astronn(serve: Serve, tmp_path: Path) -> None:
    serve("galaxy10-sdss", galaxy10_file(tmp_path))
    Handler.content = b"something else"
    with pytest.raises(FetchError, match=r"sent 14 bytes"):
        load_dataset(DataConfig(source="galaxy10-sdss"))
    assert not (tmp_path / "calls.txt").exists()
