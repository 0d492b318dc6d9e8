"""KerasTuner's own oracles, driven by our loop's protocol."""

import keras_tuner
import pytest
from search.driving import SCORE, distinct, drive, every_outcome, finite_space, mixed_space, score_of
from search.user_classes import ImpatientOracle

from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.errors import SweepFailedError
from galaxy_exp.records import Outcome, TrialState
from galaxy_exp.search.building import build_proposer
from galaxy_exp.search.oracle_proposer import OracleProposer
from galaxy_exp.search.proposer import NoProposal, continued_trial, epochs_of
from galaxy_exp.space.search_space import SearchSpace

BAYESIAN = "BayesianOptimizationOracle"
ORACLES = ["RandomSearchOracle", "GridSearchOracle", BAYESIAN, "HyperbandOracle"]
EPOCHS = 9


def propose_with(oracle, space=None, max_trials=200, **options):
    search = SearchConfig(
        sampler=f"keras_tuner.oracles.{oracle}", max_trials=max_trials, sampler_options=options, objective="val_loss"
    )
    return build_proposer(search, SearchSpace.of(space or mixed_space()), epochs=EPOCHS)


def line():
    space = keras_tuner.HyperParameters()
    space.Float("rate", 1e-4, 1e-1, sampling="log")
    space.Fixed("depth", 1)
    return space


def loss(values):
    return -score_of(values)


def completed(value):
    return Outcome(TrialState.COMPLETED, (value + 1, value), (value,))


def configuration(values):
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}


@pytest.mark.parametrize("oracle", ORACLES)
class TestEveryOracle:
    @pytest.mark.parametrize("workers", [1, 4])
    def test_a_resumed_search_goes_on_as_if_never_interrupted(self, oracle, workers):
        n, space, options = 12, mixed_space(), {}
        if oracle == BAYESIAN:
            n, space, options = 8, line(), {"num_initial_points": 4}
        uninterrupted = drive(propose_with(oracle, space, **options), n, workers)
        resumed = drive(propose_with(oracle, space, **options), n, workers, recorded=uninterrupted[: n - 2])
        assert resumed == uninterrupted
        assert {type(value) for values in resumed for value in values.values()} <= {int, float, str, bool}

    @pytest.mark.parametrize("workers", [1, 4])
    def test_it_is_driven_to_its_end_whatever_happens_to_trials(self, oracle, workers):
        options = {"max_trials": 6, "num_initial_points": 4} if oracle == BAYESIAN else {}
        proposals = drive(propose_with(oracle, finite_space(), **options), 60, workers)
        configurations = distinct(map(configuration, proposals))
        assert len(configurations) == 9 or oracle == BAYESIAN
        if oracle != "HyperbandOracle":  # promoted configurations are trained again, for longer
            assert len(configurations) == len(proposals)

    def test_failures_alone_do_not_stop_it(self, oracle):
        options = {"num_initial_points": 12} if oracle == BAYESIAN else {}
        proposals = drive(propose_with(oracle, **options), 10, outcome=lambda *_: Outcome(TrialState.FAILED))
        assert len(proposals) == 10

    def test_what_it_did_not_propose_is_unknown_to_it(self, oracle):
        alone, beside = propose_with(oracle), propose_with(oracle)
        settled = {"width": 999, "rate": 5.0, "kind": "z", "depth": 1}
        beside.adopt(0, settled, proposed=False)
        beside.tell(0, completed(-9.0))
        assert beside.propose(1) == alone.propose(0)

    def test_inactive_hyperparameters_are_left_out(self, oracle):
        for values in drive(propose_with(oracle), 10):
            assert ("growth" in values) == (values["depth"] > 1)


def test_hyperband_says_how_long_a_trial_is_trained_and_promotes_the_best():
    proposals = drive(propose_with("HyperbandOracle"), 500, workers=3, outcome=lambda _, v: completed(loss(v)))
    epochs = [epochs_of(values, EPOCHS) for values in proposals]
    assert set(epochs) == {1, 3, 9}
    assert [epochs.count(n) for n in (1, 3, 9)] == [9, 8, 6]  # 9, 3, 1; 5, 2; 3
    first_round = [configuration(values) for values in proposals if values["tuner/bracket"] == 2][:9]
    promoted = [configuration(v) for v in proposals if v["tuner/epochs"] == 3 and v["tuner/round"] == 1]
    best = sorted(first_round, key=loss)[:3]
    assert [values for values in best if values not in promoted] == []
    continued = {number: continued_trial(values) for number, values in enumerate(proposals)}
    assert [each is None for each in continued.values()] == [values["tuner/round"] == 0 for values in proposals]
    for number, (earlier, n_epochs) in ((number, each) for number, each in continued.items() if each):
        assert configuration(proposals[earlier]) == configuration(proposals[number])
        assert proposals[earlier]["tuner/epochs"] == n_epochs
    assert epochs_of({"width": 3}, 20) == 20


