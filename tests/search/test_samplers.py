"""What holds for every sampler, and what each is for."""

import math

import keras_tuner
import pytest
from search.driving import SCORE, distinct, drive, every_outcome, finite_space, mixed_space, score_of

from galaxy_exp.records import Evidence, Objective, Outcome, TrialState
from galaxy_exp.search.building import sampler_factory
from galaxy_exp.search.proposer import NoProposal, SamplerProposer
from galaxy_exp.search.samplers import SobolSampler
from galaxy_exp.search_methods import SAMPLERS
from galaxy_exp.space.search_space import SearchSpace

LOSS = Objective("loss", "min")


def propose_with(sampler, space=None, seed=1, objectives=(SCORE,), **options):
    if space is None:
        space = finite_space() if sampler == "grid" else mixed_space()
    return SamplerProposer(SearchSpace.of(space), objectives, sampler_factory(sampler), seed, epochs=6, **options)


def completed(*values, violations=()):
    return Outcome(TrialState.COMPLETED, (values[0],), values, violations)


@pytest.mark.parametrize("sampler", SAMPLERS)
class TestEverySampler:
    @pytest.mark.parametrize("workers", [1, 4])
    def test_a_resumed_search_goes_on_as_if_never_interrupted(self, sampler, workers):
        uninterrupted = drive(propose_with(sampler), 22, workers)
        resumed = drive(propose_with(sampler), 22, workers, recorded=uninterrupted[:18])
        assert resumed == uninterrupted

    def test_another_seed_proposes_others_except_on_a_grid(self, sampler):
        first, second = (drive(propose_with(sampler, seed=seed), 5) for seed in (1, 2))
        assert (first == second) == (sampler == "grid")

    def test_no_configuration_comes_twice(self, sampler):
        proposals = drive(propose_with(sampler), 25, workers=3)
        assert len(distinct(proposals)) == len(proposals)

    @pytest.mark.parametrize("workers", [1, 4])
    def test_a_finite_space_is_tried_completely_and_then_nothing_is_left(self, sampler, workers):
        proposals = drive(propose_with(sampler, finite_space()), 20, workers)
        assert len(distinct(proposals)) == len(proposals) == 9

    def test_what_was_adopted_is_not_proposed(self, sampler):
        known = list(SearchSpace.of(finite_space()).configurations())
        proposer = propose_with(sampler, finite_space())
        for number, values in enumerate(known[:4] + known[5:]):
            proposer.adopt(number, values, proposed=False)
        assert proposer.propose(8) == known[4]
        assert proposer.propose(9) is NoProposal.EXHAUSTED

    def test_the_same_values_are_executed_so_many_times_in_a_row(self, sampler):
        proposals = drive(propose_with(sampler, executions=3), 12, workers=2)
        assert [values == proposals[3 * (number // 3)] for number, values in enumerate(proposals)] == [True] * 12
        assert len(distinct(proposals)) == 4

    def test_an_order_breaks_no_executions_off(self, sampler):
        proposer = propose_with(sampler, executions=3)
        first = proposer.propose(0)
        proposer.adopt(1, list(SearchSpace.of(finite_space()).configurations())[4], proposed=False)
        assert [proposer.propose(number) == first for number in (2, 3, 4)] == [True, True, False]

    def test_executions_go_on_after_a_resumption(self, sampler):
        uninterrupted = drive(propose_with(sampler, executions=3), 12)
        assert drive(propose_with(sampler, executions=3), 12, recorded=uninterrupted[:7]) == uninterrupted

    def test_failures_without_any_success_are_no_obstacle(self, sampler):
        proposals = drive(propose_with(sampler), 9, outcome=lambda number, values: Outcome(TrialState.FAILED))
        assert len(distinct(proposals)) == 9

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_values_that_are_not_finite_are_no_obstacle(self, sampler, value):
        drive(propose_with(sampler), 14, outcome=lambda number, values: completed(value if number < 4 else 0.5))

    def test_a_baseline_outside_the_space_is_no_obstacle(self, sampler):
        proposer = propose_with(sampler)
        proposer.adopt(0, {"width": 999, "rate": 5.0, "kind": "z", "depth": 1, "a": 1}, proposed=False)
        proposer.tell(0, completed(1.0))
        assert not isinstance(proposer.propose(1), NoProposal)

    def test_nothing_to_choose_is_one_configuration(self, sampler):
        space = keras_tuner.HyperParameters()
        space.Fixed("fixed", "yes")
        evidence = [Evidence({"fixed": "yes"}, completed(float(number))) for number in range(15)]
        assert drive(propose_with(sampler, space, evidence=evidence), 5, outcome=lambda *_: completed(1.0)) == [
            {"fixed": "yes"}
        ]


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "grid"])
def test_values_lie_in_the_space_and_inactive_ones_are_left_out(sampler):
    for values in drive(propose_with(sampler), 30):
        assert ("growth" in values) == (values["depth"] > 1)
        assert values["fixed"] == "yes"
        assert values["width"] in (16, 32, 64)
        assert 1e-4 <= values["rate"] <= 1e-1
        assert values.get("growth", 1.0) in (1.0, 1.25, 1.5, 1.75, 2.0)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
class TestSamplersThatLearn:
    def test_they_learn_what_chance_does_not_know(self, sampler):
        def best(name):
            runs = [drive(propose_with(name, seed=seed), 32, outcome=self.score) for seed in (1, 2, 3)]
            return sorted(max(score_of(values) for values in run[16:]) for run in runs)[1]

        assert best(sampler) > best("random")

    def test_they_learn_from_an_earlier_sweep(self, sampler):
        source = drive(propose_with("random", seed=9), 40)
        evidence = [Evidence(values, self.score(0, values)) for values in source]
        distances = [
            abs(math.log10(drive(propose_with(sampler, seed=seed, evidence=evidence), 1)[0]["rate"]) + 2)
            for seed in range(1, 8)
        ]
        assert sorted(distances)[3] < 0.6  # at random: 0.75

    def test_bad_trials_are_avoided(self, sampler):
        def outcome(number, values):
            good = values["rate"] < 1e-3
            return completed(0.5 + values["depth"] / 100) if good else every_outcome(2, values)

        proposals = drive(propose_with(sampler), 40, outcome=outcome)
        assert sum(values["rate"] < 1e-3 for values in proposals[25:]) >= 10

    def test_broken_constraints_are_avoided(self, sampler):
        def outcome(number, values):
            rate = math.log10(values["rate"])
            return completed(rate, violations=(rate + 3,))  # the larger, the better, but at most 1e-3

        proposals = drive(propose_with(sampler), 50, outcome=outcome)
        near = sum(3e-4 < values["rate"] <= 1e-3 for values in proposals[25:])
        assert near >= 9  # at random: 4

    @staticmethod
    def score(number, values):
        return completed(score_of(values))


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_several_objectives(sampler):
    def outcome(number, values):
        if number % 5 == 4:
            return every_outcome(2, values)
        return completed(math.log10(values["rate"]), values["width"], violations=(0.1,) if number % 7 == 6 else ())

    proposals = drive(propose_with(sampler, objectives=(SCORE, LOSS)), 40, workers=2, outcome=outcome)
    assert len(distinct(proposals)) == 40
    if sampler == "tpe":
        assert sum(values["width"] == 16 and values["rate"] > 1e-3 for values in proposals[20:]) >= 10


def test_a_grid_goes_in_order_while_trials_run():
    proposer = propose_with("grid")
    proposals = [proposer.propose(number) for number in range(9)]
    assert proposals[:4] == [
        {"a": 1, "b": False},
        {"a": 1, "b": True, "c": "x"},
        {"a": 1, "b": True, "c": "y"},
        {"a": 2, "b": False},
    ]
    assert proposer.propose(9) is NoProposal.EXHAUSTED


def test_a_sobol_sequence_fills_the_space_evenly():
    space = keras_tuner.HyperParameters()
    space.Float("x", 0.0, 1.0)
    space.Float("y", 1e-4, 1.0, sampling="log")
    points = drive(propose_with("qmc", space), 64, outcome=lambda *_: completed(1.0))
    cells = {(int(8 * values["x"]), int(8 * (math.log10(values["y"]) + 4) / 4)) for values in points}
    assert len(cells) == 64


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_resumed_search_learns_again_what_paused_trials_promised(sampler):
    uninterrupted = drive(propose_with(sampler), 40, workers=3)
    resumed = drive(propose_with(sampler), 40, workers=3, recorded=uninterrupted[:30])
    assert resumed == uninterrupted


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_paused_trials_count_with_what_their_curves_promise(sampler):
    """High rates begin better, and low rates gain so much that they promise more."""

    def outcome(number, values):
        curve = (-8.0, -0.5) if values["rate"] < 3e-3 else (-0.45, -0.4)
        return Outcome(TrialState.STOPPED, curve, (curve[1],))

    proposals = drive(propose_with(sampler), 40, outcome=outcome)
    assert sum(values["rate"] < 3e-3 for values in proposals[20:]) / 20 > 0.6


def test_gp_learns_from_five_whole_trials_or_from_fifteen_that_were_paused():
    def learns_from(outcome):
        proposals = {}
        for sampler in ("gp", "qmc"):
            proposals[sampler] = drive(propose_with(sampler), 17, outcome=lambda number, values: outcome)
        same = [one == other for one, other in zip(proposals["gp"], proposals["qmc"], strict=True)]
        return same.index(False)

    assert learns_from(completed(0.5)) == 5
    assert learns_from(Outcome(TrialState.STOPPED, (0.4, 0.5), (0.5,))) == 15


@pytest.mark.parametrize("executions", [1, 2, 3])
def test_gp_explores_with_every_second_configuration_where_it_expects_little(executions, monkeypatch):
    """A single score for all: it is taken from the Sobol sequence, of which `gp` takes the first points too."""
    monkeypatch.setattr("galaxy_exp.search.bayesian.LITTLE_GAIN", math.inf)
    asked = []

    def sample(self, number, draw):
        asked.append(number)
        return self.original(number, draw)

    monkeypatch.setattr(SobolSampler, "original", SobolSampler.sample, raising=False)
    monkeypatch.setattr(SobolSampler, "sample", sample)
    n = 20 * executions
    proposals = drive(propose_with("gp", executions=executions), n, outcome=lambda *_: completed(0.5))
    assert len(distinct(proposals)) == 20
    learning = [number // executions for number in asked if number >= 5 * executions]
    assert learning == list(range(6, 20, 2))
