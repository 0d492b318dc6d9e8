"""Every code block of docs/own-models.md is run as it stands there, only with fewer epochs and trials."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from galaxy_exp.config import load_sweep

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "own-models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
CODE = [block for language, block in BLOCKS if language == "python"]
YAML = [block for language, block in BLOCKS if language == "yaml"]
QUICK = {
    '"epochs": 20': '"epochs": 1',
    '"max_trials": 30': '"max_trials": 1',
    '"model": "mine"': '"model": "mine", "finalists": 0',
    "max_trials=30": "max_trials=2",
    "epochs=20": "epochs=1",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the page's module and arrays."""
    (tmp_path / "mymodels.py").write_text(CODE[0])
    labels = np.arange(60) % 3
    noise = np.random.default_rng(0).integers(0, 80, (60, 16, 16, 3))
    np.save(tmp_path / "images.npy", (noise + 60 * labels[:, None, None, None]).astype(np.uint8))
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path


def test_there_are_no_other_blocks() -> None:
    assert [language for language, _ in BLOCKS] == ["python", "yaml", "python", "python"]


def test_the_sweep_file_names_the_hypermodel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from galaxy_exp.hypermodel import discover_space, load_hypermodel
    from galaxy_exp.space.overrides import build_space

    monkeypatch.syspath_prepend(folder)
    (folder / "sweep.yaml").write_text(YAML[0])
    config = load_sweep(folder / "sweep.yaml")
    hypermodel = load_hypermodel(config.hypermodel, (16, 16, 3), 3)
    space = build_space(hypermodel, config.space, discover_space(hypermodel))
    assert set(space.defaults) == {"filters", "learning_rate"}


def test_each_script_runs_by_itself(folder: Path) -> None:
    printed = ""
    assert all(shown in PAGE for shown in QUICK)
    for script in CODE[1:]:
        for shown, quick in QUICK.items():
            script = script.replace(shown, quick)
        (folder / "script.py").write_text(script)
        done = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    assert "models:/mine/1" in printed
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 5  # two of the sweep, three of the tuner
