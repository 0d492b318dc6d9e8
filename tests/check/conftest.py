"""Trials of tiny networks on the prepared galaxies."""

import pytest

from galaxy_exp.hypermodel import GalaxyCNN, discover_space, load_hypermodel
from galaxy_exp.records import Objective, TrialSpec
from galaxy_exp.space.overrides import build_space

SMALL = {"filters_1": 2, "filters_2": 2, "dense_width": 8}


@pytest.fixture
def make_spec(prepared, tmp_path):
    def make(hypermodel="galaxy-cnn", **values):
        shape, n_classes = prepared.image_shape, len(prepared.class_names)
        if "start" in values:
            built_in = GalaxyCNN(shape, n_classes, [values["start"]])
            space = build_space(built_in, {"start": values["start"]}, discover_space(built_in))
        else:
            space = discover_space(load_hypermodel(hypermodel, shape, n_classes))
        return TrialSpec(
            sweep_id="s",
            number=1,
            values=space.defaults | (SMALL if hypermodel == "galaxy-cnn" else {}) | values,
            space=space.get_config(),
            hypermodel=hypermodel,
            data=prepared.files,
            epochs=3,
            seed=11,
            precision="float32",
            deterministic=False,
            jit_compile=False,
            objective=Objective("val_macro_f1", "max"),
            folder=tmp_path / "trial",
        )

    return make
