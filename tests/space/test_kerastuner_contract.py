"""Our spaces against KerasTuner's own sampling, over hyperparameters of every kind that can be declared."""

import json
import math
import random

import keras_tuner
import numpy as np
import pytest

from galaxy_exp.check.sweep_check import count_configurations
from galaxy_exp.records import Objective
from galaxy_exp.search.building import sampler_factory
from galaxy_exp.search.cube import UnitCube
from galaxy_exp.search.history import History
from galaxy_exp.search_methods import SAMPLERS
from galaxy_exp.space.search_space import SearchSpace, plain_text

CORNERS = {
    "whole numbers up to 2**31": lambda hp: hp.Int("x", 0, 2**31 - 1),
    "whole numbers beyond doubles": lambda hp: hp.Int("x", -(2**63), 2**63),
    "huge whole numbers, log": lambda hp: hp.Int("x", 1, 2**62, sampling="log"),
    "huge whole numbers, reverse log": lambda hp: hp.Int("x", 1, 2**40, sampling="reverse_log"),
    "log int in factors": lambda hp: hp.Int("x", 8, 64, step=2, sampling="log"),
    "log int in factors that miss the end": lambda hp: hp.Int("x", 3, 1000, step=7, sampling="log"),
    "reverse log int in factors": lambda hp: hp.Int("x", 8, 64, step=2, sampling="reverse_log"),
    "reverse log up to 1": lambda hp: hp.Float("x", 1e-4, 1.0, sampling="reverse_log"),
    "many tiny steps": lambda hp: hp.Float("x", 1e-12, 1e-11, step=1e-12),
    "millions of steps": lambda hp: hp.Float("x", 0.0, 1.0, step=1e-8),
    "steps that miss the end": lambda hp: hp.Float("x", -1.0, 1.0, step=0.3),
    "a step beyond the range": lambda hp: hp.Int("x", 3, 5, step=10),
    "one whole number": lambda hp: hp.Int("x", 7, 7),
    "one number, log": lambda hp: hp.Float("x", 0.5, 0.5, sampling="log"),
    "one number, stepped log": lambda hp: hp.Int("x", 4, 4, step=2, sampling="log"),
    "tiny numbers": lambda hp: hp.Float("x", 1e-300, 1e-290, sampling="log"),
    "huge numbers": lambda hp: hp.Float("x", -1e300, 1e300),
    "repeated choices": lambda hp: hp.Choice("x", [16, 16, 32]),
    "repeated words": lambda hp: hp.Choice("x", ["a", "b", "a"]),
    "one choice, twice": lambda hp: hp.Choice("x", [2, 2]),
    "truth values as choices": lambda hp: hp.Choice("x", [True, False]),
    "unordered numbers": lambda hp: hp.Choice("x", [0.5, 0.1, 0.3], ordered=False),
    "fixed": lambda hp: hp.Fixed("x", 3),
}


def _declare_anything(hp: keras_tuner.HyperParameters, rng: random.Random) -> None:
    """Any declaration that KerasTuner takes, small, large, negative and stepped ones alike."""
    match rng.choice(["int", "int", "float", "float", "float", "choice", "boolean", "fixed"]):
        case "int":
            scale = rng.choice(["linear", "log", "reverse_log"])
            low = rng.choice([1, rng.randint(1, 300)]) if scale != "linear" else rng.randint(-1000, 1000)
            high = low + rng.choice([0, rng.randint(1, 20), rng.randint(1, 10**6), rng.randint(1, 2**40)])
            step = rng.choice([None, rng.randint(2, 9)])
            hp.Int("x", low, high, step=step, sampling=scale)
        case "float":
            scale = rng.choice(["linear", "log", "reverse_log"])
            size = 10.0 ** rng.randint(-12, 12)
            low = size * rng.uniform(-5 if scale == "linear" else 0.1, 5)
            high = low + size * rng.choice([0.0, rng.uniform(0.1, 10), 10.0 ** rng.randint(1, 4)])
            step = size * rng.uniform(0.01, 3) if scale == "linear" else rng.uniform(1.1, 20)
            hp.Float("x", low, high, step=rng.choice([None, step]), sampling=scale)
        case "choice":
            kinds = [["a", "b", "c"], [1, 2, 3, 2], [0.1, 0.5], [True, False], ["only"], [-1.5, 1e-9, 1e9]]
            hp.Choice("x", rng.choice(kinds))
        case "boolean":
            hp.Boolean("x")
        case "fixed":
            hp.Fixed("x", rng.choice([1, 0.5, "word", True]))


def _declared(declare) -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    declare(hp)
    return hp


def _any(seed):
    return lambda hp: _declare_anything(hp, random.Random(seed))


