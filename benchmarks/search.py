"""How good the search is: against KerasTuner and Optuna, on real learning curves and on functions.

    python benchmarks/search.py --quick
    python benchmarks/search.py --only replay --table FILE --trainings 20 --seeds 30 --json search.json
    python benchmarks/search.py --only replay --table A B C --seeds 30 --workers 4 --json search.json
    python benchmarks/search.py --keep runs.jsonl --figure docs/search-regret.png --json search.json

    replay      samplers and schedulers on a table of learning curves: regret against epochs
    functions   samplers alone on Branin, Hartmann6 and a function with conditional arguments
    cost        seconds of a proposal after 100, 1,000 and 3,000 finished trials

Everything but the seconds follows from the seeds: --seeds of them, from --first-seed on. A search of ours is called
"sampler + scheduler", with settings of the section `search` after commas: "tpe + asha, first_rung=1", "gp + promote,
cost=seconds"; and with an expert's prior on each hyperparameter: "gp + promote, prior=good", "gp + promote, prior=bad".
After several tables comes a summary. Peers whose packages are not installed are left out; benchmarks/search_peers.py
tells how to install them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, fill_in, numbers, open_console, write_json
from benchmarks.curves_table import append_line, read_lines, read_table
from benchmarks.search_summary import Replayed, draw_regret, summarise, summary_table, worse_table
from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.errors import ConfigError

TABLE = Path(__file__).with_name("learning_curves.parquet")
QUESTIONS = ("replay", "functions", "cost")
SCHEDULERS = ("promote", "asha", "hyperband", "asha-stop", "median", "none")
DEFAULT = f"{SearchConfig().sampler_choice} + {SearchConfig().scheduler}"
RANDOM = "random + none"

FIGURE = (
    DEFAULT,
    RANDOM,
    "KerasTuner BayesianOptimization",
    "KerasTuner Hyperband",
    "Optuna TPE",
    "Optuna TPE + Hyperband",
    "Optuna TPE + SuccessiveHalving",
)
"""What the figure shows: all would be a thicket."""

QUARTERS = (0.25, 0.5, 0.75, 1.0)

TRAININGS = 20
"""Whole trainings that one search may cost."""

EVALUATIONS = 50
"""Of a function."""

SLOW, SLOW_SEEDS = "KerasTuner BayesianOptimization", 5
"""On the functions it takes a minute and a half for a seed, so it gets this many; the table says so."""

FULL: dict[str, Any] = {"seeds": 30, "finished": [100, 1000, 3000]}
QUICK: dict[str, Any] = {"seeds": 2, "finished": [30]}


@dataclass(frozen=True, slots=True)
class Run:
    """One search, to be done in any process."""

    question: str
    """replay or functions"""
    what: str
    """The file of the table, or the name of the function."""
    contender: str
    seed: int
    size: int
    """Epochs of the budget, or evaluations."""
    workers: int = 1
    in_seconds: bool = False

    @property
    def key(self) -> list[Any]:
        """What a kept result is found again by."""
        unit = ["seconds"] if self.in_seconds else []
        return [self.question, Path(self.what).name, self.contender, self.seed, self.size, self.workers, *unit]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the tables, and draws the figure."""
    parsed = parse_arguments(arguments)
    console = open_console(200)
    machine = describe_machine()
    report: dict[str, Any] = {"machine": machine, "seeds": parsed.seeds, "first_seed": parsed.first_seed}
    with ProcessPoolExecutor(parsed.processes, multiprocessing.get_context("spawn")) as pool:
        runner = Runner(pool, parsed.keep)
        if "replay" in parsed.only:
            for workers in parsed.workers:
                found = replay_tables(parsed, runner, console, workers)
                report[f"replay, {workers} workers"] = found
            report |= {key: found[key] for key in ("default", "regret", "reach") if key in found}
        if "functions" in parsed.only:
            report["functions"] = minimise_all(parsed, runner, console)
    if "cost" in parsed.only:
        report["cost"] = time_all(parsed, console)
    write_json(parsed.json, report)
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `--quick` only fills in what was not given."""
    parser = argparse.ArgumentParser(description="How good the search is, against KerasTuner and Optuna.")
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=list(QUESTIONS), help="which questions")
    parser.add_argument("--seeds", type=int, help=f"searches of each kind ({FULL['seeds']})")
    parser.add_argument("--first-seed", type=int, default=1, help="the seed of the first search of each kind (1)")
    parser.add_argument("--finished", type=int, nargs="+", help="cost: trials that are known (100 1000 3000)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1], help="replay: trials at a time (1)")
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="these instead of all")
    parser.add_argument("--slow", action="store_true", help="replay: also peers that take minutes for a search")
    parser.add_argument(
        "--table", type=Path, nargs="+", default=[TABLE], help="learning curves to replay (benchmarks/curves.py)"
    )
    parser.add_argument("--trainings", type=int, default=TRAININGS, help=f"replay: budget of a search ({TRAININGS})")
    parser.add_argument(
        "--in-seconds",
        action="store_true",
        help="replay: an epoch costs the seconds that it took, in budgets of the table's mean epoch; for one worker",
    )
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep finished searches here, and do not repeat them")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="searches at the same time")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="regret against epochs")
    parser.add_argument("--quick", action="store_true", help="few seeds and trials: says nothing, tries everything")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all results as JSON")
    parsed = parser.parse_args(arguments)
    names = [table.name for table in parsed.table]
    if len(set(names)) < len(names):
        parser.error(f"--table: files are told apart by their names, but these are not: {' '.join(names)}")
    if parsed.in_seconds and parsed.workers != [1]:
        parser.error("--in-seconds: is for one worker; leave --workers out")
    if parsed.figure is not None and len(names) > 1:
        parser.error("--figure: draws one table; give --table one file")
    fill_in(parsed, QUICK if parsed.quick else FULL)
    return parsed


class Runner:
    """Does runs in several processes, and none twice if they are kept."""

    def __init__(self, pool: ProcessPoolExecutor, keep: Path | None) -> None:
        self._pool = pool
        self._keep = keep
        lines = read_lines(keep) if keep is not None else []
        self._known = {json.dumps(line["key"]): line["result"] for line in lines}

    def results(self, runs: Sequence[Run]) -> list[Any]:
        """What `do_run` returns for each."""
        waiting = [run for run in runs if json.dumps(run.key) not in self._known]
        for run, result in zip(waiting, self._pool.map(do_run, waiting), strict=True):
            self._known[json.dumps(run.key)] = result
            if self._keep is not None:
                append_line(self._keep, {"key": run.key, "result": result})
        return [self._known[json.dumps(run.key)] for run in runs]


def do_run(run: Run) -> Any:
    """For a replay the epochs at which something better was found and how good it was, for a function the minimum."""
    from benchmarks.search_contenders import make_searcher
    from benchmarks.search_functions import FUNCTIONS, minimise
    from benchmarks.search_replay import replay

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn about KerasTuner's Gaussian process
        if run.question == "functions":
            function = FUNCTIONS[run.what]
            return minimise(make_searcher(run.contender, function.space, 1, run.seed), function, run.size)
        table, space = _open_table(run.what)
        searcher = make_searcher(run.contender, space, table.task["epochs"], run.seed, table)
        found = replay(table, searcher, space, run.size, run.workers, in_seconds=run.in_seconds)
    steps = [epoch for epoch in range(run.size) if epoch == 0 or found[epoch] != found[epoch - 1]]
    return [[epoch, found[epoch]] for epoch in steps if not math.isnan(found[epoch])]


@cache
def _open_table(path: str) -> Any:
    from benchmarks.search_replay import searched_space

    table = read_table(Path(path))
    return table, searched_space(table)


def replay_tables(parsed: argparse.Namespace, runner: Runner, console: Console, workers: int) -> dict[str, Any]:
    """Every contender on every table; with several tables also the summary, if the default is among the contenders."""
    from benchmarks.search_contenders import I_EPOCHS, OPTIONAL_PEERS, PEERS

    if len(parsed.table) == 1:
        return replay_all(parsed, parsed.table[0], runner, console, workers)[0]
    tables: dict[str, Any] = {}
    replays = []
    for table in parsed.table:
        console.print(f"\n[bold]{table.name}[/]", highlight=False)
        tables[table.name], replayed = replay_all(parsed, table, runner, console, workers)
        replays.append(replayed)
    found: dict[str, Any] = {"default": DEFAULT, "tables": tables}
    if all(DEFAULT in replayed.regrets for replayed in replays):
        families = {"peers": [*PEERS, *OPTIONAL_PEERS], "i-Epochs": I_EPOCHS}
        found["summary"] = summarise(replays, DEFAULT, families, QUARTERS)
        console.print(summary_table(found["summary"]))
        console.print(worse_table(found["summary"]))
    return found


def replay_all(
    parsed: argparse.Namespace, file: Path, runner: Runner, console: Console, workers: int
) -> tuple[dict[str, Any], Replayed]:
    """Every contender on one table of learning curves; prints the table of regrets."""
    from benchmarks.search_contenders import missing_package
    from benchmarks.search_replay import best_of_table

    table, space = _open_table(str(file))
    best = best_of_table(table)
    budget = parsed.trainings * table.task["epochs"]
    named = parsed.contenders or all_contenders(space, slow=parsed.slow)
    missing = {name: package for name in named if (package := missing_package(name)) is not None}
    contenders = [name for name in named if name not in missing]
    runs = [
        Run("replay", str(file), contender, seed, budget, workers, parsed.in_seconds)
        for contender in contenders
        for seed in range(parsed.first_seed, parsed.first_seed + parsed.seeds)
    ]
    results = iter(runner.results(runs))
    found = {name: np.array([_expand(next(results), budget) for _ in range(parsed.seeds)]) for name in contenders}
    regrets = {name: best - values for name, values in found.items()}
    console.print(
        f"replay: {len(table.rows)} configurations of {table.task['epochs']} epochs, {_failed(table)} of them diverge; "
        f"best val_macro_f1 {best:.4f}; {workers} worker{'s' * (workers > 1)}, "
        f"budget {budget} epochs = {budget / table.task['epochs']:.0f} whole trainings"
        f"{', an epoch costs the seconds that it took' * parsed.in_seconds}; "
        f"{parsed.seeds} seeds from {parsed.first_seed}",
        highlight=False,
    )
    console.print(regret_table(regrets, budget, missing))
    by_seed = epochs_by_seed(found, RANDOM) if RANDOM in found else {}
    reached = epochs_to_reach(found, RANDOM) if by_seed else {}
    if reached:
        console.print(reach_table(reached, budget))
    if DEFAULT in regrets:
        console.print(lead_table(regrets, budget))
    if parsed.figure is not None and workers == 1:
        galaxies = "GalaxyCNN on simulated galaxies"
        note = f"median and quartiles over {parsed.seeds} seeds; {len(table.rows)} learning curves of {galaxies}"
        draw_regret(parsed.figure, {name: regrets[name] for name in FIGURE if name in regrets}, note)
    replayed = Replayed(file.name, budget, {name: at_quarters(regret) for name, regret in regrets.items()}, by_seed)
    return {
        "default": DEFAULT,
        "reach": {name: epochs / budget if math.isfinite(epochs) else None for name, epochs in reached.items()},
        "budget": budget,
        "best": best,
        "regret": {name: quartiles_at_quarters(regret)[:, 0].tolist() for name, regret in regrets.items()},
        "quartiles": {name: quartiles_at_quarters(regret)[:, 1:].tolist() for name, regret in regrets.items()},
        "mean_regret": {name: at_quarters(regret).mean(axis=0).tolist() for name, regret in regrets.items()},
        "epochs_to_reach_random": reached,
    }, replayed


def all_contenders(space: Any, *, slow: bool) -> list[str]:
    """Ours and the peers.

    Args:
        slow: also peers that take long.
    """
    from benchmarks.search_contenders import I_EPOCHS, OPTIONAL_PEERS, PEERS, SLOW_PEERS

    optional = [name for name in OPTIONAL_PEERS if slow or name not in SLOW_PEERS]
    return [*our_searches(space, SCHEDULERS), *I_EPOCHS, *PEERS, *optional]


def our_searches(space: Any, schedulers: Sequence[str]) -> list[str]:
    """Each of galaxy_exp's samplers that can work on the space, with each scheduler."""
    from galaxy_exp.search.building import check_search
    from galaxy_exp.search_methods import SAMPLERS
    from galaxy_exp.space.search_space import SearchSpace

    names = []
    for sampler in SAMPLERS:
        with contextlib.suppress(ConfigError):
            check_search(SearchConfig(sampler=sampler), SearchSpace.of(space), epochs=1)
            names += [f"{sampler} + {scheduler}" for scheduler in schedulers]
    return names


