"""Every command and every piece of Python in the pages is one that exists: parsed here, run elsewhere.

Here each `galaxy-exp` line is parsed by click, its sweep file is loaded and the keys it sets are looked up; `mlflow`
lines are parsed by MLflow's own command line, and the options of `python` lines are looked for in the script. What is
run, and where, is in `test_run_commands.py`, whose first test has every command of the pages as one of its cases.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from doc_commands import FENCE, PAGES, ROOT, Line, of, parse

import galaxy_exp
from galaxy_exp.config import load_sweep
from galaxy_exp.config.reading import parse_overrides


@pytest.mark.parametrize("line", of("galaxy-exp"), ids=str)
def test_command_of_galaxy_exp_exists_and_so_do_its_options_and_keys(line: Line) -> None:
    given = parse(line).params
    parse_overrides(given.get("overrides") or ())
    file = given.get("file")
    if file is not None and file.name not in ("FILE", "sweep.yaml"):  # sweep.yaml is what init writes
        shown = [block for block in yaml_blocks(line.page) if block.get("name") == file.stem]
        if not shown:
            assert load_sweep(ROOT / file, given["overrides"]).name == file.stem


def yaml_blocks(page: str) -> list[dict[str, object]]:
    path = next(path for path in PAGES if path.name == page)
    blocks = FENCE.findall(path.read_text(encoding="utf-8"))
    return [yaml.safe_load(block) for language, block in blocks if language == "yaml"]


def test_what_does_not_exist_is_noticed() -> None:
    with pytest.raises(click.UsageError, match="No such option"):
        parse(Line("", "galaxy-exp trials --frobnicate", whole=False))
    with pytest.raises(click.UsageError, match="Missing"):
        parse(Line("", "galaxy-exp predict --calibrated", whole=True))
    with pytest.raises(AssertionError, match="no command"):
        parse(Line("", "galaxy-exp frobnicate", whole=False))


def test_all_pages_with_commands_are_read() -> None:
    assert {"README.md", "cli.md", "models.md", "tutorial.md"} <= {line.page for line in of("galaxy-exp")}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_examples_of_set_name_keys_that_exist(path: Path) -> None:
    examples = re.findall(r"--set\s+([\w.]+=[\w.+-]*\w)", path.read_text(encoding="utf-8"))
    parse_overrides([example for example in examples if "key" not in example.lower()])


@pytest.mark.parametrize("line", of("mlflow"), ids=str)
def test_command_of_mlflow_exists(line: Line) -> None:
    from mlflow.cli import cli as mlflow_cli

    parse(line, mlflow_cli)


@pytest.mark.parametrize("line", of("python"), ids=str)
def test_script_exists_and_so_do_its_options(line: Line) -> None:
    is_module = line.words[1] == "-m"
    source = (ROOT / (f"{line.words[2]}/__main__.py" if is_module else line.words[1])).read_text(encoding="utf-8")
    helpers = re.findall(r"^from (benchmarks\.\w+) import", source, re.MULTILINE)
    source += "".join((ROOT / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8") for name in helpers)
    options = [word.removeprefix("--") for word in line.words[2:] if word.startswith("--")]
    unknown = [name for name in options if f'"--{name}"' not in source and f'"{name.replace("-", "_")}"' not in source]
    assert unknown == []


def python_blocks() -> Iterator[object]:
    for path in PAGES:
        blocks = [block for language, block in FENCE.findall(path.read_text(encoding="utf-8")) if language == "python"]
        for number, block in enumerate(blocks, start=1):
            yield pytest.param(block, id=f"{path.name}-{number}")


@pytest.mark.parametrize("code", list(python_blocks()))
def test_python_compiles_and_its_names_of_galaxy_exp_exist(code: str) -> None:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "galaxy_exp":
            module = importlib.import_module(node.module or "")
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "galaxy_exp":
            assert node.attr in galaxy_exp.__all__
