"""Trials of earlier sweeps as evidence."""

import json

import keras_tuner
import pytest
from written_records import RecordWriter, started

from galaxy_exp.config import SweepConfig
from galaxy_exp.config.differences import Change
from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.warm_start import collect_evidence, is_comparable
from galaxy_exp.journal.events import SweepChanged
from galaxy_exp.records import TrialState
from galaxy_exp.space.search_space import SearchSpace


@pytest.fixture
def space():
    space = keras_tuner.HyperParameters()
    space.Choice("filters", [16, 32])
    space.Float("rate", 0.0, 0.5)
    return space


def collect(writer, space, comparable=False, **search):
    config = SweepConfig(search=search)
    return collect_evidence(writer.record, config, SearchSpace.of(space), comparable=comparable)


@pytest.mark.parametrize(
    ("comparable", "how"), [(True, "its scores count as this sweep's own"), (False, "only their order counts")]
)
def test_finished_trials_that_fit_the_space_are_evidence(space, comparable, how):
    writer = RecordWriter()
    writer.trial(0.1, 0.3, values={"filters": 16, "rate": 0.25})
    writer.trial(0.2, values={"filters": 16, "rate": 0.5}, state=TrialState.STOPPED)
    writer.trial(values={"filters": 32, "rate": 0.0}, state=TrialState.FAILED)
    writer.start(0.3, values={"filters": 32, "rate": 0.1})
    found = collect(writer, space, comparable)
    assert [evidence.outcome.state for evidence in found.evidence] == ["completed", "stopped", "failed"]
    assert found.evidence[0].outcome.curve == (0.1, 0.3)
    assert found.evidence[0].outcome.values == (0.3,)
    assert found.evidence[2].outcome.values is None
    assert {(evidence.sweep_id, evidence.comparable) for evidence in found.evidence} == {("s-1", comparable)}
    assert found.describe() == f"warm start: 3 trials of s-1 are evidence; {how}"


def test_a_value_that_the_earlier_sweep_implied_is_filled_in(space):
    writer = RecordWriter()
    writer.trial(0.1, values={"filters": 16})
    writer.trial(0.2, values={"filters": 32, "rate": 0.5})
    with space.conditional_scope("filters", [32]):
        space.Boolean("wide")
    implied = {"rate": 0.25, "wide": False}
    found = collect_evidence(writer.record, SweepConfig(), SearchSpace.of(space), comparable=False, implied=implied)
    assert [known.values for known in found.evidence] == [
        {"filters": 16, "rate": 0.25},
        {"filters": 32, "rate": 0.5, "wide": False},
    ]


def test_the_others_are_left_out_with_the_reason(space):
    writer = RecordWriter()
    writer.trial(0.1, values={"filters": 64, "rate": 0.25})
    writer.trial(0.1, values={"filters": 64, "rate": 0.3})
    writer.trial(0.1, values={"filters": 16})
    writer.trial(0.1, values={"filters": 16, "rate": 0.3, "blocks": 3})
    writer.trial(values={"filters": 16, "rate": 0.3}, state=TrialState.LOST)
    writer.trial(0.1, values={"filters": 16, "rate": 0.3})
    found = collect(writer, space)
    assert len(found.evidence) == 1
    assert found.left_out == {
        "filters = 64 is outside the space": 2,
        "rate is missing": 1,
        "blocks is not among its hyperparameters": 1,
        "its worker was lost": 1,
    }
    assert "2 left out: filters = 64 is outside the space; 1 left out: rate is missing" in found.describe()


def test_constraints_and_further_objectives_are_those_of_the_new_sweep(space):
    writer = RecordWriter()
    writer.trial(0.4, values={"filters": 16, "rate": 0.1}, parameters=2000)
    found = collect(writer, space, objective=("val_macro_f1", "-parameters"), constraints={"parameters": "<= 1000"})
    assert found.evidence[0].outcome.values == (0.4, 2000)
    assert found.evidence[0].outcome.violations == (1.0,)


def test_a_trial_that_was_not_trained_counts_if_it_breaks_a_constraint_of_the_new_sweep(space):
    writer = RecordWriter()
    writer.trial(0.1, 0.3, values={"filters": 16, "rate": 0.25})
    for parameters in (2_000, 20_000):
        infeasible = {"state": TrialState.INFEASIBLE, "parameters": parameters}
        writer.trial(values={"filters": 32, "rate": parameters / 1e5}, **infeasible)
    found = collect(writer, space, constraints={"parameters": "<= 1e4"})
    assert [evidence.outcome.violations for evidence in found.evidence][1:] == [(1.0,)]
    assert found.left_out == {"it was not trained, and breaks no constraint of this sweep": 1}


