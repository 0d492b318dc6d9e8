"""The hand-wired script from its command line, as small as it goes."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.contenders import TUNED
from benchmarks.measured import read_handwired
from benchmarks.process import run_command

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "handwired.py"


@pytest.mark.slow
def test_measures_the_tutorial_and_one_trial_in_an_empty_folder(tmp_path):
    options = ["--trials", "1", "--epochs", "1", "--images", "120", "--image-size", "32", "--out", "result.json"]
    run_command([sys.executable, str(SCRIPT), *options], tmp_path, tmp_path / "log")
    content = json.loads((tmp_path / "result.json").read_text())
    assert content["n_images"] == {"train": 85, "validation": 15, "test": 20}
    assert [trial["name"] for trial in content["trials"]] == ["baseline", "trial 0"]
    for trial in content["trials"]:
        assert set(trial["values"]) == set(TUNED)
        assert 0 < trial["fit_seconds"] < trial["wall_seconds"]
        assert len(trial["images_per_second"]) == 1
    assert content["mlflow"]["n_runs"] == content["mlflow"]["n_models"] == 2
    assert content["mlflow"]["n_with_hyperparameters"] == 0
    assert content["peak_rss_mb"] > 100
    fits, result = read_handwired(content)
    assert fits.span_seconds < content["wall_seconds"]
    assert 0 <= result.test_macro_f1 <= result.test_accuracy <= 1
