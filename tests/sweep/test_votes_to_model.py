"""A sweep on simulated volunteers' votes, from the sweep file to a registered model and what is done with it."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.journal import read_record

VOTES = """
name: tiny-votes
data:
  source: simulated
  simulated: {n_images: 200, image_size: 24, volunteers: [10, 30]}
training: {epochs: 2, precision: float32, deterministic: true}
search: {max_trials: 2, seed: 3, objective: val_deviance, first_rung: 1, scheduler: none}
space: {n_blocks: 1, filters_1: 8, dense_width: 0}
execution: {workers: 1}
tracking: {experiment: tiny}
registry: {model: tiny-votes, finalists: 1, seeds: 2, ensemble: true, tta: true}
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def voted(project_in, empty_store, tmp_path_factory):
    """A project with a finished sweep on votes; read it, do not change it."""
    project = project_in(tmp_path_factory.mktemp("votes"))
    (project.path / "sweep.yaml").write_text(VOTES)
    shutil.copy(empty_store, project.path / "mlflow.db")
    project.output = project.call("sweep", "sweep.yaml")
    return project


def _artifacts(project, run_id):
    client, found, folders = project.client(), set(), [None]
    while folders:
        for each in client.list_artifacts(run_id, folders.pop()):
            (folders.append if each.is_dir else found.add)(each.path)
    return found


def test_the_winner_and_the_baseline_are_tested_on_votes(voted):
    record = voted.record()
    tested, baseline = record.winner_test, record.baseline_test
    votes = tested["votes"]
    n_answers = sum(len(each["answers"]) for each in votes["questions"])
    assert len(votes["answers"]) == n_answers
    assert 0 < votes["n_agreed"] < tested["n_images"]
    assert tested["members"] and tested["tta"] and len(tested["compared"]) == 2
    for name in ("deviance", "rmse", "brier", "nll", "count_coverage"):
        low, high = tested["intervals"][name]
        assert low < tested[name] < high
        assert baseline[name] is not None
    assert {"deviance", "nll", "rmse", "brier", "calibration_error"} <= set(record.gains)
    assert tested["temperature"] is None
    outputs = np.load(SweepFolder(voted.sweep_folders()[-1]).trial(record.winner) / "validation_probabilities.npy")
    assert outputs.shape[1] == n_answers and (outputs > 0).all()
    assert "deviance (nats)" in voted.output.stdout + voted.output.stderr


def test_mlflow_has_the_questions_the_scores_and_the_figures(voted):
    record, client = voted.record(), voted.client()
    parent = client.get_run(record.parent_run_id)
    assert parent.data.metrics["test/winner_deviance"] == pytest.approx(record.winner_test["deviance"])
    schema = json.loads(parent.inputs.dataset_inputs[0].dataset.schema)
    assert [each["name"] for each in schema["questions"]] == [
        each["name"] for each in record.winner_test["votes"]["questions"]
    ]
    kept = _artifacts(voted, record.trials[0].run_id)
    assert {"fractions.json", "fractions.png", "differences.png", "confusion_matrix.png"} <= kept
    assert "mistakes.png" not in kept
    assert f"sealed_test_trial_{record.winner:03d}_fractions.png" in _artifacts(voted, record.parent_run_id)
    version = client.get_model_version("tiny-votes", "1")
    assert float(version.tags["galaxy_exp.test.deviance"]) == record.winner_test["deviance"]
    assert "Predicts volunteers' votes" in version.description
    assert "## Questions" in version.description and "deviance (nats)" in version.description


def test_the_page_shows_votes(voted):
    page = (voted.sweep_folders()[-1] / "artifacts" / "report.html").read_text()
    for text in ("How well votes are predicted", "Where votes and prediction differ most", "Where votes agree"):
        assert text in page
    assert "Most confident mistakes" not in page
    assert page.count("Observed fraction of") >= len(voted.record().winner_test["votes"]["answers"])


def test_tables_and_sentences_name_the_scores_of_votes(voted):
    shown = voted.call("show").stdout
    assert "deviance (nats)" in shown and "coverage of 90% intervals" in shown
    assert "val_deviance" in voted.call("trials").stdout
    record = json.loads(voted.call("show", "--format", "json").stdout)
    assert "deviance" in json.dumps(record)


def test_the_model_predicts_and_is_evaluated(voted):
    done = voted.call("evaluate", "sweep.yaml", "--model", "tiny-votes", "--format", "json", "-o", "evaluation")
    report = json.loads(done.stdout)
    assert report["votes"]["agreement"] == 0.8 and report["deviance"] > 0
    assert "wrote predictions.csv, report.json, confusion.png and fractions.png" in done.stderr
    with (voted.path / "evaluation" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    answers = [each["name"] for each in report["votes"]["answers"]]
    assert len(rows) == 200 and {f"p_{name}" for name in answers} | {f"observed_{name}" for name in answers} <= set(
        rows[0]
    )
    table = voted.call("evaluate", "sweep.yaml", "--model", "tiny-votes").stdout
    assert "RMSE of fractions" in table and "mean fraction of each answer" in table
    np.savez(voted.path / "new.npz", images=np.full((2, 24, 24, 3), 90, np.uint8))
    voted.call("predict", "new.npz", "--model", "tiny-votes", "-o", "new.csv")
    with (voted.path / "new.csv").open() as file:
        first, _ = csv.DictReader(file)
    assert {f"{kind}_{name}" for name in answers for kind in ("p", "low", "high")} <= set(first)
    refused = voted.call("predict", "new.npz", "--model", "tiny-votes", "--calibrated", exit_code=2)
    assert "no temperature is fitted" in refused.stderr


def test_a_trial_is_reproduced(voted):
    assert "equal in every epoch, bit for bit" in voted.call("reproduce", "0").stderr


def test_a_second_sweep_is_compared_and_one_on_labels_is_not(voted, tmp_path):
    project = voted.copy_to(tmp_path / "copy")
    (project.path / "votes.yaml").write_text(VOTES)  # a copied project has a sweep.yaml of its own
    without = ("--set", "tracking.figures=false")
    project.call("sweep", "votes.yaml", "--seed", "4", *without)
    reason = _newest(project).promotion.reason
    assert "than version 1, the champion, on the same" in reason and "deviance reduced by" in reason
    on_labels = VOTES.replace(", volunteers: [10, 30]", "").replace("val_deviance", "val_macro_f1")
    (project.path / "labels.yaml").write_text(on_labels)
    project.call("sweep", "labels.yaml", *without, "--set", "registry={model: tiny-votes, finalists: 0}")
    third = _newest(project)
    assert "this version predicts classes; version " in third.promotion.reason
    assert third.winner_test.get("votes") is None


def _newest(project):
    """The record of the sweep with the latest name, which has its time; a copied project has copied times of files."""
    return read_record(max(project.sweep_folders(), key=lambda folder: folder.name))


def test_a_sweep_that_was_killed_before_the_test_is_resumed(voted, tmp_path):
    project = voted.copy_to(tmp_path / "copy")
    (project.path / "sweep.yaml").write_text(VOTES)
    journal = project.sweep_folders()[-1] / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    kept = next(place for place, line in enumerate(lines) if '"sealed_test_opened"' in line)
    journal.write_text("".join(lines[:kept]))
    before = voted.record().winner_test
    project.call("resume", project.sweep_folders()[-1].name)
    assert project.record().winner_test["deviance"] == before["deviance"]
