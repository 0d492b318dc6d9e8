"""What a person sees of a sweep in the MLflow UI, in a real browser before a real server."""

import json
import shutil
from types import SimpleNamespace

import pytest
from browsers import WHY_NOT, open_browser
from journaled_sweeps import SWEEP, JournaledSweep
from mlflow_servers import free_port, mlflow_server
from shown_sweeps import WINNER, show_sweep

from galaxy_exp.folders import ProjectFolder
from galaxy_exp.tracking.store import open_client

pytestmark = [pytest.mark.slow, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]

EXPERIMENT = "galaxies"
RUNS_IN_ORDER = """
    const places = {};
    for (const row of document.querySelectorAll('[row-index][row-id]'))
        places[row.getAttribute('row-index')] = row.getAttribute('row-id');
    return Object.keys(places).length === arguments[0] && Object.values(places)
"""
"""The ids of the table's runs from top to bottom, once there are so many."""
OPEN_FIRST_RUN = """
    const button = document.querySelector('[row-index="0"] [col-id="attributes.`Run Name`"] button');
    button?.click();
    return Boolean(button)
"""
RIGHT_EDGE = """
    const header = [...document.querySelectorAll('[role="columnheader"]')].find(each =>
        each.getAttribute('col-id')?.includes('`' + arguments[0] + '`'));
    return header?.getBoundingClientRect().right
"""
LINK = "return [...document.querySelectorAll('a')].find(link => link.innerText.startsWith(arguments[0]))?.href"
AXES = "return [...document.querySelectorAll('.parcoords .dimension .label')].map(label => label.textContent)"
COMPARED = """
    const plot = [...document.querySelectorAll('.js-plotly-plot')].find(plot => plot.data?.[0]?.type === 'parcoords');
    return plot?.data[0].dimensions.map(axis => axis.label)
"""


@pytest.fixture(scope="module")
def shown(empty_store, tmp_path_factory, prepared):
    """A sweep in an MLflow store, the store's server, and a browser; pictures of the pages are left in the folder."""
    folder, port = tmp_path_factory.mktemp("pages"), free_port()
    store = f"sqlite:///{shutil.copy(empty_store, folder / 'server.db')}"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("GALAXY_EXP_HOME", raising=False)
        sweep = JournaledSweep(ProjectFolder.default(), open_client(store), store, EXPERIMENT, prepared)
        show_sweep(sweep)
    experiment = sweep.client.get_experiment_by_name(EXPERIMENT).experiment_id
    with mlflow_server(folder, port) as uri, open_browser(folder, width=1400) as browser:
        close_assistant(browser, uri)
        yield SimpleNamespace(
            sweep=sweep,
            browser=browser,
            uri=uri,
            experiment=experiment,
            runs=f"{uri}/#/experiments/{experiment}/runs",
            take_picture=lambda name: browser.take_picture(folder / f"{name}.png"),
        )


def close_assistant(browser, uri):
    """Does what a person does once: MLflow opens its assistant beside the first page that a browser shows."""
    browser.open(uri)
    opened = "return Object.keys(localStorage).find(key => key.startsWith('mlflow.assistant.panelOpen'))"
    browser.run("localStorage.setItem(arguments[0], 'false')", browser.wait_for(opened))


@pytest.fixture(scope="module")
def parent(shown):
    """The address of the sweep's own page."""
    return f"{shown.runs}/{shown.sweep.record().parent_run_id}?workflowType=machine_learning"


def run_ids(shown):
    return {number: trial.run_id for number, trial in shown.sweep.record().trials.items()}


def best_first(shown):
    """The trials' runs by the validation score of their best epoch."""
    record = shown.sweep.record()
    trials = sorted(record.trials.values(), key=lambda trial: trial.objective_value(record.objective), reverse=True)
    return [trial.run_id for trial in trials]


def test_the_experiment_lists_the_sweep_with_its_trials_below_it(shown):
    assert shown.sweep.said == []
    shown.browser.open(shown.runs)
    shown.browser.wait_for_text(SWEEP)
    shown.browser.wait_for(OPEN_FIRST_RUN)
    found = shown.browser.wait_for(RUNS_IN_ORDER, 1 + len(run_ids(shown)))
    shown.take_picture("experiment")
    assert found[0] == shown.sweep.record().parent_run_id
    assert set(found[1:]) == set(run_ids(shown).values())
    shown.browser.wait_for_text("trial 000 (baseline)", f"trial {WINNER:03d} (trial 4 again)")


