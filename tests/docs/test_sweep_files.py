from __future__ import annotations

from pathlib import Path

import pytest

from galaxy_exp.config import load_sweep
from galaxy_exp.hypermodel.discovery import discover_space
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.search.building import check_names
from galaxy_exp.space.overrides import build_space, listed_texts

ROOT = Path(__file__).parents[2]

FILES = sorted((ROOT / "sweeps").glob("**/*.y*ml"))


def test_there_is_a_quickstart() -> None:
    assert ROOT / "sweeps" / "quickstart.yaml" in FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_sweep_file_is_valid(path: Path) -> None:
    config = load_sweep(path)
    assert config.name == path.stem
    check_names(config.search, config.training.epochs)
    if config.hypermodel == "galaxy-cnn":
        hypermodel = GalaxyCNN((69, 69, 3), 10)
        starts = listed_texts(config.space["start"]) if "start" in config.space else []
        if "encoder.keras" in starts:  # a file of the user's
            starts = ["pretrained"]
            config.space["start"] = "pretrained"
        hypermodel.offer(starts)
        build_space(hypermodel, config.space, discover_space(hypermodel))
