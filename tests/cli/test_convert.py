"""`galaxy-exp encoders convert`: from a file of weights to a sweep's model, and what it refuses."""

import json
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from safetensors_files import write_safetensors
from torch_files import write_torch_legacy, write_torch_zip

from benchmarks.encoder_reference import random_images, random_weights
from galaxy_exp import load_model
from galaxy_exp.cli.main import run_command
from galaxy_exp.encoder_file import describe_encoder, file_sha256, read_card
from galaxy_exp.hypermodel.encoders import load_encoder

TIMM = np.load(Path(__file__).parents[1] / "encoders" / "timm_outputs.npz")
FILES = Path(__file__).parents[1] / "encoders" / "files"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GALAXY_EXP_HOME", raising=False)
    write_safetensors(tmp_path / "b0.safetensors", b0_tensors())
    return tmp_path


def b0_tensors():
    return random_weights(json.loads(str(TIMM["efficientnet_b0/shapes"])))


def convert(*arguments):
    return run_command(["encoders", "convert", *arguments])


def test_writes_an_encoder_with_its_card(here, capsys):
    arguments = ["b0.safetensors", "-o", "b0.keras", "--scaling", "imagenet", "--image-size", "0"]
    assert convert(*arguments, "--trained-on", "random numbers") == 0
    printed = capsys.readouterr()
    assert printed.out == "b0.keras\n"
    assert "wrote b0.keras: efficientnet_b0, 4,049,564 parameters, features 1280" in printed.err
    assert f"random numbers, sha256 {file_sha256(here / 'b0.keras')[:16]}" == describe_encoder(here / "b0.keras")
    assert describe_encoder(here / "b0.keras") in printed.err
    assert read_card(here / "b0.keras") == {
        "trained_on": "random numbers",
        "architecture": "efficientnet_b0",
        "scaling": "imagenet",
        "weights": "b0.safetensors",
        "weights_sha256": file_sha256(here / "b0.safetensors"),
    }
    found = load_encoder("b0.keras").predict(random_images(64), verbose=0)
    np.testing.assert_allclose(found, TIMM["efficientnet_b0/features64"], rtol=0, atol=1e-4)
    assert convert(*arguments) == 2
    assert "error: b0.keras: exists already; expected a new name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["none.pth", "-o", "e.keras"], "none.pth: cannot be read (No such file or directory)"),
        (["text.pth", "-o", "e.keras"], "text.pth: cannot be read as weights: it is neither a safetensors file nor"),
        (["b0.safetensors", "-o", "e.h5"], "--output e.h5: expected a name ending in .keras"),
        (["b0.safetensors", "-o", "none/e.keras"], "--output none/e.keras: no such folder: none"),
        (["b0.safetensors", "-o", "e.keras", "--architecture", "resnet50"], "--architecture resnet50: unknown; known:"),
        (["b0.safetensors", "-o", "e.keras", "--image-size", "9"], "--image-size 9: expected 32 or more, or 0"),
        (["b0.safetensors", "-o", "e.keras", "--architecture", "convnext_nano"], "of convnext_nano: stem.0.weight"),
        (["b0.safetensors", "-o", "e.keras", "--channels", "1"], "--channels 1: the encoder takes 3; colours can be"),
        (
            ["b0.safetensors", "-o", "e.keras", "--trained-on", "a\nb"],
            "--trained-on: expected one printable line of at",
        ),
        (
            ["b0.safetensors", "-o", "e.keras", "--trained-on", "a" * 201],
            "--trained-on: expected one printable line of",
        ),
        ([str(FILES / "module.pth"), "-o", "e.keras"], "it names torch.nn.modules.linear.Linear, which is not part of"),
        ([str(FILES / "checkpoint.ckpt"), "-o", "e.keras"], "no tensor is called conv_stem.weight or stem.0.weight"),
        ([str(FILES / "legacy.pth"), "-o", "e.keras"], "no tensor is called conv_stem.weight or stem.0.weight"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(here, capsys, arguments, reason):
    (here / "text.pth").write_text("no weights")
    before = sorted(here.iterdir())
    assert convert(*arguments, "--scaling", "unit") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert reason in last
    assert sorted(here.iterdir()) == before


def test_the_scaling_must_be_stated(here, capsys):
    assert convert("b0.safetensors", "-o", "e.keras") == 2
    assert "Missing option '--scaling'" in capsys.readouterr().err


def test_two_channels_are_refused(here, capsys):
    assert convert("b0.safetensors", "-o", "e.keras", "--scaling", "unit", "--channels", "2") == 2
    assert "'2' is not one of '1', '3'" in capsys.readouterr().err


def test_state_dictionaries_of_pytorch_are_converted(here):
    tensors = b0_tensors()
    write_torch_zip(here / "pytorch_model.bin", tensors)
    write_torch_legacy(here / "legacy.pth", tensors)
    command = "galaxy-exp encoders convert pytorch_model.bin -o zoobot.keras --scaling unit"
    assert run_command(shlex.split(command)[1:]) == 0
    assert convert("legacy.pth", "-o", "same.keras", "--scaling", "unit") == 0
    found, same = load_encoder("zoobot.keras"), load_encoder("same.keras")
    assert found.get_layer("resizing").height == 224
    for one, other in zip(found.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    expected = sorted(
        float(np.sum(values, dtype=float)) for name, values in tensors.items() if "classifier" not in name
    )
    np.testing.assert_allclose(sorted(np.sum(w, dtype=float) for w in found.get_weights()), expected, atol=1e-6)


def test_a_finetuned_checkpoint_needs_its_prefix_where_there_are_two_encoders(here, capsys):
    both = {f"{prefix}.{name}": values for prefix in ("encoder", "ema") for name, values in b0_tensors().items()}
    write_torch_zip(here / "finetuned.ckpt", both)
    assert convert("finetuned.ckpt", "-o", "mine.keras", "--scaling", "unit") == 2
    assert "has several encoders; choose one with --prefix: ema, encoder" in capsys.readouterr().err
    command = (
        "galaxy-exp encoders convert finetuned.ckpt -o mine.keras --scaling unit --prefix encoder --image-size 128"
    )
    assert run_command(shlex.split(command)[1:]) == 0
    assert load_encoder("mine.keras").get_layer("resizing").height == 128


@pytest.mark.slow
def test_a_sweep_s_model_needs_neither_the_encoder_s_file_nor_galaxy_exp(here, capsys):
    options = ["--scaling", "unit", "--image-size", "32", "--trained-on", "random numbers"]
    assert run_command(["encoders", "convert", "b0.safetensors", "-o", "b0.keras", *options]) == 0
    (here / "sweep.yaml").write_text(
        "name: zoobot\n"
        "data: {source: simulated, simulated: {n_images: 120, image_size: 32}}\n"
        "space: {start: b0.keras, body_rate: 0.0}\n"
        "search: {baseline: false, max_trials: 1}\n"
        "training: {epochs: 1}\n"
        "registry: {model: started, finalists: 0}\n"
    )
    assert run_command(["sweep", "sweep.yaml", "-q"]) == 0
    capsys.readouterr()
    assert run_command(["trials", "--format", "json"]) == 0
    (trial,) = json.loads(capsys.readouterr().out)
    assert trial["state"] == "completed"
    encoder = describe_encoder(here / "b0.keras")
    assert trial["params"]["encoder"] == encoder
    (here / "b0.keras").unlink()
    model = keras.saving.load_model(next(here.glob(".galaxy_exp/sweeps/*/trials/0000/model.keras")), safe_mode=True)
    assert model.predict(random_images(32), verbose=0).shape == (2, 10)

    store = f"sqlite:///{here / 'mlflow.db'}"
    classifier = load_model("started", tracking_uri=store)
    np.testing.assert_allclose(classifier.predict(random_images(32)).probabilities.sum(axis=1), 1, rtol=1e-5)
    description = MlflowClient(store).get_model_version("started", "1").description
    assert f"started from the encoder b0.keras ({encoder})" in description
