"""Makes a release: checks, builds, tries the wheel alone in an empty environment, and tags.

    python .ci/release.py 0.2.0
    python .ci/release.py 0.2.0 --dry-run      all but the change of files, the commit and the tag

Before it: CHANGELOG.md has what is new under "## [Unreleased]". The command writes the version into pyproject.toml,
CITATION.cff and docs/citing.md, dates the changelog's section, commits, and tags the commit v0.2.0. Nothing is pushed
or uploaded: the last line prints how. Needs network for installing packages.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNRELEASED = "## [Unreleased]"
VERSION_LINES = {
    "pyproject.toml": r'^version = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
    "docs/citing.md": r"^  version = \{(.+)\},$",
}
"""Files that name the version, and the line that does, with the version as its group."""


LEFT_OUT = ("PYTHONPATH", "GALAXY_EXP_HOME", "MLFLOW_TRACKING_URI")
"""Variables with which the wheel would use the sources, or another folder or store."""


class ReleaseError(Exception):
    """The release cannot be made; the message says why and what to do."""


def main(arguments: list[str]) -> int:
    """Makes the release; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="as 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="change no file, make no commit and no tag")
    parsed = parser.parse_args(arguments)
    try:
        check(ROOT, parsed.version)
        if parsed.dry_run:
            build_and_try(keeping=False)
        else:
            make(parsed.version)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make(version: str) -> None:
    """Writes the version, builds and tags; if that fails, the files are as before."""
    try:
        write_version(ROOT, version, datetime.date.today())
        build_and_try(keeping=True)
        tag(version)
    except BaseException:
        _git(ROOT, "checkout", "--quiet", "--", *VERSION_LINES, "CHANGELOG.md")
        raise


def build_and_try(keeping: bool) -> None:
    """Builds sdist and wheel, and tries the wheel; `keeping` copies both into dist/."""
    with tempfile.TemporaryDirectory() as folder:
        built = build(Path(folder))
        try_wheel(next(path for path in built if path.suffix == ".whl"), Path(folder))
        if keeping:
            keep(built)


def check(root: Path, version: str) -> None:
    """Raises ReleaseError unless the tree is clean, the tag is new and the changelog has something to release."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f"{version}: expected a version of three numbers, as 0.2.0")
    changed = _git(root, "status", "--porcelain")
    if changed:
        raise ReleaseError(f"uncommitted changes, commit or stash them first:\n{changed}")
    if _git(root, "tag", "--list", f"v{version}"):
        raise ReleaseError(f"v{version} is tagged already")
    if not unreleased(root).strip():
        raise ReleaseError(f"CHANGELOG.md: nothing below {UNRELEASED}; describe the release there")
    for name, pattern in VERSION_LINES.items():
        if len(re.findall(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)) != 1:
            raise ReleaseError(f"{name}: expected one line with the version, {pattern}")


def unreleased(root: Path) -> str:
    """What the changelog says of the next release."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if UNRELEASED not in text:
        return ""
    return text.split(UNRELEASED, 1)[1].split("\n## [", 1)[0]


def write_version(root: Path, version: str, date: datetime.date) -> None:
    """Writes the version where it is named, and dates the changelog's section."""
    for name, pattern in VERSION_LINES.items():
        path = root / name
        text = path.read_text(encoding="utf-8")
        (found,) = re.finditer(pattern, text, re.MULTILINE)
        path.write_text(text[: found.start(1)] + version + text[found.end(1) :], encoding="utf-8")
    path = root / "CHANGELOG.md"
    heading = f"{UNRELEASED}\n\n## [{version}] - {date.isoformat()}"
    path.write_text(path.read_text(encoding="utf-8").replace(UNRELEASED, heading, 1), encoding="utf-8")


def build(folder: Path) -> list[Path]:
    """The sdist, and the wheel that is made from it."""
    python = _environment(folder / "builder")
    _run([python, "-m", "pip", "install", "--quiet", "build>=1.2,<2"])
    _run([python, "-m", "build", "--outdir", str(folder / "dist"), str(ROOT)])
    return sorted((folder / "dist").iterdir())


def try_wheel(wheel: Path, folder: Path) -> None:
    """Installs the wheel in an empty environment and runs the quickstart from it, away from the sources."""
    python = _environment(folder / "user")
    _run([python, "-m", "pip", "install", "--quiet", str(wheel)])
    place = folder / "project"
    place.mkdir()
    for command in (["init"], ["sweep", "sweep.yaml"], ["models", "list"], ["report"]):
        _run([str(Path(python).with_name("galaxy-exp")), *command], place)


def keep(built: list[Path]) -> None:
    """Copies what was built into dist/."""
    (ROOT / "dist").mkdir(exist_ok=True)
    for path in built:
        (ROOT / "dist" / path.name).write_bytes(path.read_bytes())
        print(f"dist/{path.name}")


def tag(version: str) -> None:
    """Commits the files that name the version, and tags the commit."""
    _run(["git", "commit", "--quiet", "-m", f"Release {version}", "--", *VERSION_LINES, "CHANGELOG.md"])
    _run(["git", "tag", "--annotate", f"v{version}", "-m", f"galaxy_exp {version}"])
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    print(f"tagged v{built}; to publish it: git push --follow-tags, and twine upload dist/*")


def _environment(folder: Path) -> str:
    venv.create(folder, with_pip=True)
    return str(folder / "bin" / "python")


def _run(command: list[str], folder: Path = ROOT) -> None:
    print("$", " ".join(command), flush=True)
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    if subprocess.run(command, cwd=folder, env=environment).returncode:
        raise ReleaseError(f"failed: {' '.join(command)}")


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
