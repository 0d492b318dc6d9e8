"""Damaged sweep files and journals: each is read, or refused in clear lines; nothing hangs or takes all memory.

    python benchmarks/fuzz.py                                     10,000 of each
    python benchmarks/fuzz.py --journals 0 --start 2500 --sweeps 2500    a slice; case i is the same in every run
    python benchmarks/fuzz.py --start 4711 --sweeps 1 --journals 0 --keep case    one case, with its file kept

Exit code 1 if any case ended with a traceback, hung, or was refused unclearly.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from galaxy_exp.cli.main import run_command
from galaxy_exp.config import SweepConfig, dump_sweep, load_sweep
from galaxy_exp.errors import ConfigError, GalaxyExpError
from galaxy_exp.journal.events import (
    EpochReported,
    FinalistsChosen,
    ModelRegistered,
    ParentRunCreated,
    PromotionDecided,
    SealedTestOpened,
    SweepEnded,
    SweepResumed,
    SweepStarted,
    TrialEnded,
    TrialProjected,
    TrialProposed,
    TrialRunCreated,
    TrialStarted,
    WinnerChosen,
    WorkerLost,
)
from galaxy_exp.journal.journal import Journal
from galaxy_exp.records import EpochReport, TrialResult, TrialState

__all__ = ["Finding", "check_journal", "check_sweep_file", "damaged_journal", "damaged_sweep_file", "fuzz", "main"]

SECONDS_PER_CASE = 10
LONGEST_LINE = 1500
MEMORY_BYTES = 3 * 2**30
"""Address space beyond what the process has when it begins."""

RICH_SWEEP = """
name: rich
data:
  source: images.csv
  options: {root: here, sizes: [1, 2]}
  class_names: [smooth, disk]
  crop: 64
  split: {validation: 0.2, test: 0.2, seed: 7, duplicates: identical}
  table: {file_column: path}
  fits: {stretch: lupton, black: 0.0, white: 9.5, bands: [0, 1, 2]}
hypermodel: galaxy-cnn
space:
  filters_1: {values: [16, 32, 64]}
  dropout_2: {min: 0.2, max: 0.6, step: 0.1}
  learning_rate: {min: 1e-4, max: 3e-3, scale: log}
  batch_norm: true
training: {epochs: 20, precision: auto}
search:
  sampler: tpe
  objective: [val_macro_f1, -flops]
  constraints: {parameters: "<= 1e6"}
  enqueue: [{n_blocks: 2, head: gap}]
  max_trials: 20
  max_hours: 1.5
execution: {workers: 2, threads: 1}
tracking: {experiment: galaxy10, uri: "postgresql://me:secret@db.example/mlflow"}
registry: {model: galaxy10-cnn, finalists: 2}
"""

SCALARS: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**6, 10**30, 10**4000, 1.5, -0.0, 1e308, float("nan"), float("inf"), "", " ", "x",
    "\n", "a\nb: c", "\x00", "\x1b[31m", "\u202e", "\U0001f30c" * 50, "../../etc/passwd", "no.such:Module", "os:system",
    "a" * 5000, [], {}, [[]], {"a": {"b": {}}}, [1, "a", None], "2020-01-01", "NaN", "Infinity", "-",
)  # fmt: skip

YAML_TEXTS: tuple[bytes, ...] = (
    b"!!python/object/apply:os.system ['true']", b"!!binary '=='", b"!!timestamp 2020-99-99", b"2020-13-45", b"0x_",
    b"!!set {a, b}", b"!!omap [a: 1]", b"&a [*a]", b"*nothing", b"{", b"[", b"'", b'"\\ud800"', b"? [1, 2]\n: 3",
    b"<<: {a: 1}", b"!!int x", b"!!float ''", b"\xff\xfe", b"\xc3\x28", b"\t", b"---\n...", b"% x", b"| \n  text", b"@",
    b"`", b"!<tag> x", b"1:1:1:1:1", b"9" * 6000, b"0x" + b"f" * 6000, b"1e999999",
    b"[" * 2000, b"{a: " * 500, b"- " * 3000,
    b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\x85", b"!!str {a: 1}", b"=", b"~", b".nan", b"-.inf", b"0o7", b"!!null x",
)  # fmt: skip

LAUGHS = "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefghijkl", "bcdefghijklm", strict=True)
)
BILLION_LAUGHS = f"a: &a [x, x]\n{LAUGHS}".encode()


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that did not end as it should."""

    case: str
    what: str


