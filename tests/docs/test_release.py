"""The checks and changes of `.ci/release.py`, on a repository of its own; building is tried by `--dry-run`."""

from __future__ import annotations

import datetime
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, release: ModuleType) -> Path:
    """With the project's own files that name the version, committed."""
    (tmp_path / "docs").mkdir()
    for name in release.VERSION_LINES:
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n- new\n\n## [0.1.0]\n\n- old\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "all")
    return tmp_path


def test_a_release_that_can_be_made_is_accepted(release: ModuleType, repository: Path) -> None:
    release.check(repository, "9.9.9")


@pytest.mark.parametrize("version", ["1.0", "v1.0.0", "1.0.0rc1"])
def test_versions_have_three_numbers(release: ModuleType, repository: Path, version: str) -> None:
    with pytest.raises(release.ReleaseError, match="three numbers"):
        release.check(repository, version)


def test_uncommitted_changes_are_refused(release: ModuleType, repository: Path) -> None:
    (repository / "new.txt").touch()
    with pytest.raises(release.ReleaseError, match=r"uncommitted changes(.|\n)*new\.txt"):
        release.check(repository, "9.9.9")


def test_a_tag_is_made_once(release: ModuleType, repository: Path) -> None:
    git(repository, "tag", "v9.9.9")
    with pytest.raises(release.ReleaseError, match=r"v9\.9\.9 is tagged already"):
        release.check(repository, "9.9.9")


def test_a_release_without_a_changelog_is_refused(release: ModuleType, repository: Path) -> None:
    (repository / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [0.1.0]\n\n- old\n")
    git(repository, "commit", "--quiet", "-am", "nothing new")
    with pytest.raises(release.ReleaseError, match=r"CHANGELOG\.md: nothing below"):
        release.check(repository, "9.9.9")


def test_the_version_is_written_wherever_it_is_named(release: ModuleType, repository: Path) -> None:
    release.write_version(repository, "9.9.9", datetime.date(2030, 1, 2))
    for name in release.VERSION_LINES:
        assert "9.9.9" in (repository / name).read_text(encoding="utf-8")
    text = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.index("## [Unreleased]") < text.index("## [9.9.9] - 2030-01-02") < text.index("- new")


def test_a_refusal_is_one_line(release: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["next"]) == 1
    assert capsys.readouterr().err == "error: next: expected a version of three numbers, as 0.2.0\n"


def test_a_release_that_fails_leaves_the_files_as_they_were(
    release: ModuleType, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> list[Path]:
        assert "9.9.9" in (repository / "pyproject.toml").read_text(encoding="utf-8")
        raise release.ReleaseError("no network")

    monkeypatch.setattr(release, "ROOT", repository)
    monkeypatch.setattr(release, "build", fail)
    assert release.main(["9.9.9"]) == 1
    release.check(repository, "9.9.9")  # which refuses uncommitted changes
