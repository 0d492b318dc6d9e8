"""Saved views of a sweep in the MLflow UI: its trials, best first, with charts; and its finalists over their seeds.

MLflow's UI keeps a saved or shared view in a tag of the experiment and opens it at
`#/experiments/<experiment>/runs?viewStateShareKey=<key>`. The format is not documented; this follows
release 3.17 (`savedViewEnvelope.ts`, `ExperimentPageUIState.tsx` and `runs-charts.types.ts` in its sources) and is
tested in a browser. Releases with shared views only (3.5, tested by hand) find the same state beside the envelope.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.report.axes import Axis, axes_of, comparable_trials
from galaxy_exp.report.importance import measure_importances
from galaxy_exp.tracking import names
from galaxy_exp.tracking.addresses import uri_option
from galaxy_exp.tracking.names import allowed_name, outcome_metrics

__all__ = [
    "LONGEST",
    "SavedView",
    "charts_address",
    "finalists_address",
    "page_of",
    "save_finalists_view",
    "save_view",
    "trials_address",
    "watch_command",
]

LONGEST = 5000
"""Maximal length of an experiment's tag in MLflow's database."""
_MOST_AXES = 10
"""Maximal number of hyperparameters in the parallel coordinates, so that the UI's card stays readable."""
_FINALISTS = "-finalists"
"""Ends the key of the view of the finalists, which begins with the sweep's id."""
_WIDE, _SMALL = "galaxy_exp-1", "galaxy_exp-2"
"""Ids of the sections of charts in a view."""


@dataclass(frozen=True, slots=True)
class SavedView:
    """A tag of the experiment."""

    key: str
    value: str


def page_of(record: SweepRecord | None, server: str) -> str:
    """The address of a sweep's trials on a server, `http://host:port`; of its experiments without a sweep in MLflow.

    A user and password in the server's address are left out, since it is printed.
    """
    base = re.sub(r"//[^/]*@", "//", server).rstrip("/")
    if record is None or record.experiment_id is None:
        return f"{base}/#/experiments?{names.TRAINING_MODE}"
    return f"{base}/{trials_address(record, record.experiment_id)}"


def watch_command(record: SweepRecord) -> str:
    """How to see a sweep's trials: the address of their page on a server, else the command that opens it."""
    uri = record.tracking_uri
    if uri.startswith(("http://", "https://")) and record.experiment_id is not None:
        return page_of(record, uri)
    return f"galaxy-exp ui --open{uri_option(uri)}"


def trials_address(record: SweepRecord, experiment_id: str) -> str:
    """The address of a sweep's view as a table, relative to the UI's address."""
    return _address(experiment_id, record.sweep_id)


def charts_address(record: SweepRecord, experiment_id: str) -> str:
    """The address of a sweep's view as charts, relative to the UI's address."""
    return f"{trials_address(record, experiment_id)}&compareRunsMode=CHART"


def finalists_address(record: SweepRecord, experiment_id: str) -> str:
    """The address of the view of `save_finalists_view` as charts, relative to the UI's address."""
    return f"{_address(experiment_id, record.sweep_id + _FINALISTS)}&compareRunsMode=CHART"


def _address(experiment_id: str, key: str) -> str:
    return f"#/experiments/{experiment_id}/runs?{names.VIEW_PARAM}={quote(key)}&{names.TRAINING_MODE}"


def save_view(record: SweepRecord) -> SavedView | None:
    """The view of a sweep with its trials so far; None if it is longer than MLflow allows.

    Its table has the sweep's trials sorted by the objective, with their states and the hyperparameters that varied,
    side by side within 1400 pixels; its charts are parallel coordinates of these, the objective as bars and as curves,
    its relation to the size of the network, and the curves of the other metrics.
    """
    return _pack(record, record.sweep_id, lambda most: _state(record, most))


def save_finalists_view(record: SweepRecord) -> SavedView | None:
    """The trainings of a sweep's finalists with fresh seeds, grouped by configuration: means, smallest and largest.

    None before the finalists are chosen, or if it is longer than MLflow allows.
    """
    if not record.finalists:
        return None
    key = {"mode": "tag", "groupByData": names.CONFIGURATION}
    state = _state(record, 0)
    grouped = state | {
        "searchFilter": f"{names.query_runs(record.sweep_id, 'trial')} AND tags.`{names.RETRAINS}` LIKE '%'",
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [key]},
        "compareRunCharts": [each for each in state["compareRunCharts"] if each["type"] in ("BAR", "LINE")],
        "compareRunSections": state["compareRunSections"][1:],
    }
    return _pack(record, record.sweep_id + _FINALISTS, lambda most: grouped)


