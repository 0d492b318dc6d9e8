"""The commands of README and docs as data, and what the tests do with each of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from galaxy_exp.cli.main import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
PROGRAMS = ("galaxy-exp", "python", "mlflow")


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


def _lines() -> Iterator[Line]:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for language, block in FENCE.findall(text):
            for line in block.splitlines() if language in ("", "bash", "sh") else ():
                shown = re.split(r"\s{2,}", line.strip())[0] if path.name == "cli.md" else line
                for command in split_line(shown):
                    yield Line(path.name, command, whole=True)
        for quoted in re.findall(r"`([^`]+)`", FENCE.sub("", text)):
            yield Line(path.name, " ".join(quoted.split()), whole=False)


def split_line(line: str) -> Iterator[str]:
    """The commands between `&&`, `|` and `>`, without comments, `exec` and settings of environment variables."""
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
        elif command or not re.match(r"(export|exec|\w+=)", word):
            command.append(word)


FOUND = sorted({line for line in _lines() if line.text.split(" ")[0] in PROGRAMS and " " in line.text}, key=str)
"""Every command of the pages, once a page."""


def fenced(page: str, language: str) -> list[str]:
    """The code blocks of a page of docs in one language."""
    blocks = FENCE.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    return [block for found, block in blocks if found == language]


def of(program: str) -> list[Line]:
    """Those that call one program."""
    return [line for line in FOUND if line.text.startswith(f"{program} ")]


def parse(line: Line, root: click.Command = cli) -> click.Context:
    """The context of the command a line calls, with its arguments parsed by click but not run."""
    command, arguments = root, line.words[1:]
    context = click.Context(root, info_name=line.words[0], **root.context_settings)
    while isinstance(command, click.Group) and arguments:
        del arguments[: sum(isinstance(each, click.Argument) for each in command.params)]
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
