"""Trials of an earlier sweep as evidence."""

import keras_tuner
import pytest
from written_records import RecordWriter

from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.warm_start import collect_evidence
from galaxy_exp.hypermodel.configurations import misfit
from galaxy_exp.records import Constraint, Objective, TrialState

MACRO_F1 = Objective("val_macro_f1", "max")


@pytest.fixture
def space():
    space = keras_tuner.HyperParameters()
    space.Choice("filters", [16, 32])
    space.Float("rate", 0.0, 0.5)
    return space


def collect(writer, space, objectives=(MACRO_F1,), constraints=()):
    return collect_evidence(writer.record, objectives, constraints, lambda values: misfit(space, values))


def test_finished_trials_that_fit_the_space_are_evidence(space):
    writer = RecordWriter()
    writer.trial(0.1, 0.3, values={"filters": 16, "rate": 0.25})
    writer.trial(0.2, values={"filters": 16, "rate": 0.5}, state=TrialState.STOPPED)
    writer.trial(values={"filters": 32, "rate": 0.0}, state=TrialState.FAILED)
    writer.start(0.3, values={"filters": 32, "rate": 0.1})
    found = collect(writer, space)
    assert [evidence.outcome.state for evidence in found.evidence] == ["completed", "stopped", "failed"]
    assert found.evidence[0].outcome.curve == (0.1, 0.3)
    assert found.evidence[0].outcome.values == (0.3,)
    assert found.evidence[2].outcome.values is None
    assert found.describe("old-1") == "warm start: 3 trials of old-1 are evidence"


def test_the_others_are_left_out_with_the_reason(space):
    writer = RecordWriter()
    writer.trial(0.1, values={"filters": 64, "rate": 0.25})
    writer.trial(0.1, values={"filters": 64, "rate": 0.3})
    writer.trial(0.1, values={"filters": 16})
    writer.trial(0.1, values={"filters": 16, "rate": 0.3, "blocks": 3})
    writer.trial(values={"filters": 16, "rate": 0.3}, state=TrialState.LOST)
    found = collect(writer, space)
    assert not found.evidence
    assert found.left_out == {
        "filters = 64 is outside the space": 2,
        "rate is missing": 1,
        "blocks is not among its hyperparameters": 1,
        "its worker was lost": 1,
    }
    assert "2 left out: filters = 64 is outside the space; 1 left out: rate is missing" in found.describe("old-1")


def test_constraints_and_further_objectives_are_those_of_the_new_sweep(space):
    writer = RecordWriter()
    writer.trial(0.4, values={"filters": 16, "rate": 0.1}, parameters=2000)
    found = collect(writer, space, (MACRO_F1, Objective("parameters", "min")), (Constraint("parameters", "<=", 1000),))
    assert found.evidence[0].outcome.values == (0.4, 2000)
    assert found.evidence[0].outcome.violations == (1.0,)


def test_a_sweep_that_did_not_measure_the_objective_is_refused(space):
    writer = RecordWriter()
    writer.trial(0.4, values={"filters": 16, "rate": 0.1})
    with pytest.raises(ConfigError, match=r"search\.warm_start: s-1 did not measure val_loss"):
        collect(writer, space, (Objective("val_loss", "min"),))
