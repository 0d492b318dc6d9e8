"""Which hyperparameters are found, and what becomes of a `build` that raises."""

import sys

import keras
import keras_tuner
import pytest

from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel import GalaxyCNN, discover_space
from galaxy_exp.hypermodel.discovery import MAX_CHOICE_BUILDS


def _hypermodel(declare):
    class Declared(keras_tuner.HyperModel):
        def build(self, hp):
            declare(hp)
            return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])

    return Declared()


def _names(declare, **options):
    return [entry.name for entry in discover_space(_hypermodel(declare), **options).hyperparameters]


def _layers_in_a_loop(hp):
    for index in range(hp.Int("n_layers", 1, 4)):
        hp.Int(f"units_{index}", 8, 64)


def _keras_tuners_example(hp):
    for index in range(hp.Int("num_layers", 2, 20)):
        hp.Int(f"units_{index}", 32, 512, step=32)


def _plain_if(hp):
    if hp.Boolean("dropout"):
        hp.Float("rate", 0.0, 0.5)


def _plain_if_in_a_scope(hp):
    kind = hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["b"]):
        if kind == "b" and hp.Boolean("deep"):
            hp.Int("depth", 2, 40)


def _plain_if_of_a_choice(hp):
    if hp.Choice("optimizer", ["adam", "sgd", "rmsprop"]) == "sgd":
        hp.Float("momentum", 0.0, 0.9)


@pytest.mark.parametrize(
    ("declare", "names"),
    [
        (_layers_in_a_loop, ["n_layers", "units_0", "units_1", "units_2", "units_3"]),
        (_keras_tuners_example, ["num_layers", *(f"units_{index}" for index in range(20))]),
        (_plain_if, ["dropout", "rate"]),
        (_plain_if_of_a_choice, ["optimizer", "momentum"]),
        (_plain_if_in_a_scope, ["kind", "deep", "depth"]),
    ],
)
def test_what_is_declared_without_a_scope_is_found_too(declare, names):
    assert _names(declare) == names


def test_single_values_of_choices_make_few_builds():
    built = []

    def declare(hp):
        built.append(hp.Choice("rate", [0.1 * number for number in range(100)]))
        if hp.Choice("kind", ["flat", "deep"]) == "deep":
            hp.Float("depth", 0.0, 1.0)

    assert _names(declare) == ["rate", "kind", "depth"]
    assert len(built) == 1 + MAX_CHOICE_BUILDS


def test_a_choice_with_conditional_scopes_is_not_built_with_its_other_values():
    built = []

    def declare(hp):
        built.append(hp.Choice("kind", ["a", "b", "c", "d"]))
        with hp.conditional_scope("kind", ["b", "c"]):
            hp.Float("depth", 0.0, 1.0)

    assert _names(declare) == ["kind", "depth"]
    assert built == ["a", "b"]


def _raise(error):
    def build(hp):
        hp.Choice("u", [64, 8])
        raise error

    return build


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (keras_tuner.errors.FailedTrialError("too large"), "FailedTrialError: too large"),
        (keras_tuner.errors.FatalTypeError("no"), "FatalTypeError: no"),
        (ValueError("two\nlines"), "ValueError: two lines"),
        (ValueError("\x1b[1mno shape\x1b[0m\n\nArguments received by Dense.call(): a"), "ValueError: no shape"),
        (RuntimeError(" \n"), "RuntimeError"),
        (KeyError("missing"), "KeyError: 'missing'"),
        (SystemExit(3), "SystemExit: 3 (from sys.exit or argparse)"),
        (MemoryError(), "MemoryError"),
        (ImportError("No module named x"), "ImportError: No module named x"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_what_build_raises_with_its_defaults_is_one_line(error, text):
    with pytest.raises(ConfigError) as caught:
        discover_space(_hypermodel(_raise(error)), name="m:b")
    assert caught.value.problems == (f"hypermodel: m:b cannot be built with its defaults (u=64): {text}",)
    assert caught.value.__cause__ is error


def test_ctrl_c_is_no_error_of_the_hypermodel():
    with pytest.raises(KeyboardInterrupt):
        discover_space(_hypermodel(_raise(KeyboardInterrupt())))


@pytest.mark.parametrize(
    ("declare", "found"),
    [
        (
            lambda hp: hp.Int("units", 1, 10, step=0, default=1),
            "'units' is from 1 to 10 in steps of 0; expected",
        ),
        (
            lambda hp: hp.Float("rate", 0.0, 1.0, step=-0.1),
            "'rate' is from 0.0 to 1.0 in steps of -0.1; expected",
        ),
        (lambda hp: hp.Float("rate", 0.0, float("inf")), "'rate' is from 0.0 to inf; expected finite numbers"),
    ],
)
@pytest.mark.parametrize("declares_everything", [False, True])
def test_ranges_without_values_are_refused_by_name(declare, found, declares_everything):
    hypermodel = _hypermodel(declare)
    if declares_everything:
        hypermodel.declares_everything, hypermodel.declare_hyperparameters = True, declare
    with pytest.raises(ConfigError, match=f"hypermodel: Declared: the hyperparameter {found}"):
        discover_space(hypermodel)


def test_mixed_choices_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"can contain only one type of value.*\[1, 'a'\]"):
        discover_space(_hypermodel(lambda hp: hp.Choice("x", [1, "a"])))


