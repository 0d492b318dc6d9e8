"""Warm start from sweeps whose scores are on another scale."""

import math

import keras_tuner
import pytest
from search.driving import SCORE, distinct, drive, finite_space, mixed_space, score_of

from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.records import Evidence, Objective, Outcome, TrialState
from galaxy_exp.search.building import build_proposer, sampler_factory
from galaxy_exp.search.proposer import SamplerProposer
from galaxy_exp.search_methods import SAMPLERS
from galaxy_exp.space.search_space import SearchSpace

TRANSFORMS = {
    "0.3 more": lambda score: score + 0.3,
    "another unit": lambda score: 1000 * score - 7,
    "squeezed": lambda score: math.atan(score),
}


def completed(number, values):
    return Outcome(TrialState.COMPLETED, (score_of(values),), (score_of(values),))


def propose_with(sampler="random", evidence=(), seed=1, objectives=(SCORE,)):
    return SamplerProposer(
        SearchSpace.of(mixed_space()), objectives, sampler_factory(sampler), seed, epochs=6, evidence=evidence
    )


SOURCE = sorted(drive(propose_with(seed=9), 40, outcome=completed), key=score_of, reverse=True)
"""Configurations of an earlier sweep, the best first."""


def earlier(values=SOURCE, scores=None, sweep_id="earlier", transform=lambda score: score):
    """Trials of an earlier sweep; by default with the scores that this sweep would give them."""
    scores = map(score_of, values) if scores is None else scores
    outcomes = [Outcome(TrialState.COMPLETED, (each,), (each,)) for each in map(transform, scores)]
    return [Evidence(each, outcome, sweep_id, False) for each, outcome in zip(values, outcomes, strict=True)]


REVERSED = earlier(SOURCE, [-score_of(values) for values in SOURCE], "reversed")


def taken(proposals, evidence):
    known = [each.values for each in evidence]
    return [values for values in proposals if values in known]


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "grid"])
class TestEverySampler:
    @pytest.mark.parametrize("workers", [1, 4])
    def test_a_resumed_search_proposes_what_the_uninterrupted_one_did(self, sampler, workers):
        evidence = [*earlier(), *REVERSED]
        uninterrupted = drive(propose_with(sampler, evidence), 22, workers)
        for n_recorded in (3, 15):
            recorded = uninterrupted[:n_recorded]
            assert drive(propose_with(sampler, evidence), 22, workers, recorded) == uninterrupted

    @pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
    def test_the_scale_of_the_earlier_scores_makes_no_difference(self, sampler, transform):
        plain, changed = (drive(propose_with(sampler, each), 15) for each in (earlier(), earlier(transform=transform)))
        assert plain == changed

    def test_the_best_of_the_earlier_sweep_are_tried_early(self, sampler):
        proposals = drive(propose_with(sampler, earlier()), 12, outcome=completed)
        assert taken(proposals, earlier())[:3] == SOURCE[:3]

    @pytest.mark.parametrize("workers", [1, 4])
    def test_evidence_that_is_wrong_is_given_up(self, sampler, workers):
        proposals = drive(propose_with(sampler, REVERSED), 30, workers, outcome=completed)
        assert len(taken(proposals, REVERSED)) <= 2


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_finite_space_is_still_tried_completely(sampler):
    space = SearchSpace.of(finite_space())
    known = list(space.configurations())
    evidence = earlier(known, [float(values["a"]) for values in known])
    proposals = drive(
        SamplerProposer(space, (SCORE,), sampler_factory(sampler), 1, epochs=6, evidence=evidence), 20, workers=2
    )
    assert len(distinct(proposals)) == len(proposals) == len(known)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_sampler_with_a_state_of_its_own_resumes_too(workers):
    search = SearchConfig(sampler="optuna.samplers:NSGAIISampler", sampler_options={"population_size": 4})

    def proposer():
        return build_proposer(search, SearchSpace.of(mixed_space()), epochs=6, evidence=earlier())

    uninterrupted = drive(proposer(), 24, workers)
    assert taken(uninterrupted, earlier())
    assert drive(proposer(), 24, workers, recorded=uninterrupted[:15]) == uninterrupted


def test_a_sweep_that_is_right_is_used_where_another_is_wrong():
    proposals = drive(propose_with(evidence=[*REVERSED, *earlier(SOURCE[:20])]), 30, outcome=completed)
    assert len(taken(proposals, earlier(SOURCE[:5]))) == 5


def test_what_was_not_measured_is_no_candidate():
    bad = [
        Outcome(TrialState.FAILED),
        Outcome(TrialState.COMPLETED, (math.nan,), (math.nan,)),
        Outcome(TrialState.LOST),
    ]
    evidence = [Evidence(values, outcome, "earlier", False) for values, outcome in zip(SOURCE, bad, strict=False)]
    assert drive(propose_with(evidence=evidence), 9) == drive(propose_with(), 9)


def test_only_values_of_this_space_are_proposed():
    space = keras_tuner.HyperParameters()
    space.Int("units", 32, 512, step=32)
    space.Float("rate", 0.0, 1.0)
    found = [{"units": units, "rate": rate} for units in (48, 48.5, True, 96.0) for rate in (2, True, "0", math.nan, 0)]
    evidence = earlier(found, [1.0] * len(found)) * 3
    proposals = drive(
        SamplerProposer(SearchSpace.of(space), (SCORE,), sampler_factory("random"), 1, epochs=6, evidence=evidence),
        9,
        outcome=lambda *_: Outcome(TrialState.COMPLETED, (1.0,), (1.0,)),
    )
    assert {"units": 96, "rate": 0.0} in proposals
    assert {(type(values["units"]), type(values["rate"])) for values in proposals} == {(int, float)}
    assert all(values["units"] % 32 == 0 and 0 <= values["rate"] <= 1 for values in proposals)


def test_all_objectives_rank_the_candidates():
    objectives = (SCORE, Objective("parameters", "min"))
    costs = [1.0 if number == 5 else 1000.0 + number for number in range(len(SOURCE))]
    outcomes = [Outcome(TrialState.COMPLETED, (1.0,), (1.0, cost)) for cost in costs]
    evidence = [Evidence(values, each, "earlier", False) for values, each in zip(SOURCE, outcomes, strict=True)]
    proposals = drive(
        propose_with(evidence=evidence, objectives=objectives),
        8,
        outcome=lambda *_: Outcome(TrialState.COMPLETED, (1.0,), (1.0, 5.0)),
    )
    assert taken(proposals, evidence)[0] == SOURCE[5]