def test_sorting_by_one_metric_puts_the_best_trial_first(shown):
    trials = f"tags.`galaxy_exp.sweep_id` = '{SWEEP}' AND tags.`galaxy_exp.kind` = 'trial'"
    shown.browser.open(f"{shown.runs}?searchFilter={trials}&orderByKey=metrics.`best_val_macro_f1`&orderByAsc=false")
    assert shown.browser.wait_for(RUNS_IN_ORDER, len(run_ids(shown))) == best_first(shown)


def test_the_sweeps_page_says_how_it_went_and_leads_on(shown, parent):
    shown.browser.open(parent)
    shown.browser.wait_for_text(
        f"retrained as {WINNER}", "SIMULATED galaxies", "held-out SIMULATED test images", "Report"
    )
    shown.take_picture("sweep")
    shown.browser.open(shown.browser.wait_for(LINK, "Report"))
    shown.browser.wait_for("return document.querySelector('iframe')?.src")
    shown.browser.wait_for_text("leaderboard.csv", "sweep.yaml", "report.html")
    shown.take_picture("report")


def test_its_view_of_the_trials_has_them_sorted_with_what_varied(shown, parent):
    shown.browser.open(parent)
    shown.browser.open(shown.browser.wait_for(LINK, "Trials"))
    assert shown.browser.wait_for(RUNS_IN_ORDER, len(run_ids(shown))) == best_first(shown)
    for column in ("best_val_macro_f1", "galaxy_exp.state", "filters_1", "batch_norm", "learning_rate", "augmentation"):
        assert shown.browser.wait_for(RIGHT_EDGE, column) < 1400
    shown.take_picture("trials")


def test_its_finalists_are_grouped_over_their_seeds(shown, parent):
    shown.browser.open(parent)
    shown.browser.open(shown.browser.wait_for(LINK, "Finalists"))
    shown.browser.wait_for_text("Group: trial 4", "Group by: galaxy_exp.configuration")
    shown.browser.wait_for("return document.querySelectorAll('.js-plotly-plot .main-svg').length >= 2")
    shown.take_picture("finalists")


def test_its_charts_have_parallel_coordinates_of_all_hyperparameters(shown, parent):
    shown.browser.open(parent)
    shown.browser.open(shown.browser.wait_for(LINK, "Charts"))
    axes = shown.browser.wait_for(AXES)
    assert axes == ["filters_1", "batch_norm", "learning_rate", "augmentation", "best_val_macro_f1"]
    shown.browser.wait_for("return document.querySelectorAll('.js-plotly-plot .main-svg').length >= 3")
    curves = r"return /Model metrics\s*\(3\)/.test(document.body.innerText)"  # and no single number, as best_epoch
    shown.browser.wait_for(curves)
    shown.take_picture("charts")


def test_trials_are_compared_by_the_objective(shown):
    runs, experiments = json.dumps(best_first(shown)), json.dumps([shown.experiment])
    shown.browser.open(f"{shown.uri}/#/compare-runs?runs={runs}&experiments={experiments}")
    assert shown.browser.wait_for(COMPARED) == ["augmentation", "batch_norm", "filters_1", "best_val_macro_f1"]
    shown.take_picture("compare")


def test_a_trials_page_says_what_it_is(shown):
    shown.browser.open(f"{shown.runs}/{run_ids(shown)[WINNER]}")
    shown.browser.wait_for_text("The winner.", "trial 4 again, with another seed", "Differs from the baseline in")
    shown.take_picture("trial")


def test_the_model_page_shows_the_champion_and_its_card(shown):
    shown.browser.open(f"{shown.uri}/#/models/{EXPERIMENT}")
    shown.browser.wait_for_text("champion", f'galaxy_exp.load_model("{EXPERIMENT}")', "Version 1")
    shown.take_picture("model")
    shown.browser.open(f"{shown.uri}/#/models/{EXPERIMENT}/versions/1")
    shown.browser.wait_for_text("champion", "Held-out test", "this model", "Limits", "Simulated galaxies", "Promotion")
    shown.take_picture("version")
