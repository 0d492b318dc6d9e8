from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from galaxy_exp.cli.main import cli

ROOT = Path(__file__).parents[2]

RENEW = "run: python docs/generate.py"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["sweep-file.md", "cli.md", "goals.md"])
def test_page_is_current(generate: ModuleType, page: str) -> None:
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == generate.PAGES[page](), RENEW


def test_no_option_is_broken_across_lines() -> None:
    assert re.findall(r"--[a-z-]+-\n", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("group", ["", "models", "data", "encoders", "tell latest"])
def test_no_line_about_a_command_is_cut_off_on_80_columns(group: str) -> None:
    shown = CliRunner().invoke(cli, [*group.split(), "--help"], env={"COLUMNS": "80"}).output
    assert "Commands:" in shown
    assert re.findall(r"^  .*\.\.\.$", shown, re.MULTILINE) == []


def test_all_generated_pages_are_tested(generate: ModuleType) -> None:
    assert set(generate.PAGES) == {"sweep-file.md", "cli.md", "goals.md"}


def test_check_tells_a_stale_page(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    monkeypatch.setattr(generate, "PAGES", {"one.md": lambda: "new\n"})
    (tmp_path / "one.md").write_text("old\n")
    assert generate.main(["--check"]) == 1
    assert "one.md" in capsys.readouterr().err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


@pytest.mark.parametrize(
    "page", [path.relative_to(ROOT).as_posix() for folder in (ROOT, ROOT / "docs") for path in folder.glob("*.md")]
)
def test_links_within_the_project_lead_somewhere(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_files_named_in_the_architecture_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:galaxy_exp/|tests/)?[a-z_]+(?:/[a-z_]+)*\.py)`", text))
    assert len(named) > 8
    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT / "galaxy_exp" / name).exists()]
    assert missing == []


def test_constraints_name_exact_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_]+", line)] == []
    assert not any(line.lower().startswith(("galaxy-exp", "galaxy_exp")) for line in pins)


def test_constraints_pin_every_requirement() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [requirement for group in project["optional-dependencies"].values() for requirement in group]
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in [*project["dependencies"], *extras]}  # type: ignore[index]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {_normal(line.split("==")[0]) for line in lines if "==" in line}
    missing = {_normal(name) for name in names} - pinned - {"galaxy-exp"}
    assert missing == set(), "renew constraints.txt; its first lines say how"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
