import multiprocessing
import os

import pytest

from galaxy_exp.errors import BadInputError
from galaxy_exp.folders import ProjectFolder, open_locked, take_lock, write_atomically


@pytest.fixture
def project(tmp_path):
    return ProjectFolder(tmp_path)


def make_sweep(project, name, now):
    folder = project.new_sweep(name, now)
    (folder.path / "journal.jsonl").write_text(f'{{"time": {now}}}\n')
    return folder.sweep_id


def test_two_sweeps_in_the_same_second_get_different_names(project):
    first, second = make_sweep(project, "a", 1e9), make_sweep(project, "a", 1e9)
    assert second == f"{first}-2"


def test_a_sweep_is_found_by_id_by_beginning_and_as_the_newest(project):
    newer, older = make_sweep(project, "a", 2e9), make_sweep(project, "b", 1e9)
    assert project.find_sweep(older).sweep_id == older
    assert project.find_sweep("b-").sweep_id == older
    assert project.find_sweep(None).sweep_id == newer
    assert project.find_sweep("latest").sweep_id == newer


def test_an_unknown_sweep_is_refused_with_the_known_ones(project):
    known = make_sweep(project, "a", 1e9)
    with pytest.raises(BadInputError, match=rf'no sweep is called "x"; the newest in .*: {known}'):
        project.find_sweep("x")


@pytest.mark.parametrize("odd", ["current", "project"])
def test_a_name_that_the_journal_cannot_hold_is_refused(project, tmp_path, monkeypatch, odd):
    folder = tmp_path / os.fsdecode(b"gal" + bytes([233]) + b"xies")
    folder.mkdir()
    if odd == "current":
        monkeypatch.chdir(folder)
    with pytest.raises(BadInputError, match=r": the name is not UTF-8, and the journal could not hold it; rename it,"):
        (ProjectFolder(folder) if odd == "project" else project).new_sweep("a")


def test_an_empty_folder_says_how_to_begin(project):
    with pytest.raises(BadInputError, match="no sweeps here yet; start one with: galaxy-exp init"):
        project.find_sweep(None)


def test_the_home_can_be_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GALAXY_EXP_HOME", "~/mine")
    assert ProjectFolder.default().path == (tmp_path / "mine").resolve()
    monkeypatch.setenv("GALAXY_EXP_HOME", str(tmp_path / "elsewhere"))
    assert ProjectFolder.default().path == tmp_path / "elsewhere"


class TestWriteAtomically:
    def test_a_failed_write_leaves_the_older_file_and_nothing_else(self, tmp_path):
        path = tmp_path / "new" / "x.txt"
        write_atomically(path, lambda temporary: temporary.write_text("old"))

        def fail(temporary):
            temporary.write_text("half")
            raise OSError("no space")

        with pytest.raises(OSError, match="no space"):
            write_atomically(path, fail)
        assert [(each.name, each.read_text()) for each in path.parent.iterdir()] == [("x.txt", "old")]

    def test_a_sole_writer_removes_what_a_killed_one_left(self, tmp_path):
        path, other = tmp_path / "x.npy", tmp_path / ".0a.y.npy"

        def die(temporary):
            temporary.write_text("half")
            os._exit(9)

        killed = multiprocessing.get_context("fork").Process(target=write_atomically, args=(path, die))
        killed.start()
        killed.join()
        other.write_text("of another file")
        (left,) = (each for each in tmp_path.iterdir() if each != other)
        write_atomically(path, lambda temporary: temporary.write_text("new"))
        assert left.exists()
        write_atomically(path, lambda temporary: temporary.write_text("new"), sole_writer=True)
        assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
            "x.npy": "new",
            ".0a.y.npy": "of another file",
        }

    def test_a_folder_that_is_there_is_not_replaced(self, tmp_path):
        def write(temporary):
            temporary.mkdir()
            (temporary / "a").touch()

        write_atomically(tmp_path / "folder", write)
        with pytest.raises(OSError, match="not empty"):
            write_atomically(tmp_path / "folder", write)
        assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_one_process_has_a_lock_until_it_closes_the_file(tmp_path):
    path = tmp_path / "x"
    with open_locked(path) as file:
        file.write(b"1")
        with path.open("rb") as other:
            assert not take_lock(other, shared=True)
        with pytest.raises(BlockingIOError, match="another process has locked it"), open_locked(path):
            pass
    with path.open("rb") as first, path.open("rb") as second:
        assert take_lock(first, shared=True)
        assert take_lock(second, shared=True)
