"""The documentation's site: public names have their entries, pages are short, and nothing is loaded from elsewhere."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from doc_commands import FENCE, PAGES

from galaxy_exp.errors import GalaxyExpError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ENTRIES = {
    entry for page in DOCS.glob("api-*.md") for entry in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
}
PUBLIC = ("galaxy_exp", "galaxy_exp.config", "galaxy_exp.data", "galaxy_exp.data.simulated", "galaxy_exp.questions")
"""Modules all of whose public names users import; of `galaxy_exp.errors` they import the exceptions."""

LONG = {"cli.md": 1000, "sweep-file.md": 300}
"""References that are generated from the code: as long as they must be."""


def public_names() -> list[str]:
    names = [f"{module}.{name}" for module in PUBLIC for name in import_module(module).__all__]
    errors = import_module("galaxy_exp.errors")
    kinds = [name for name in errors.__all__ if inspect.isclass(getattr(errors, name))]
    return names + [f"galaxy_exp.errors.{name}" for name in kinds]


def home(name: str) -> object:
    """What a dotted name stands for."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_has_its_entry(name: str) -> None:
    described = {id(home(entry)) for entry in ENTRIES}
    assert name in ENTRIES or id(home(name)) in described, f"add `::: {name}` to a docs/api-*.md"


def test_what_the_pages_import_has_its_entry() -> None:
    blocks = [block for page in PAGES for language, block in FENCE.findall(page.read_text()) if language == "python"]
    imports = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    used = {f"{node.module}.{name.name}" for node in imports for name in node.names}
    assert {name for name in used if name.startswith("galaxy_exp.")} <= ENTRIES


@pytest.mark.parametrize("entry", sorted(ENTRIES))
def test_every_entry_has_a_docstring(entry: str) -> None:
    thing = home(entry)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert (inspect.getdoc(thing) or "").strip()


def test_every_exception_is_an_entry_of_the_errors() -> None:
    listed = [home(entry) for entry in ENTRIES if entry.startswith("galaxy_exp.errors.")]
    assert all(isinstance(kind, type) and issubclass(kind, GalaxyExpError) for kind in listed)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_a_page_is_short(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= LONG.get(page.name, 200)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.glob("*.html"))
    assert len(pages) > len(list(DOCS.glob("*.md")))
    loads = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?(https?:[^\"' >]+)")
    found = {address for page in pages for address in loads.findall(page.read_text(encoding="utf-8"))}
    assert found == set()


def test_entries_have_arguments_and_errors(site: Path) -> None:
    page = (site / "api-sweeps.html").read_text(encoding="utf-8")
    for word in ("galaxy_exp.run_sweep", "verbose", "SweepInterrupted", "max_trials"):
        assert word in page