def test_hyperband_waits_for_results_and_then_goes_on():
    proposer = propose_with("HyperbandOracle", hyperband_iterations=1)
    number, running = 0, []
    while (values := proposer.propose(number)) is not NoProposal.WAIT:
        running.append((number, values))
        number += 1
    for waiting, values in running:
        proposer.tell(waiting, completed(loss(values)))
    assert not isinstance(proposer.propose(number), NoProposal)


def test_hyperbands_rounds_are_not_emptied_by_failures():
    def outcome(number, values):
        return Outcome(TrialState.FAILED) if number % 3 == 1 else completed(loss(values))

    proposals = drive(propose_with("HyperbandOracle"), 500, outcome=outcome)
    epochs = [epochs_of(values, EPOCHS) for values in proposals]
    assert [epochs.count(n) for n in (1, 3, 9)] == [9, 8, 6]


def test_a_configuration_that_is_proposed_again_is_not_trained_again():
    """As when the defaults, with which KerasTuner's grid begins, are the baseline."""
    known = {"a": 1, "b": False}
    proposer = propose_with("GridSearchOracle", finite_space())
    proposer.adopt(0, known, proposed=False)
    proposer.tell(0, completed(0.5))
    proposals = []
    while not isinstance(values := proposer.propose(len(proposals) + 1), NoProposal):
        proposals.append(values)
        proposer.tell(len(proposals), completed(0.5))
    assert len(distinct(proposals)) == len(proposals) == 8
    assert known not in proposals


def test_a_stopped_trial_counts_with_what_it_reached():
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("score", "max"), hyperparameters=mixed_space(), max_trials=9, seed=1
    )
    proposer = OracleProposer(oracle, SCORE)
    for number in range(4):
        values = proposer.propose(number)
        proposer.tell(number, every_outcome(number, values))
    complete, stopped, failed, _ = oracle.trials.values()
    assert [trial.status for trial in oracle.trials.values()] == ["COMPLETED"] * 4
    assert stopped.score == pytest.approx(score_of(stopped.hyperparameters.values) - 1 / 2)
    assert failed.score == min(complete.score, stopped.score)


@pytest.mark.parametrize(("options", "n_proposals"), [({}, 7), ({"sampler_options": {"max_trials": 4}}, 4)])
def test_the_sweep_limits_the_trials_unless_the_oracle_has_a_limit_of_its_own(options, n_proposals):
    """The limit of the sweep may be raised while it runs."""
    oracle = "keras_tuner.oracles.RandomSearchOracle"
    search = SearchConfig(sampler=oracle, max_trials=3, objective="val_loss", **options)
    proposer = build_proposer(search, SearchSpace.of(mixed_space()), epochs=EPOCHS)
    proposals = []
    while len(proposals) < 7 and not isinstance(values := proposer.propose(len(proposals)), NoProposal):
        proposer.tell(len(proposals), completed(0.5))
        proposals.append(values)
    assert len(proposals) == n_proposals


def test_a_limit_that_the_class_states_itself_holds():
    search = SearchConfig(sampler="search.user_classes:OracleOfThree", max_trials=9, objective="val_loss")
    proposer = build_proposer(search, SearchSpace.of(mixed_space()), epochs=EPOCHS)
    for number in range(3):
        proposer.propose(number)
        proposer.tell(number, completed(0.5))
    assert proposer.propose(3) is NoProposal.EXHAUSTED


def test_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drive(propose_with("RandomSearchOracle"), 5)
    assert list(tmp_path.iterdir()) == []


def test_an_oracle_that_raises_ends_the_sweep_in_one_line_and_can_still_be_asked():
    proposer = OracleProposer(
        ImpatientOracle(keras_tuner.Objective("score", "max"), hyperparameters=mixed_space()), SCORE
    )
    proposer.propose(0)
    for number in (1, 2):
        with pytest.raises(SweepFailedError, match=r"ImpatientOracle\.create_trial raised ZeroDivisionError: nothing"):
            proposer.propose(number)