def with_trials(*trials, **search):
    writer = RecordWriter(search)
    for curve, values in trials:
        writer.trial(*curve, values=values, state=TrialState.COMPLETED if curve else TrialState.FAILED)
    return writer


FITS = {"filters": 16, "rate": 0.1}


@pytest.mark.parametrize(
    ("writer", "message"),
    [
        pytest.param(
            with_trials(((0.4,), FITS), objective="val_loss"),
            "s-1 was searched for val_loss (min), this sweep is for val_macro_f1 (max); "
            "expected a sweep with the same first objective",
            id="another objective",
        ),
        pytest.param(
            with_trials(), "s-1 has 0 finished trials, none with a score in this sweep's space", id="no finished trial"
        ),
        pytest.param(
            with_trials(((), FITS)),
            "s-1 has 1 finished trials, none with a score in this sweep's space",
            id="none measured",
        ),
        pytest.param(
            with_trials(((0.4,), {"units": 3}), ((0.4,), {"units": 4})),
            "s-1 has 2 finished trials, none with a score in this sweep's space; "
            "2 left out: units is not among its hyperparameters",
            id="another space",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(space, writer, message):
    with pytest.raises(ConfigError) as caught:
        collect(writer, space)
    assert str(caught.value) == f"search.warm_start: {message}"


@pytest.mark.parametrize(
    ("changes", "comparable"),
    [
        pytest.param({}, True, id="the same"),
        pytest.param({"search": {"sampler": "tpe", "max_trials": 5, "seed": 9}}, True, id="searched differently"),
        pytest.param({"training": {"epochs": 7}}, False, id="other epochs"),
        pytest.param({"data": {"split": {"seed": 8}}}, False, id="another split"),
        pytest.param({"data": {"votes": {"agreement": 0.5}}}, False, id="another agreement of votes"),
        pytest.param({"hypermodel": "package.module:Other"}, False, id="another network"),
    ],
)
def test_scores_are_comparable_where_the_same_is_trained_on_the_same(changes, comparable):
    record = RecordWriter().record
    assert is_comparable(record, SweepConfig(**changes), "d", SearchSpace([])) == comparable
    assert not is_comparable(record, SweepConfig(**changes), "other images", SearchSpace([]))


def test_scores_of_a_sweep_that_was_trained_for_longer_are_not_comparable():
    writer = RecordWriter()
    config = writer.record.config.model_dump(mode="json")
    config["training"]["epochs"] = 40
    writer.apply(SweepChanged(config=config, changes=[Change("training.epochs", 20, 40)]))
    for epochs in (20, 40):
        assert not is_comparable(writer.record, SweepConfig(training={"epochs": epochs}), "d", SearchSpace([]))


@pytest.mark.parametrize(
    ("change", "overrides", "comparable"),
    [
        pytest.param(lambda _: None, {}, True, id="the same"),
        pytest.param(lambda space: space.Int("blocks", 1, 3), {}, False, id="another name"),
        pytest.param(lambda space: setattr(space.space[1], "max_value", 0.7), {}, False, id="another domain"),
        pytest.param(lambda space: setattr(space.space[1], "_default", 0.2), {}, True, id="another default"),
        pytest.param(
            lambda space: setattr(space.space[1], "max_value", 0.3),
            {"rate": {"min": 0.0, "max": 0.3}},
            True,
            id="narrowed by the sweep file",
        ),
    ],
)
def test_a_network_that_declares_another_space_is_another_network(space, change, overrides, comparable):
    record = RecordWriter(space=json.loads(json.dumps(space.get_config()))).record
    change(space)
    config = SweepConfig(space=overrides)
    assert is_comparable(record, config, "d", SearchSpace.of(space)) == comparable


def test_a_journal_of_before_takes_its_evidence_as_comparable():
    old = {"values": {"filters": 16}, "outcome": {"state": "completed", "curve": [0.3], "values": [0.3]}}
    (known,) = started(evidence=[old]).evidence
    assert (known.sweep_id, known.comparable, known.outcome.values) == ("", True, (0.3,))
