"""Who leads, who may win, and who is on the Pareto front."""

from written_records import RecordWriter

from galaxy_exp.records import TrialState


def numbers(trials):
    return [trial.number for trial in trials]


def test_the_baseline_takes_part_only_within_the_constraints():
    writer = RecordWriter({"constraints": {"parameters": "<= 1000"}})
    writer.trial(0.9, parameters=5000, settled=True)
    writer.trial(0.5, parameters=1000)
    writer.trial(state=TrialState.INFEASIBLE, parameters=2000)
    assert numbers(writer.record.leaderboard()) == [1]


def test_what_was_not_measured_breaks_no_constraint():
    writer = RecordWriter({"constraints": {"seconds_per_image": "<= 1e-3"}})
    writer.trial(0.9)
    assert numbers(writer.record.leaderboard()) == [0]


def test_the_pareto_front_leaves_out_what_another_trial_beats():
    writer = RecordWriter({"objective": ["val_macro_f1", "-parameters"]})
    writer.trial(0.5, parameters=1000)
    writer.trial(0.7, parameters=2000)
    writer.trial(0.6, parameters=3000)
    writer.trial(0.4, parameters=500)
    writer.trial(0.4, parameters=600)
    writer.trial(0.7, parameters=2000)
    writer.trial(state=TrialState.FAILED)
    assert numbers(writer.record.pareto_front()) == [1, 5, 0, 3]


def test_with_one_objective_the_front_is_the_best():
    writer = RecordWriter()
    writer.trial(0.5)
    writer.trial(0.7)
    assert numbers(writer.record.pareto_front()) == [1]


def test_epochs_of_running_and_ended_trials_count():
    writer = RecordWriter()
    writer.trial(0.5, 0.6)
    writer.start(0.5)
    assert writer.record.epochs == 3
