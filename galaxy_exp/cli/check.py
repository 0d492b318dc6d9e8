"""`galaxy-exp check`: what a sweep would do and cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from galaxy_exp.cli.options import format_option, read_shortcuts, sweep_file_options
from galaxy_exp.cli.output import print_line, print_rows, say
from galaxy_exp.wording import format_bytes, format_duration

if TYPE_CHECKING:
    from galaxy_exp.check.sweep_check import PreviewedTrial, SpaceRow, SweepCheck

__all__ = ["check_command"]

_SPACE_IMPORTANCE = ("hyperparameter", "values", "only if", "how many", "scale", "kind")
_COST_IMPORTANCE = ("breaks", "s/epoch", "memory", "parameters", "MFLOPs/image")
"""The columns of the tables, the most important first."""


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@sweep_file_options
@click.option("--timing/--no-timing", default=True, show_default=True, help="train a few steps of each network")
@format_option("table", "json")
def check_command(file: Path, overrides: tuple[str, ...], timing: bool, output_format: str, **shortcuts: Any) -> None:
    """Show what the sweep described by FILE would do and cost.

    It refuses what a sweep would refuse, with the same messages. Then it shows the data, the search space and the
    first five trials, with weights, operations, memory and seconds of an epoch on this machine, and what the sweep
    would cost. A network that cannot be built, or that needs more memory than there is, is an error. Only the prepared
    images are written; the sweep uses them.

    FILE is YAML, such as galaxy-exp init writes; the page "The sweep file" lists its keys. An option with a key
    in brackets overrides that key.

    \b
    galaxy-exp check sweep.yaml
    galaxy-exp check sweep.yaml --data galaxies.h5 --no-timing
    """
    from galaxy_exp.check.sweep_check import check_sweep
    from galaxy_exp.cli.sweep import make_importable
    from galaxy_exp.config import load_sweep

    config = load_sweep(file, overrides, read_shortcuts(shortcuts))
    make_importable()
    found = check_sweep(config, with_timing=timing, say=say, where=str(file))
    if output_format == "json":
        print_rows([check_details(found)], "json")
    else:
        _print_tables(found)


def check_details(found: SweepCheck) -> dict[str, Any]:
    """A check as JSON, with the same keys for every sweep."""
    forecast = found.forecast
    return {
        "sweep": found.record.config.name,
        "data": _data_details(found),
        "space": [_space_details(row) for row in found.space],
        "configurations": found.n_configurations,
        "trials": [_trial_details(trial) for trial in found.trials],
        "cost": {
            "trials": forecast.trials,
            "epochs": list(forecast.epochs),
            "most_epochs": forecast.most_epochs,
            "finalist_trials": forecast.finalist_trials,
            "finalist_epochs": forecast.finalist_epochs,
            "hours": list(forecast.hours) if forecast.hours else None,
            "notes": list(forecast.notes),
        },
    }


def _data_details(found: SweepCheck) -> dict[str, Any]:
    data = found.data
    height, width, channels = data.image_shape
    parts = {part: sum(counts.values()) for part, counts in data.counts.items()}
    return {
        "source": found.data.source,
        "simulated": data.simulated,
        "images": sum(parts.values()),
        "height": height,
        "width": width,
        "channels": channels,
        "classes": list(data.class_names),
        "parts": parts,
        "folder": str(data.folder),
    }


def _space_details(row: SpaceRow) -> dict[str, Any]:
    return {
        "hyperparameter": row.name,
        "kind": row.kind,
        "values": row.domain,
        "scale": row.scale,
        "condition": row.condition,
        "n_values": row.n_values,
        "reachable": row.is_reachable,
    }


def _trial_details(trial: PreviewedTrial) -> dict[str, Any]:
    probe, timing = trial.probe, trial.probe.timing
    return {
        "number": trial.trial.number,
        "origin": trial.origin,
        "params": trial.trial.values,
        "parameters": probe.parameters,
        "flops": probe.flops,
        "not_counted": list(probe.uncounted),
        "memory_bytes": probe.memory_bytes,
        "batch_size": probe.batch_size,
        "precision": probe.precision,
        "epoch_seconds": round(timing.epoch_seconds, 3) if timing else None,
        "start_seconds": round(timing.start_seconds, 3) if timing else None,
        "once_seconds": round(timing.once_seconds, 3) if timing else None,
        "shared_seconds": round(timing.shared_seconds, 3) if timing else None,
        "seconds_per_image": timing.seconds_per_image if timing else None,
        "broken_constraints": list(trial.broken),
    }


def _print_tables(found: SweepCheck) -> None:
    from galaxy_exp.evaluation.conclusion import CHANGES

    data = _data_details(found)
    simulated = "SIMULATED " if data["simulated"] else ""
    parts = ", ".join(f"{count:,} {part}" for part, count in data["parts"].items())
    print_line(
        f"data: {data['images']:,} {simulated}images of {data['width']}x{data['height']} pixels in "
        f"{len(data['classes'])} classes from {data['source']}: {parts}"
    )
    space = [_space_cells(row) for row in found.space]
    print_rows(space, "table", f"space: {_size(found)}", importance=_SPACE_IMPORTANCE)
    trials = [_trial_cells(trial, found) for trial in found.trials]
    print_rows(trials, "table", "the first trials", importance=("trial", CHANGES, *_COST_IMPORTANCE))
    for line in _cost_lines(found):
        print_line(line)


def _space_cells(row: SpaceRow) -> dict[str, Any]:
    count = "continuous" if row.n_values is None else f"{row.n_values:,}"
    return {
        "hyperparameter": row.name,
        "kind": row.kind,
        "values": row.domain,
        "scale": "" if row.scale == "linear" else row.scale.replace("_", " "),
        "only if": row.condition,
        "how many": count if row.is_reachable else "never active",
    }


def _size(found: SweepCheck) -> str:
    if found.n_configurations is not None:
        return f"{found.n_configurations:,} configurations"
    continuous = [row.name for row in found.space if row.n_values is None and row.is_reachable]
    verb = "is" if len(continuous) == 1 else "are"
    return f"infinitely many configurations, as {' and '.join(continuous)} {verb} continuous"


def _trial_cells(trial: PreviewedTrial, found: SweepCheck) -> dict[str, Any]:
    from galaxy_exp.evaluation.conclusion import CHANGES
    from galaxy_exp.trial_rows import describe_settings

    probe, timing = trial.probe, trial.probe.timing
    cells = {
        "trial": trial.trial.number,
        "parameters": f"{probe.parameters:,}",
        "MFLOPs/image": f"{probe.flops / 1e6:,.1f}",
        "memory": format_bytes(probe.memory_bytes) if probe.memory_bytes else "unknown",
    }
    if timing is not None:
        cells["s/epoch"] = f"{timing.epoch_seconds:.2f}"
    if any(each.broken for each in found.trials):
        cells["breaks"] = ", ".join(trial.broken)
    return {**cells, CHANGES: describe_settings(trial.trial, found.record)}


def _cost_lines(found: SweepCheck) -> list[str]:
    forecast = found.forecast
    least, most = forecast.epochs
    epochs = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    cost = f"cost: {forecast.trials:,} trials, {epochs} epochs"
    if forecast.finalist_trials:
        cost += f", and {forecast.finalist_trials} of the finalists, {forecast.finalist_epochs:,} epochs"
    if forecast.hours is not None:
        shortest, longest = (format_duration(3600 * hours) for hours in forecast.hours)
        cost += f"; {shortest if shortest == longest else f'{shortest} to {longest}'} of training on this machine"
    uncounted = sorted({name for trial in found.trials for name in trial.probe.uncounted})
    if uncounted:
        return [cost, f"not counted in operations and memory: {', '.join(uncounted)}", *forecast.notes]
    return [cost, *forecast.notes]
