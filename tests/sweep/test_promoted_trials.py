"""A sweep with real workers whose trials are paused, promoted, and continue from their checkpoints."""

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("with_store")]

SEARCH = ("--scheduler", "promote", "--max-trials", "8", "--set", "search.first_rung=1", "--epochs", "4")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_each_epoch_is_trained_once_and_one_trial_to_its_end(project, workers):
    project.call("sweep", "sweep.yaml", *SEARCH, "--workers", workers)
    record = project.record()
    (folder,) = project.sweep_folders()
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    searched = {trial.number for trial in record.searched}
    epochs = [
        (event["report"]["number"], event["report"]["epoch"])
        for event in events
        if event["event"] == "epoch_reported" and event["report"]["number"] in searched
    ]
    assert len(epochs) == len(set(epochs)) == sum(trial.epochs for trial in record.searched)
    promoted = [event for event in events if event["event"] == "trial_started" and event["from_epoch"]]
    assert promoted
    assert {event["from_epoch"] for event in promoted} <= {1, 2, 4}
    assert all(trial.is_paused for trial in record.searched if trial.epochs < 4)
    assert any(trial.is_paused for trial in record.searched)
    assert record.ended.succeeded

    paused = next(trial for trial in record.searched if trial.is_paused)
    done = project.call("trials", "latest", "--format", "json")
    states = {row["number"]: row["paused"] for row in json.loads(done.stdout) if "paused" in row}
    assert states[paused.number] is True
