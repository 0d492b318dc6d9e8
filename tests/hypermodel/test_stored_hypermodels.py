"""Hypermodels given as objects: by name where they can be imported, else in the sweep's folder."""

import functools
import sys

import keras
import keras_tuner
import pytest
import toys

from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel import GalaxyCNN, load_hypermodel
from galaxy_exp.hypermodel.loading import digest_source, is_same_hypermodel, locate_hypermodel, store_hypermodel


def tiny_network(hp, n_classes):
    units = hp.Choice("units", [2, 3])
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(units)])
    model.add(keras.layers.Dense(n_classes, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def local_class():
    class Local(keras_tuner.HyperModel):
        """Not to be imported, as a class of a notebook is not."""

        def __init__(self, n_classes=2):
            super().__init__()
            self.n_classes = n_classes

        def build(self, hp):
            return tiny_network(hp, self.n_classes)

    return Local


@pytest.mark.parametrize(
    ("hypermodel", "reference"),
    [
        (toys.TinyHyperModel, "toys:TinyHyperModel"),
        (GalaxyCNN, "galaxy-cnn"),
        (tiny_network, f"{__name__}:tiny_network"),
        ("mine:Model", "mine:Model"),
    ],
)
def test_what_can_be_imported_goes_by_its_name(tmp_path, hypermodel, reference):
    assert store_hypermodel(hypermodel, tmp_path) == reference
    assert locate_hypermodel(reference, tmp_path) == reference
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("hypermodel", "name", "outputs"),
    [
        (local_class(), "Local", 5),
        (local_class()(4), "Local", 4),
        (lambda hp, n_classes: tiny_network(hp, n_classes), "<lambda>", 5),
        (toys.TinyHyperModel((8, 8, 3), 3), "TinyHyperModel", 3),
    ],
)
def test_what_cannot_is_kept_in_the_folder(tmp_path, hypermodel, name, outputs):
    reference = store_hypermodel(hypermodel, tmp_path)
    assert reference == f"pickled:{name}"
    loaded = load_hypermodel(locate_hypermodel(reference, tmp_path), (8, 8, 3), 5)
    assert loaded.build(keras_tuner.HyperParameters()).output_shape == (None, outputs)


def test_a_pickle_is_read_from_the_sweep_s_folder_only(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    store_hypermodel(local_class(), elsewhere)
    with pytest.raises(ConfigError, match=r"pickled:.*elsewhere.*was given to run_sweep as an object, and is found in"):
        locate_hypermodel(f"pickled:{elsewhere / 'hypermodel.pkl'}", tmp_path)


def test_what_cannot_be_pickled_is_named(tmp_path):
    hypermodel = local_class()()
    hypermodel.file = (tmp_path / "open").open("w")
    with hypermodel.file, pytest.raises(ConfigError, match=r"^hypermodel: Local cannot be sent to a worker process: "):
        store_hypermodel(hypermodel, tmp_path)


def test_a_damaged_pickle_is_named(tmp_path):
    (tmp_path / "hypermodel.pkl").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"^hypermodel: .*hypermodel\.pkl cannot be loaded: "):
        load_hypermodel(locate_hypermodel("pickled:Local", tmp_path), (8, 8, 3), 5)


def test_other_kinds_of_objects_are_refused_when_they_are_loaded(tmp_path):
    with pytest.raises(ConfigError, match=r"is of type int; expected a keras_tuner.HyperModel"):
        load_hypermodel(locate_hypermodel(store_hypermodel(3, tmp_path), tmp_path), (8, 8, 3), 5)


@pytest.mark.parametrize(
    ("reference", "contents", "same"),
    [
        ("pickled:Mine", (b"1", b"1"), True),
        ("pickled:Mine", (b"1", b"2"), False),
        ("pickled:Mine", (None, b"1"), False),
        ("package.module:Mine", (None, None), True),
    ],
)
def test_a_pickled_one_is_the_same_if_its_file_is(tmp_path, reference, contents, same):
    folders = tmp_path / "one", tmp_path / "two"
    for folder, content in zip(folders, contents, strict=True):
        folder.mkdir()
        if content is not None:
            (folder / "hypermodel.pkl").write_bytes(content)
    assert is_same_hypermodel(reference, *folders) == same


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("galaxy_exp.hypermodel.losses", "build_loss"),
        ("galaxy_exp.hypermodel.export", "to_inference_model"),
        ("galaxy_exp.hypermodel.class_balance", "class_weights"),
        ("galaxy_exp.hypermodel.class_weights", "class_weights"),
        ("galaxy_exp.hypermodel.sampling", "draw_balanced"),
        ("galaxy_exp.metrics", "macro_f1"),
    ],
)
def test_what_an_earlier_release_pickled_from_a_module_that_has_moved_is_found(tmp_path, module, name):
    file = tmp_path / "hypermodel.pkl"
    file.write_bytes(f"c{module}\n{name}\n.".encode())  # pickle's opcode for a global, and the end
    assert load_hypermodel(f"pickled:{file}", (8, 8, 3), 3).name == name


@pytest.mark.parametrize("made", ["helper.Net(3)", "functools.partial(helper.build, width=2)", "uses_it"])
def test_what_a_pickled_one_imports_from_the_user_s_modules_is_noticed_when_it_changes(tmp_path, monkeypatch, made):
    module = tmp_path / "helper.py"
    text = "class Net:\n    def __init__(self, n): self.n = n\ndef build(hp, width): pass\n"
    module.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    names = {"functools": functools}
    exec("import helper\ndef uses_it(hp): return helper.build(hp, 2)\n", names)  # as a cell of a notebook
    reference = locate_hypermodel(store_hypermodel(eval(made, names), tmp_path), tmp_path)
    before = digest_source(reference)
    assert before == digest_source(reference) != ""
    module.write_text(f"{text}# edited\n")
    assert digest_source(reference) != before


def test_a_pickled_one_of_installed_modules_alone_has_no_source(tmp_path):
    hypermodel = keras_tuner.applications.HyperXception(input_shape=(72, 72, 3), classes=3)
    assert digest_source(locate_hypermodel(store_hypermodel(hypermodel, tmp_path), tmp_path)) == ""


def test_a_class_of_a_notebook_is_stored_with_its_globals_as_they_are_now(tmp_path):
    """Though it was stored and loaded in this process before; and it is left as it was."""
    cells = {"__name__": "__main__", "keras_tuner": keras_tuner, "WIDTH": 8}
    exec("class Net(keras_tuner.HyperModel):\n    def build(self, hp):\n        return WIDTH", cells)
    folders = [tmp_path / name for name in ("first", "again", "changed")]
    found = []
    for folder, width in zip(folders, (8, 8, 32), strict=True):
        folder.mkdir()
        cells["WIDTH"] = width
        reference = store_hypermodel(cells["Net"], folder)
        loaded = load_hypermodel(locate_hypermodel(reference, folder), (8, 8, 3), 2)
        found.append((loaded.build(None), cells["Net"]().build(None)))
    assert found == [(8, 8), (8, 8), (32, 32)]
    assert is_same_hypermodel(reference, folders[0], folders[1])
    assert not is_same_hypermodel(reference, folders[0], folders[2])
