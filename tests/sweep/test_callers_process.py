"""Whoever calls this package finds the process as it was: environment, logging, warnings, signals, MLflow's store."""

import pytest

from .test_api import run_python

pytestmark = pytest.mark.slow

CODE = """
import logging, os, signal, sys, warnings
import galaxy_exp

def state():
    import mlflow
    known = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    loggers = [logging.getLogger(), *known]
    return {
        "environment": dict(os.environ),
        "logging": {each.name: (each.level, list(map(id, each.handlers)), each.disabled) for each in loggers},
        "filters": {each.name: [list(handler.filters) for handler in each.handlers] for each in loggers},
        "warnings": list(warnings.filters),
        "store": (mlflow.get_tracking_uri(), mlflow.get_registry_uri()),
        "signals": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "folder": os.getcwd(),
        "path": list(sys.path),
    }

def unchanged(name, call):
    before = state()
    result = call()
    after = state()
    for key in before:
        if key in ("logging", "filters"):  # new loggers are no change
            changed = {each: after[key][each] for each in before[key] if after[key][each] != before[key][each]}
            assert not changed, (name, key, changed)
        else:
            assert before[key] == after[key], (name, key, before[key], after[key])
    return result

import keras_tuner, tensorflow, mlflow.pyfunc  # what importing these does is theirs
keras_tuner.HyperParameters()
os.environ["MLFLOW_TRACKING_URI"] = "sqlite:///mlflow.db"
sweep = {
    "name": "called",
    "data": {"source": "simulated", "simulated": {"n_images": 150, "image_size": 24, "class_proportions": "equal"}},
    "hypermodel": "toys:TinyHyperModel",
    "training": {"epochs": 1},
    "search": {"max_trials": 1},
    "registry": {"finalists": 0},
}
result = unchanged("run_sweep", lambda: galaxy_exp.run_sweep(sweep))
assert result.model_uri == "models:/called/1", result.model_uri
model = unchanged("load_model", lambda: galaxy_exp.load_model("called"))

import keras, numpy as np
def build(hp):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(hp.Int("units", 2, 9)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model
def search():
    tuner = keras_tuner.RandomSearch(build, "loss", max_trials=1, directory="tuned", project_name="t")
    galaxy_exp.track_tuner(tuner)
    tuner.search(np.zeros((4, 3)), np.zeros((4, 1)), epochs=1, verbose=0)
unchanged("track_tuner", search)
print("unchanged")
"""


def test_it_is_left_as_it_was(project):
    assert run_python(project, CODE).endswith("unchanged\n")
