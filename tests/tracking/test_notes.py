"""The descriptions of runs in MLflow, of sweeps at any stage."""

from dataclasses import replace

import pytest
from written_records import RecordWriter

from galaxy_exp.journal.events import (
    ModelRegistered,
    OrderTaken,
    PromotionDecided,
    SealedTestOpened,
    TrialEnded,
    WinnerChosen,
)
from galaxy_exp.journal.resume_changes import find_change
from galaxy_exp.records import TrialResult, TrialState
from galaxy_exp.tracking.artifacts import leaderboard_rows
from galaxy_exp.tracking.notes import describe_sweep, describe_trial

REPORT = {"n_images": 100, "macro_f1": 0.5, "accuracy": 0.6, "balanced_accuracy": 0.55}


@pytest.fixture
def writer():
    writer = RecordWriter(baseline={"units": 8, "rate": 0.001})
    writer.trial(0.3, 0.4, values={"units": 8, "rate": 0.001})
    writer.trial(0.3, 0.6, values={"units": 16, "rate": 0.00123456})
    return writer


def told(writer, prepared, has_report=True):
    return describe_sweep(writer.record, prepared, "7", "run-1", has_report=has_report)


@pytest.mark.parametrize("simulated", [True, False])
def test_the_record_says_whether_galaxies_are_simulated(prepared, simulated):
    text = told(RecordWriter(simulated=simulated), replace(prepared, source="galaxies.h5", simulated=not simulated))
    assert ("on **SIMULATED** galaxies" if simulated else "on `galaxies.h5`") in text


def test_a_sweep_under_way_links_its_trials_and_charts_alone(writer, prepared):
    text = told(writer, prepared, has_report=False)
    assert "So far: 2 of 20 trials, best val_macro_f1 0.6000 (trial 1), at most about 32 min left." in text
    assert "Sweep `s-1` on `simulated`: trials as they come, objective `val_macro_f1`." in text
    assert "(#/experiments/7/runs?viewStateShareKey=s-1&workflowType=machine_learning)" in text
    assert "compareRunsMode=CHART" in text
    assert "report.html" not in text
    assert "Winner" not in text


def test_a_finished_sweep_says_who_won_and_what_became_of_the_model(writer, prepared):
    writer.apply(WinnerChosen(number=1))
    writer.apply(SealedTestOpened(number=1, report=REPORT | {"intervals": {"macro_f1": [0.4, 0.61]}}))
    writer.apply(SealedTestOpened(number=0, report=REPORT | {"macro_f1": 0.3}))
    writer.apply(ModelRegistered(number=1, name="my galaxies", version=3))
    writer.apply(PromotionDecided(name="my galaxies", version=3, promoted=False, reason="not clearly better"))
    text = told(writer, prepared)
    assert "2 trials, objective" in text
    assert "**Winner: trial 1**. It differs from the baseline in units=16, rate=0.00123. On 100 held-out test" in text
    assert " test images: macro-F1 **0.500** (95% interval 0.400 to 0.610)" in text
    assert "**The difference from the baseline, macro-F1 +0.200, may be chance: it has no interval.**" in text
    assert ", the baseline 0.300; accuracy **0.600**, the baseline 0.600;" in text
    assert "(#/experiments/7/runs/run-1/artifacts/report.html?" in text
    assert "[Model my galaxies, version 3](#/models/my%20galaxies/versions/3?" in text
    assert "Registered as my galaxies, version 3, challenger: not clearly better." in text


def test_a_trial_says_what_it_reached_and_how_it_differs(writer):
    baseline, other = (describe_trial(trial, writer.record) for trial in writer.record.trials.values())
    assert baseline == "Trial 0 of sweep `s-1`: the baseline. `val_macro_f1` 0.4000 at epoch 0; completed: because."
    assert other.startswith("Trial 1 of sweep `s-1`. `val_macro_f1` 0.6000")
    assert other.endswith("Differs from the baseline in units = 16, rate = 0.00123.")
    writer.apply(WinnerChosen(number=1))
    assert describe_trial(writer.record.trials[1], writer.record).startswith("**The winner.** Trial 1")


def test_a_failed_trial_says_why(writer):
    number = writer.start(values={"units": 32})
    writer.apply(TrialEnded(result=TrialResult(number, 1, TrialState.FAILED, "out of memory")))
    assert "`s-1`. failed: out of memory." in describe_trial(writer.record.trials[number], writer.record)


def test_orders_that_were_carried_out_are_mentioned_and_are_no_change_of_resuming(writer, prepared):
    change = find_change(writer.record, overrides=["search.max_trials=60"])
    order = {"order": "limits", "limits": {"max_trials": 60}}
    writer.apply(OrderTaken(file="1", order=order, accepted=True, answer=str(change.changes[0]), change=change))
    writer.apply(
        OrderTaken(file="2", order={"order": "stop", "trial": 9}, accepted=False, answer="there is no trial 9")
    )
    text = told(writer, prepared)
    assert "Ordered while it ran: limits --max-trials 60: search.max_trials: was 20, is 60 now." in text
    assert "resumed" not in text
    assert "no trial 9" not in text


def test_a_hyperparameter_with_the_name_of_a_column_keeps_both_in_the_leaderboard():
    writer = RecordWriter()
    writer.trial(0.2, values={"rank": 7, "seconds": 8, "units": 9})
    (row,) = leaderboard_rows(writer.record)
    assert (row["rank"], row["params.rank"], row["params.seconds"], row["units"]) == (1, 7, 8, 9)
    assert row["seconds"] != 8
