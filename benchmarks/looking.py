"""Time to look at a sweep of many trials, and until the MLflow UI is ready.

python benchmarks/looking.py                       10,000 trials of 5 epochs
python benchmarks/looking.py --trials 100 1000     other numbers
python benchmarks/looking.py --json out.json

The journal is made up: a baseline and trials of five hyperparameters, every third stopped early. Each command runs in a
process of its own. `ui` is compared with `mlflow ui` on the same new store; both count until their first page.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.process import own_environment
from galaxy_exp.config import SweepConfig
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.journal.events import EpochReported, Event, SweepStarted, TrialEnded, TrialProposed, TrialStarted
from galaxy_exp.journal.journal import Journal
from galaxy_exp.records import EpochReport, TrialResult, TrialState

EPOCHS = 5
SPACE = [
    {"class_name": "Float", "config": {"name": "rate", "min_value": 1e-4, "max_value": 1e-1, "sampling": "log"}},
    {"class_name": "Choice", "config": {"name": "width", "values": [16, 32, 64]}},
    {"class_name": "Boolean", "config": {"name": "norm"}},
    {"class_name": "Float", "config": {"name": "dropout", "min_value": 0.0, "max_value": 0.6, "step": 0.05}},
    {"class_name": "Choice", "config": {"name": "augmentation", "values": ["none", "flips"]}},
]
COMMANDS = {
    "list": ["-m", "galaxy_exp", "list"],
    "show": ["-m", "galaxy_exp", "show"],
    "trials": ["-m", "galaxy_exp", "trials"],
    "trials (csv)": ["-m", "galaxy_exp", "trials", "--format", "csv"],
    "report": ["-m", "galaxy_exp", "report", "-o", "report.html"],
    "open_sweep": ["-c", "import galaxy_exp; galaxy_exp.open_sweep()"],
    "open_sweep().trials": ["-c", "import galaxy_exp; galaxy_exp.open_sweep().trials"],
}


def main(arguments: list[str] | None = None) -> int:
    """Prints seconds for each command and number of trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[10_000])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    measured = {}
    for n_trials in options.trials:
        with tempfile.TemporaryDirectory() as folder:
            write_journal(Path(folder), n_trials)
            measured[n_trials] = {name: time_command(each, Path(folder)) for name, each in COMMANDS.items()}
        for name, seconds in measured[n_trials].items():
            print(f"{n_trials:>7,} trials  {name:<20} {seconds:6.2f} s", flush=True)
    ready = measure_uis()
    for name, seconds in ready.items():
        print(f"{name} ready: {seconds:.1f} s")
    if options.json is not None:
        options.json.write_text(json.dumps({"seconds": measured, "ready": ready}, indent=1), encoding="utf-8")
    return 0


def write_journal(folder: Path, n_trials: int) -> None:
    """A project in `folder` whose only sweep has so many trials."""
    config = {"search": {"max_trials": n_trials + 1}, "training": {"epochs": EPOCHS}}
    started = SweepStarted(
        sweep_id="many-20260101-000000",
        config=SweepConfig.model_validate(config).model_dump(mode="json"),
        space={"space": SPACE, "values": {}},
        baseline=_values(0),
        data_folder="nowhere",
        data_digest="d",
        split_digest="s",
        tracking_uri="sqlite:///mlflow.db",
        software={},
    )
    sweep = ProjectFolder(folder / ".galaxy_exp").sweep(started.sweep_id)
    clock = iter(range(10**9)).__next__
    with Journal.create(sweep.path, started, clock=lambda: float(clock())) as journal:
        journal.append_all([event for number in range(n_trials) for event in _trial(number)])


def _values(number: int) -> dict[str, object]:
    return {
        "rate": 10 ** (-4 + number * 0.618 % 1 * 3),
        "width": (16, 32, 64)[number % 3],
        "norm": number % 2 == 1,
        "dropout": round(number % 13 * 0.05, 2),
        "augmentation": "flips" if number % 5 > 2 else "none",
    }


def _trial(number: int) -> list[Event]:
    is_stopped = number % 3 == 1
    epochs = 2 if is_stopped else EPOCHS
    score = 0.5 + 0.4 * (number * 0.7548 % 1)
    reports = [
        EpochReport(
            number, 1, epoch, {"val_macro_f1": score * epoch / EPOCHS, "val_loss": 1 - score, "loss": 1 - score}
        )
        for epoch in range(1, epochs + 1)
    ]
    state = TrialState.STOPPED if is_stopped else TrialState.COMPLETED
    result = TrialResult(
        number, 1, state, "because", epochs, reports[-1].metrics, epochs, seconds=9.0, training_seconds=8.0
    )
    return [
        TrialProposed(number=number, values=_values(number), seed=number),
        TrialStarted(number=number, attempt=1),
        *(EpochReported(report=report, go_on=True) for report in reports),
        TrialEnded(result=result),
    ]


def time_command(arguments: list[str], folder: Path) -> float:
    """Seconds of a Python process with these arguments."""
    began = time.perf_counter()
    command = [sys.executable, *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=own_environment())
    return time.perf_counter() - began


def measure_uis() -> dict[str, float]:
    """Seconds until `mlflow ui` and `galaxy-exp ui` answer, one after the other, on one new store."""
    with tempfile.TemporaryDirectory() as folder:
        open_store = "from galaxy_exp.tracking.store import open_client; open_client('sqlite:///mlflow.db')"
        time_command(["-c", open_store], Path(folder))
        store = ["--backend-store-uri", "sqlite:///mlflow.db"]
        return {
            "mlflow ui": _time_until_ready(["-m", "mlflow", "ui", *store], Path(folder)),
            "galaxy-exp ui": _time_until_ready(["-m", "galaxy_exp", "ui"], Path(folder)),
        }


def _time_until_ready(arguments: list[str], folder: Path) -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments, "--port", str(port)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=own_environment(),
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        while process.poll() is None:
            try:
                with direct.open(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                    answer.read()
                return time.perf_counter() - began
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"{arguments} ended with {process.returncode}")
    finally:
        process.terminate()
        process.wait(timeout=60)


if __name__ == "__main__":
    sys.exit(main())
