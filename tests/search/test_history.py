import math

import pytest

from galaxy_exp.records import Objective, Outcome, TrialState
from galaxy_exp.search.history import History, promise

SCORE, COST = Objective("score", "max"), Objective("cost", "min")


def learn(history, *outcomes):
    for number, outcome in enumerate(outcomes):
        history.end(history.begin({"x": number}), outcome)
    return history


def complete(*curve, violations=()):
    return Outcome(TrialState.COMPLETED, curve, (max(curve),), violations)


def stopped(*curve):
    return Outcome(TrialState.STOPPED, curve, (max(curve),))


def test_the_smaller_the_loss_the_better_in_every_objective():
    history = learn(History([SCORE, COST], 3), Outcome(TrialState.COMPLETED, (0.5,), (0.5, 3.0)))
    assert history.losses() == [(-0.5, 3.0)]


@pytest.mark.parametrize(
    "bad",
    [
        Outcome(TrialState.FAILED),
        Outcome(TrialState.LOST, (0.9,)),
        Outcome(TrialState.INFEASIBLE, violations=(2.0,)),
        Outcome(TrialState.COMPLETED, (math.nan,), (math.nan,)),
        Outcome(TrialState.COMPLETED, (math.inf,), (math.inf,)),
    ],
    ids=["failed", "lost", "infeasible", "nan", "inf"],
)
def test_a_bad_trial_is_as_bad_as_the_worst_seen_until_now(bad):
    history = learn(History([SCORE], 3), bad)
    assert history.losses() == [None]
    learn(history, complete(0.5), complete(0.2))
    assert history.losses() == [(-0.2,), (-0.5,), (-0.2,)]


def test_a_broken_constraint_is_bad_evidence_where_asked():
    history = learn(History([SCORE], 3), complete(0.9, violations=(-1.0, 0.1)), complete(0.2, violations=(-1.0, 0.0)))
    assert history.losses() == [(-0.9,), (-0.2,)]
    assert history.losses(penalise_violations=True) == [(-0.2,), (-0.2,)]
    assert [each.violation for each in history.observations] == [0.1, 0.0]


def test_a_stopped_trial_counts_with_what_it_promises():
    history = learn(History([SCORE, COST], 8), Outcome(TrialState.STOPPED, (0.1, 0.3), (0.3, 7.0)))
    ((promised, cost),) = history.losses()
    assert promised == promise(SCORE, (0.1, 0.3), 2, 8) < -0.3
    assert cost == 7.0


def test_a_trial_that_does_not_gain_promises_what_it_reached():
    assert learn(History([SCORE], 8), stopped(0.3, 0.2)).losses() == [(-0.3,)]


def test_a_trial_that_ends_again_counts_once_with_its_latest_end_and_keeps_its_place():
    history = learn(History([SCORE], 3), stopped(0.3), complete(0.1, 0.2, 0.2))
    history.end(0, complete(0.3, 0.5, 0.6))
    assert history.ended == [0, 1]
    assert history.losses() == [(-0.6,), (-0.2,)]


def test_trials_of_other_sweeps_may_be_tried_again():
    history = History([SCORE], 3)
    history.begin({"x": 1}, is_of_this_sweep=False)
    assert history.count({"x": 1}) == 0
    history.begin({"x": 1})
    assert history.count({"x": 1}) == 1
