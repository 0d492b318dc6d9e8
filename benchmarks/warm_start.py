"""What trials of an earlier sweep are worth to a new one, good evidence and bad, on tables of learning curves.

    python benchmarks/warm_start.py --quick
    python benchmarks/warm_start.py --tables a.parquet b.parquet c.parquet --seeds 30 --keep runs.jsonl

Every table is the new sweep's data once, with an earlier sweep on the table before it in the list; all tables have to
have the same search space. The same seed searches without evidence (cold) and with each kind of it:

    same data         comparable trials of a sweep on the same table
    other data        trials of a sweep on the other table
    other data + 0.3  the same with 0.3 added to every score
    pooled + 0.3      the same taken as comparable: what it costs to pool raw scores of other data
    shuffled          the outcomes dealt out to the trials at random
    reversed          the best outcome with the worst configuration, and so on

Differences are warm minus cold, so that less is better: mean over tables and seeds with a 95 % bootstrap interval, and
the two-sided p of Wilcoxon's signed-rank test. Everything follows from the seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import fill_in, numbers, open_console, write_json
from benchmarks.curves_table import CurveTable, append_line, read_lines, read_table
from benchmarks.search_contenders import GalaxyExpSearcher
from benchmarks.search_replay import best_of_table, replay, searched_space, snapper
from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.records import Evidence, Outcome
from galaxy_exp.search.building import build_proposer
from galaxy_exp.space.search_space import SearchSpace

TABLES = [Path(__file__).with_name(f"learning_curves{which}.parquet") for which in ("", "_40px")]
KINDS = ("same data", "other data", "other data + 0.3", "pooled + 0.3", "shuffled", "reversed")
OFFSET = 0.3
QUARTERS = (0.25, 0.5, 1.0)
FULL = {"seeds": 30, "trainings": 20}
QUICK = {"seeds": 3, "trainings": 6}


@dataclass(frozen=True, slots=True)
class Run:
    """One search, to be done in any process."""

    table: str
    source: str
    """The table of the earlier sweep."""
    kind: str
    """One of `KINDS`, "cold" or "random"."""
    sampler: str
    scheduler: str
    seed: int
    trainings: int
    """The budget, in whole trainings."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints a table of differences."""
    parsed = parse_arguments(arguments)
    console = open_console(200)
    runs = [
        Run(str(table), str(source), kind, parsed.sampler, parsed.scheduler, seed, parsed.trainings)
        for table, source in zip(parsed.tables, [parsed.tables[-1], *parsed.tables[:-1]], strict=True)
        for kind in ("random", "cold", *parsed.kinds)
        for seed in range(1, parsed.seeds + 1)
    ]
    regrets = dict(zip(runs, do_all(runs, parsed.processes, parsed.keep), strict=True))
    console.print(
        f"{parsed.sampler} + {parsed.scheduler}, {len(parsed.tables)} tables, {parsed.seeds} seeds, "
        f"{parsed.trainings} whole trainings",
        highlight=False,
    )
    report = {kind: compare(regrets, kind) for kind in parsed.kinds}
    console.print(difference_table(report))
    write_json(parsed.json, report)
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `--quick` only sets what was not given."""
    parser = argparse.ArgumentParser(description="What trials of an earlier sweep are worth to a new one.")
    parser.add_argument("--tables", type=Path, nargs="+", default=TABLES, help="learning curves with the same space")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="these kinds of evidence only")
    parser.add_argument("--sampler", default=SearchConfig().sampler_choice, help="of both sweeps")
    parser.add_argument("--scheduler", default=SearchConfig().scheduler, help="of both sweeps")
    parser.add_argument("--seeds", type=int, help=f"searches of each kind on each table ({FULL['seeds']})")
    parser.add_argument("--trainings", type=int, help=f"budget, in whole trainings ({FULL['trainings']})")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep finished searches here, and do not repeat them")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="searches at the same time")
    parser.add_argument("--quick", action="store_true", help="few seeds and a small budget: proves nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all results as JSON")
    parsed = parser.parse_args(arguments)
    fill_in(parsed, QUICK if parsed.quick else FULL)
    return parsed


def do_all(runs: Sequence[Run], processes: int, keep: Path | None) -> list[NDArray[np.float64]]:
    """The regret after each epoch of each run; with `keep`, none is done twice."""
    known = {line["key"]: line["found"] for line in (read_lines(keep) if keep is not None else [])}
    waiting = [run for run in runs if _key(run) not in known]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for run, found in zip(waiting, pool.map(do_run, waiting), strict=True):
            known[_key(run)] = found
            if keep is not None:
                append_line(keep, {"key": _key(run), "found": found})
    return [np.array(known[_key(run)]) for run in runs]


def _key(run: Run) -> str:
    return json.dumps(asdict(replace(run, table=Path(run.table).name, source=Path(run.source).name)))


def do_run(run: Run) -> list[float]:
    """Regret after each epoch; that of the worst row before anything was found."""
    table = _open_table(run.table)
    epochs = table.task["epochs"]
    if run.kind == "random":
        searcher = _searcher("random", "none", table, run.seed)
    else:
        searcher = _searcher(run.sampler, run.scheduler, table, run.seed, _evidence(run) if run.kind != "cold" else [])
    found = replay(table, searcher, searched_space(table), run.trainings * epochs)
    return list(best_of_table(table) - np.nan_to_num(found, nan=_worst(table)))


@cache
def _open_table(path: str) -> CurveTable:
    return read_table(Path(path))


def _worst(table: CurveTable) -> float:
    return min(max(row.curves["val_macro_f1"]) for row in table.rows if row.state == "completed")


def _searcher(
    sampler: str, scheduler: str, table: CurveTable, seed: int, evidence: Sequence[Evidence] = ()
) -> GalaxyExpSearcher:
    search = SearchConfig.model_validate({"sampler": sampler, "scheduler": scheduler, "seed": seed})
    epochs = table.task["epochs"]
    space = SearchSpace.of(searched_space(table))
    return GalaxyExpSearcher(build_proposer(search, space, epochs=epochs, evidence=evidence), search, epochs)


def _evidence(run: Run) -> list[Evidence]:
    """Trials of an earlier sweep, on rows of the new sweep's table."""
    source = run.table if run.kind == "same data" else run.source
    trials = _earlier_trials(source, run.sampler, run.scheduler, 1000 + run.seed, run.trainings)
    table = _open_table(run.table)
    snap = snapper(table, searched_space(table))
    values = [snap(_open_table(source).rows[row].values)[1] for row, _ in trials]
    outcomes = _changed([outcome for _, outcome in trials], run)
    comparable = run.kind in ("same data", "pooled + 0.3")
    return [Evidence(each, outcome, "earlier", comparable) for each, outcome in zip(values, outcomes, strict=True)]


