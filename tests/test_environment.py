"""What is recorded of sys.path, so that a resumed sweep finds the user's modules from another folder."""

import sys
from pathlib import Path

import numpy
import pytest

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.data.sources.user_source import load_user_source
from galaxy_exp.environment import add_import_paths, user_import_paths
from galaxy_exp.errors import BadInputError
from galaxy_exp.hypermodel import load_hypermodel
from galaxy_exp.search.user_classes import load_class


def test_the_user_s_folders_and_not_the_installation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gone = tmp_path / "gone"
    installed = str(Path(numpy.__file__).parents[1])
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "mine" / ".."), str(gone), installed, *sys.path])
    (tmp_path / "mine").mkdir()
    assert user_import_paths()[0] == str(tmp_path)
    assert user_import_paths().count(str(tmp_path)) == 1
    assert not {installed, str(gone)} & set(user_import_paths())
    assert not any("lib-dynload" in path for path in user_import_paths())


def test_added_behind_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), "elsewhere"])
    add_import_paths([str(tmp_path), "/new"])
    assert sys.path == [str(tmp_path), "elsewhere", "/new"]


@pytest.mark.parametrize(
    "load",
    [
        lambda name: load_hypermodel(name, (8, 8, 3), 2),
        lambda name: load_class("search.sampler", name),
        lambda name: load_user_source(DataConfig(source=name)),
    ],
)
def test_a_script_that_names_what_it_defines_begins_no_further_sweep(tmp_path, monkeypatch, load):
    (tmp_path / "calls_itself.py").write_text("import galaxy_exp\ngalaxy_exp.run_sweep({'name': 'again'})\n")
    monkeypatch.syspath_prepend(tmp_path)
    refused = r"run_sweep was called while calls_itself was imported for a sweep; expected the call under if __name__"
    with pytest.raises(BadInputError, match=refused):
        load("calls_itself:Mine")
