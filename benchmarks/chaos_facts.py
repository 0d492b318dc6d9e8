"""What is known of a sweep that has ended, as single facts that can be counted and compared with another sweep's."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

__all__ = ["KINDS", "Difference", "Fact", "compare", "count_openings", "journal_facts", "mlflow_facts", "read_events"]

KINDS = {
    "trials": "journal: trials",
    "proposals": "journal: values of hyperparameters",
    "results": "journal: states, choices, held-out tests",
    "metrics": "journal: metrics, one an epoch and name",
    "files": "files: predictions bit for bit, models kept",
    "runs": "MLflow: runs",
    "parameters": "MLflow: parameters",
    "run metrics": "MLflow: metrics, one a step and name",
    "artifacts": "MLflow: artifacts",
    "logged models": "MLflow: logged models",
    "versions": "MLflow: registered versions",
}
"""In the order of the table."""

_TIMED = ("seconds", "images_per_second", "hours", "speed")
"""Parts of the names of metrics and parameters that a clock measured: they are counted, not compared."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a sweep has exactly once."""

    kind: str
    """A key of `KINDS`."""
    key: str
    value: str
    """As JSON; "" where it may differ."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key whose facts are not those of the reference."""

    what: str
    """lost, doubled or different"""
    kind: str
    key: str
    expected: list[str]
    found: list[str]


def compare(reference: Iterable[Fact], found: Iterable[Fact]) -> list[Difference]:
    """Lost: fewer facts of a key than the reference has; doubled: more; different: as many, with other values."""
    expected, present = _by_key(reference), _by_key(found)
    differences = []
    for kind, key in sorted(expected.keys() | present.keys()):
        wanted, had = expected.get((kind, key), []), present.get((kind, key), [])
        if wanted == had:
            continue
        what = "lost" if len(had) < len(wanted) else "doubled" if len(had) > len(wanted) else "different"
        differences.append(Difference(what, kind, key, wanted, had))
    return differences


def _by_key(facts: Iterable[Fact]) -> dict[tuple[str, str], list[str]]:
    found = defaultdict(list)
    for fact in facts:
        found[fact.kind, fact.key].append(fact.value)
    return {key: sorted(values) for key, values in found.items()}


def read_events(journal: Path) -> list[dict[str, Any]]:
    """The events of the whole lines of a journal; none if there is no such file yet."""
    if not journal.exists():
        return []
    content = journal.read_bytes()
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def count_openings(client: MlflowClient) -> int:
    """The sweeps that have opened a held-out test set, as far as the runs of an MLflow store know."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`galaxy_exp.test_images` != ''", max_results=5000)
    return len({run.data.tags["galaxy_exp.sweep_id"] for run in runs})


def journal_facts(folder: Path, openings_before: int = 0) -> list[Fact]:
    """Of the journal in a sweep's folder, event by event so that a second one of a kind shows, and of its files.

    `openings_before` is how often its test set had been opened before the sweep: its own opening is counted from there.
    """
    facts: list[Fact] = []
    reports: dict[int, list[dict[str, Any]]] = defaultdict(list)
    ended: set[int] = set()
    for event in read_events(folder / "journal.jsonl"):
        match event["event"]:
            case "trial_proposed":
                facts.append(_fact("trials", event["number"], [event[k] for k in ("seed", "settled", "confirms")]))
                facts.append(_fact("proposals", event["number"], event["values"]))
            case "trial_started":
                origin = event["number"] if event.get("continues") is None else event["continues"]
                reports[event["number"]] = reports[origin][: event.get("from_epoch", 0)]
            case "epoch_reported":
                _take_report(reports[event["report"]["number"]], event["report"])
            case "trial_ended":
                result = event["result"]
                ended.add(result["number"])
                facts.append(_fact("results", f"trial {result['number']}", _settled(result)))
            case "promotion_decided":
                own = event["opening"] - openings_before
                kept = _without(event, "time", "name", "reason") | {"opening": own}
                facts.append(_fact("results", event["event"], kept))
            case "finalists_chosen" | "winner_chosen" | "sweep_ended":
                facts.append(_fact("results", event["event"], _without(event, "time", "name", "reason")))
            case "sealed_test_opened" | "model_registered":
                facts.append(_fact("results", f"{event['event']} {event['number']}", _without(event, "time", "name")))
    for number in sorted(ended):
        for report in reports[number]:
            facts += [
                _fact("metrics", f"{number} {name} {report['epoch']}", value, timed=_is_timed(name))
                for name, value in report["metrics"].items()
            ]
    return facts + _file_facts(folder)


def _take_report(known: list[dict[str, Any]], report: dict[str, Any]) -> None:
    """Adds the report of an epoch; it replaces those of earlier attempts, but not one of its own attempt."""
    if report["attempt"] not in {other["attempt"] for other in known[report["epoch"] - 1 :]}:
        del known[report["epoch"] - 1 :]
    known.append(report)


def _settled(result: dict[str, Any]) -> dict[str, Any]:
    """A trial's result without what a clock measured and which attempt it was."""
    plain = {
        name: value for name, value in result.items() if name not in ("attempt", "metrics") and not _is_timed(name)
    }
    return plain | {"metrics": {name: value for name, value in result["metrics"].items() if not _is_timed(name)}}


