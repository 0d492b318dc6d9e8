"""Writes docs/sweep-file.md from the sweep file's schema, docs/cli.md from the commands' own help, and docs/goals.md
from docs/goals.json, which `python -m benchmarks --json docs/goals.json` writes.

python docs/generate.py            write all
python docs/generate.py --check    exit code 1 if one of them is not current
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from galaxy_exp.cli.main import cli
from galaxy_exp.config.sweep import PriorConfig, RangeSpace, SweepConfig, ValuesSpace

__all__ = ["PAGES", "build_cli_page", "build_goals_page", "build_sweep_file_page", "main"]

FOLDER = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py; do not edit. -->"
HELP_WIDTH = 90

MEANINGS = {
    "n_blocks": "blocks of convolution and pooling; with 1, the network has the two convolutions of astroNN's tutorial",
    "convs_per_block": "convolutions in each block",
    "width_growth": "factor from block to block after `filters_2`, up to 512 filters",
    "residual": "a further convolution after the pooling of each block, whose result is added to its input",
    "equivariant": "kernels that are applied in all eight flips and quarter turns; filters are rounded to a multiple "
    "of 8, and the head gets an eighth of them",
    "filters_1": "filters of the first convolution",
    "filters_2": "filters of the second convolution, from which later ones grow",
    "kernel_size": "side of the convolution kernels, in pixels",
    "batch_norm": "batch normalisation between convolution and activation",
    "dropout_1": "dropout after the convolutions",
    "head": "how the last feature maps become a vector: `flatten`, or `gap` (global average pooling)",
    "dense_width": "units of the dense layer; 0 leaves it out",
    "dropout_2": "dropout before the output layer",
    "augmentation": "random changes to training images",
    "learning_rate": "of the optimizer; SGD takes ten times this",
    "batch_size": "images in a training step",
    "optimizer": "`adam`, `adamw`, or `sgd` with Nesterov momentum 0.9",
    "weight_decay": "decoupled weight decay of AdamW",
    "schedule": "`constant`, or `cosine`: linear warm-up over 5% of the steps, then half a cosine down to 0",
    "label_smoothing": "share of a label that is spread over all classes",
    "class_weighting": "weight of an image by 1 / class size (`balanced`), its square root (`sqrt`), or none; "
    "`sampling` draws as many images an epoch as before, evenly from all classes",
}
"""What each hyperparameter of the built-in hypermodel does; a new one without a line here is an error."""


def build_sweep_file_page() -> str:
    """docs/sweep-file.md: every key of the sweep file, then the hyperparameters of the built-in hypermodel."""
    schema = SweepConfig.model_json_schema()
    lines = [NOTE, "", "# The sweep file", "", *_SWEEP_FILE_INTRODUCTION, "", *_sections(schema), *_space_lines()]
    return "\n".join(lines) + "\n"


_SWEEP_FILE_INTRODUCTION = [
    "A sweep file is YAML. Every key may be left out; unknown keys, repeated keys and values of the wrong kind are",
    "errors, reported one line each before anything is trained. `--set key.path=value` on the command line changes",
    "single keys, as in `--set search.max_trials=50`. Where a key takes text, the text is taken as it is typed:",
    '`--set "data.source=set #1.h5"`. Numbers, text and true/false are different kinds: `epochs: "20"`, with quotes,',
    "is an error.",
    "",
    "```yaml",
    "name: mine",
    "data:",
    "  source: galaxies.h5",
    "  split: {validation: 0.15, test: 0.15, seed: 7}",
    "space:                                       # what is not named here keeps its default range",
    "  filters_1: {values: [16, 32, 64]}          # one of these",
    "  dropout_2: {min: 0.1, max: 0.5, step: 0.1} # a range",
    "  learning_rate: {min: 5.0e-4, max: 5.0e-3, scale: log}",
    "  batch_norm: true                           # fixed",
    "training: {epochs: 40, precision: auto}",
    "search:",
    "  sampler: auto                              # or gp, tpe, random, grid, qmc, cmaes, or a class of your own",
    "  scheduler: promote                         # or asha, hyperband, median, none",
    "  objective: val_macro_f1",
    "  max_trials: 20",
    "  max_hours: 8                               # of the search: whichever limit comes first",
    "  seed: 1",
    "tracking: {experiment: galaxy10}",
    "registry: {model: galaxy10-cnn, finalists: 3, seeds: 3}  # the best three are trained again",
    "```",
]


def _sections(schema: dict[str, Any]) -> Iterator[str]:
    yield from _section("At the top", schema, schema, "")


def _section(title: str, section: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[str]:
    plain = {key: entry for key, entry in section["properties"].items() if _reference(entry) is None}
    yield f"## {title}"
    yield ""
    if path:
        yield section["description"]
        yield ""
    if plain:
        yield from _table(("key", "type", "default", "meaning"), [_key_row(key, entry) for key, entry in plain.items()])
    for key, entry in section["properties"].items():
        item = _reference(entry.get("items", {}))
        reference = _reference(entry) or item
        if reference is not None:
            inner = f"{path}{key}"
            title = f"an entry of `{inner}`" if item else f"`{inner}`"
            yield from _section(title, schema["$defs"][reference], schema, f"{inner}.")


def _key_row(key: str, entry: dict[str, Any]) -> tuple[str, str, str, str]:
    if key == "space":
        return "`space`", "section", "empty", f"{entry['description']}; see below"
    return (
        f"`{key}`",
        _type_of(entry),
        _default_of(entry),
        entry.get("description", "the metric to optimise, on validation images"),
    )


def _default_of(entry: dict[str, Any]) -> str:
    if "default" not in entry:
        return "empty" if entry.get("type") in ("object", "array") and "items" not in entry else "needed"
    return "null" if entry["default"] is None else f"`{_scalar(entry['default'])}`"


def _reference(entry: dict[str, Any]) -> str | None:
    target: str | None = entry.get("$ref")
    return target.removeprefix("#/$defs/") if target else None


def _type_of(entry: dict[str, Any]) -> str:
    if "anyOf" in entry:
        return " or ".join(_type_of(option) for option in entry["anyOf"])
    if "enum" in entry:
        return ", ".join(f"`{_scalar(value)}`" for value in entry["enum"])
    if "const" in entry:
        return f"`{_scalar(entry['const'])}`"
    names = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    names |= {"object": "section", "null": "null"}
    if entry["type"] == "array" and "$ref" in entry.get("items", {}):
        return "list of sections"
    if entry["type"] == "array":
        inner = entry["items"] if "items" in entry else entry["prefixItems"][0]
        return f"list of {names[inner['type']]}" if inner["type"] == "string" else f"list of {names[inner['type']]}s"
    return names[entry["type"]] + _bounds(entry)


def _bounds(entry: dict[str, Any]) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    parts = [f"{word} {entry[key]:,.10g}" for key, word in words.items() if key in entry]
    return f", {' '.join(parts)}" if parts else ""


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_START_LINES = [
    "Four more are there if the sweep file has `start` ([how-to-pretrained.md](how-to-pretrained.md)):",
    "",
    "| name | values | meaning |",
    "|---|---|---|",
    "| `start` | `scratch`, `pretrained`, a `.keras` file | what networks start from. `pretrained` is an encoder of "
    "simulated galaxies that comes with the package. With an encoder, `n_blocks` to `batch_norm` have no effect |",
    "| `body_rate` | 0, 0.1, 0.3, 1; default 1 (from 0 to 10) | learning rate of the encoder, which is the body of the "
    "network, as a factor of that of the head; 0 freezes it |",
    "| `head_warm_up` | true (true, false) | whether the head is trained alone before the whole network is. Without "
    "effect if the encoder is frozen, with `head: flatten` on a map, and in a subclass with its own `build` or `fit` |",
    "| `frozen_share` | 0 (from 0 to 1) | share of the encoder's layers with weights, from the images on, "
    "that are not trained; `body_rate: 0` freezes all |",
    "",
    "One more is there on volunteers' votes that are counts:",
    "",
    "| name | values | meaning |",
    "|---|---|---|",
    "| `loss` | `crossentropy` (the baseline), `dirichlet_multinomial` | cross-entropy of the fractions, or the "
    "likelihood of the counts (Walmsley et al. 2022, arXiv:2102.08414), whose networks also state how sure they are |",
    "",
    "On votes, `label_smoothing` spreads votes over the answers to their question, and `class_weighting` goes by the "
    "most frequent answer to the first question.",
    "",
]


def _space_lines() -> Iterator[str]:
    yield "## `space`"
    yield ""
    yield "One entry per hyperparameter, by name. What is not named keeps the hypermodel's own space."
    yield ""
    yield from _table(
        ("entry", "meaning"),
        [
            ("`name: 3`", "fixed to this value"),
            ("`name: {values: [16, 32]}`", "one of the listed values"),
            (
                "`name: {min: 0.1, max: 0.5}`",
                "from min to max, both included; step and scale stay those of the hypermodel (`learning_rate` is "
                "logarithmic, `dropout_1` has steps of 0.05). `step:` or `scale: linear` replaces them",
            ),
            ("`name: {min: 0.1, max: 0.5, step: 0.1}`", "min, min + step and so on up to max"),
            ("`name: {min: 1.0e-4, max: 1.0e-2, scale: log}`", "evenly in the logarithm; has no step"),
            (
                "`name: {prior: {centre: 0.001, confidence: 0.7}}`",
                "where an expert expects the best value, alone or beside `values`, or `min` and `max`: see "
                "[search-knowledge.md](search-knowledge.md#expert-priors). `confidence`, from 0 to below 1, is "
                f"{PriorConfig.model_fields['confidence'].default} if left out",
            ),
        ],
    )
    keys = {*ValuesSpace.model_fields, *RangeSpace.model_fields}
    others = sorted(keys - {"values", "min", "max", "step", "scale", "prior"})
    if others:
        raise KeyError(f"describe the new keys of a hyperparameter: {others}")
    yield "### Hyperparameters of `galaxy-cnn`"
    yield ""
    yield "The defaults together are the baseline, trial 0 of every sweep: the network of astroNN's Galaxy10 tutorial."
    yield ""
    rows = [_hyperparameter_row(entry) for entry in _built_in_space()]
    yield from _table(("name", "searched by default", "baseline", "may be set to", "meaning"), rows)
    yield from _START_LINES


def _built_in_space() -> list[Any]:
    from galaxy_exp.quiet import import_keras_quietly

    import_keras_quietly()
    from galaxy_exp.hypermodel.discovery import discover_space
    from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN

    return list(discover_space(GalaxyCNN((69, 69, 3), 10)).hyperparameters)


def _hyperparameter_row(entry: Any) -> tuple[str, str, str, str, str]:
    from galaxy_exp.hypermodel.galaxy_space import LIMITS

    meaning = MEANINGS[entry.name]
    for condition in entry.conditions:
        values = ", ".join(_scalar(value) for value in condition.values)
        meaning += f"; only with `{condition.name}` {values}"
    limits = LIMITS.get(entry.name)
    allowed = f"{limits[0]:,} to {limits[1]:,}" if limits else "these values"
    return f"`{entry.name}`", _searched(entry), f"`{_scalar(entry.default)}`", allowed, meaning


def _searched(entry: Any) -> str:
    from galaxy_exp.space.search_space import plain_text

    if entry.kind == "Boolean":
        return "true, false"
    if entry.listed:
        return ", ".join(map(_scalar, entry.listed))
    return f"{entry.describe_values(plain_text)}{', log' if entry.scale == 'log' else ''}"


def _table(header: tuple[str, ...], rows: list[Any]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def build_cli_page() -> str:
    """docs/cli.md: the help of every command."""
    lines = [NOTE, "", "# Commands", ""]
    for path, text in _helps(cli, _context(cli, "galaxy-exp")):
        lines += [f"## {path}", "", "```", text, "```", ""]
    return "\n".join(lines)


def _helps(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _helps(inner, _context(inner, name, context))


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    settings = {**command.context_settings, "terminal_width": HELP_WIDTH}
    return click.Context(command, parent=parent, info_name=name, **settings)


GOALS = Path(__file__).with_name("goals.json")
PARTS = {
    "start": ("Starting", "`--help`, the quickstart, and how long its first trial waits for the driver."),
    "commands": ("Commands", "Seconds until a command has answered."),
    "training": (
        "Training",
        "Training speed of astroNN's tutorial network, compared with the tutorial's plain Keras script.",
    ),
    "trial": ("Cost of a trial", "The time of a trial outside `fit`: building, predicting, figures, saving."),
    "proposals": ("Cost of a proposal", "The time of the sampler for one proposal."),
    "search": ("Search", "How many epochs a search needs for the score that random search has at its end."),
    "scale": ("Scaling", "Short trials on many workers."),
    "data": (
        "Memory and data",
        "Sets of the sizes of Galaxy10 DECaLS (large) and SDSS (small), beside a hand-written script.",
    ),
    "chaos": ("Robustness", "Sweeps whose processes are killed at random moments, compared with an undisturbed one."),
    "votes": ("Votes", "Networks trained on volunteers' votes, compared with networks trained on the winning answer."),
}
"""Title and subject of each part of `python -m benchmarks`; a new one without a line here is an error."""

_GOALS_INTRODUCTION = [
    "The goals of galaxy_exp, and what was measured. This is the only page with verdicts; other pages describe how",
    "things are measured. The sizes are smaller than those of the single benchmarks, so a value close to its goal is",
    "undecided. Other machines give other seconds; ratios differ less.",
    "",
    "`python -m benchmarks --json docs/goals.json` measures all of it in half an hour on two cores, and",
    "`python docs/generate.py` writes this page.",
]


def build_goals_page() -> str:
    """docs/goals.md: a table for each part, goal beside measured, with command, date and commit."""
    lines = [NOTE, "", "# Goals and measurements", "", *_GOALS_INTRODUCTION, ""]
    for name, part in json.loads(GOALS.read_text(encoding="utf-8")).items():
        title, subject = PARTS[name]
        machine = part["machine"]
        where = f"{machine['cores']} cores ({', '.join(machine['processor_flags'])}), {machine['system']}"
        source = f"`{part['command']}`, {part['date']}, commit {part['commit']}, {where}:"
        lines += [f"## {title}", "", subject, "", source, ""]
        rows = [_goal_row(figure) for figure in part["figures"]]
        lines += _table(("", "goal", "measured", ""), rows)
    return "\n".join(lines)


def _goal_row(figure: dict[str, Any]) -> tuple[str, str, str, str]:
    bound = "at least" if figure["at_least"] else "at most"
    goal, measured = (f"{_plain(figure[key])} {figure['unit']}".rstrip() for key in ("goal", "measured"))
    return figure["what"], f"{bound} {goal}", measured, "met" if figure["met"] else "**missed**"


def _plain(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


PAGES = {"sweep-file.md": build_sweep_file_page, "cli.md": build_cli_page, "goals.md": build_goals_page}


def main(arguments: list[str]) -> int:
    """Writes or checks the pages; returns the exit code."""
    stale = []
    for name, build in PAGES.items():
        path, text = FOLDER / name, build()
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"not current: {', '.join(stale)}; run: python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
