"""The peers of benchmarks/race.py, each run by its own code: `python -m benchmarks.race_peers NAME task.json`.

A peer searches until it is killed. It works in the current folder and leaves there, whatever it keeps itself:
    epochs.jsonl       a line for each epoch: when it ended, its score, its seconds
    best-PID.npz       configuration and weights of the best epoch of one process
`python -m benchmarks.race_peers score task.json` writes `score.json`, the scores of the best of these.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend

from benchmarks.process import free_port
from benchmarks.search_contenders import suggest_values
from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.evaluation.metrics import summarise_predictions
from galaxy_exp.folders import write_atomically
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.hypermodel.galaxy_space import declare_hyperparameters
from galaxy_exp.hypermodel.saving import to_inference_model
from galaxy_exp.seeding import derive_seed
from galaxy_exp.training.fitting import SplitArrays, open_split
from galaxy_exp.training.machine import fresh_session, resolve_precision
from galaxy_exp.training.predictions import predict_outputs

__all__ = ["PEERS", "Recorder", "Task", "main"]

OBJECTIVE = "val_macro_f1"
FACTOR = 3
"""The reduction factor of every Hyperband, KerasTuner's and Optuna's default."""
_FOR_EVER = 10**6


@dataclass(frozen=True, slots=True)
class Task:
    """What every contender has to do."""

    data: str
    """The folder of a prepared split."""
    epochs: int
    """Of a training that is not stopped."""
    seed: int
    workers: int
    cores: int
    scratch: str = ""
    """A folder that is removed at the end; its path is short, as the kernel wants it for Ray's sockets."""


class Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes a line for each epoch, and the weights of the best one of this process.

    Args:
        values: of all active hyperparameters.
        folder: where the files are written.
    """

    best_score = -np.inf
    """Of all trainings of this process."""

    def __init__(self, values: Mapping[str, Any], folder: Path | str = ".") -> None:
        super().__init__()
        self._values = dict(values)
        self._folder = Path(folder)
        self._began = self._trained = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._began = time.perf_counter()

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Records the epoch; `epoch` is 0 in a training that does not continue another one."""
        score = float((logs or {})[OBJECTIVE])
        seconds = self._trained - self._began
        line = {"time": time.time(), "new": epoch == 0, "score": score, "train_seconds": seconds}
        line["precision"] = self.model.layers[-2].dtype_policy.name
        with (self._folder / "epochs.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if score > Recorder.best_score:
            Recorder.best_score = score
            write_atomically(self._folder / f"best-{os.getpid()}.npz", self._save)

    def _save(self, path: Path) -> None:
        weights = {f"weight_{index}": weight for index, weight in enumerate(self.model.get_weights())}
        with path.open("wb") as file:
            np.savez(file, score=Recorder.best_score, values=json.dumps(self._values), **weights)


class RecordedCNN(GalaxyCNN):
    """GalaxyCNN for KerasTuner, which has no dtype policy of its own and clears Keras's before each trial."""

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Sequential:
        keras.config.set_dtype_policy(resolve_precision("auto"))
        return super().build(hp)

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, x: Any, y: Any, **kwargs: Any) -> Any:
        callbacks = [*(kwargs.pop("callbacks", None) or []), Recorder(hp.values)]
        return super().fit(hp, model, x, y, callbacks=callbacks, **kwargs)


def _train(values: Mapping[str, Any], task: Task, seed: int, callbacks: Sequence[keras.callbacks.Callback]) -> float:
    """Trains one network; returns the score of its best epoch."""
    data, n_classes = _open(task)
    with fresh_session(seed, resolve_precision("auto"), deterministic=False):
        network, hp, model = _build(values, data, n_classes)
        history = network.fit(
            hp,
            model,
            data.train_images,
            data.train_labels,
            epochs=task.epochs,
            validation_data=(data.validation_images, data.validation_labels),
            callbacks=callbacks,
            seed=seed,
        )
    return float(max(history.history[OBJECTIVE]))


def _open(task: Task) -> tuple[SplitArrays, int]:
    prepared = PreparedData.load(Path(task.data))
    return open_split(prepared.files), len(prepared.class_names)


def _build(
    values: Mapping[str, Any], data: SplitArrays, n_classes: int
) -> tuple[GalaxyCNN, keras_tuner.HyperParameters, keras.Sequential]:
    network, hp = GalaxyCNN(data.train_images.shape[1:], n_classes), keras_tuner.HyperParameters()
    hp.values = dict(values)
    return network, hp, network.build(hp)


def _space() -> keras_tuner.HyperParameters:
    space = keras_tuner.HyperParameters()
    declare_hyperparameters(space)
    return space


def _run_keras_tuner(make: Callable[..., keras_tuner.Tuner], task: Task, **options: Any) -> None:
    data, n_classes = _open(task)
    keras.utils.set_random_seed(task.seed)
    tuner = make(
        RecordedCNN(data.train_images.shape[1:], n_classes),
        objective=keras_tuner.Objective(OBJECTIVE, "max"),
        seed=task.seed,
        directory="tuner",
        project_name="race",
        **options,
    )
    validation = (data.validation_images, data.validation_labels)
    # Hyperband replaces these epochs
    tuner.search(data.train_images, data.train_labels, validation_data=validation, epochs=task.epochs, verbose=0)


def run_random_search(task: Task) -> None:
    """KerasTuner's RandomSearch."""
    _run_keras_tuner(keras_tuner.RandomSearch, task, max_trials=_FOR_EVER)


