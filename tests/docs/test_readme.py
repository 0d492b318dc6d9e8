"""What the README promises, and the pages that have what it once had; commands are checked in test_commands.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from doc_commands import fenced as docs_fenced
from doc_commands import of

from galaxy_exp.cli.main import cli
from galaxy_exp.config import load_sweep

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_LINES = (
    "pip install -e . && galaxy-exp sweep sweeps/quickstart.yaml",
    "pip install -e '.[test]' && pytest",
)


BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def fenced(language: str) -> list[str]:
    return [block for name, block in BLOCKS if name == language]


def test_the_two_commands_come_first() -> None:
    assert fenced("")[0].splitlines() == list(FIRST_LINES)


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 100


def test_every_command_is_on_a_page_beside_its_help() -> None:
    words = {line.words[1] for line in of("galaxy-exp") if line.page != "cli.md"}
    assert set(cli.list_commands(click.Context(cli))) <= words


def test_the_output_shown_is_that_of_the_quickstart_page() -> None:
    (shown,) = fenced("text")
    assert shown in (DOCS / "quickstart.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_its_python_runs_as_pasted(tmp_path: Path) -> None:
    (code,) = fenced("python")
    quick = {"n_images: 1200, image_size: 69": "n_images: 150, image_size: 24", "epochs: 8": "epochs: 1"}
    quick |= {"max_trials: 6": "max_trials: 1", "finalists: 2": "finalists: 0", "first_rung: 4": "first_rung: 1"}
    sweep_file = (ROOT / "sweeps" / "quickstart.yaml").read_text(encoding="utf-8")
    for shown, smaller in quick.items():
        assert shown in sweep_file
        sweep_file = sweep_file.replace(shown, smaller)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "quickstart.yaml").write_text(sweep_file, encoding="utf-8")
    command, environment = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "macro_f1" in done.stdout
    assert "[" in done.stdout.splitlines()[-1]


def test_the_example_of_a_sweep_file_is_valid(tmp_path: Path) -> None:
    (block,) = docs_fenced("sweep-file.md", "yaml")
    path = tmp_path / "example.yaml"
    path.write_text(block, encoding="utf-8")
    assert load_sweep(path).name == "mine"


def test_promotion_table_is_that_of_the_code() -> None:
    from galaxy_exp.registry import promotion

    def champions(text: str) -> list[str]:
        table = text[text.index("| the champion |") :].split("\n\n")[0].splitlines()[2:]
        return [row.split("|")[1].strip() for row in table if row.startswith("|")]

    page = (DOCS / "promotion.md").read_text(encoding="utf-8")
    assert champions(page) == champions(promotion.__doc__ or "")


def test_exit_codes_are_those_of_the_code() -> None:
    from galaxy_exp import errors

    public = [getattr(errors, name) for name in errors.__all__]
    kinds = [kind for kind in public if isinstance(kind, type) and issubclass(kind, errors.GalaxyExpError)]
    page = (DOCS / "environment.md").read_text(encoding="utf-8")
    known = {0, *(kind.exit_code for kind in kinds)}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE)} == known
