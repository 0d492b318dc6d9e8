import pytest

from galaxy_exp.errors import BadInputError
from galaxy_exp.folders import ProjectFolder


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


def test_an_empty_folder_says_how_to_begin(project):
    with pytest.raises(BadInputError, match="no sweeps here yet; start one with: galaxy-exp sweep"):
        project.find_sweep(None)


def test_the_home_can_be_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("GALAXY_EXP_HOME", str(tmp_path / "elsewhere"))
    assert ProjectFolder.default().path == tmp_path / "elsewhere"