def run_hyperband(task: Task) -> None:
    """KerasTuner's Hyperband."""
    options = {"max_epochs": task.epochs, "factor": FACTOR, "hyperband_iterations": _FOR_EVER}
    _run_keras_tuner(keras_tuner.Hyperband, task, **options)


class Pruning(keras.callbacks.Callback):  # type: ignore[misc]
    """What `KerasPruningCallback` of optuna-integration does."""

    def __init__(self, trial: optuna.Trial) -> None:
        super().__init__()
        self._trial = trial

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._trial.report((logs or {})[OBJECTIVE], epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def run_optuna(task: Task) -> None:
    """Optuna's TPE and HyperbandPruner; several workers share a study in a journal file."""
    space = _space()

    def objective(trial: optuna.Trial) -> float:
        values = suggest_values(trial, space)
        return _train(values, task, derive_seed(task.seed, "trial", trial.number), [Recorder(values), Pruning(trial)])

    storage = None
    if task.workers > 1:
        storage = optuna.storages.JournalStorage(JournalFileBackend("study.journal"))
    study = optuna.create_study(
        study_name="race",
        storage=storage,
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=derive_seed(task.seed, "worker", os.environ.get("RACE_WORKER", "0"))),
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=task.epochs, reduction_factor=FACTOR),
    )
    study.optimize(objective, catch=(Exception,))


class Reporting(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports to Ray Tune, which ends the trial if it wants to."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        from ray import tune

        tune.report({OBJECTIVE: float((logs or {})[OBJECTIVE])})


def train_for_ray(config: dict[str, Any], task: Task, folder: str) -> None:
    """One trial of Ray Tune, in a process that Ray uses for the next one too."""
    from ray import tune

    number = zlib.crc32(str(tune.get_context().get_trial_id()).encode())
    _train(config, task, derive_seed(task.seed, "trial", number), [Recorder(config, folder), Reporting()])


def suggest_for_ray(trial: optuna.Trial) -> None:
    """The space as OptunaSearch wants it: a function that can be pickled."""
    suggest_values(trial, _space())


def run_ray(task: Task) -> None:
    """Ray Tune's ASHA and OptunaSearch, with the search space as Optuna's, conditions included."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    ray.init(num_cpus=task.cores, include_dashboard=False, _temp_dir=task.scratch)
    train = tune.with_parameters(train_for_ray, task=task, folder=str(Path.cwd()))
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": task.cores / task.workers}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(suggest_for_ray, metric=OBJECTIVE, mode="max", seed=task.seed),
            scheduler=ASHAScheduler(metric=OBJECTIVE, mode="max", max_t=task.epochs),
            num_samples=_FOR_EVER,
            max_concurrent_trials=task.workers,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="race", storage_path=str(Path("ray").absolute()), verbose=0),
    )
    tuner.fit()


PEERS: dict[str, Callable[[Task], None]] = {
    "keras-tuner-random": run_random_search,
    "keras-tuner-hyperband": run_hyperband,
    "optuna": run_optuna,
    "ray": run_ray,
}


def score_best(task: Task) -> dict[str, Any]:
    """Scores of the best model on validation and test images, computed in float32 as galaxy_exp tests its models.

    Raises:
        LookupError: no epoch was finished.
    """
    saved = [dict(np.load(file)) for file in Path().glob("best-*.npz")]
    if not saved:
        raise LookupError("there is no model")
    best = max(saved, key=lambda one: float(one["score"]))
    values = json.loads(str(best["values"]))
    data, n_classes = _open(task)
    with fresh_session(1, "float32", deterministic=False):
        _, _, model = _build(values, data, n_classes)
        model.set_weights([best[f"weight_{index}"] for index in range(len(model.get_weights()))])
        model = to_inference_model(model)
        test = PreparedData.load(Path(task.data)).held_out
        arrays = {
            "val": (data.validation_images, data.validation_labels),
            "test": (np.load(test.images, mmap_mode="r"), np.load(test.labels)),
        }
        scores = {
            f"{part}_macro_f1": summarise_predictions(labels, predict_outputs(model, images, n_classes))["macro_f1"]
            for part, (images, labels) in arrays.items()
        }
    return {**scores, "reported": float(best["score"]), "values": values}


def _run_workers(name: str, file: str, task: Task) -> None:
    """Several processes of one peer; KerasTuner's need another one, which has the oracle."""
    threads = str(max(1, task.cores // task.workers))
    shared = {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
    workers = [{"RACE_WORKER": str(rank)} for rank in range(task.workers)]
    if name.startswith("keras-tuner"):
        oracle = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(free_port())}
        names = ["chief", *(f"tuner{rank}" for rank in range(task.workers))]
        workers = [{"RACE_WORKER": tuner, "KERASTUNER_TUNER_ID": tuner, **oracle} for tuner in names]
    command = [sys.executable, "-m", "benchmarks.race_peers", name, file]
    processes = [subprocess.Popen(command, env={**os.environ, **shared, **each}) for each in workers]
    exit_codes = [process.wait() for process in processes]
    if any(exit_codes):
        sys.exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a peer, or scores what it left."""
    name, file = sys.argv[1:] if arguments is None else arguments
    task = Task(**json.loads(Path(file).read_text(encoding="utf-8")))
    if name == "score":
        Path("score.json").write_text(json.dumps(score_best(task)), encoding="utf-8")
    elif task.workers > 1 and name != "ray" and "RACE_WORKER" not in os.environ:
        _run_workers(name, file, task)
    else:
        PEERS[name](task)


if __name__ == "__main__":
    # under its own name, so that Ray's workers find what they unpickle
    from benchmarks.race_peers import main as run

    run()
