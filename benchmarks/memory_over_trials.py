"""Memory of a worker and of its driver over many trials: whether either grows, and how often a worker is replaced.

python benchmarks/memory_over_trials.py                        200 trials, workers replaced as by default
python benchmarks/memory_over_trials.py --max-growth 1000      the same without replacing any: what Keras leaks

Each trial is one epoch of a random configuration of the built-in hypermodel on 150 SIMULATED galaxies of 32 pixels.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.memory import parse_rollup
from benchmarks.trials import build_spec
from galaxy_exp.config.data_section import DataConfig, SimulatedConfig, SplitConfig
from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.data import PreparedData, load_dataset, prepare_split
from galaxy_exp.execution.engine import Engine, LostWorker
from galaxy_exp.execution.worker_pool import build_engine
from galaxy_exp.records import Decision, EpochReport, Objective, TrialResult, TrialSpec
from galaxy_exp.search.building import build_proposer
from galaxy_exp.search.proposer import NoProposal
from galaxy_exp.space.search_space import SearchSpace

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Prints a table of twenty lines and how the sizes grew; exit code 1 if a trial failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--max-growth", type=float, default=ExecutionConfig().max_memory_growth, metavar="GIB")
    parser.add_argument("--engine", choices=["inline", "local"], default="inline")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        images = SimulatedConfig(n_images=150, image_size=32, class_proportions="equal")
        data = prepare_split(load_dataset(DataConfig(simulated=images)), SplitConfig(), Path(folder))
        config = ExecutionConfig(engine=options.engine, workers=1, max_memory_growth=options.max_growth)
        engine = build_engine(config, Path(folder) / "worker.log")
        try:
            return _measure(engine, list(_specs(data, options.trials, Path(folder))))
        finally:
            engine.close()


def _measure(engine: Engine, specs: list[TrialSpec]) -> int:
    failed, workers = 0, set()
    sizes: list[tuple[int, float, float]] = []
    print(f"{'trials':>8}{'worker MiB':>14}{'driver MiB':>14}{'replaced':>12}")
    for count, spec in enumerate(specs, start=1):
        engine.submit(spec)
        failed += not _train(engine, spec).state.has_model
        (worker,) = psutil.Process().children()
        workers.add(worker.pid)
        if count == 1 or count % max(1, len(specs) // 20) == 0:
            sizes.append((count, _own_mb(worker.pid), _own_mb(os.getpid())))
            print(f"{count:>8}{sizes[-1][1]:>14.0f}{sizes[-1][2]:>14.0f}{len(workers) - 1:>12}", flush=True)
    for position, name in enumerate(("worker", "driver"), start=1):
        column = [row[position] for row in sizes]
        print(f"{name}: {_slope(sizes, position):+.2f} MiB a trial from trial 10 on, {max(column):.0f} MiB at most")
    print(f"{failed} of {len(specs)} trials failed")
    return int(failed > 0)


def _slope(sizes: list[tuple[int, float, float]], position: int) -> float:
    """Of the least-squares line through a column of the table; not a number with fewer than two lines."""
    counted = [row for row in sizes if row[0] >= 10]
    if len(counted) < 2:
        return float("nan")
    return float(np.polyfit([row[0] for row in counted], [row[position] for row in counted], 1)[0])


def _train(engine: Engine, spec: TrialSpec) -> TrialResult:
    while True:
        event = engine.next_event(60)
        if isinstance(event, TrialResult):
            return event
        if isinstance(event, EpochReport):
            engine.answer(spec.number, Decision.CONTINUE)
        if isinstance(event, LostWorker):
            raise RuntimeError(event.reason)


def _specs(data: PreparedData, n_trials: int, folder: Path) -> Iterator[TrialSpec]:
    """Random configurations, the same in every run."""
    spec = build_spec(data.files, folder / "trial", precision="float32", objective=Objective("val_loss", "min"))
    proposer = build_proposer(
        SearchConfig(sampler="random"), SearchSpace.from_config(spec.space), epochs=1, evidence=()
    )
    for number in range(n_trials):
        values = proposer.propose(number)
        assert not isinstance(values, NoProposal)
        yield replace(spec, number=number, values=dict(values), seed=number)


def _own_mb(pid: int) -> float:
    return parse_rollup(Path(f"/proc/{pid}/smaps_rollup").read_text())[0]


if __name__ == "__main__":
    sys.exit(main())
