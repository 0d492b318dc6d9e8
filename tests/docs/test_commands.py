"""Every command and every piece of Python in the pages is one that exists; what is quick is run on a finished sweep."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

import galaxy_exp
from galaxy_exp.cli.main import cli
from galaxy_exp.config import load_sweep
from galaxy_exp.config.reading import parse_overrides

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
PROGRAMS = ("galaxy-exp", "python", "mlflow")

RUN = (
    "galaxy-exp list",
    "galaxy-exp show",
    "galaxy-exp trials",
    "galaxy-exp trials --format csv",
    "galaxy-exp report",
    "galaxy-exp models list",
    "galaxy-exp models show galaxy10-cnn",
    "galaxy-exp models history galaxy10-cnn",
    "galaxy-exp data list",
    "galaxy-exp doctor",
)
"""Commands of the pages that are quick and train nothing."""


@dataclass(frozen=True)
class Line:
    """One command as a page has it."""

    page: str
    text: str
    whole: bool
    """False for one in running text, which may leave arguments out."""

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def lines() -> Iterator[Line]:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for language, block in FENCE.findall(text):
            for line in block.splitlines() if language in ("", "bash", "sh") else ():
                shown = re.split(r"\s{2,}", line.strip())[0] if path.name == "cli.md" else line
                for command in _split(shown):
                    yield Line(path.name, command, whole=True)
        for quoted in re.findall(r"`([^`]+)`", FENCE.sub("", text)):
            yield Line(path.name, " ".join(quoted.split()), whole=False)


def _split(line: str) -> Iterator[str]:
    """The commands between `&&`, `|` and `>`, without comments and settings of environment variables."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:  # not a shell line
        return
    command: list[str] = []
    for word in [*words, "&&"]:
        if word in ("&&", "|", ">", "&", ";"):
            yield shlex.join(command)
            command = []
        elif command or not re.match(r"(export|\w+=)", word):
            command.append(word)


FOUND = sorted({line for line in lines() if line.text.split(" ")[0] in PROGRAMS and " " in line.text}, key=str)


def of(program: str) -> list[Line]:
    return [line for line in FOUND if line.text.startswith(f"{program} ")]


def parse(line: Line, root: click.Command = cli) -> click.Context:
    """The context of the command a line calls, with its arguments parsed by click but not run."""
    command, arguments = root, line.words[1:]
    context = click.Context(root, info_name=line.words[0], **root.context_settings)
    while isinstance(command, click.Group) and arguments:
        name = arguments.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"no command {name} in {line}"
        command, context = found, click.Context(found, parent=context, info_name=name, **found.context_settings)
    try:
        command.parse_args(context, arguments)
    except click.MissingParameter:
        if line.whole:
            raise
    return context


@pytest.mark.parametrize("line", of("galaxy-exp"), ids=str)
def test_command_of_galaxy_exp_exists_and_so_do_its_options_and_keys(line: Line) -> None:
    given = parse(line).params
    parse_overrides(given.get("overrides") or ())
    file = given.get("file")
    if file is not None and file.name != "FILE":
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
    source = (ROOT / line.words[1]).read_text(encoding="utf-8")
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


@pytest.mark.slow
def test_quick_commands_run_on_a_finished_sweep(finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = finished.copy_to(tmp_path / "project")
    monkeypatch.chdir(project.path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("GALAXY_EXP_HOME", raising=False)
    shown = {line.text for line in of("galaxy-exp")}
    assert set(RUN) <= shown, "in no page any more"
    for command in RUN:
        words = [word.replace("galaxy10-cnn", "tiny-model") for word in shlex.split(command)[1:]]
        done = CliRunner().invoke(cli, words, catch_exceptions=False)
        assert done.exit_code == 0, f"{command}\n{done.output}"
        assert done.stdout.strip(), command
    assert list(project.path.glob("tiny-*.html"))
