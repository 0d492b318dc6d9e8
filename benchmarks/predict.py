"""Memory and speed of `galaxy-exp predict` by number of images: the peak has to be the same for few and for many.

python benchmarks/predict.py                         2,000, 20,000 and 100,000 images of 69 pixels
python benchmarks/predict.py --images 1000 10000     other numbers
python benchmarks/predict.py --json out.json

A small untrained network is packaged; HDF5 files of simulated galaxies are written piece by piece (the same 500 over
and over, since what is in an image costs nothing); each is classified by `galaxy-exp predict` in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import write_json

SIDE = 69
N_DIFFERENT = 500

RUN = """
import resource, sys
from galaxy_exp.cli.main import run_command
code = run_command(sys.argv[1:])
scale = 2**20 if sys.platform == "darwin" else 2**10
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale)
sys.exit(code)
"""


def main(arguments: list[str] | None = None) -> int:
    """Prints one line a size; exit code 1 if the largest took over a fifth more memory than the smallest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 20_000, 100_000])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        package = package_network(Path(folder))
        measured = [_measure(Path(folder), package, n_images, options.batch_size) for n_images in options.images]
    ratio = measured[-1]["peak_mb"] / measured[0]["peak_mb"]
    print(f"peak memory, most images against fewest: {ratio:.3f}")
    write_json(options.json, {"ratio": ratio, "runs": measured})
    return int(ratio > 1.2)


def package_network(folder: Path) -> Path:
    """A registered model's package: the seed's kind of network, with pooling, for ten classes."""
    from mlflow import MlflowClient

    from galaxy_exp.quiet import import_keras_quietly

    import_keras_quietly()
    import keras

    from galaxy_exp.registry.packaging import ModelPackage, log_and_register

    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(16, 3, activation="relu"),
        keras.layers.MaxPooling2D(4),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10, activation="softmax"),
    ]
    file = folder / "model.keras"
    keras.Sequential([keras.Input((SIDE, SIDE, 3), dtype="uint8"), *layers]).save(file)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("predict", artifact_location=(folder / "artifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    ref = log_and_register(
        ModelPackage(
            model_file=file,
            class_names=[f"class {label}" for label in range(10)],
            image_shape=(SIDE, SIDE, 3),
            input_example=np.zeros((1, SIDE, SIDE, 3), np.uint8),
            metadata={"sweep_id": "predict"},
        ),
        run_id=run_id,
        registered_name="predict",
        tags={},
        description="",
        tracking_uri=uri,
    )
    source = client.get_model_version_download_uri(ref.name, str(ref.version))
    return Path(source.removeprefix("file://"))


def _measure(folder: Path, package: Path, n_images: int, batch_size: int) -> dict[str, Any]:
    images = folder / f"{n_images}.h5"
    _write_images(images, n_images)
    output = folder / f"{n_images}.csv"
    command = [sys.executable, "-c", RUN, "predict", str(images), "--model", str(package), "-o", str(output)]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--batch-size", str(batch_size)], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    seconds = time.perf_counter() - start
    with output.open(encoding="utf-8") as stream:
        n_rows = sum(1 for _ in stream) - 1
    assert n_rows == n_images, f"{n_rows} rows for {n_images} images"
    images.unlink()
    peak_mb = float(done.stdout.split()[-1])
    print(f"{n_images:>9,} images  {peak_mb:7.0f} MiB at most  {seconds:6.1f} s  {n_images / seconds:7.0f} a second")
    return {"images": n_images, "peak_mb": peak_mb, "seconds": seconds}


def _write_images(path: Path, n_images: int) -> None:
    from galaxy_exp.config.data_section import DataConfig, SimulatedConfig
    from galaxy_exp.data import load_dataset

    made = load_dataset(DataConfig(simulated=SimulatedConfig(n_images=N_DIFFERENT, image_size=SIDE))).images
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("images", (n_images, SIDE, SIDE, 3), np.uint8)
        for start in range(0, n_images, N_DIFFERENT):
            stop = min(start + N_DIFFERENT, n_images)
            stored[start:stop] = made[: stop - start]


if __name__ == "__main__":
    sys.exit(main())