EVERYTHING = CORNERS | {f"seed {seed}": _any(seed) for seed in range(100)}


def _lost_end(entry) -> bool:
    """Whether rounding makes KerasTuner miss the upper end of a float range, which it documents as included."""
    if not isinstance(entry, keras_tuner.engine.hyperparameters.Float) or entry.step is None:
        return False
    exact = (entry.max_value - entry.min_value) / entry.step
    return entry.sampling == "linear" and math.isclose(exact, round(exact), rel_tol=1e-9)


def _same(ours, theirs, entry) -> bool:
    if not isinstance(theirs, float):
        return ours == theirs
    span = getattr(entry, "max_value", 0.0) - getattr(entry, "min_value", 0.0)
    return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9 * span)


@pytest.mark.parametrize("declare", EVERYTHING.values(), ids=list(EVERYTHING))
class TestEveryDeclaration:
    def test_types_and_quantiles_are_those_of_kerastuner(self, declare):
        entry = _declared(declare).space[0]
        dimension = SearchSpace.of(_declared(declare)).hyperparameters[0]
        rng = random.Random(5)
        quantiles = [rng.random() for _ in range(200)]
        for quantile in quantiles:
            ours, theirs = dimension.domain.from_unit(quantile), entry.prob_to_value(quantile)
            assert type(ours) is type(theirs)
            if not _lost_end(entry):
                assert _same(ours, theirs, entry), (quantile, ours, theirs)
            assert not hasattr(entry, "min_value") or entry.min_value <= ours <= entry.max_value

    def test_what_kerastuner_samples_is_in_the_space_and_comes_back(self, declare):
        entry = _declared(declare).space[0]
        dimension = SearchSpace.of(_declared(declare)).hyperparameters[0]
        for seed in range(50):
            value = entry.random_sample(seed)
            found = dimension.domain.find(value)
            assert found is not None
            assert _same(found, value, entry)
            again = dimension.domain.from_unit(dimension.domain.to_unit(found))
            assert again == pytest.approx(value, rel=1e-6) if isinstance(value, float | int) else again == value

    def test_the_first_values_are_listed_once(self, declare):
        space = SearchSpace.of(_declared(declare))
        dimension = space.hyperparameters[0]
        if dimension.is_continuous:
            assert count_configurations(space) is None
            return
        listed = [values["x"] for values, _ in zip(space.configurations(), range(300), strict=False)]
        assert len(set(listed)) == len(listed) == min(300, dimension.domain.n_values)
        assert count_configurations(space) == dimension.domain.n_values

    def test_every_sampler_gives_values_of_kerastuners_type_and_range(self, declare):
        space = SearchSpace.of(_declared(declare))
        dimension = space.hyperparameters[0]
        for name in SAMPLERS:
            if (name == "grid" and dimension.is_continuous) or (name == "cmaes" and not dimension.is_numeric):
                continue
            proposed = sampler_factory(name)(space, History([Objective("score", "max")], 1), 1).sample(0, 0)
            assert type(proposed["x"]) is type(_declared(declare).space[0].prob_to_value(0.5)), name
            assert dimension.domain.find(proposed["x"]) is not None, name

    def test_points_of_the_cube_are_where_their_values_are(self, declare):
        space = SearchSpace.of(_declared(declare))
        if not space.tunable:
            return
        cube = UnitCube(space)
        points = cube.to_grid(np.random.default_rng(3).random((30, 1)))
        assert cube.active(points).all()
        for point in points:
            assert cube.place(cube.configuration(point)) == pytest.approx(point, abs=1e-6)

    def test_it_can_be_described(self, declare):
        assert SearchSpace.of(_declared(declare)).hyperparameters[0].describe_values(plain_text)

    def test_the_journals_form_is_kerastuners(self, declare):
        config = json.loads(json.dumps(SearchSpace.of(_declared(declare)).get_config()))
        assert config == SearchSpace.from_config(config).get_config()
        (restored,) = keras_tuner.HyperParameters.from_config(config).space
        (declared,) = _declared(declare).space
        assert restored.get_config() | {"default": restored.default} == declared.get_config() | {
            "default": declared.default
        }


def test_large_conditions_are_counted_without_listing_values():
    hp = keras_tuner.HyperParameters()
    hp.Int("seed", 0, 2**40)
    with hp.conditional_scope("seed", [7, 2**50]):
        hp.Choice("inner", [1, 2, 3])
    space = SearchSpace.of(hp)
    assert count_configurations(space) == 2**40 + 3
    points = UnitCube(space).to_grid(np.random.default_rng(1).random((5, 2)))
    assert not UnitCube(space).active(points)[:, 1].any()
