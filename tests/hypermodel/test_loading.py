import calendar
import functools
import hashlib
import sys
import types

import keras
import keras_tuner
import pytest

from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel import GalaxyCNN, load_hypermodel
from galaxy_exp.hypermodel.loading import digest_source


class WithShape(keras_tuner.HyperModel):
    def __init__(self, image_shape, n_classes, depth=2):
        super().__init__()
        self.given = (image_shape, n_classes, depth)

    def build(self, hp):
        return "network"


class WithoutArguments(keras_tuner.HyperModel):
    def build(self, hp):
        return "network"


class Demanding(keras_tuner.HyperModel):
    def __init__(self, secret):
        super().__init__()


def build(hp, n_classes):
    return ("network", hp, n_classes)


@pytest.fixture(autouse=True)
def user_module(monkeypatch):
    module = types.ModuleType("user_models")
    module.__dict__.update(
        WithShape=WithShape,
        WithoutArguments=WithoutArguments,
        Demanding=Demanding,
        build=build,
        instance=WithoutArguments(),
        number=3,
    )
    monkeypatch.setitem(sys.modules, "user_models", module)
    return module


def _load(reference):
    return load_hypermodel(reference, [24, 24, 3], 4)


def test_the_built_in_one_has_a_name():
    hypermodel = _load("galaxy-cnn")
    assert isinstance(hypermodel, GalaxyCNN)
    assert (hypermodel.image_shape, hypermodel.n_classes) == ((24, 24, 3), 4)


def test_a_class_gets_what_its_constructor_takes():
    assert _load("user_models:WithShape").given == ((24, 24, 3), 4, 2)
    assert isinstance(_load("user_models:WithoutArguments"), WithoutArguments)


def test_an_instance_is_taken_as_it_is(user_module):
    assert _load("user_models:instance") is user_module.instance


def test_the_file_that_defines_a_hypermodel_is_the_user_s(tmp_path, monkeypatch):
    """Also that of an instance of a class from a library."""
    module = tmp_path / "nets_of_a_user.py"
    monkeypatch.syspath_prepend(tmp_path)
    made = "keras_tuner.applications.HyperXception(input_shape=(72, 72, 3), classes=3)"
    text = f"import keras_tuner\nnet = {made}\ndef build(hp): pass\n"
    module.write_text(text)
    before = {digest_source(f"nets_of_a_user:{name}") for name in ("net", "build")}
    assert before == {hashlib.sha256(text.encode()).hexdigest()}
    module.write_text(f"{text}# edited\n")
    assert digest_source("nets_of_a_user:net") not in before
    assert digest_source("galaxy-cnn") == ""


def test_a_network_itself_is_no_hypermodel(user_module):
    user_module.network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    with pytest.raises(ConfigError, match=r"network is of type Sequential; expected .*, or a function build\(hp\)"):
        _load("user_models:network")


def test_a_subclass_may_pass_on_what_it_gets(user_module):
    class Own(GalaxyCNN):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    user_module.Own = Own
    loaded, plain = _load("user_models:Own"), _load("galaxy-cnn")
    assert (loaded.image_shape, loaded.n_classes) == (plain.image_shape, plain.n_classes)


def test_an_instance_of_galaxy_cnn_for_other_data_is_refused(user_module):
    user_module.other = GalaxyCNN((9, 9, 3), 7)
    with pytest.raises(ConfigError, match=r"is made for images of \(9, 9, 3\) in 7 classes, and the data has \("):
        _load("user_models:other")


def test_a_build_function_becomes_a_hypermodel():
    hypermodel = _load("user_models:build")
    assert isinstance(hypermodel, keras_tuner.HyperModel)
    assert hypermodel.build("hp") == ("network", "hp", 4)


class Builder:
    def __call__(self, hp, n_classes):
        return build(hp, n_classes)


@pytest.mark.parametrize(
    "made", [functools.partial(build), functools.partial(build, n_classes=4), Builder(), Builder().__call__]
)
def test_any_callable_builds(made, user_module):
    user_module.made = made
    assert _load("user_models:made").build("hp") == ("network", "hp", 4)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("galaxy-cn", "hypermodel: no hypermodel is called 'galaxy-cn'; did you mean \"galaxy-cnn\"? known:"),
        ("resnet", "hypermodel: no hypermodel is called 'resnet'; known: galaxy-cnn, or package.module:ClassName"),
        ("no_such_module:X", "hypermodel: no_such_module:X: cannot import no_such_module: ModuleNotFoundError: "),
        ("user_models:WithShap", 'hypermodel: module user_models has no attribute WithShap; did you mean "WithShape"?'),
        ("calendar:plain", f"hypermodel: module calendar ({calendar.__file__}) has no attribute plain"),
        ("user_models:number", "hypermodel: user_models:number is of type int; expected a keras_tuner.Hyper"),
        ("user_models:Demanding", "hypermodel: user_models:Demanding() raised TypeError: "),
    ],
)  # fmt: skip
def test_mistakes_are_named_in_one_line(reference, message):
    with pytest.raises(ConfigError) as caught:
        _load(reference)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_module_that_ends_the_program(tmp_path, monkeypatch):
    (tmp_path / "model_that_exits.py").write_text("import argparse\n\nargparse.ArgumentParser().error('no file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot import model_that_exits: SystemExit: 2 \(from sys.exit or"):
        _load("model_that_exits:build")
