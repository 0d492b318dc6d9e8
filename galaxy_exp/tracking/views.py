"""A saved view of a sweep's trials in the MLflow UI: a table, best first, and charts.

MLflow's UI keeps a saved or shared view in a tag of the experiment and opens it at
`#/experiments/<experiment>/runs?viewStateShareKey=<key>`. The format is not documented; this follows
release 3.17 (`savedViewEnvelope.ts`, `ExperimentPageUIState.tsx` and `runs-charts.types.ts` in its sources) and is
tested in a browser. Releases with shared views only (3.5, tested by hand) find the same state beside the envelope.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.report.axes import axes_of, comparable_trials
from galaxy_exp.tracking import names
from galaxy_exp.tracking.names import allowed_name

__all__ = ["LONGEST", "SavedView", "charts_address", "save_view", "trials_address"]

LONGEST = 5000
"""Maximal length of an experiment's tag in MLflow's database."""
_MOST_AXES = 10
"""Maximal number of hyperparameters in the parallel coordinates, so that the UI's card stays readable."""
_WIDE, _SMALL = "galaxy_exp-1", "galaxy_exp-2"
"""Ids of the sections of charts in a view."""


@dataclass(frozen=True, slots=True)
class SavedView:
    """A tag of the experiment."""

    key: str
    value: str


def trials_address(record: SweepRecord, experiment_id: str) -> str:
    """The address of a sweep's view as a table, relative to the UI's address."""
    key = quote(record.sweep_id)
    return f"#/experiments/{experiment_id}/runs?{names.VIEW_PARAM}={key}&{names.TRAINING_MODE}"


def charts_address(record: SweepRecord, experiment_id: str) -> str:
    """The address of a sweep's view as charts, relative to the UI's address."""
    return f"{trials_address(record, experiment_id)}&compareRunsMode=CHART"


def save_view(record: SweepRecord) -> SavedView | None:
    """The view of a sweep with its trials so far.

    Its table has the sweep's trials sorted by the objective, with the hyperparameters that varied; its charts are
    parallel coordinates of these, the objective as bars and as curves, and its relation to the size of the network.

    Returns:
        None if it is longer than MLflow allows.
    """
    for most in (None, _MOST_AXES, 0):
        state = _state(record, most)
        packed = base64.b64encode(zlib.compress(_json(state).encode(), 9)).decode()
        made_at = int(record.started.time * 1000)
        envelope = {"name": record.sweep_id, "createdAt": made_at, "updatedAt": made_at, "state": f"deflate;{packed}"}
        for value in (_json(envelope | state), _json(envelope)):
            if len(value) <= LONGEST:
                return SavedView(f"{names.VIEW_TAG}{record.sweep_id}", value)
    return None


def _state(record: SweepRecord, most_columns: int | None) -> dict[str, Any]:
    best = allowed_name(f"best_{record.objective.name}")
    varied = [allowed_name(axis.name) for axis in axes_of(record, comparable_trials(record))]
    columns = [
        *_keys("metrics", [best]),
        *_keys("params", varied[:most_columns]),
        *_keys("tags", [names.STATE]),
        *_keys("attributes", ["Models"]),
    ]
    return {
        "searchFilter": names.query_runs(record.sweep_id, "trial"),
        "orderByKey": f"metrics.`{best}`",
        "orderByAsc": record.objective.direction == "min",
        "selectedColumns": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": _charts(record, best),
        "compareRunSections": [
            {"uuid": _WIDE, "name": "Hyperparameters", "display": True, "columns": 1},
            {"uuid": _SMALL, "name": "Scores", "display": True, "columns": 3},
        ],
        "isAccordionReordered": True,
        **_UNTOUCHED,
    }


_UNTOUCHED: dict[str, Any] = {
    "columnOrder": [],
    "columnWidths": {},
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
        {"type": "SCATTER", "xaxis": _axis("PARAM", "parameters"), "yaxis": _axis("METRIC", best)},
    ]
    if axes := _axes_of_all(record):
        chart = {"type": "PARALLEL", "selectedParams": axes, "selectedMetrics": [best], "showAllRuns": True}
        charts.insert(0, {**chart, "metricSectionId": _WIDE})
    common = {"metricSectionId": _SMALL, "deleted": False, "isGenerated": False}
    return [{"uuid": f"galaxy_exp-{chart['type'].lower()}", **common, **chart} for chart in charts]


def _axes_of_all(record: SweepRecord) -> list[str]:
    """Hyperparameters that varied and that every trial has: the UI does not plot a trial that lacks an axis."""
    trials = comparable_trials(record)
    found = [axis.name for axis in axes_of(record, trials) if all(axis.name in trial.values for trial in trials)]
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


def _axis(kind: str, key: str) -> dict[str, str]:
    return {"type": kind, "key": key}


def _keys(kind: str, entries: Iterable[str]) -> list[str]:
    return [f"{kind}.`{entry}`" for entry in entries]


def _json(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))