@cache
def _earlier_trials(path: str, sampler: str, scheduler: str, seed: int, trainings: int) -> list[tuple[int, Outcome]]:
    """Rows of the table that an earlier sweep tried, and how each ended."""
    table = _open_table(path)
    searcher = _searcher(sampler, scheduler, table, seed)
    replay(table, searcher, searched_space(table), trainings * table.task["epochs"])
    return list(searcher.outcomes.items())


def _changed(outcomes: list[Outcome], run: Run) -> list[Outcome]:
    if run.kind.endswith("+ 0.3"):
        return [_shifted(outcome) for outcome in outcomes]
    if run.kind == "shuffled":
        order = np.random.default_rng(run.seed).permutation(len(outcomes))
        return [outcomes[index] for index in order]
    if run.kind == "reversed":
        ranked = sorted(range(len(outcomes)), key=lambda index: (outcomes[index].values or (-math.inf,), index))
        others = dict(zip(ranked, reversed(ranked), strict=True))
        return [outcomes[others[index]] for index in range(len(outcomes))]
    return outcomes


def _shifted(outcome: Outcome) -> Outcome:
    values = tuple(value + OFFSET for value in outcome.values) if outcome.values else None
    return replace(outcome, curve=tuple(value + OFFSET for value in outcome.curve), values=values)


def compare(regrets: dict[Run, NDArray[np.float64]], kind: str) -> dict[str, list[float]]:
    """Warm minus cold: for regret at each quarter and for the epochs to random's end, as a share of the budget.

    Returns:
        Mean, its 95 % interval, and p, by what was compared.
    """
    differences: dict[str, list[float]] = {
        name: [] for name in (*(f"regret at {share:.0%}" for share in QUARTERS), "epochs")
    }
    for run, warm in regrets.items():
        if run.kind != kind:
            continue
        cold = regrets[replace(run, kind="cold")]
        for share in QUARTERS:
            index = round(share * len(warm)) - 1
            differences[f"regret at {share:.0%}"].append(warm[index] - cold[index])
        at_random = [
            regret[-1] for other, regret in regrets.items() if (other.table, other.kind) == (run.table, "random")
        ]
        target = float(np.median(at_random))
        differences["epochs"].append(_reached(warm, target) - _reached(cold, target))
    return {what: summarise(np.array(values)) for what, values in differences.items()}


def _reached(regret: NDArray[np.float64], target: float) -> float:
    """The share of the budget after which the regret is at most `target`; 1 if it never is."""
    there = regret <= target
    return float((there.argmax() + 1) / len(regret)) if there.any() else 1.0


def summarise(differences: NDArray[np.float64]) -> list[float]:
    """Mean, lower and upper end of its 95 % bootstrap interval, two-sided p of Wilcoxon's test."""
    from scipy.stats import wilcoxon

    drawn = np.random.default_rng(1).choice(differences, (4000, len(differences)))
    low, high = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
    p = float(wilcoxon(differences).pvalue) if np.any(differences) else 1.0
    return [float(differences.mean()), float(low), float(high), p]


def difference_table(report: dict[str, dict[str, list[float]]]) -> Table:
    """A row for each kind of evidence."""
    what_differs = (what.replace("epochs", "epochs to random's end") for what in next(iter(report.values())))
    title = "warm minus cold: mean (95 % interval), p; less is better"
    rendered = Table("evidence", *numbers(*what_differs), box=box.MARKDOWN, title=title)
    for kind, found in report.items():
        digits = {what: ".1%" if what == "epochs" else ".4f" for what in found}
        rendered.add_row(
            kind,
            *(
                f"{mean:+{digits[what]}} ({low:+{digits[what]}} to {high:+{digits[what]}}), {p:.2g}"
                for what, (mean, low, high, p) in found.items()
            ),
        )
    return rendered


if __name__ == "__main__":
    sys.exit(main())
