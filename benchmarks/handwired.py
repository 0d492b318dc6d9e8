"""The seed tutorial wired by hand to KerasTuner and MLflow: what galaxy_exp is measured against.

    python benchmarks/handwired.py --data simulated --trials 3 --epochs 2 --out result.json

Written as their guides say: images scaled to 0..1 as float32 in memory, `train_test_split`, a `HyperModel`,
`keras_tuner.RandomSearch`, and `mlflow.tensorflow.autolog()` with its defaults, which log the model of each fit. The
tutorial's own network is trained first, since somebody who tunes it wants to know what was gained; galaxy_exp does the
same. It runs in the current folder and leaves `mlflow.db`, `mlruns/` and `tuner/` there.

What is tracked depends on `--runs`:
    parent   one open run around the search, as MLflow's autologging guide shows (the default)
    nested   a child run for each trial, opened in `HyperModel.fit`, with the hyperparameters logged by hand

Everything named `clock`, `Clock` or `Clocked` only measures.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402 - the clock runs from the first line, since the imports are part of the wait
import contextlib  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from dataclasses import asdict, dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import keras  # noqa: E402
import keras_tuner  # noqa: E402
import mlflow  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.runs import describe_runs  # noqa: E402
from galaxy_exp.config.data_section import DataConfig, SimulatedConfig, SplitConfig  # noqa: E402
from galaxy_exp.data import load_dataset, split_dataset  # noqa: E402
from galaxy_exp.evaluation.metrics import summarise_predictions  # noqa: E402

BATCH_SIZE = 32
TRACKING_URI = "sqlite:///mlflow.db"
EXPERIMENT = "galaxy10"
BASELINE = "baseline"


@dataclass(frozen=True)
class Images:
    """float32 images (n, height, width, 3) in 0..1 and integer labels (n,), in three parts."""

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_val: NDArray[np.float32]
    y_val: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    n_classes: int


def load_images(config: DataConfig, seed: int) -> Images:
    """The tutorial's preparation, after the images that galaxy_exp seals for its test have been put aside.

    So that both are tested on the same images, `split_dataset` says which those are. What is left is split 85/15 as
    in the tutorial (72% of all images to train on; galaxy_exp trains on 70%).
    """
    dataset = load_dataset(config)
    test = split_dataset(dataset, SplitConfig()).test
    images = dataset.images.astype(np.float32) / 255.0
    labels, n_classes = dataset.labels, dataset.n_classes
    del dataset
    rest = np.setdiff1d(np.arange(len(labels)), test)
    x_train, x_val, y_train, y_val = train_test_split(images[rest], labels[rest], test_size=0.15, random_state=seed)
    return Images(x_train, y_train, x_val, y_val, images[test], labels[test], n_classes)


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Seconds of each epoch, with and without its validation; nothing that MLflow or KerasTuner do around it."""

    def __init__(self) -> None:
        super().__init__()
        self.train_seconds: list[float] = []
        self.epoch_seconds: list[float] = []
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._began = time.perf_counter()

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self.train_seconds.append(time.perf_counter() - self._began)

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        self.epoch_seconds.append(time.perf_counter() - self._began)


