"""Converted encoders compute what timm does; weights that are no encoder's are refused in one line.

`timm_outputs.npz` has the names and shapes of timm's tensors and what timm 1.0.31 computes with the random weights of
`benchmarks/encoder_reference.py`, which wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors_files import to_bfloat16, write_safetensors

from benchmarks.encoder_reference import SIZES, random_images, random_weights
from galaxy_exp.encoders.architectures import timm_names
from galaxy_exp.encoders.conversion import ConversionOptions, convert_weights
from galaxy_exp.encoders.weight_files import open_weights
from galaxy_exp.errors import BadInputError
from galaxy_exp.hypermodel import GalaxyCNN, discover_space, to_inference_model
from galaxy_exp.hypermodel.discovery import to_kerastuner
from galaxy_exp.hypermodel.encoders import load_encoder, write_encoder
from galaxy_exp.hypermodel.saving import is_portable
from galaxy_exp.space.overrides import build_space

TIMM = np.load(Path(__file__).parent / "timm_outputs.npz")
Tensors = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def tensors() -> Mapping[str, Tensors]:
    """timm's tensors with random weights, by architecture."""
    return {
        name: random_weights(json.loads(str(TIMM[f"{name}/shapes"]))) for name in ("efficientnet_b0", "convnext_nano")
    }


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., keras.Model]:
    """Converts tensors; the keywords are those of `ConversionOptions`."""

    def write_and_convert(tensors: Tensors, scaling: str = "imagenet", **options: Any) -> keras.Model:
        path = write_safetensors(tmp_path / "weights.safetensors", tensors)
        return convert_weights(open_weights(path), ConversionOptions(scaling, **options))

    return write_and_convert


@pytest.mark.parametrize("architecture", ["efficientnet_b0", "convnext_nano"])
def test_agrees_with_timm(
    tensors: Mapping[str, Tensors], convert: Callable[..., keras.Model], architecture: str
) -> None:
    encoder = convert(tensors[architecture], image_size=0)
    assert encoder.name == architecture
    for size in SIZES:
        expected = TIMM[f"{architecture}/features{size}"]
        found = encoder.predict(random_images(size), verbose=0)
        assert np.abs(expected).max() > 0.5
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_a_map_averages_to_the_features(tensors: Mapping[str, Tensors], convert: Callable[..., keras.Model]) -> None:
    spatial = convert(tensors["efficientnet_b0"], image_size=0, output="map").predict(random_images(69), verbose=0)
    assert spatial.shape == (2, 3, 3, 1280)
    np.testing.assert_allclose(spatial.mean((1, 2)), TIMM["efficientnet_b0/features69"], rtol=0, atol=1e-4)


def test_a_written_encoder_resizes_and_takes_raw_images(
    tensors: Mapping[str, Tensors], convert: Callable[..., keras.Model], tmp_path: Path
) -> None:
    encoder = convert(tensors["convnext_nano"], image_size=64)
    path = tmp_path / "encoder.keras"
    write_encoder(encoder, path, {"trained_on": "random numbers"})
    loaded = load_encoder(str(path))
    images = random_images(64)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), TIMM["convnext_nano/features64"], rtol=0, atol=1e-4)
    larger = images.repeat(2, axis=1).repeat(2, axis=2)  # resized, each 2 x 2 pixels become one again
    np.testing.assert_allclose(loaded.predict(larger, verbose=0), TIMM["convnext_nano/features64"], rtol=0, atol=1e-4)


def test_lightning_s_prefix_and_head_are_left_out(
    tensors: Mapping[str, Tensors], convert: Callable[..., keras.Model]
) -> None:
    checkpoint = {f"state_dict.encoder.{name}": values for name, values in tensors["convnext_nano"].items()}
    checkpoint["state_dict.head.dense.weight"] = np.zeros((5, 640), np.float32)
    found = convert(checkpoint, image_size=0).predict(random_images(64), verbose=0)
    np.testing.assert_allclose(found, TIMM["convnext_nano/features64"], rtol=0, atol=1e-4)


def test_two_encoders_need_a_prefix(tensors: Mapping[str, Tensors], convert: Callable[..., keras.Model]) -> None:
    stem = {"conv_stem.weight": tensors["efficientnet_b0"]["conv_stem.weight"]}
    both = {f"{prefix}.{name}": values for prefix in ("ema", "model") for name, values in stem.items()}
    with pytest.raises(BadInputError, match="has several encoders; choose one with --prefix: ema, model"):
        convert(both)
    with pytest.raises(BadInputError, match=r"lacks 244 tensor\(s\) of efficientnet_lite0"):
        convert(both, prefix="ema")
    with pytest.raises(BadInputError, match=r"no tensor begins with --prefix other\.; encoders: ema, model$"):
        convert(both, prefix="other")


def test_half_precision_is_read(tensors: Mapping[str, Tensors], convert: Callable[..., keras.Model]) -> None:
    halves = {name: values.astype(np.float16) for name, values in tensors["efficientnet_b0"].items()}
    brains = {name: to_bfloat16(values) for name, values in tensors["efficientnet_b0"].items()}
    expected = TIMM["efficientnet_b0/features64"]
    for rounded, tolerance in ((halves, 0.02), (brains, 0.3)):
        found = convert(rounded, image_size=0).predict(random_images(64), verbose=0)
        assert 1e-5 < np.abs(found - expected).max() < tolerance