def _pack(record: SweepRecord, key: str, make_state: Callable[[int | None], dict[str, Any]]) -> SavedView | None:
    """The tag of a view, with as many columns as fit into it; None if even one with none is too long.

    Args:
        make_state: makes the UI's state with that maximal number of hyperparameters; None: all.
    """
    for most in (None, _MOST_AXES, 0):
        state = make_state(most)
        packed = base64.b64encode(zlib.compress(_json(state).encode(), 9)).decode()
        made_at = int(record.started.time * 1000)
        envelope = {"name": key, "createdAt": made_at, "updatedAt": made_at, "state": f"deflate;{packed}"}
        for value in (_json(envelope | state), _json(envelope)):
            if len(value) <= LONGEST:
                return SavedView(f"{names.VIEW_TAG}{key}", value)
    return None


def _state(record: SweepRecord, most_columns: int | None) -> dict[str, Any]:
    best = allowed_name(f"best_{record.objective.name}")
    varied = [allowed_name(axis.name) for axis in _axes_by_importance(record)][:most_columns]
    score, state = *_keys("metrics", [best]), *_keys("tags", [names.STATE])
    params, models = _keys("params", varied), *_keys("attributes", ["Models"])
    name, created = _keys("attributes", ["Run Name", "Created"])
    widths = {name: 190, created: 60, score: 130, state: 95}  # of `Created` only the symbol of the run's status
    widths |= {param: min(115, max(60, 7 * (len(param) - len("params.``")) + 22)) for param in params}
    return {
        "searchFilter": names.query_runs(record.sweep_id, "trial"),
        "orderByKey": score,
        "orderByAsc": record.objective.direction == "min",
        "selectedColumns": [score, *params, state, models],
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": _charts(record, best),
        "compareRunSections": [
            {"uuid": _WIDE, "name": "Hyperparameters", "display": True, "columns": 1},
            {"uuid": _SMALL, "name": "Scores", "display": True, "columns": 3},
        ],
        "isAccordionReordered": True,
        **_UNTOUCHED,
        "columnOrder": [name, created, score, state, *params, models],
        "columnWidths": widths,
    }


_UNTOUCHED: dict[str, Any] = {
    "runsExpanded": {},
    "runsPinned": [],
    "runsHidden": [],
    "runsVisibilityMap": {},
    "viewMaximized": False,
    "runListHidden": False,
    "groupBy": None,
    "groupsExpanded": {},
    "autoRefreshEnabled": True,
    "useGroupedValuesInCharts": True,
    "hideEmptyCharts": True,
    "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
}
"""The UI's defaults, which releases before 3.17 need in a shared state."""


def _charts(record: SweepRecord, best: str) -> list[dict[str, Any]]:
    objective = allowed_name(record.objective.name)
    charts: list[dict[str, Any]] = [
        {"type": "BAR", "metricKey": best, "runsCountToCompare": 20},
        {"type": "LINE", "metricKey": objective, "selectedMetricKeys": [objective], **_PLAIN_LINE},
        {
            "type": "SCATTER",
            "xaxis": {"type": "PARAM", "key": "parameters"},
            "yaxis": {"type": "METRIC", "key": best},
        },
    ]
    if axes := _axes_of_all(record):
        chart = {"type": "PARALLEL", "selectedParams": axes, "selectedMetrics": [best], "showAllRuns": True}
        charts.insert(0, {**chart, "metricSectionId": _WIDE})
    common = {"metricSectionId": _SMALL, "deleted": False, "isGenerated": False}
    shown = [{"uuid": f"galaxy_exp-{chart['type'].lower()}", **common, **chart} for chart in charts]
    return [*shown, *_hidden_charts(record, best)]


def _hidden_charts(record: SweepRecord, best: str) -> Iterator[dict[str, Any]]:
    """The charts of metrics with a single value, which the UI would add by itself, as if they had been deleted."""
    metrics = dict.fromkeys(name for trial in list(record.trials.values()) for name in outcome_metrics(trial))
    for name in metrics:
        if name != best:
            yield {"uuid": f"galaxy_exp-{name}", "type": "BAR", "metricKey": name, "metricSectionId": _SMALL,
                   "deleted": True, "isGenerated": True, "runsCountToCompare": 10}  # fmt: skip


def _axes_by_importance(record: SweepRecord) -> list[Axis]:
    """What varied, the most important first; as declared while there are too few trials to know."""
    places = {name: place for place, name in enumerate(measure_importances(record).shares)}
    return sorted(axes_of(record, comparable_trials(record)), key=lambda axis: places.get(axis.name, len(places)))


def _axes_of_all(record: SweepRecord) -> list[str]:
    """Hyperparameters that varied and that every trial has: the UI does not plot a trial that lacks an axis."""
    trials, varied = comparable_trials(record), [axis.name for axis in _axes_by_importance(record)]
    found = [name for name in varied if all(name in trial.values for trial in trials)]
    return [allowed_name(name) for name in found[:_MOST_AXES]]


_PLAIN_LINE = {
    "lineSmoothness": 0,
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "range": {},
    "xAxisKey": "step",
    "selectedXAxisMetricKey": "",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "ignoreOutliers": False,
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
}


def _keys(kind: str, entries: Iterable[str]) -> list[str]:
    """The ids of columns."""
    return [f"{kind}.`{entry}`" for entry in entries]


def _json(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))
