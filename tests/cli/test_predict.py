"""A long prediction as a user meets it: killed, gone on with, and fed with a list."""

import csv
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
    done = finished.run(*arguments, "--batch-size", "2")
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
