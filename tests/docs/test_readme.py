"""What the README promises beyond its commands, which are checked in test_commands.py with those of all pages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from galaxy_exp.cli.main import cli
from galaxy_exp.config import load_sweep

ROOT = Path(__file__).parents[2]

README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_LINES = (
    "pip install -e . && galaxy-exp sweep sweeps/quickstart.yaml",
    "pip install -e '.[test]' && pytest",
)


BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def fenced(language: str) -> list[str]:
    return [block for name, block in BLOCKS if name == language]


def commands() -> Iterator[str]:
    """The lines of the code blocks without a language, and what stands in backticks in the text."""
    for block in fenced(""):
        for line in block.splitlines():
            yield from line.split(" && ")
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE))


GALAXY_EXP = sorted({line for line in commands() if line.startswith("galaxy-exp ")})


def test_the_two_commands_come_first() -> None:
    assert fenced("")[0].splitlines() == list(FIRST_LINES)


def test_every_command_of_a_sweep_is_in_the_readme() -> None:
    words = {shlex.split(line, comments=True)[1] for line in GALAXY_EXP}
    assert set(cli.list_commands(click.Context(cli))) <= words


def test_there_is_python_to_compile() -> None:
    assert len(fenced("python")) >= 2


@pytest.mark.parametrize("block", fenced("yaml"))
def test_sweep_file_example_is_valid(block: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(block, encoding="utf-8")
    assert load_sweep(path).name == "mine"


def test_promotion_table_is_that_of_the_code() -> None:
    from galaxy_exp.registry import promotion

    def champions(text: str) -> list[str]:
        table = text[text.index("| the champion |") :].split("\n\n")[0].splitlines()[2:]
        return [row.split("|")[1].strip() for row in table if row.startswith("|")]

    assert champions(README) == champions(promotion.__doc__ or "")


def test_exit_codes_are_those_of_the_code() -> None:
    from galaxy_exp import errors

    public = [getattr(errors, name) for name in errors.__all__]
    kinds = [kind for kind in public if isinstance(kind, type) and issubclass(kind, errors.GalaxyExpError)]
    known = {0, *(kind.exit_code for kind in kinds)}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", README, flags=re.MULTILINE)} == known
