import json

import keras
import keras_tuner
import pytest
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed, Float, Int

from galaxy_exp.config.sweep import PriorConfig, PriorSpace, RangeSpace, ValuesSpace
from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel import discover_space
from galaxy_exp.hypermodel.discovery import to_kerastuner
from galaxy_exp.space.domains import Prior
from galaxy_exp.space.overrides import build_space
from galaxy_exp.space.search_space import SearchSpace

SEED_TUTORIAL = {
    "n_blocks": 1, "filters_1": 32, "filters_2": 64, "kernel_size": 3, "batch_norm": False, "dropout_1": 0.25,
    "head": "flatten", "dense_width": 128, "dropout_2": 0.5, "augmentation": "none", "learning_rate": 1e-3,
    "batch_size": 32, "optimizer": "adam", "schedule": "constant", "label_smoothing": 0.0, "class_weighting": "none",
}  # fmt: skip


def _entry(space, name):
    (entry,) = [entry for entry in space.space if entry.name == name]
    return entry


def _narrowed(hypermodel, **overrides):
    return to_kerastuner(build_space(hypermodel, overrides, discover_space(hypermodel)))


def _problems(hypermodel, **overrides):
    with pytest.raises(ConfigError) as caught:
        build_space(hypermodel, overrides, discover_space(hypermodel))
    return caught.value.problems


def prior_at(centre):
    return PriorSpace(prior=PriorConfig(centre=centre))


class Nested(keras_tuner.HyperModel):
    """Conditions within conditions, declared only while building."""

    def __init__(self):
        super().__init__()
        self.builds = 0

    def build(self, hp):
        self.builds += 1
        kind = hp.Choice("kind", ["a", "b"])
        with hp.conditional_scope("kind", ["b"]):
            if kind == "b":
                deep = hp.Boolean("deep")
                with hp.conditional_scope("deep", [True]):
                    if deep:
                        hp.Int("layers", 1, 3)
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])


def test_the_baseline_is_the_seed_tutorial(hypermodel):
    assert discover_space(hypermodel).defaults == SEED_TUTORIAL


def test_the_baseline_does_not_depend_on_overrides(hypermodel):
    _narrowed(hypermodel, optimizer="sgd")
    assert discover_space(hypermodel).defaults == SEED_TUTORIAL


def test_without_overrides_the_space_is_the_declared_one(hypermodel):
    declared = discover_space(hypermodel)
    assert build_space(hypermodel, {}, declared).get_config() == declared.get_config()


def test_conditional_hyperparameters_of_a_users_hypermodel_are_found():
    model = Nested()
    assert [entry.name for entry in discover_space(model).hyperparameters] == ["kind", "deep", "layers"]
    assert model.builds <= 4


def test_scopes_that_can_never_be_entered_end_the_search():
    class Unreachable(keras_tuner.HyperModel):
        def build(self, hp):
            hp.Choice("kind", ["a", "b"])
            with hp.conditional_scope("kind", ["c"]):
                hp.Int("never", 1, 3)

    assert [entry.name for entry in discover_space(Unreachable()).hyperparameters] == ["kind", "never"]


def test_values_become_an_ordered_choice_with_the_nearest_default(hypermodel):
    entry = _entry(_narrowed(hypermodel, filters_1=ValuesSpace(values=(24, 48))), "filters_1")
    assert isinstance(entry, Choice)
    assert (entry.values, entry.ordered, entry.default) == ([24, 48], True, 24)
    kept = _entry(_narrowed(hypermodel, learning_rate=ValuesSpace(values=(1e-2, 1e-3))), "learning_rate")
    assert kept.default == 1e-3


def test_values_of_text_stay_unordered(hypermodel):
    entry = _entry(_narrowed(hypermodel, augmentation=ValuesSpace(values=("flips+rotations", "flips"))), "augmentation")
    assert (entry.values, entry.ordered, entry.default) == (["flips+rotations", "flips"], False, "flips+rotations")


def test_a_truth_value_that_is_fixed_can_be_searched():
    class WithFixed(keras_tuner.HyperModel):
        def build(self, hp):
            hp.Fixed("residual", True)
            return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])

    assert isinstance(_entry(_narrowed(WithFixed()), "residual"), Fixed)
    assert isinstance(_entry(_narrowed(WithFixed(), residual=ValuesSpace(values=(True, False))), "residual"), Boolean)


def test_a_single_value_fixes_and_both_truth_values_stay_boolean(hypermodel):
    space = _narrowed(hypermodel, filters_1=ValuesSpace(values=(48,)), batch_norm=ValuesSpace(values=(True, False)))
    assert isinstance(_entry(space, "filters_1"), Fixed)
    assert isinstance(_entry(space, "batch_norm"), Boolean)


