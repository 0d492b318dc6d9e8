"""Specifications of trials of toy networks."""

import pytest

from galaxy_exp.execution import hang_detection
from galaxy_exp.hypermodel.discovery import discover_space
from galaxy_exp.hypermodel.loading import load_hypermodel
from galaxy_exp.records import Objective, TrialSpec


@pytest.fixture
def make_spec(prepared, tmp_path):
    def make(number=0, epochs=2, model="MoodyHyperModel", attempt=1, **values):
        reference = f"toys:{model}"
        space = discover_space(load_hypermodel(reference, prepared.image_shape, len(prepared.class_names)))
        return TrialSpec(
            sweep_id="s",
            number=number,
            values=space.defaults | values,
            space=space.get_config(),
            hypermodel=reference,
            data=prepared.files,
            epochs=epochs,
            seed=1,
            precision="float32",
            deterministic=False,
            jit_compile=False,
            objective=Objective("val_accuracy", "max"),
            folder=tmp_path / str(number),
            attempt=attempt,
        )

    return make


@pytest.fixture
def hasty(monkeypatch):
    """Later epochs may take two seconds instead of sixty."""
    monkeypatch.setattr(hang_detection, "LATER_EPOCH_SECONDS", 2.0)
