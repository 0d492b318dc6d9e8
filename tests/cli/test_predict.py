"""A long prediction as a user meets it: killed, gone on with, and fed with a list."""

import csv
import os
import pty
import re
import subprocess
import time

import h5py
import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
N_IMAGES = 4000


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    path = tmp_path_factory.mktemp("many") / "many.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.random.default_rng(0).integers(0, 256, (N_IMAGES, 24, 24, 3), dtype=np.uint8)
    return path


def test_killed_it_goes_on_and_loses_and_doubles_nothing(finished, many, tmp_path):
    output = tmp_path / "out.csv"
    partial = tmp_path / "out.csv.partial"
    arguments = ["predict", str(many), "--model", "tiny-model", "-o", str(output)]
    process = finished.start(*arguments, "--batch-size", "2")
    while not (partial.exists() and partial.stat().st_size > 5000):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not output.exists()
    done = finished.call(*arguments, "--batch-size", "2")
    assert "images are done already" in done.stderr
    assert f"wrote {N_IMAGES} rows to {output}" in done.stderr
    with output.open() as stream:
        assert [row["name"] for row in csv.DictReader(stream)] == [f"{many}[{n}]" for n in range(N_IMAGES)]
    assert not partial.exists()


def test_a_list_on_standard_input(finished, tmp_path):
    Image.new("RGB", (24, 24)).save(tmp_path / "a.png")
    listed = f"{tmp_path / 'a.png'}\n\n{tmp_path / 'none.png'}\n"
    done = subprocess.run(
        finished.command("predict", "-", "--model", "tiny-model"),
        cwd=finished.path, env=finished.environment, capture_output=True, text=True, input=listed, timeout=300,
    )  # fmt: skip
    assert done.returncode == 3
    good, gone = csv.DictReader(done.stdout.splitlines())
    assert good["class_name"]
    assert gone["error"] == f"{tmp_path / 'none.png'}: no such file or folder"


def on_terminal(project, *arguments, stdout_too):
    """What a command prints on a terminal, which is stderr and maybe stdout, and what it prints on stdout else."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        project.command(*arguments), cwd=project.path, env=project.environment | {"COLUMNS": "80", "TERM": "xterm"},
        stdin=subprocess.DEVNULL, stdout=its if stdout_too else subprocess.PIPE, stderr=its,
    )  # fmt: skip
    os.close(its)
    seen = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:  # Linux, when no process has the terminal open any more
            break
        if not read:
            break
        seen += read
    os.close(ours)
    piped, _ = process.communicate(timeout=300)
    return process.returncode, seen.decode().replace("\r\n", "\n"), (piped or b"").decode()


def test_on_a_terminal_it_is_a_line_an_image(finished, tmp_path):
    Image.new("RGB", (24, 24)).save(tmp_path / "a.png")
    (tmp_path / "longer name.png").write_bytes(b"nothing")
    names = [str(tmp_path / name) for name in ("a.png", "longer name.png")]
    code, seen, _ = on_terminal(finished, "predict", *names, "--model", "tiny-model", stdout_too=True)
    assert code == 3
    model, good, bad, error = seen.splitlines()
    assert model.startswith("model: models:/tiny-model/1")
    assert re.fullmatch(rf"{re.escape(names[0]):<{len(re.escape(names[0]))}} +\S.*  \d\.\d\d", good)
    assert bad.startswith(f"{names[1]}  not a picture that can be read")
    assert error == "error: 1 of 2 images could not be classified"


def test_a_pipe_gets_csv_while_stderr_is_a_terminal(finished, tmp_path):
    """The progress bar on the terminal once took the rows along."""
    Image.new("RGB", (24, 24)).save(tmp_path / "a.png")
    arguments = ["predict", str(tmp_path / "a.png"), "--model", "tiny-model"]
    code, seen, piped = on_terminal(finished, *arguments, stdout_too=False)
    assert code == 0
    assert "wrote 1 row\n" in seen
    (row,) = csv.DictReader(piped.splitlines())
    assert (row["name"], row["error"]) == (str(tmp_path / "a.png"), "")