@pytest.mark.parametrize(
    ("name", "override", "kind", "expected"),
    [
        ("n_blocks", RangeSpace(min=2, max=4), Int, (2, 4, 1, "linear", 2)),
        ("filters_2", RangeSpace(min=16, max=128, step=16), Int, (16, 128, 16, "linear", 64)),
        ("filters_2", RangeSpace(min=8, max=256, scale="log"), Int, (8, 256, None, "log", 64)),
        ("dropout_1", RangeSpace(min=0.3, max=0.5), Float, (0.3, 0.5, 0.05, "linear", 0.3)),
        ("dropout_1", RangeSpace(min=0, max=0.5, step=0.2), Float, (0.0, 0.5, 0.2, "linear", 0.2)),
        ("learning_rate", RangeSpace(min=1e-5, max=1e-2), Float, (1e-5, 1e-2, None, "log", 1e-3)),
        ("learning_rate", RangeSpace(min=0.001, max=0.01, scale="linear"), Float, (1e-3, 1e-2, None, "linear", 1e-3)),
    ],
)
def test_ranges_keep_the_kind_scale_and_step(hypermodel, name, override, kind, expected):
    entry = _entry(_narrowed(hypermodel, **{name: override}), name)
    assert type(entry) is kind
    assert (entry.min_value, entry.max_value, entry.step, entry.sampling, entry.default) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("filters_1", 48, 48),
        ("filters_1", 48.0, 48),
        ("dropout_1", 0, 0.0),
        ("batch_norm", True, True),
        ("head", "gap", "gap"),
    ],
)
def test_plain_values_fix_in_the_hyperparameters_own_type(hypermodel, name, value, stored):
    entry = _entry(_narrowed(hypermodel, **{name: value}), name)
    assert isinstance(entry, Fixed)
    assert entry.value == stored and type(entry.value) is type(stored)


def test_conditions_survive(hypermodel):
    before = _entry(to_kerastuner(discover_space(hypermodel)), "weight_decay").conditions
    assert _entry(_narrowed(hypermodel, weight_decay=0.01), "weight_decay").conditions == before
    space = _narrowed(hypermodel, optimizer="adam")
    assert "weight_decay" not in space.values
    assert "weight_decay" in _narrowed(hypermodel, optimizer="adamw").values


def test_a_prior_belongs_to_the_domain_that_it_stands_with(hypermodel):
    overrides = {
        "learning_rate": PriorSpace(prior=PriorConfig(centre=5e-4)),
        "filters_1": ValuesSpace(values=(32, 64), prior=PriorConfig(centre=64.0, confidence=0.5)),
        "dropout_1": RangeSpace(min=0, max=0.5, step=0.1, prior=PriorConfig(centre=0.31)),
        "batch_norm": PriorSpace(prior=PriorConfig(centre=True, confidence=0)),
    }
    space = build_space(hypermodel, overrides, discover_space(hypermodel))
    priors = {each.name: each.prior for each in space.with_prior}
    assert priors == {
        "filters_1": Prior(64, 0.5),
        "dropout_1": Prior(0.3, 0.7),
        "learning_rate": Prior(pytest.approx(5e-4), 0.7),
    }
    assert (
        to_kerastuner(space).get_config()
        == _narrowed(
            hypermodel, filters_1=ValuesSpace(values=(32, 64)), dropout_1=RangeSpace(min=0, max=0.5, step=0.1)
        ).get_config()
    )


class Ratio(keras_tuner.HyperModel):
    """Ranges whose step is a ratio; the default of the second is not one of its values."""

    def build(self, hp):
        hp.Int("units", 16, 256, step=2, sampling="log")
        hp.Float("rate", 1e-4, 1e-1, step=10, sampling="log", default=5e-4)
        hp.Int("width", 16, 64, step=16)
        hp.Float("share", 0.0, 0.6, step=0.2)


@pytest.mark.parametrize(
    ("name", "centre", "nearest"),
    [
        ("units", 128, 128),
        ("units", 100, 128),  # 64 to 128 is split at 90.5
        ("units", 90, 64),
        ("rate", 4e-3, 1e-2),
        ("width", 63, 64),
        ("width", 40, 48),
        ("width", 39, 32),
        ("share", 0.31, 0.4),
    ],
)
def test_a_centre_between_values_is_moved_to_the_nearest_on_the_scale(name, centre, nearest):
    space = build_space(Ratio(), {name: prior_at(centre)}, discover_space(Ratio()))
    (changed,) = space.with_prior
    assert changed.prior == Prior(pytest.approx(nearest), 0.7)
    assert changed.domain.find(changed.prior.centre) == changed.prior.centre
    assert space.expected == {**space.defaults, name: changed.prior.centre}


def test_a_default_off_the_values_is_kept_beside_a_prior():
    overrides = {"units": RangeSpace(min=20, max=200), "width": prior_at(32)}
    space = build_space(Ratio(), overrides, discover_space(Ratio()))
    assert space.expected == {**space.defaults, "width": 32}


