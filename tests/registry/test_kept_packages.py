"""Models that earlier releases registered still load and say what they said; `keep_package.py` keeps one a format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from galaxy_exp.registry.classifier import load_model

from .conftest import Store
from .keep_package import CLASS_NAMES, PACKAGES, SIDE

KEPT = sorted(PACKAGES.iterdir())


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.name)
def test_a_model_of_an_earlier_release_gives_its_answers(kept: Path, store: Store) -> None:
    name = f"kept-{kept.name}"
    store.client.create_registered_model(name)
    store.client.create_model_version(name, (kept / "package").as_uri())
    store.client.set_registered_model_alias(name, "champion", "1")
    model = load_model(name, tracking_uri=store.uri)
    assert model.class_names == CLASS_NAMES
    assert model.image_size == (SIDE, SIDE)
    assert model.metadata["sweep_id"] == "kept"
    with np.load(kept / "answers.npz") as answers:
        predictions = model.predict(answers["images"])
        assert predictions.probabilities == pytest.approx(answers["probabilities"], abs=1e-6)
        assert predictions.labels.tolist() == answers["probabilities"].argmax(axis=1).tolist()
    assert len(set(predictions.labels.tolist())) > 1


def test_a_package_names_no_path_of_the_machine_that_made_it() -> None:
    for kept in KEPT:
        text = (kept / "package" / "MLmodel").read_text()
        assert [line for line in text.splitlines() if "/" in line and "artifacts/" not in line] == []