class TutorialNetwork(keras_tuner.HyperModel):  # type: ignore[misc]
    """The tutorial's network with its filters, dropouts, dense width and learning rate to be tuned."""

    def __init__(self, image_shape: Sequence[int], n_classes: int, nested_runs: bool) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.n_classes = n_classes
        self.nested_runs = nested_runs
        self.clocks: list[Clock] = []

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The compiled network; the defaults are the tutorial's values."""
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input(self.image_shape),
                layers.Conv2D(hp.Choice("filters_1", [16, 32, 64], default=32), (3, 3), activation="relu"),
                layers.Conv2D(hp.Choice("filters_2", [32, 64], default=64), (3, 3), activation="relu"),
                layers.MaxPooling2D((2, 2)),
                layers.Dropout(hp.Float("dropout_1", 0.1, 0.5, step=0.05, default=0.25)),
                layers.Flatten(),
                layers.Dense(hp.Choice("dense_width", [64, 128, 256], default=128), activation="relu"),
                layers.Dropout(hp.Float("dropout_2", 0.2, 0.6, step=0.1, default=0.5)),
                layers.Dense(self.n_classes, activation="softmax"),
            ]
        )
        rate = hp.Float("learning_rate", 3e-4, 3e-3, sampling="log", default=1e-3)
        model.compile(keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Fits, in a child run of its own if asked for."""
        clock = Clock()
        self.clocks.append(clock)
        kwargs["callbacks"] = [*kwargs.get("callbacks", []), clock]
        with mlflow.start_run(nested=True) if self.nested_runs else contextlib.nullcontext():
            if self.nested_runs:
                mlflow.log_params(hp.values)
            return model.fit(*args, **kwargs)


class ClockedSearch(keras_tuner.RandomSearch):  # type: ignore[misc]
    """RandomSearch that remembers when each trial ended."""

    def on_search_begin(self) -> None:
        super().on_search_begin()
        self.clock = [time.perf_counter()]

    def on_trial_end(self, trial: Any) -> None:
        super().on_trial_end(trial)
        self.clock.append(time.perf_counter())


def train_baseline(network: TutorialNetwork, data: Images, epochs: int) -> tuple[dict[str, Any], keras.Model]:
    """The tutorial as it stands: its measurements, and the model of the best epoch."""
    began = time.perf_counter()
    hp = keras_tuner.HyperParameters()
    model = network.build(hp)
    checkpoint = keras.callbacks.ModelCheckpoint("baseline.keras", monitor="val_accuracy", save_best_only=True)
    with contextlib.nullcontext() if network.nested_runs else mlflow.start_run(run_name=BASELINE):
        history = network.fit(
            hp, model, data.x_train, data.y_train, **_fit_arguments(data, epochs), callbacks=[checkpoint]
        )
    wall = time.perf_counter() - began
    best = max(history.history["val_accuracy"])
    row = _trial_row(BASELINE, hp.values, wall, best, network.clocks[-1], data)
    return row, keras.saving.load_model("baseline.keras")


def run_search(
    network: TutorialNetwork, data: Images, trials: int, epochs: int, seed: int
) -> tuple[list[dict[str, Any]], keras.Model]:
    """The measurements of each trial in the order they ran, and the best model."""
    tuner = ClockedSearch(
        network, objective="val_accuracy", max_trials=trials, seed=seed, directory="tuner", project_name="galaxy10"
    )
    with contextlib.nullcontext() if network.nested_runs else mlflow.start_run(run_name="search"):
        tuner.search(data.x_train, data.y_train, **_fit_arguments(data, epochs))
    ran = sorted(tuner.oracle.trials.values(), key=lambda trial: trial.trial_id)
    walls, clocks = np.diff(tuner.clock).tolist(), network.clocks[-len(ran) :]
    rows = [
        _trial_row(f"trial {trial.trial_id}", trial.hyperparameters.values, wall, trial.score, clock, data)
        for trial, wall, clock in zip(ran, walls, clocks, strict=True)
    ]
    return rows, tuner.get_best_models(1)[0]


def _fit_arguments(data: Images, epochs: int) -> dict[str, Any]:
    return {
        "validation_data": (data.x_val, data.y_val),
        "epochs": epochs,
        "batch_size": BATCH_SIZE,
        "verbose": 0,
    }


def _trial_row(
    name: str, values: dict[str, Any], wall: float, accuracy: float, clock: Clock, data: Images
) -> dict[str, Any]:
    return {
        "name": name,
        "values": values,
        "wall_seconds": wall,
        "fit_seconds": sum(clock.epoch_seconds),
        "images_per_second": [len(data.y_train) / seconds for seconds in clock.train_seconds],
        "val_accuracy": float(accuracy),
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything, from loading to the test of the best model."""
    keras.utils.set_random_seed(arguments.seed)
    mlflow.set_tracking_uri(TRACKING_URI)
    mlflow.set_experiment(EXPERIMENT)
    mlflow.tensorflow.autolog()
    data = load_images(_data_config(arguments), arguments.seed)
    network = TutorialNetwork(data.x_train.shape[1:], data.n_classes, arguments.runs == "nested")
    with mlflow.start_run(run_name="search") if network.nested_runs else contextlib.nullcontext():
        baseline, baseline_model = train_baseline(network, data, arguments.epochs)
        rows, tuned_model = run_search(network, data, arguments.trials, arguments.epochs, arguments.seed)
    winner = max([baseline, *rows], key=lambda row: row["val_accuracy"])
    best_model = baseline_model if winner is baseline else tuned_model
    tested = summarise_predictions(data.y_test, best_model.predict(data.x_test, verbose=0))
    return {
        "runs": arguments.runs,
        "n_images": {"train": len(data.y_train), "validation": len(data.y_val), "test": len(data.y_test)},
        "trials": [baseline, *rows],
        "winner": winner["name"],
        "val_accuracy": winner["val_accuracy"],
        "test_accuracy": tested["accuracy"],
        "test_macro_f1": tested["macro_f1"],
        "peak_rss_mb": _peak_rss_mb(),
        "mlflow": asdict(describe_runs(TRACKING_URI, EXPERIMENT, list(baseline["values"]))),
        "wall_seconds": time.perf_counter() - STARTED,
    }


def _data_config(arguments: argparse.Namespace) -> DataConfig:
    simulated = SimulatedConfig(n_images=arguments.images, image_size=arguments.image_size, class_proportions="equal")
    return DataConfig(source=arguments.data, simulated=simulated)


def _peak_rss_mb() -> float:
    """Of this process or of the largest of its children, in MiB (the kernel counts KiB, on macOS bytes)."""
    peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(peaks) / (2**20 if sys.platform == "darwin" else 2**10)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="KerasTuner and MLflow wired by hand around the seed tutorial.")
    parser.add_argument("--data", default="simulated", help="an .h5 file in Galaxy10's layout, or simulated")
    parser.add_argument("--trials", type=int, default=3, help="of the random search; the tutorial's network is extra")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1, help="above 0, which KerasTuner takes for no seed")
    parser.add_argument("--runs", choices=["parent", "nested"], default="parent", help="how trials become MLflow runs")
    parser.add_argument("--images", type=int, default=1200, help="how many to simulate")
    parser.add_argument("--image-size", type=int, default=69, help="side of simulated images in pixels")
    parser.add_argument("--out", type=Path, help="where the JSON goes; left out: stdout")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes JSON."""
    parsed = parse_arguments(arguments)
    text = json.dumps(measure(parsed), indent=1)
    if parsed.out is None:
        print(text)
    else:
        parsed.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
