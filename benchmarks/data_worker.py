"""One process of benchmarks/data.py: trains a few steps and prints what it measured as JSON.

    python benchmarks/data_worker.py memory|speed|share|handwired --files FOLDER --network small --steps 20

`memory` trains from the memory map as a trial's worker does; `speed` trains alternately from the memory map and from a
copy in memory; `share` times batches against training steps; `handwired` trains on float32 in memory, by the functions
of benchmarks/handwired.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.big_sets import ALL_FILE, FILE_NAMES
from benchmarks.memory import peak_rss_mb, watch_memory
from benchmarks.trials import hyperparameters
from galaxy_exp.data.simulated import CLASS_NAMES
from galaxy_exp.records import SplitFiles

BATCH_SIZE = 32
NETWORKS: dict[str, dict[str, Any]] = {
    "tutorial": {},
    "small": {
        "n_blocks": 4,
        "filters_1": 32,
        "filters_2": 64,
        "batch_norm": True,
        "head": "gap",
        "dense_width": 0,
        "augmentation": "flips+rotations",
    },
}
"""By name, what differs from GalaxyCNN's defaults, which are the tutorial's network. At 256 pixels the tutorial's first
dense layer alone has 130 million weights, so large images are trained with the small one."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints one line of JSON."""
    parser = argparse.ArgumentParser(description="One process of benchmarks/data.py.")
    parser.add_argument("what", choices=MEASUREMENTS)
    parser.add_argument("--files", type=Path, required=True, help="folder that big_sets.write_big_set filled")
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--steps", type=int, default=20, help="of a measured piece of training")
    parser.add_argument("--rounds", type=int, default=3, help="pieces of each kind, for speed and share")
    parsed = parser.parse_args(arguments)
    print(json.dumps(MEASUREMENTS[parsed.what](parsed)))


def measure_memory(parsed: argparse.Namespace) -> dict[str, Any]:
    """Peak of a worker that trains from the memory map, predicts validation images, and saves the network."""
    from galaxy_exp.training.fitting import open_split
    from galaxy_exp.training.predictions import predict_outputs

    with watch_memory() as peak:
        data = open_split(split_files(parsed.files))
        trainer = _Trainer(parsed, data.train_images.shape[1:])
        before = peak.anonymous_mb
        trainer.train(data.train_images, data.train_labels)
        validated = data.validation_images[: BATCH_SIZE * parsed.steps]
        predict_outputs(trainer.model, validated, len(CLASS_NAMES))
        trainer.model.save(parsed.files / "saved.keras")
    return {
        **asdict(peak),
        "before_training_mb": before,
        "peak_rss_mb": peak_rss_mb(),
        "image_bytes": data.train_images.nbytes + data.validation_images.nbytes,
    }


def measure_speed(parsed: argparse.Namespace) -> dict[str, Any]:
    """Images per second from the memory map and from memory, piece by piece in turn, after one piece of each."""
    from galaxy_exp.training.fitting import open_split

    data = open_split(split_files(parsed.files))
    sources = {"map": data.train_images, "ram": np.array(data.train_images)}
    trainer = _Trainer(parsed, data.train_images.shape[1:])
    speeds: dict[str, list[float]] = {name: [] for name in sources}
    for number in range(parsed.rounds + 1):
        names = sorted(sources, reverse=bool(number % 2))
        for name in names:
            speed = trainer.train(sources[name], data.train_labels)
            if number:
                speeds[name].append(speed)
    ratios = [one / other for one, other in zip(speeds["map"], speeds["ram"], strict=True)]
    return {"images_per_second": speeds, "ratio": statistics.median(ratios), "ratios": ratios}


def measure_share(parsed: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of producing a batch and of a whole training step, and the ratio of their medians."""
    from galaxy_exp.hypermodel.batches import Batches
    from galaxy_exp.training.fitting import open_split

    data = open_split(split_files(parsed.files))
    trainer = _Trainer(parsed, data.train_images.shape[1:])
    trainer.train(data.train_images, data.train_labels)
    batch_ms: list[float] = []
    step_ms: list[float] = []
    for _ in range(parsed.rounds):
        batches = Batches(data.train_images, data.train_labels, BATCH_SIZE, seed=len(batch_ms))
        batch_ms += [_milliseconds(partial(batches.__getitem__, index)) for index in range(parsed.steps)]
        step_ms.append(1e3 * BATCH_SIZE / trainer.train(data.train_images, data.train_labels))
    batch, step = statistics.median(batch_ms), statistics.median(step_ms)
    return {"batch_ms": batch, "step_ms": step, "share": batch / step, "steps_ms": step_ms}


def measure_handwired(parsed: argparse.Namespace) -> dict[str, Any]:
    """Peak of the hand-wired script's preparation and a few steps of its network, without its MLflow logging."""
    import keras_tuner

    from benchmarks.handwired import BATCH_SIZE as HANDWIRED_BATCH
    from benchmarks.handwired import TutorialNetwork, load_images
    from galaxy_exp.config.data_section import DataConfig

    with watch_memory() as peak:
        data = load_images(DataConfig(source=str(parsed.files / ALL_FILE)), seed=1)
        network = TutorialNetwork(data.x_train.shape[1:], data.n_classes, nested_runs=False)
        model = network.build(keras_tuner.HyperParameters())
        validation = (data.x_val[: HANDWIRED_BATCH * parsed.steps], data.y_val[: HANDWIRED_BATCH * parsed.steps])
        model.fit(
            data.x_train,
            data.y_train,
            batch_size=HANDWIRED_BATCH,
            epochs=1,
            steps_per_epoch=parsed.steps,
            validation_data=validation,
            verbose=0,
        )
    return {**asdict(peak), "peak_rss_mb": peak_rss_mb()}


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "memory": measure_memory,
    "speed": measure_speed,
    "share": measure_share,
    "handwired": measure_handwired,
}


def split_files(folder: Path) -> SplitFiles:
    """The files that `write_big_set` wrote into `folder`."""
    train_images, train_labels, validation_images, validation_labels = (folder / f"{name}.npy" for name in FILE_NAMES)
    return SplitFiles(train_images, train_labels, validation_images, validation_labels, CLASS_NAMES)


class _Trainer:
    """GalaxyCNN as a worker builds it, and pieces of its training."""

    def __init__(self, parsed: argparse.Namespace, image_shape: tuple[int, ...]) -> None:
        import keras

        from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
        from galaxy_exp.training.machine import resolve_precision

        keras.utils.set_random_seed(1)
        keras.config.set_dtype_policy(resolve_precision("auto"))
        self._hypermodel = GalaxyCNN(image_shape, len(CLASS_NAMES))
        self._hp = hyperparameters(self._hypermodel, NETWORKS[parsed.network])
        self._hp.values["batch_size"] = BATCH_SIZE
        self._steps = parsed.steps
        self._seed = 0
        self.model = self._hypermodel.build(self._hp)

    def train(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
        """Trains some steps on images chosen from all over the set.

        Returns:
            Images per second from the end of the first step to the end of the last, so that neither compiling nor
            what `fit` does before and after counts.
        """
        import keras

        self._seed += 1
        ends: list[float] = []
        clock = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
        self._hypermodel.fit(
            self._hp,
            self.model,
            images,
            labels,
            epochs=1,
            steps_per_epoch=self._steps,
            seed=self._seed,
            callbacks=[clock],
        )
        return BATCH_SIZE * (len(ends) - 1) / (ends[-1] - ends[0])


def _milliseconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
