"""The unit cube agrees with the space it stands for."""

import keras_tuner
import numpy as np
import pytest

from galaxy_exp.search.cube import UnitCube
from galaxy_exp.space.search_space import SearchSpace


def _space() -> keras_tuner.HyperParameters:
    """Every kind of hyperparameter, and conditions on a word, a number, a fixed value, and a name used twice."""
    hp = keras_tuner.HyperParameters()
    hp.Fixed("kind", "cnn")
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Float("dropout", 0.0, 0.6, step=0.1)
    hp.Int("layers", 1, 4)
    hp.Int("width", 3, 300, sampling="log")
    hp.Choice("optimizer", ["adam", "adamw", "sgd"])
    hp.Boolean("norm")
    with hp.conditional_scope("kind", ["cnn"]):
        hp.Choice("kernel", [3, 5, 7])
    with hp.conditional_scope("kind", ["mlp"]):
        hp.Float("never", 0.0, 1.0)
    with hp.conditional_scope("layers", [3, 4]):
        hp.Float("deep", 0.0, 1.0)
    with hp.conditional_scope("optimizer", ["adamw"]):
        hp.Float("decay", 1e-5, 1e-1, sampling="log")
    with hp.conditional_scope("optimizer", ["sgd"]):
        hp.Float("decay", 0.0, 1.0)
    return hp


@pytest.fixture
def space() -> SearchSpace:
    return SearchSpace.of(_space())


@pytest.fixture
def points(space: SearchSpace) -> np.ndarray:
    return UnitCube(space).to_grid(np.random.default_rng(3).random((200, len(space.tunable))))


def test_the_active_dimensions_are_those_of_the_configurations(space: SearchSpace, points: np.ndarray) -> None:
    cube = UnitCube(space)
    for point, row in zip(points, cube.active(points), strict=True):
        active = [dimension.key for dimension, here in zip(space.tunable, row, strict=True) if here]
        assert active == list(space.find(cube.configuration(point)))


def test_a_configuration_lies_where_it_came_from(space: SearchSpace, points: np.ndarray) -> None:
    cube = UnitCube(space)
    for point, row in zip(points, cube.active(points), strict=True):
        assert cube.place(cube.configuration(point)) == pytest.approx(np.where(row, point, np.nan), nan_ok=True)


def test_features_have_a_column_for_each_number_and_category(space: SearchSpace, points: np.ndarray) -> None:
    cube = UnitCube(space)
    features = cube.features(np.where(cube.active(points), points, np.nan))
    assert features.shape == (200, sum(d.domain.n_choices if not d.is_numeric else 1 for d in space.tunable))
    assert np.isfinite(features).all()
    assert features.min() >= 0
    assert features.max() <= 1