def _failed(table: Any) -> int:
    return sum(row.state != "completed" for row in table.rows)


def _expand(steps: Sequence[tuple[int, float]], budget: int) -> NDArray[np.float64]:
    """The best value after each epoch; nan before anything was found."""
    found = np.full(budget, math.nan)
    for epoch, value in steps:
        found[epoch:] = value
    return found


def at_quarters(regret: NDArray[np.float64]) -> NDArray[np.float64]:
    """Regret (seeds, 4) at 25, 50, 75 and 100% of the epochs."""
    return regret[:, [round(share * regret.shape[1]) - 1 for share in QUARTERS]]


def quartiles_at_quarters(regret: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median, lower and upper quartile over the seeds (4, 3)."""
    return np.nanquantile(at_quarters(regret), [0.5, 0.25, 0.75], axis=0).T


def lead_table(regrets: Mapping[str, NDArray[np.float64]], budget: int) -> Table:
    """The default against the peer with the lowest median at each quarter, and whether chance may have ranked them."""
    from scipy.stats import mannwhitneyu

    from benchmarks.search_contenders import OPTIONAL_PEERS, PEERS

    title = f"{DEFAULT} against the best peer: median, mean; two-sided Mann-Whitney p"
    rendered = Table("after", DEFAULT, "the best peer", "", "p", box=box.MARKDOWN, title=title)
    quarters = {name: at_quarters(regret) for name, regret in regrets.items()}
    for index, share in enumerate(QUARTERS):
        others = {name: values[:, index] for name, values in quarters.items() if name in PEERS | OPTIONAL_PEERS}
        if not others:
            continue
        best = min(others, key=lambda name: (np.median(others[name]), np.mean(others[name])))
        own, other = quarters[DEFAULT][:, index], others[best]
        cells = [f"{np.median(values):.4f}, {np.mean(values):.4f}" for values in (own, other)]
        rendered.add_row(
            f"{share * budget:.0f} epochs", cells[0], best, cells[1], f"{mannwhitneyu(own, other).pvalue:.2g}"
        )
    return rendered


def epochs_to_reach(found: Mapping[str, NDArray[np.float64]], name: str) -> dict[str, float]:
    """Epochs after which each contender has what `name` has in the end, both as medians over the seeds."""
    return {contender: float(np.median(epochs)) for contender, epochs in epochs_by_seed(found, name).items()}


def epochs_by_seed(found: Mapping[str, NDArray[np.float64]], name: str) -> dict[str, NDArray[np.float64]]:
    """Epochs (seeds,) after which each search has the median over the seeds of what `name` found with the whole budget;
    inf if it never has."""
    target = float(np.median(found[name][:, -1]))
    reached = {}
    for contender, values in found.items():
        there = values >= target
        reached[contender] = np.where(there.any(axis=1), there.argmax(axis=1) + 1.0, math.inf)
    return reached


def regret_table(
    regrets: Mapping[str, NDArray[np.float64]], budget: int, missing: Mapping[str, str] | None = None
) -> Table:
    """Medians with quartiles, the best final median first.

    Args:
        missing: contenders whose package is not installed, and the package.
    """
    quarters = (f"{round(quarter * budget / 4)} epochs" for quarter in (1, 2, 3, 4))
    rendered = Table("regret after", *numbers(*quarters), box=box.MARKDOWN)
    quartiles = {name: quartiles_at_quarters(regret) for name, regret in regrets.items()}
    for name in sorted(quartiles, key=lambda name: tuple(quartiles[name][::-1, 0])):
        cells = (f"{median:.4f} ({low:.4f} to {high:.4f})" for median, low, high in quartiles[name])
        rendered.add_row(f"**{name}**" if name == DEFAULT else name, *cells)
    for name, package in (missing or {}).items():
        rendered.add_row(name, f"not installed ({package})", "", "", "")
    return rendered


def reach_table(reached: Mapping[str, float], budget: int) -> Table:
    """Epochs to what random search finds with the whole budget, the fastest first."""
    rendered = Table(f"reaches what {RANDOM} ends with", *numbers("epochs", "of the budget"), box=box.MARKDOWN)
    for name in sorted(reached, key=lambda name: reached[name]):
        cells = (
            (f"{reached[name]:.0f}", f"{reached[name] / budget:.0%}") if math.isfinite(reached[name]) else ("never", "")
        )
        rendered.add_row(f"**{name}**" if name == DEFAULT else name, *cells)
    return rendered


def minimise_all(parsed: argparse.Namespace, runner: Runner, console: Console) -> dict[str, Any]:
    """Every sampler on every function it can work on; prints the table of minima."""
    from benchmarks.search_functions import FUNCTIONS

    peers = ["KerasTuner RandomSearch", "KerasTuner BayesianOptimization", "Optuna TPE"]
    evaluations = 10 if parsed.quick else EVALUATIONS
    runs = [
        Run("functions", name, contender, seed, evaluations)
        for name, function in FUNCTIONS.items()
        for contender in parsed.contenders or [*our_searches(function.space, ["none"]), *peers]
        for seed in _seeds(parsed, contender)
    ]
    minima: dict[str, dict[str, list[float]]] = {}
    for run, result in zip(runs, runner.results(runs), strict=True):
        minima.setdefault(run.contender, {}).setdefault(run.what, []).append(result)
    functions = (f"{name} ({function.minimum:g})" for name, function in FUNCTIONS.items())
    rendered = Table(f"lowest after {evaluations} evaluations", *numbers("seeds", *functions), box=box.MARKDOWN)
    for contender, by_function in minima.items():
        cells = [_quartiles(by_function.get(name), function.decimals) for name, function in FUNCTIONS.items()]
        n_seeds = len(next(iter(by_function.values())))
        rendered.add_row(contender.removesuffix(" + none"), str(n_seeds), *cells)
    console.print(rendered)
    return minima


def _seeds(parsed: argparse.Namespace, contender: str) -> range:
    n_seeds = min(parsed.seeds, SLOW_SEEDS) if contender == SLOW else parsed.seeds
    return range(parsed.first_seed, parsed.first_seed + n_seeds)


def _quartiles(values: Sequence[float] | None, decimals: int) -> str:
    if values is None:
        return "not possible"
    low, median, high = (f"{value:.{decimals}f}" for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return f"{median} ({low} to {high})"


def time_all(parsed: argparse.Namespace, console: Console) -> dict[str, dict[int, float]]:
    """Seconds of a proposal of each sampler; prints the table in milliseconds."""
    from benchmarks.search_cost import TIMERS

    seconds: dict[str, dict[int, float]] = {}
    finished = (f"{number:,}" for number in parsed.finished)
    rendered = Table("ms for a proposal, finished trials", *numbers(*finished), box=box.MARKDOWN)
    for name, timer in TIMERS.items():
        if parsed.contenders and name not in parsed.contenders:
            continue
        seconds[name] = {n: timer.measure(n) for n in parsed.finished if n <= timer.most}
        cells = (f"{1000 * seconds[name][n]:,.1f}" if n in seconds[name] else "not run" for n in parsed.finished)
        rendered.add_row(name, *cells)
    console.print(rendered)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
