from __future__ import annotations

import csv
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from galaxy_exp.errors import BadInputError
from galaxy_exp.registry.prediction_run import PredictionCount, RunIdentity, partial_file, predict_to_file

COLUMNS = ["name", "label", "error"]
N_IMAGES, BATCH = 23, 4
IDENTITY = RunIdentity("models:/m/1", {"sweep_id": "s"}, "digest", N_IMAGES, None)


def _row(number: int) -> dict[str, Any]:
    wrong = number % 7 == 3
    return {"name": f"{number}.png", "label": None if wrong else number, "error": "too small" if wrong else None}


class _Images:
    """Rows from any image on; remembers where it was asked to start, and can be killed at one."""

    def __init__(self, killed_at: int = N_IMAGES) -> None:
        self.starts: list[int] = []
        self._killed_at = killed_at

    def __call__(self, start: int) -> Iterator[dict[str, Any]]:
        self.starts.append(start)
        for number in range(start, N_IMAGES):
            if number == self._killed_at:
                raise KeyboardInterrupt
            yield _row(number)


def _predict(
    output: Path, images: Callable[[int], Iterable[dict[str, Any]]], identity: RunIdentity = IDENTITY, **more: Any
) -> PredictionCount:
    return predict_to_file(images, COLUMNS, output, "csv", identity, BATCH, **more)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.csv"


def _numbers(output: Path) -> list[str]:
    with output.open() as stream:
        return [row["name"] for row in csv.DictReader(stream)]


ALL = [f"{number}.png" for number in range(N_IMAGES)]


def test_all_rows_are_written_and_counted(output: Path) -> None:
    count = _predict(output, _Images())
    assert (count.n_rows, count.n_errors, count.errors) == (N_IMAGES, 3, [f"{n}.png: too small" for n in (3, 10, 17)])
    assert _numbers(output) == ALL
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("killed_at", [0, 1, 3, 4, 5, 8, 22])
def test_killed_it_goes_on_after_the_last_whole_batch(output: Path, killed_at: int) -> None:
    output.write_text("older")
    with pytest.raises(KeyboardInterrupt):
        _predict(output, _Images(killed_at))
    assert output.read_text() == "older"
    again = _Images()
    count = _predict(output, again)
    assert again.starts == [killed_at // BATCH * BATCH]
    assert (count.n_rows, count.n_errors) == (N_IMAGES, 3)
    assert _numbers(output) == ALL
    assert list(output.parent.iterdir()) == [output]


def test_a_file_torn_at_any_byte_is_gone_on_with(output: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _predict(output, _Images(9))
    whole = partial_file(output).read_bytes()
    for length in range(0, len(whole), 7):
        partial_file(output).write_bytes(whole[:length])
        _predict(output, _Images())
        assert _numbers(output) == ALL


def test_rows_lost_in_the_middle_are_made_again(output: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _predict(output, _Images(22))
    content = bytearray(partial_file(output).read_bytes())
    middle = content.index(b"9.png")
    content[middle : middle + 30] = bytes(30)
    partial_file(output).write_bytes(content)
    again = _Images()
    _predict(output, again)
    assert again.starts == [8]
    assert _numbers(output) == ALL


def test_killed_while_the_output_is_written_nothing_is_predicted_again(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("galaxy_exp.registry.prediction_run.write_rows", killed)
        _predict(output, _Images())
    again = _Images()
    assert _predict(output, again).n_rows == N_IMAGES
    assert again.starts == [N_IMAGES]
    assert _numbers(output) == ALL


def test_the_output_and_its_name_are_on_disk_before_the_rows_are_deleted(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, unlink, on_disk = os.fsync, Path.unlink, list[int]()

    def note(descriptor: int) -> None:
        fsync(descriptor)
        on_disk.append(os.fstat(descriptor).st_ino)

    def check(path: Path, missing_ok: bool = False) -> None:
        assert on_disk[-2:] == [output.stat().st_ino, output.parent.stat().st_ino]
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "unlink", check)
    _predict(output, _Images())
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": "models:/m/2"},
            r"was begun with models:/m/1, and this is models:/m/2; continue with --model models:/m/1",
        ),
        ({"model_metadata": {"sweep_id": "t"}}, r"was begun with another models:/m/1; move it away"),
        ({"inputs": "other"}, r"was begun with other images \(23, and these are 23\), or their files have changed"),
        ({"n_images": 24}, r"was begun with other images \(23, and these are 24\)"),
        ({"stretch": {"stretch": "asinh"}}, r"was begun with another stretch of FITS files"),
        ({"calibrated": True}, r"was begun without --calibrated; continue in the same way"),
    ],
)
def test_another_model_or_other_images_are_refused(output: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        _predict(output, _Images(9))
    before = partial_file(output).read_bytes()
    with pytest.raises(BadInputError, match=rf"out\.csv\.partial: {message}.*or begin again with --restart$"):
        _predict(output, _Images(), replace(IDENTITY, **changes))
    assert partial_file(output).read_bytes() == before
    again = _Images()
    _predict(output, again, replace(IDENTITY, **changes), restart=True)
    assert again.starts == [0]
    assert _numbers(output) == ALL


@pytest.mark.parametrize("content", ['{"mine": 1}\n', "a download\nof mine", '{"torn', "\n"])
def test_a_file_of_another_kind_is_not_overwritten(output: Path, content: str) -> None:
    partial_file(output).write_text(content)
    with pytest.raises(BadInputError, match=r"was not written by this release of predict; move it away"):
        _predict(output, _Images())
    assert partial_file(output).read_text() == content


def test_two_at_a_time_are_refused(output: Path) -> None:
    with partial_file(output).open("a+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BadInputError, match=r"out\.csv\.partial: another process is writing it"):
            _predict(output, _Images())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nowhere/out\.csv\.partial: cannot be written: No such file"):
        _predict(tmp_path / "nowhere" / "out.csv", _Images())