def test_greyscale_encoders_average_colours(
    tensors: Mapping[str, Tensors], convert: Callable[..., keras.Model]
) -> None:
    grey = dict(tensors["efficientnet_b0"])
    grey["conv_stem.weight"] = grey["conv_stem.weight"].sum(axis=1, keepdims=True)
    images = random_images(64)
    mean = images.mean(axis=3, keepdims=True)
    found = convert(grey, "unit", image_size=0, channels=3).predict(images, verbose=0)
    as_colours = convert(tensors["efficientnet_b0"], "unit", image_size=0).predict(mean.repeat(3, axis=3), verbose=0)
    np.testing.assert_allclose(found, as_colours, rtol=0, atol=1e-4)
    with pytest.raises(BadInputError, match=r"--scaling imagenet: the encoder takes 1 channel"):
        convert(grey)
    with pytest.raises(BadInputError, match=r"--channels 4: the encoder takes 3"):
        convert(tensors["efficientnet_b0"], channels=4)


def test_a_network_that_starts_from_it_is_saved_without_galaxy_exp(
    tensors: Mapping[str, Tensors],
    convert: Callable[..., keras.Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    grey = dict(tensors["efficientnet_b0"])
    grey["conv_stem.weight"] = grey["conv_stem.weight"].sum(axis=1, keepdims=True)
    write_encoder(convert(grey, "unit", image_size=48, channels=3), tmp_path / "grey.keras", {})
    hypermodel = GalaxyCNN((40, 40, 3), 5, ["grey.keras"])
    space = build_space(hypermodel, {"start": "grey.keras", "body_rate": 0.0}, discover_space(hypermodel))
    model = hypermodel.build(to_kerastuner(space))
    images = random_images(40)
    inference = to_inference_model(model)
    assert is_portable(inference)
    inference.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), model.predict(images, verbose=0), rtol=0, atol=1e-6)
    trained = [weight.path for weight in model.trainable_variables]
    assert trained
    assert not any("conv_stem" in path for path in trained)


def test_names_of_the_package_efficientnet_pytorch(
    tensors: Mapping[str, Tensors], convert: Callable[..., keras.Model]
) -> None:
    names = ["_conv_stem.weight", "_bn0.bias", "_blocks.0._depthwise_conv.weight", "_blocks.0._bn1.weight"]
    names += ["_blocks.0._project_conv.weight", "_blocks.0._se_reduce.bias", "_blocks.15._expand_conv.weight"]
    names += ["_blocks.1._bn0.weight", "_blocks.2._bn2.running_var", "_bn1.weight", "_conv_head.weight", "_fc.bias"]
    no_number = f"_blocks.{'1' * 5000}._bn0.weight"  # int() refuses so many digits
    assert timm_names([no_number]) == {no_number: no_number}
    renamed = timm_names(names)
    assert list(renamed) == [
        "conv_stem.weight",
        "bn1.bias",
        "blocks.0.0.conv_dw.weight",
        "blocks.0.0.bn1.weight",
        "blocks.0.0.conv_pw.weight",
        "blocks.0.0.se.conv_reduce.bias",
        "blocks.6.0.conv_pw.weight",
        "blocks.1.0.bn1.weight",
        "blocks.1.1.bn3.running_var",
        "bn2.weight",
        "conv_head.weight",
        "classifier.bias",
    ]
    assert list(renamed.values()) == names
    assert set(renamed) <= set(tensors["efficientnet_b0"])
    of_package = {"_conv_stem.weight": tensors["efficientnet_b0"]["conv_stem.weight"]}
    with pytest.raises(BadInputError, match="tf_efficientnet_lite0"):
        convert(of_package)


def test_what_is_no_encoder_is_one_line(tensors: Mapping[str, Tensors], convert: Callable[..., keras.Model]) -> None:
    nano = tensors["convnext_nano"]
    without = {name: values for name, values in nano.items() if not name.startswith("stages.2.blocks.7.")}
    deeper = nano | {f"stages.3.blocks.2.{part}": nano["stages.3.blocks.1.gamma"] for part in ("gamma", "norm.bias")}
    wrong = nano | {"stages.0.blocks.0.conv_dw.weight": np.zeros((80, 1, 5, 5), np.float32)}
    bands = nano | {"stem.0.weight": np.zeros((80, 5, 4, 4), np.float32)}
    narrow = {"stem.0.weight": np.zeros((40, 3, 4, 4), np.float32)}
    for changed, reason in (
        ({"layer1.weight": nano["stem.1.bias"]}, r"no tensor is called .*; found layer1\.weight"),
        (without, r"lacks 9 tensor\(s\) of convnext_nano: stages\.2\.blocks\.7\.conv_dw\.weight, .*, \.\.\."),
        (deeper, r"has 2 tensor\(s\) that convnext_nano has not: stages\.3\.blocks\.2\.gamma"),
        (wrong, r"conv_dw\.weight has the shape \(80, 1, 5, 5\); convnext_nano has \(80, 1, 7, 7\) there"),
        (bands, "takes images of 5 channels; expected 1 or 3"),
        (narrow, "unknown architecture: its first layer has 40 channels; expected one of convnext_pico 64"),
    ):
        with pytest.raises(BadInputError, match=reason) as caught:
            convert(changed)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInputError, match='did you mean "convnext_nano"'):
        convert(nano, architecture="convnext_nan")
    with pytest.raises(BadInputError, match="--image-size 16: expected 32 or more"):
        convert(nano, image_size=16)