def test_the_centre_at_the_baseline_is_the_baseline(hypermodel):
    declared = discover_space(hypermodel)
    tunable = {each.name: prior_at(each.default) for each in declared.tunable}
    assert build_space(hypermodel, tunable, declared).expected == declared.defaults
    rate = build_space(hypermodel, {"learning_rate": prior_at(1e-3)}, declared).expected["learning_rate"]
    assert repr(rate) == "0.001"


def test_no_confidence_is_no_prior(hypermodel):
    declared = discover_space(hypermodel)
    stated = PriorSpace(prior=PriorConfig(centre=1e-3, confidence=0))
    assert build_space(hypermodel, {"learning_rate": stated}, declared).hyperparameters == declared.hyperparameters


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"filter_1": 3}, 'space.filter_1: unknown hyperparameter; did you mean "filters_1"? known: n_blocks, '),
        ({"zzz": 3}, "space.zzz: unknown hyperparameter; known: n_blocks, "),
        ({"augmentation": "flip"}, "space.augmentation: 'flip' is not possible; did you mean \"flips\"? known: none,"),
        ({"filters_1": "many"}, "space.filters_1: 'many' was found; expected a whole number"),
        ({"filters_1": 32.5}, "space.filters_1: 32.5 was found; expected a whole number"),
        ({"filters_1": True}, "space.filters_1: True was found; expected a whole number"),
        ({"filters_1": -32}, "space.filters_1: -32 was found; expected 1 to 2048"),
        ({"dropout_1": RangeSpace(min=0.5, max=1.5)}, "space.dropout_1: 1.5 was found; expected 0 to 0.95"),
        ({"n_blocks": RangeSpace(min=1, max=8)}, "space.n_blocks: 8 was found; expected 1 to 5"),
        ({"batch_norm": 1}, "space.batch_norm: 1 was found; expected true or false"),
        ({"batch_norm": "yes"}, "space.batch_norm: 'yes' was found; expected true or false"),
        ({"head": 3}, "space.head: 3 was found; expected text out of: flatten, gap"),
        ({"head": RangeSpace(min=0, max=1)}, "space.head: a range from 0 to 1 was found, but its values are text"),
        ({"batch_norm": RangeSpace(min=0, max=1)}, "space.batch_norm: a range from 0 to 1 was found, but its"),
        ({"learning_rate": RangeSpace(min=1e-4, max=1e-3, step=1e-4)}, "space.learning_rate: a step was found, but"),
        ({"filters_1": RangeSpace(min=16, max=64, step=0.5)}, "space.filters_1: 0.5 was found; expected a whole"),
        ({"learning_rate": prior_at(1.0)}, "space.learning_rate: prior.centre: 1 was found; expected 0.0001 to 0.003"),
        ({"filters_1": prior_at(48)}, "space.filters_1: prior.centre: 48 was found; expected one of 16, 32, 64, 128"),
        ({"head": prior_at("gab")}, "space.head: prior.centre: 'gab' is not possible; did you mean \"gap\"?"),
        ({"batch_norm": prior_at(1)}, "space.batch_norm: prior.centre: 1 was found; expected true or false"),
        ({"n_blocks": prior_at(1.5)}, "space.n_blocks: prior.centre: 1.5 was found; expected a whole number"),
        ({"n_blocks": ValuesSpace(values=(2,), prior=PriorConfig(centre=2))}, "space.n_blocks: a prior was found, but"),
    ],
)  # fmt: skip
def test_mistakes_are_named(hypermodel, overrides, message):
    (problem,) = _problems(hypermodel, **overrides)
    assert problem.startswith(message)
    assert "\n" not in problem


def test_a_log_scale_needs_a_positive_minimum():
    class Own(keras_tuner.HyperModel):
        def build(self, hp):
            hp.Float("rate", 1e-4, 1e-2, sampling="log")

    (problem,) = _problems(Own(), rate=RangeSpace(min=0, max=1))
    assert problem == "space.rate: min is 0, but the scale is log; expected above 0, or scale: linear"


def test_all_mistakes_are_gathered(hypermodel):
    assert len(_problems(hypermodel, filter_1=1, head="gab", dropout_1=2)) == 3


def test_a_narrowed_space_goes_through_json_and_builds_the_values_given(hypermodel):
    space = _narrowed(
        hypermodel,
        filters_1=ValuesSpace(values=(2, 3)),
        filters_2=RangeSpace(min=2, max=8),
        n_blocks=2,
        optimizer=ValuesSpace(values=("adamw", "sgd")),
        weight_decay=0.02,
    )
    config = json.loads(json.dumps(space.get_config()))
    again = to_kerastuner(SearchSpace.from_config(config), {**space.values, "filters_1": 3, "filters_2": 5})
    assert config == json.loads(json.dumps(space.get_config()))
    assert len(again.space) == len(space.space)
    model = hypermodel.build(again)
    assert [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)] == [3, 5]
    assert model.optimizer.weight_decay == 0.02
    assert again.get_config()["space"] == space.get_config()["space"]
    assert keras_tuner.HyperParameters.from_config(space.get_config()).get_config() == space.get_config()