class _TooLong(BaseException):
    """A case took longer than `SECONDS_PER_CASE`; no `except Exception` swallows it."""


# damage


def damaged_sweep_file(case: int, seed: int = 1) -> bytes:
    """Case number `case`: one of the sweep files of the project, or a rich one, changed in one to three ways."""
    rng = random.Random(f"{seed} sweep {case}")
    shipped = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "sweeps").glob("*.yaml"))]
    data = rng.choice([*shipped, RICH_SWEEP.encode(), RICH_SWEEP.encode(), dump_sweep(SweepConfig()).encode()])
    for _ in range(rng.choice((1, 1, 2, 3))):
        damage = rng.choice((_change_tree, _change_tree, _change_tree, _change_lines, _change_bytes, _insert_yaml))
        data = damage(rng, data)
    return data


def damaged_journal(case: int, seed: int = 1) -> bytes:
    """Case number `case`: the journal of a finished sweep of four trials, changed in one to three ways."""
    rng = random.Random(f"{seed} journal {case}")
    data = _whole_journal()
    for _ in range(rng.choice((1, 1, 2, 3))):
        damage = rng.choice((_change_event, _change_event, _change_event, _change_lines, _change_bytes))
        data = damage(rng, data)
    return data


def _change_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flips, cuts, doubles or overwrites."""
    if not data:
        return bytes(rng.randrange(256) for _ in range(9))
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice((1, 1, 2, 8, 100, 2000)))
    kind = rng.randrange(5)
    if kind == 0:
        flipped = bytearray(data)
        for _ in range(rng.choice((1, 2, 10))):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if kind == 1:
        return data[:start]
    if kind == 2:
        return data[:start] + data[end:]
    if kind == 3:
        return data[:end] + data[start:]
    return data[:start] + bytes(rng.randrange(256) for _ in range(end - start)) + data[end:]


def _change_lines(rng: random.Random, data: bytes) -> bytes:
    """Doubles, removes, swaps, indents or joins lines."""
    lines = data.splitlines(keepends=True)
    if len(lines) < 2:
        return data + data
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(5)
    if kind == 0:
        lines.insert(second, lines[first])
    elif kind == 1:
        del lines[first]
    elif kind == 2:
        lines[first], lines[second] = lines[second], lines[first]
    elif kind == 3:
        lines[first] = b" " * rng.randrange(1, 9) + lines[first]
    else:
        lines[first] = lines[first].rstrip(b"\n")
    return b"".join(lines)


def _insert_yaml(rng: random.Random, data: bytes) -> bytes:
    """Puts something odd where a value or a key stands."""
    if rng.random() < 0.1:
        return data + b"\n" + BILLION_LAUGHS + b"space: *m\n" * rng.randrange(2)
    colons = [place for place in range(len(data) - 1) if data[place : place + 2] in (b": ", b":\n")]
    if not colons:
        return rng.choice(YAML_TEXTS)
    place = rng.choice(colons) + 1
    end = data.find(b"\n", place)
    rest = data[end if end >= 0 else len(data) :] if rng.random() < 0.7 else data[place:]
    return data[:place] + b" " + rng.choice(YAML_TEXTS) + rest


def _change_tree(rng: random.Random, data: bytes) -> bytes:
    """Replaces, removes, adds or misspells a key or value, and writes the file again."""
    if b"*" in data:  # aliases, which this would write out
        return _change_bytes(rng, data)
    try:
        tree = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError):  # PyYAML's own ways
        return _change_bytes(rng, data)
    if not isinstance(tree, dict):
        return _change_bytes(rng, data)
    _damage_tree(rng, tree)
    try:
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=rng.random() < 0.5).encode(errors="surrogatepass")
    except (yaml.YAMLError, ValueError, RecursionError):  # too many digits, or too deep, to be written
        return _change_bytes(rng, data)


def _change_event(rng: random.Random, data: bytes) -> bytes:
    """As `_change_tree`, in one line of JSON."""
    lines = data.splitlines(keepends=True)
    place = rng.randrange(len(lines)) if lines and rng.random() < 0.7 else 0
    try:
        tree = json.loads(lines[place])
        _damage_tree(rng, tree)
        lines[place] = json.dumps(tree).encode() + b"\n"
    except (ValueError, IndexError, TypeError):
        return _change_bytes(rng, data)
    return b"".join(lines)


def _damage_tree(rng: random.Random, tree: Any) -> None:
    places = list(_places(tree))
    if not places:
        return
    parent, key = rng.choice(places)
    kind = rng.randrange(6)
    if kind <= 2:
        parent[key] = _other_value(rng, parent[key])
    elif kind == 3:
        del parent[key]
    elif isinstance(parent, list):
        parent.append(copy.deepcopy(rng.choice(SCALARS)))
    elif kind == 4:
        name = rng.choice(("units", "learning_rate", "max_trials", "a\nb", "\x00", "", 1, None, "x" * 3000, "\u202e"))
        parent[name] = copy.deepcopy(rng.choice(SCALARS))
    else:
        letters = list(str(key))
        letters.insert(rng.randrange(len(letters) + 1), rng.choice("abcxyz_.: "))
        parent["".join(letters)] = parent.pop(key)


def _other_value(rng: random.Random, value: Any) -> Any:
    if isinstance(value, bool | int | float) and rng.random() < 0.5:
        return rng.choice((-value, value + 1, value * 1000, str(value), [value], float(value) / 3))
    if rng.random() < 0.1:
        nested: Any = value
        for _ in range(rng.choice((5, 60, 300))):
            nested = [nested] if rng.random() < 0.5 else {"a": nested}
        return nested
    return copy.deepcopy(rng.choice(SCALARS))


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(entries):
        yield tree, key
        yield from _places(value)


@cache
def _whole_journal() -> bytes:
    """A finished sweep with a lost worker, a failed trial, and a finalist that was trained again."""
    clock = iter(range(1_700_000_000, 1_700_001_000)).__next__
    with tempfile.TemporaryDirectory() as folder, Journal.create(Path(folder), _start(), clock) as journal:
        journal.append_all(_events())
        return (Path(folder) / "journal.jsonl").read_bytes()


def _start() -> SweepStarted:
    return SweepStarted(
        sweep_id="s-1",
        config=SweepConfig(search={"max_trials": 3}).model_dump(mode="json"),
        space={"space": [], "values": {}},
        baseline={"units": 8, "batch_norm": True},
        enqueued=[{"units": 4, "batch_norm": False}],
        data_folder="data",
        data_digest="d" * 64,
        split_digest="s" * 64,
        data_source="simulated",
        simulated=True,
        tracking_uri="postgresql://me:secret@db.example/mlflow",
        software={"python": "3.11"},
        import_paths=["here"],
    )


def _events() -> list[Any]:
    events: list[Any] = [ParentRunCreated(run_id="p")]
    for number in range(3):
        events += [
            TrialProposed(
                number=number, values={"units": 8 >> number, "batch_norm": not number}, seed=5, settled=number < 2
            ),
            TrialStarted(number=number, attempt=1),
            TrialRunCreated(number=number, run_id=f"r{number}"),
            *_epochs(number, 1),
        ]
        if number == 1:
            events += [
                WorkerLost(number=1, attempt=1, reason="SIGKILL"),
                TrialStarted(number=1, attempt=2),
                *_epochs(1, 2),
            ]
        events += [
            _end(number, TrialState.FAILED if number == 2 else TrialState.COMPLETED),
            TrialProjected(number=number),
        ]
        events += [SweepResumed()] if number == 0 else []
    return [
        *events,
        FinalistsChosen(numbers=[1], reason="max_trials reached"),
        TrialProposed(number=3, values={"units": 4, "batch_norm": False}, seed=9, confirms=1),
        TrialStarted(number=3, attempt=1),
        *_epochs(3, 1),
        _end(3, TrialState.COMPLETED),
        WinnerChosen(number=3),
        SealedTestOpened(number=3, report=_report()),
        SealedTestOpened(number=0, report=_report()),
        ModelRegistered(number=3, name="m", version=1),
        PromotionDecided(name="m", version=1, promoted=True, reason="the first"),
        SweepEnded(succeeded=True, reason="max_trials reached"),
    ]


def _report() -> dict[str, Any]:
    return {"n_images": 20, "accuracy": 0.5, "macro_f1": 0.4, "balanced_accuracy": 0.45}


def _epochs(number: int, attempt: int) -> list[EpochReported]:
    curve = (0.25, float("nan"), 0.5 + number / 10)
    return [
        EpochReported(report=EpochReport(number, attempt, epoch, {"val_macro_f1": value, "loss": 1.0}), go_on=True)
        for epoch, value in enumerate(curve, start=1)
    ]


def _end(number: int, state: TrialState) -> TrialEnded:
    metrics = {"val_macro_f1": 0.5 + number / 10} if state.has_model else {}
    return TrialEnded(result=TrialResult(number, 1, state, "because", 3, metrics, 3, 9.0, 8.0, 100, 1000, 0.01))


# judgement


def check_sweep_file(data: bytes, folder: Path, with_space: bool = False) -> str | None:
    """What is wrong with how a sweep file is read; None if it is accepted, or refused in clear lines.

    Args:
        data: the file's content.
        folder: where it is written.
        with_space: whether an accepted one's search space is built as well, which needs Keras.
    """
    file = folder / "sweep.yaml"
    file.write_bytes(data)
    try:
        config = load_sweep(file)
        text = dump_sweep(config)
        file.write_text(text, encoding="utf-8")
        if load_sweep(file) != config:
            return "what is dumped does not read back equal"
        json.loads(_start().model_copy(update={"config": config.model_dump(mode="json")}).model_dump_json())
    except ConfigError as error:
        return _unclear(error, list(error.problems), str(file))
    if with_space:
        return _check_space(config)
    return None


def _check_space(config: SweepConfig) -> str | None:
    from galaxy_exp.data import load_dataset
    from galaxy_exp.hypermodel.discovery import discover_space
    from galaxy_exp.hypermodel.loading import load_hypermodel
    from galaxy_exp.preparation import check_names
    from galaxy_exp.search.building import check_search
    from galaxy_exp.space.overrides import build_space, complete_configuration

    try:
        check_names(config)
        hypermodel = load_hypermodel(config.hypermodel, (64, 64, 3), 4)
        declared = discover_space(hypermodel)
        space = build_space(hypermodel, config.space, declared)
        check_search(config.search, space, config.training.epochs)
        for place, values in enumerate(config.search.enqueue):
            complete_configuration(hypermodel, space, values, f"search.enqueue.{place}", declared)
        if config.data.source not in ("simulated", "galaxy10-sdss", "galaxy10-decals"):
            load_dataset(config.data)
    except GalaxyExpError as error:
        return _unclear(error, list(error.problems) if isinstance(error, ConfigError) else [str(error)], "")
    return None


def _unclear(error: GalaxyExpError, lines: list[str], where: str) -> str | None:
    for line in lines:
        if len(line.splitlines()) != 1 or not line.isprintable():
            return f"{type(error).__name__} is not one line to print: {line[:200]!r}"
        if where not in line or len(line) > LONGEST_LINE + len(where):
            return f"{type(error).__name__} of {len(line)} characters is not clear: {line[:200]!r}"
    return None


def check_journal(data: bytes, folder: Path) -> str | None:
    """What is wrong with how `show`, `trials` and `list` answer to a journal, and reopening it; None if nothing is."""
    sweep = folder / "sweeps" / "s-1"
    sweep.mkdir(parents=True, exist_ok=True)
    (sweep / "journal.jsonl").write_bytes(data)
    for command in (["show", "--format", "json"], ["show"], ["trials"], ["trials", "--format", "csv"], ["list"]):
        out, err = io.StringIO(), io.StringIO()
        with (
            patch.dict(os.environ, GALAXY_EXP_HOME=str(folder)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = run_command(command)
        lines = err.getvalue().splitlines()
        if code not in (0, 2) or bool(lines) != (code == 2):
            return f"{command}: exit code {code} with {err.getvalue()[:200]!r}"
        for line in lines:
            if not line.startswith("error: ") or not line.isprintable() or len(line) > LONGEST_LINE + len(str(folder)):
                return f"{command}: unclear: {line[:200]!r}"
            if "journal" not in line:
                return f"{command}: does not name the journal: {line[:200]!r}"
        if "secret" in out.getvalue() + err.getvalue():
            return f"{command}: tells the password"
    try:
        with Journal.reopen(sweep) as journal:
            journal.append(SweepResumed())
    except GalaxyExpError as error:
        return _unclear(error, [str(error)], str(sweep))
    return None


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def late(signum: int, frame: object) -> None:
        raise _TooLong

    previous = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def examine(name: str, check: Callable[[], str | None]) -> Finding | None:
    """Runs one case under a limit of time; whatever it raises is a finding."""
    try:
        with _limited(SECONDS_PER_CASE):
            what = check()
    except _TooLong:
        what = f"took longer than {SECONDS_PER_CASE} s"
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is what this looks for
        last = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {str(error)[:200]!r}"
    return Finding(name, what) if what else None


def fuzz(sweeps: range, journals: range, seed: int = 1, with_space: bool = False) -> list[Finding]:
    """Examines the cases with these numbers."""
    found: list[Finding | None] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in sweeps:
            data = damaged_sweep_file(case, seed)
            found.append(examine(f"sweep {case}", lambda: check_sweep_file(data, Path(folder), with_space)))  # noqa: B023
        for case in journals:
            data = damaged_journal(case, seed)
            found.append(examine(f"journal {case}", lambda: check_journal(data, Path(folder))))  # noqa: B023
    return [finding for finding in found if finding is not None]


def main(arguments: list[str] | None = None) -> int:
    """Runs the cases and prints what was found; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=10_000, help="how many damaged sweep files")
    parser.add_argument("--journals", type=int, default=10_000, help="how many damaged journals")
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--space", action="store_true", help="build the search space of accepted sweep files (Keras)")
    parser.add_argument("--keep", type=Path, help="folder for the files of the cases that were found")
    options = parser.parse_args(arguments)
    if options.space:
        _check_space(SweepConfig())  # the libraries, before memory is limited
    _limit_memory()
    began = time.monotonic()
    sweeps = range(options.start, options.start + options.sweeps)
    journals = range(options.start, options.start + options.journals)
    found = fuzz(sweeps, journals, options.seed, options.space)
    for finding in found:
        print(f"{finding.case}: {finding.what}")
    if options.keep:
        _keep(found, options.keep, options.seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(sweeps)} sweep files and {len(journals)} journals in {time.monotonic() - began:.0f} s, "
        f"peak memory {peak:.0f} MiB: {len(found)} ended as they should not"
    )
    return 1 if found else 0


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, hard))


def _keep(found: list[Finding], folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for finding in found:
        kind, number = finding.case.split()
        data = damaged_sweep_file(int(number), seed) if kind == "sweep" else damaged_journal(int(number), seed)
        (folder / f"{kind}-{number}").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
