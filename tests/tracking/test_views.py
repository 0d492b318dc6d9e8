"""The view of a sweep that is saved for the MLflow UI; the UI itself is asked in `test_mlflow_pages.py`."""

import base64
import json
import zlib

import pytest
from written_records import RecordWriter

from galaxy_exp.tracking.views import LONGEST, save_finalists_view, save_view, watch_command


def choice(name, *values):
    return {"class_name": "Choice", "config": {"name": name, "values": list(values)}}


def searched(space, *trials, **search):
    writer = RecordWriter({"baseline": False, **search}, space={"space": space, "values": {}})
    for score, values in trials:
        writer.trial(score, values=values)
    return writer.record


def state_of(view):
    """What the UI makes of a view: of its envelope and, in earlier releases, of what lies beside that."""
    content = json.loads(view.value)
    packed = content.pop("state")
    assert (content.pop("name"), content.pop("createdAt"), content.pop("updatedAt")) == ("s-1", 0, 0)
    state = json.loads(zlib.decompress(base64.b64decode(packed.removeprefix("deflate;"))))
    assert content in ({}, state)
    return state


def axes_of(state):
    return [chart["selectedParams"] for chart in state["compareRunCharts"] if chart["type"] == "PARALLEL"]


def test_the_trials_of_the_sweep_are_sorted_and_what_varied_is_shown():
    space = [choice("a", 1, 2), choice("b", 1, 2), choice("c[0]", 1, 2)]
    view = save_view(searched(space, (0.1, {"a": 1, "b": 1, "c[0]": 1}), (0.2, {"a": 2, "b": 1, "c[0]": 2})))
    assert view.key == "mlflow.sharedViewState.s-1"
    state = state_of(view)
    assert "galaxy_exp.sweep_id` = 's-1'" in state["searchFilter"]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`best_val_macro_f1`", False)
    assert state["selectedColumns"][:3] == ["metrics.`best_val_macro_f1`", "params.`a`", "params.`c_0_`"]
    assert axes_of(state) == [["a", "c_0_"]]


def test_a_loss_is_sorted_from_below():
    state = state_of(save_view(searched([], objective="val_loss")))
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`best_val_loss`", True)


def test_a_sweep_that_has_just_begun_has_no_parallel_coordinates():
    assert axes_of(state_of(save_view(searched([choice("a", 1, 2)])))) == []


def test_a_hyperparameter_that_is_not_always_active_costs_no_trial_its_line():
    space = [choice("a", 1, 2), choice("b", 1, 2)]
    record = searched(space, (0.1, {"a": 1}), (0.2, {"a": 2, "b": 1}), (0.3, {"a": 2, "b": 2}))
    assert axes_of(state_of(save_view(record))) == [["a"]]


@pytest.mark.parametrize("n_hyperparameters", [5, 40, 400])
def test_it_fits_into_a_tag_of_mlflow(n_hyperparameters):
    names = [f"a_rather_long_name_of_a_hyperparameter_{number}" for number in range(n_hyperparameters)]
    space = [choice(name, 1, 2) for name in names]
    record = searched(space, *((0.1, dict.fromkeys(names, value)) for value in (1, 2)))
    view = save_view(record)
    assert len(view.value) <= LONGEST
    assert axes_of(state_of(view)) == [names[:10]]


def test_finalists_have_a_view_that_groups_their_seeds():
    space = [choice("a", 1, 2)]
    record = searched(space, (0.1, {"a": 1}), (0.2, {"a": 2}))
    assert save_finalists_view(record) is None
    record.finalists = [1]
    view = save_finalists_view(record)
    assert view.key == "mlflow.sharedViewState.s-1-finalists"
    state = json.loads(view.value)
    assert state["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "galaxy_exp.configuration"}]
    assert {chart["type"] for chart in state["compareRunCharts"]} == {"BAR", "LINE"}


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:secret@host:5000/", "https://host:5000/#/experiments/7/runs?viewStateShareKey=s-1&"),
        ("postgresql://host/db", "galaxy-exp ui --open --uri postgresql://host/db"),
    ],
)
def test_where_a_sweep_can_be_watched(uri, shown):
    record = searched([])
    record.tracking_uri, record.experiment_id = uri, "7"
    assert watch_command(record).startswith(shown)
