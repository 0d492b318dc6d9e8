"""Which exceptions are one line, and which keep their traceback: by where they come from."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from privileges import without_roots_rights

from galaxy_exp.cli import main as command_line
from galaxy_exp.cli.main import run_command

SIMULATED = ("simulated", "--set", "data.simulated.n_images=100", "--set", "data.simulated.image_size=24")


def fail_with(monkeypatch, error):
    def main(*arguments, **options):
        raise error

    monkeypatch.setattr(command_line.cli, "main", main)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO])
def test_what_the_machine_refuses_is_one_line(monkeypatch, capsys, number):
    fail_with(monkeypatch, OSError(number, os.strerror(number), "/data/a b.h5"))
    assert run_command([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.partition("; ")[0] == f"error: /data/a b.h5: {os.strerror(number)}"


@pytest.mark.parametrize(
    "bug",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "trials/0003/history.csv"),
        FileExistsError(errno.EEXIST, "File exists", "x"),
        IsADirectoryError(errno.EISDIR, "Is a directory", "x"),
        NotADirectoryError(errno.ENOTDIR, "Not a directory", "x"),
        OSError(errno.EINVAL, "Invalid argument"),
        OSError("without a number"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        TimeoutError("timed out"),
        KeyError("name"),
        ValueError("a bug"),
        AssertionError(),
    ],
    ids=lambda bug: type(bug).__name__,
)
def test_a_bug_keeps_its_traceback(monkeypatch, bug):
    fail_with(monkeypatch, bug)
    monkeypatch.setattr(command_line, "has_no_reader", lambda stream: False)  # pytest's stdout has no file
    with pytest.raises(type(bug)) as raised:
        run_command([])
    assert raised.value is bug


def test_a_failure_stays_one_without_a_reader(monkeypatch):
    def fail(*arguments, **options):
        sys.stdout.write("the curves differ")
        return 1

    monkeypatch.setattr("galaxy_exp.cli.main.cli.main", fail)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert run_command([]) == 1


def test_stdout_may_be_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert run_command(["data", "list"]) == 0


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GALAXY_EXP_HOME", raising=False)
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def refused(capsys, *arguments):
    assert run_command(list(arguments)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize("command", [("data", "info", ""), ("init", "--data", "")])
def test_an_empty_source_is_not_the_current_folder(here, capsys, command):
    assert refused(capsys, *command).startswith("error: the source of the data is empty; expected what data.source")


@pytest.mark.parametrize("output", ["file/x.png", "file/y/x.png", "folder.png", f"{'x' * 300}.png", "/proc/x.png"])
def test_a_picture_that_cannot_be_written_is_one_line(here, capsys, output):
    line = refused(capsys, "data", "preview", *SIMULATED, "-o", output)
    assert line.startswith(f"error: {output}: cannot be written: ")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("folder.csv", "--output folder.csv: is a folder; "),
        ("nowhere/out.csv", "--output nowhere/out.csv: no such folder: nowhere; "),
        (f"{'x' * 300}.csv", "xxx.csv: cannot be written: "),
        ("table.csv", "--output table.csv: is one of IMAGES and would be overwritten; "),
        ("link.csv", "--output link.csv: is one of IMAGES and would be overwritten; "),
    ],
)
def test_predictions_refuse_their_output_before_anything_is_read(here, capsys, output, expected):
    (here / "folder.csv").mkdir()
    (here / "table.csv").write_text("file\na.png\n")
    (here / "link.csv").symlink_to("table.csv")
    assert expected in refused(capsys, "predict", "table.csv", "-o", output)
    assert (here / "table.csv").read_text() == "file\na.png\n"


@pytest.mark.parametrize("home", ["file", "file/below", "/proc/nothing"])
def test_a_home_that_cannot_hold_sweeps_is_one_line(here, capsys, monkeypatch, home):
    monkeypatch.setenv("GALAXY_EXP_HOME", home)
    (here / "s.yaml").write_text("data: {source: simulated}")
    assert f"{Path(home).resolve()}: cannot store sweeps: " in refused(capsys, "sweep", "s.yaml")


@pytest.mark.parametrize(
    ("arguments", "shut"),
    [(["sweep", "s.yaml"], "logs"), (["sync"], "sweeps/s-1/journal.jsonl")],
)
def test_what_may_not_be_written_is_one_line_with_a_remedy(here, arguments, shut):
    """In a process without root's rights."""
    (here / "s.yaml").write_text("data: {source: simulated}")
    (here / ".galaxy_exp" / "logs").mkdir(parents=True)
    (here / ".galaxy_exp" / "sweeps" / "s-1").mkdir(parents=True)
    (here / ".galaxy_exp" / "sweeps" / "s-1" / "journal.jsonl").touch()
    path = here / ".galaxy_exp" / shut
    path.chmod(0o555)
    command = without_roots_rights([sys.executable, "-m", "galaxy_exp", *arguments])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    path.chmod(0o755)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {path}")
    assert line.endswith(": Permission denied; let this user read and write it, and its folder")
    assert done.returncode == 1


@pytest.mark.parametrize("arguments", [["list"], ["models", "list"], ["data", "info", "/nothing.h5"]])
def test_a_current_folder_that_is_gone_is_one_line(here, capsys, monkeypatch, arguments):
    gone = here / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "the current folder does not exist any more" in refused(capsys, *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["file/x.html", "folder.html", f"{'x' * 300}.html", "/proc/x.html"])
def test_a_report_that_cannot_be_written_is_one_line(here, finished, capsys, monkeypatch, output):
    (here / "folder.html").mkdir()
    monkeypatch.setenv("GALAXY_EXP_HOME", str(finished.path / ".galaxy_exp"))
    assert refused(capsys, "report", "-o", output).startswith(f"error: {output}: cannot be written: ")


@pytest.mark.slow
@pytest.mark.parametrize("output", ["sweep.yaml/below", "/proc/nothing"])
def test_a_folder_that_an_evaluation_cannot_be_written_to_is_one_line(finished, output):
    done = finished.call("evaluate", *SIMULATED, "--model", "tiny-model", "-o", output, exit_code=2)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {output}/report.json: cannot be written: ")
