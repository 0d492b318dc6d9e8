"""Trials whose worker is killed in the middle of an epoch, and continue: equal to the bit to those that were not."""

import importlib.util
import zipfile
from dataclasses import replace

import h5py
import numpy as np
import pytest
from engine_events import follow, wait

from galaxy_exp.checkpoint_file import checkpoint_path
from galaxy_exp.execution.engine import LocalEngine, LostWorker
from galaxy_exp.execution.worker import WorkerProcess
from galaxy_exp.hypermodel import discover_space, load_hypermodel
from galaxy_exp.records import Decision, EpochReport, TrialState

pytestmark = pytest.mark.slow

EPOCHS, KILLED_IN = 4, 3
FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": FAST_COMPILATION}
BACKENDS = {"tensorflow": {"KERAS_BACKEND": "tensorflow"}, "jax": JAX, "jax, on the device": JAX | {"ON_DEVICE": "1"}}
SMALL = {
    "filters_1": 2, "filters_2": 4, "dense_width": 8, "n_blocks": 2, "convs_per_block": 1, "width_growth": 2.0,
    "residual": False, "equivariant": False, "batch_norm": True, "schedule": "cosine", "batch_size": 16,
    "learning_rate": 3e-3, "weight_decay": 0.01,
}  # fmt: skip
CASES = {
    "adam": SMALL
    | {"residual": True, "equivariant": True}
    | {"augmentation": "flips+rotations+shift+zoom", "class_weighting": "sampling"},
    "adamw": SMALL | {"augmentation": "flips+rotations", "class_weighting": "sqrt", "optimizer": "adamw"},
    "sgd": SMALL | {"augmentation": "flips", "optimizer": "sgd", "schedule": "constant", "label_smoothing": 0.1},
    "averaged weights, user-defined": {},
}
CLOCKS = {"epoch_seconds", "images_per_second"}


@pytest.fixture(scope="module")
def log_file(tmp_path_factory):
    return tmp_path_factory.mktemp("worker") / "log"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Variables with which JAX's processes compile each step once: attempts at a trial compile the same ones."""
    folder = tmp_path_factory.mktemp("compiled")
    minima = {"COMPILE_TIME_SECS": "0", "ENTRY_SIZE_BYTES": "-1"}
    names = {f"JAX_PERSISTENT_CACHE_MIN_{name}": value for name, value in minima.items()}
    return names | {"JAX_COMPILATION_CACHE_DIR": str(folder)}


@pytest.fixture(scope="module", params=list(BACKENDS))
def engine(request, log_file, compiled):
    if request.param != "tensorflow" and importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    environment = BACKENDS[request.param] | compiled | {"KILLED_IN_EPOCH": str(KILLED_IN)}
    engine = LocalEngine([WorkerProcess(log_file, environment=environment, module="checkpoint_worker")])
    engine.start()
    yield engine
    engine.close()


@pytest.fixture
def specify(make_spec, prepared, tmp_path):
    def specify(case):
        values = CASES[case]
        spec = make_spec(epochs=EPOCHS)
        reference = "galaxy-cnn" if values else "continuing_hypermodels:Averaged"
        space = discover_space(load_hypermodel(reference, prepared.image_shape, len(prepared.class_names)))
        return replace(
            spec,
            hypermodel=reference,
            space=space.get_config(),
            values=space.defaults | values,
            deterministic=True,
            checkpoints=tmp_path / "checkpoints",
        )

    return specify


def attempt(spec, number, **changes):
    return replace(spec, attempt=number, folder=spec.folder.with_name(f"attempt {number}"), **changes)


def curves(events):
    reports = [event for event in events if isinstance(event, EpochReport)]
    return [{name: value for name, value in each.metrics.items() if name not in CLOCKS} for each in reports]


def weights_of(spec):
    with zipfile.ZipFile(spec.folder / "model.keras") as archive, archive.open("model.weights.h5") as file:
        found = {}
        with h5py.File(file) as content:
            content.visititems(
                lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        return found


@pytest.mark.parametrize("case", list(CASES))
def test_a_killed_trial_ends_as_the_unbroken_one(engine, specify, case):
    spec = specify(case)
    engine.submit(attempt(spec, 1))
    *reports, lost = follow(engine, 0)
    assert isinstance(lost, LostWorker), lost
    assert len(reports) == KILLED_IN - 1
    saved = checkpoint_path(spec.checkpoints, 0, 1, KILLED_IN - 1)
    assert saved.exists()

    engine.submit(attempt(spec, 2, resume_from=saved, first_epoch=KILLED_IN - 1))
    rest = follow(engine, 0)
    engine.submit(attempt(spec, 3))
    unbroken = follow(engine, 0)
    assert (rest[-1].state, rest[-1].reason) == (TrialState.COMPLETED, f"all {EPOCHS} epochs"), rest[-1].traceback
    assert rest[-1].backend == unbroken[-1].backend
    assert [event.epoch for event in rest[:-1]] == list(range(KILLED_IN, EPOCHS + 1))
    assert curves(reports + rest) == curves(unbroken)
    assert rest[-1].best_epoch == unbroken[-1].best_epoch
    one, other = weights_of(attempt(spec, 2)), weights_of(attempt(spec, 3))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    names = ["validation_probabilities.npy"]
    assert all(np.array_equal(*(np.load(attempt(spec, n).folder / name) for n in (2, 3))) for name in names)


def test_a_paused_trial_leaves_its_checkpoint_before_its_result(engine, specify):
    spec = replace(specify("adam"), epochs=50, checkpoint_seconds=1e6)
    engine.submit(attempt(spec, 5))
    assert isinstance(wait(engine), EpochReport)
    engine.answer(0, Decision.CONTINUE)
    assert isinstance(wait(engine), EpochReport)
    engine.answer(0, Decision.PAUSE)
    result = wait(engine)
    assert (result.state, result.reason) == (TrialState.STOPPED, "paused after epoch 2 of 50")
    assert checkpoint_path(spec.checkpoints, 0, 5, 2).exists()


def test_a_torn_checkpoint_is_reported_once_in_the_log(engine, specify, tmp_path, log_file):
    printed_before = len(log_file.read_text())
    spec = specify("sgd")
    torn = tmp_path / "torn.npz"
    torn.write_bytes(b"PK\x03\x04 and no more")
    engine.submit(attempt(spec, 6, resume_from=torn, first_epoch=2))
    *reports, result = follow(engine, 0)
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert result.reason.startswith("all 4 epochs; began anew: checkpoint torn.npz is damaged: ")
    assert log_file.read_text()[printed_before:].count("trial 0 begins anew: checkpoint torn.npz is damaged") == 1