def test_weights_that_cannot_be_downloaded_are_named():
    def build(hp):
        keras.utils.get_file("none.h5", "http://127.0.0.1:9/none.h5")

    with pytest.raises(ConfigError, match=r"URL fetch failure on http.*\(weights from the network have to be"):
        discover_space(_hypermodel(build))


@pytest.mark.parametrize("leave", [lambda: sys.exit("no"), lambda: 1 / 0])
def test_a_branch_that_cannot_be_built_is_left_to_its_trials(leave):
    def build(hp):
        kind = hp.Choice("kind", ["small", "deep", "wide"])
        with hp.conditional_scope("kind", ["deep"]):
            if kind == "deep":
                hp.Int("depth", 3, 60)
                leave()
        with hp.conditional_scope("kind", ["wide"]):
            if kind == "wide":
                hp.Int("width", 3, 60)

    notes = []
    assert _names(build, name="m:b", note=notes.append) == ["kind", "depth", "width"]
    (note,) = notes
    assert note.startswith("note: hypermodel m:b cannot be built with kind=deep, depth=3: ")
    assert note.endswith("such trials are tried anyway")


def test_what_a_fit_declares_is_found_in_all_branches():
    class OwnFit(keras_tuner.HyperModel):
        def build(self, hp):
            hp.Choice("kind", ["a", "b"])
            return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])

        def fit(self, hp, model):
            hp.Choice("batch_size", [16, 32])
            with hp.conditional_scope("kind", ["b"]):
                if hp.get("kind") == "b":
                    hp.Float("momentum", 0.0, 0.9)

    space = discover_space(OwnFit(), probe_fit=lambda hypermodel, hp, model: hypermodel.fit(hp, model))
    assert [entry.name for entry in space.hyperparameters] == ["kind", "batch_size", "momentum"]
    assert space.defaults == {"kind": "a", "batch_size": 16}


def test_a_fit_that_cannot_be_rehearsed_leaves_a_note_and_the_space_of_the_build():
    def probe(hypermodel, hp, model):
        hp.Int("early", 1, 9)
        raise ValueError("needs more images")

    notes = []
    assert _names(_plain_if, name="m:b", probe_fit=probe, note=notes.append) == ["dropout", "early", "rate"]
    (note,) = notes
    assert note.startswith("note: hypermodel m:b: rehearsing its fit, on a few images without training, raised")
    assert "raised ValueError: needs more images; hyperparameters that it declares after that" in note


def test_a_fit_that_can_be_rehearsed_in_another_branch_is_rehearsed_there():
    def probe(hypermodel, hp, model):
        if not hp.get("dropout"):
            raise ValueError("not without")
        hp.Int("late", 1, 40)

    assert _names(_plain_if, probe_fit=probe) == ["dropout", "rate", "late"]


def _again_in_build(hp):
    hp.Int("units", 8, 64)
    hp.Int("units", 16, 128, step=16)


def _range_of_another(hp):
    deep = hp.Boolean("deep")
    hp.Float("rate", 0.0, 0.2 if deep else 0.5)


def _again_as_another_kind(hp):
    hp.Float("rate", 1e-4, 1e-2, sampling="log")
    hp.Choice("rate", [1e-4, 1e-2])


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (_again_in_build, "declares 'units' again with other values: Int of 8 to 64, then Int of 16 to 128, step 16; "),
        (_range_of_another, "declares 'rate' again with other values: Float of 0 to 0.5, then Float of 0 to 0.2; "),
        (_again_as_another_kind, "Float of 0.0001 to 0.01 (log), then Choice of 0.0001, 0.01; "),
    ],
)
def test_what_is_declared_again_with_other_values_is_noted_once(declare, said):
    notes = []
    _names(declare, name="m:b", note=notes.append)
    (note,) = notes
    assert note.startswith("note: hypermodel m:b declares '")
    assert said in note


def test_what_is_declared_again_in_another_scope_or_with_the_same_values_is_fine():
    def build(hp):
        hp.Choice("kind", ["a", "b"])
        for kind, most in (("a", 32), ("b", 64)):
            with hp.conditional_scope("kind", [kind]):
                hp.Int("units", 8, most)
        for _ in range(2):
            hp.Float("rate", 0.0, 0.5, default=0.1)
        hp.Float("rate", 0, 0.5)

    assert _names(build, note=pytest.fail) == ["kind", "units", "units", "rate"]


class _Own(GalaxyCNN):
    builds = 0

    def build(self, hp):
        type(self).builds += 1
        if hp.Boolean("wide"):
            hp.Int("width", 2, 99)
        return super().build(hp)


def test_a_subclass_may_declare_more_than_the_class_that_declares_everything():
    plain = discover_space(GalaxyCNN((24, 24, 3), 3)).names
    assert discover_space(_Own((24, 24, 3), 3)).names == [*plain, "wide", "width"]
    assert _Own.builds == 2  # the space of GalaxyCNN itself is not explored
