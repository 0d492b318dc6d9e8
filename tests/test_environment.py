"""What is recorded of sys.path, so that a resumed sweep finds the user's modules from another folder."""

import sys
from pathlib import Path

import numpy

from galaxy_exp.environment import add_import_paths, user_import_paths


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
