"""Compares converted encoders with what timm computes.

The tolerance is relative to the largest value if that is above 1, and absolute otherwise: a difference is divided by
max(1, largest value of timm's output), and the goal is below 1e-4.

    python benchmarks/encoder_parity.py FOLDER

FOLDER is what `benchmarks.encoder_reference` wrote in an environment with torch and timm.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.encoder_reference import SIZES, random_images
from galaxy_exp.encoders.architectures import ARCHITECTURES
from galaxy_exp.encoders.conversion import ConversionOptions, convert_weights
from galaxy_exp.encoders.weight_files import open_weights

__all__ = ["GOAL", "main"]

GOAL = 1e-4


def main(arguments: list[str] | None = None) -> int:
    """Prints a line for each network and output; exit code 1 if one misses the goal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    largest = 0.0
    for reference in sorted(folder.glob("*.npz")):
        for output in ("features", "map"):
            for size, difference, magnitude, seconds in _differences(reference, output):
                largest = max(largest, difference / max(1.0, magnitude))
                print(
                    f"{reference.stem:28} {output:8} {size:3} px: largest difference {difference:.1e}, "
                    f"largest value {magnitude:.2f}, converted in {seconds:.1f} s",
                    flush=True,
                )
    print(
        f"largest of all: {largest:.1e}, expected below {GOAL:.0e}; differences are relative to the output's largest "
        "value if that is above 1, else absolute"
    )
    return int(not 0 < largest < GOAL)


def _differences(reference: Path, output: str) -> Iterator[tuple[int, float, float, float]]:
    expected = np.load(reference)
    known = reference.stem if reference.stem in ARCHITECTURES else None
    started = time.perf_counter()
    options = ConversionOptions("imagenet", known, image_size=0, output=output)
    encoder = convert_weights(open_weights(reference.with_suffix(".pth")), options)
    seconds = time.perf_counter() - started
    for size in (*SIZES, 224):
        if f"{output}{size}" in expected:
            found = encoder.predict(random_images(size), verbose=0)
            values = expected[f"{output}{size}"]
            yield size, float(np.abs(found - values).max()), float(np.abs(values).max()), seconds


if __name__ == "__main__":
    sys.exit(main())