def _file_facts(folder: Path) -> list[Fact]:
    facts = []
    for file in sorted((folder / "trials").glob("*/*")):
        key = f"{file.parent.name}/{file.name}"
        if file.suffix == ".npy":
            facts.append(_fact("files", key, hashlib.sha256(np.load(file).tobytes()).hexdigest()))
        elif file.is_file():
            facts.append(_fact("files", key, None, timed=True))
    return facts


def mlflow_facts(
    client: MlflowClient, experiment: str, model: str, sweep_id: str, openings_before: int = 0
) -> list[Fact]:
    """Of the active runs of an experiment, and of a registered model; names that belong to the round are left out.

    `openings_before` is as in `journal_facts`.
    """
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    runs = list(client.search_runs([found.experiment_id], max_results=1000))
    names = {run.info.run_id: _run_name(run) for run in runs}
    own = {experiment: "EXPERIMENT", model: "MODEL", sweep_id: "SWEEP", **names}
    facts: list[Fact] = []
    for run in runs:
        facts += _run_facts(client, run, names)
    logged = client.search_logged_models([found.experiment_id], max_results=50)
    facts += [_fact("logged models", names.get(one.source_run_id or "", "?"), str(one.status)) for one in logged]
    for version in client.search_model_versions(f"name = '{model}'"):
        tags = {tag: value for tag, value in sorted(version.tags.items()) if not _is_timed(tag)}
        if number := tags.pop("galaxy_exp.test_opening", ""):
            relative = str(int(number) - openings_before)
            reason = tags["galaxy_exp.promotion_reason"].replace(f"opening {number}", f"opening {relative}")
            tags |= {"galaxy_exp.test_opening": relative, "galaxy_exp.promotion_reason": reason}
        current = client.get_model_version(model, version.version)  # the search leaves aliases out
        stands = [str(version.version), sorted(current.aliases), names.get(version.run_id or "", "?"), version.status]
        facts.append(_fact("versions", "version", [*stands, tags]))
    return [Fact(fact.kind, fact.key, _replace(fact.value, own)) for fact in facts]


def _run_facts(client: MlflowClient, run: Run, names: dict[str, str]) -> list[Fact]:
    name, run_id = names[run.info.run_id], run.info.run_id
    tags = run.data.tags
    parent = names.get(tags["mlflow.parentRunId"], "?") if "mlflow.parentRunId" in tags else None
    own = {tag: value for tag, value in sorted(tags.items()) if tag.startswith("galaxy_exp.") and "attempt" not in tag}
    facts = [_fact("runs", name, [run.info.status, parent, own])]
    facts += [_fact("parameters", f"{name} {key}", value, _is_timed(key)) for key, value in run.data.params.items()]
    for metric in run.data.metrics:
        facts += [
            _fact("run metrics", f"{name} {metric} {entry.step}", entry.value, _is_timed(metric))
            for entry in _without_superseded(client.get_metric_history(run_id, metric))
        ]
    return facts + [_fact("artifacts", f"{name} {path}", None, timed=True) for path in _artifacts(client, run_id, None)]


def _without_superseded(history: Iterable[Metric]) -> list[Metric]:
    """A metric's values, of those at step 0 only the newest.

    Step 0 has what sums a run up. A paused trial that continues gets that twice, but only once if MLflow was away in
    between.
    """
    entries = sorted(history, key=lambda entry: entry.timestamp)
    return [entry for entry in entries if entry.step != 0] + [entry for entry in entries if entry.step == 0][-1:]


def _run_name(run: Run) -> str:
    tags = run.data.tags
    return f"trial {tags['galaxy_exp.trial']}" if "galaxy_exp.trial" in tags else "sweep"


def _artifacts(client: MlflowClient, run_id: str, folder: str | None) -> list[str]:
    found: list[str] = []
    for one in client.list_artifacts(run_id, folder):
        found += _artifacts(client, run_id, one.path) if one.is_dir else [one.path]
    return found


def _fact(kind: str, key: object, value: object, timed: bool = False) -> Fact:
    return Fact(kind, str(key), "" if timed else json.dumps(value, sort_keys=True))


def _without(event: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in keys}


def _is_timed(name: str) -> bool:
    return any(part in name for part in _TIMED)


def _replace(text: str, names: dict[str, str]) -> str:
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    return text
