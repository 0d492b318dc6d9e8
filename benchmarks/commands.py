"""How long a person waits for a command: help, lists, one image from a cold start, a check, the MLflow UI.

python benchmarks/commands.py
python benchmarks/commands.py --rounds 5 --json commands.json

Each command is a process of its own, and the best of some rounds counts, which other work on the machine disturbed
least; `ui` and `check` run once. The model is a small untrained network in a new store.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.command_line import describe_machine, format_machine, write_json
from benchmarks.predict import SIDE, package_network
from benchmarks.process import ROOT, free_port, own_environment, wait_for_answer

GOALS = {
    "--help": 0.3,
    "list": 1.0,
    "models list": 1.5,
    "models show": 1.5,
    "predict, one image": 1.5,
    "predict, one image, exported": 1.5,
    "check of the quickstart": 15.0,
    "ui, until its page is there": 8.0,
}
"""Seconds at most, on two quiet cores."""
_UI_SECONDS = 300.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line a command; exit code 1 if one took longer than its goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each quick command")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_commands_") as folder:
        seconds = measure(Path(folder), options.rounds)
    print(format_machine(machine))
    rows: list[dict[str, Any]] = []
    for what, goal in GOALS.items():
        rows.append({"what": what, "seconds": seconds[what], "goal": goal})
        print(f"{what:<30}{seconds[what]:7.2f} s   at most {goal:g} s")
    write_json(options.json, {"machine": machine, "commands": rows})
    return int(any(row["seconds"] > row["goal"] for row in rows))


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Seconds of each command in `GOALS`, run in a new project folder."""
    package_network(folder)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    Image.fromarray(np.full((SIDE, SIDE, 3), 80, np.uint8)).save(folder / "some.png")
    quick = {
        "--help": ["--help"],
        "list": ["list"],
        "models list": ["models", "list", "--uri", uri],
        "models show": ["models", "show", "predict/1", "--uri", uri],
        "predict, one image": ["predict", "some.png", "--model", "models:/predict/1", "--uri", uri],
    }
    _run(["models", "export", "predict/1", "-o", "predict.onnx", "--uri", uri], folder)
    quick["predict, one image, exported"] = ["predict", "some.png", "--model", "predict.onnx"]
    found = {what: min(_run(command, folder) for _ in range(rounds)) for what, command in quick.items()}
    found["check of the quickstart"] = _run(["check", str(ROOT / "sweeps" / "quickstart.yaml")], folder)
    found["ui, until its page is there"] = _wait_for_ui(folder, uri)
    return found


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "galaxy_exp", *arguments]


def _run(arguments: Sequence[str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(_command(arguments), cwd=folder, capture_output=True, env=own_environment(), check=True)
    return time.perf_counter() - began


def _wait_for_ui(folder: Path, uri: str) -> float:
    port = free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        _command(["ui", "--port", str(port), "--uri", uri]),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=own_environment(),
    )
    try:
        wait_for_answer(f"http://127.0.0.1:{port}/", process, _UI_SECONDS)
        return time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
