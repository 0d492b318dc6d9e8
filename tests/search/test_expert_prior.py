"""An expert's priors in the search: used, and left if they mislead."""

from dataclasses import replace

import pytest
from search.driving import SCORE, drive, every_outcome, mixed_space, score_of
from search.test_samplers import completed

from galaxy_exp.records import Evidence, Outcome, TrialState
from galaxy_exp.search.building import sampler_factory
from galaxy_exp.search.history import History
from galaxy_exp.search.prior_knowledge import ExpertPrior
from galaxy_exp.search.proposer import SamplerProposer
from galaxy_exp.search_methods import SAMPLERS
from galaxy_exp.space.domains import Prior
from galaxy_exp.space.search_space import SearchSpace

PLAIN = SearchSpace.of(mixed_space())
BEST, WORST = 1e-2, 1e-4
"""Rates; see `score_of`."""

TAKE_PRIORS = [name for name, method in SAMPLERS.items() if method.takes_priors]


def with_prior(**centres):
    return SearchSpace(
        replace(each, prior=Prior(centres[each.name], 0.7)) if each.name in centres else each
        for each in PLAIN.hyperparameters
    )


def propose_with(sampler, space, seed=1, **options):
    return SamplerProposer(space, (SCORE,), sampler_factory(sampler), seed, epochs=6, **options)


def scored(number, values):
    return completed(score_of(values))


def n_near(proposals, rate):
    return sum(rate / 3 < values["rate"] < rate * 3 for values in proposals)


@pytest.mark.parametrize("sampler", TAKE_PRIORS)
class TestEverySampler:
    def test_the_first_proposal_is_the_centre(self, sampler):
        proposer = propose_with(sampler, with_prior(rate=BEST, kind="b"))
        assert proposer.propose(0) == {
            "width": 32, "rate": BEST, "kind": "b", "depth": 1, "fixed": "yes"
        }  # fmt: skip

    def test_a_centre_that_was_tried_is_not_proposed(self, sampler):
        space = with_prior(rate=1e-3)
        proposer = propose_with(sampler, space)
        proposer.adopt(0, space.expected, proposed=False)
        assert proposer.propose(1) != space.expected

    @pytest.mark.parametrize("workers", [1, 4])
    def test_a_resumed_search_continues_as_if_never_interrupted(self, sampler, workers):
        space = with_prior(rate=BEST, width=64)
        uninterrupted = drive(propose_with(sampler, space), 24, workers)
        assert drive(propose_with(sampler, space), 24, workers, recorded=uninterrupted[:17]) == uninterrupted
        assert drive(propose_with(sampler, space), 24, workers, recorded=uninterrupted[:1]) == uninterrupted

    def test_a_good_one_is_used(self, sampler):
        without = sum(n_near(drive(propose_with(sampler, PLAIN, seed), 8, outcome=scored), BEST) for seed in (1, 2, 3))
        space = with_prior(rate=BEST)
        used = sum(n_near(drive(propose_with(sampler, space, seed), 8, outcome=scored), BEST) for seed in (1, 2, 3))
        assert used > without

    def test_a_bad_one_is_left(self, sampler):
        space = with_prior(rate=WORST)
        searches = [drive(propose_with(sampler, space, seed), 40, outcome=scored) for seed in (1, 2, 3)]
        assert sum(n_near(proposals[20:], WORST) for proposals in searches) <= 18  # 10 at random, 45 if it is believed
        assert min(max(map(score_of, proposals)) for proposals in searches) > -0.1

    def test_no_confidence_finds_what_none_does(self, sampler):
        """A prior that says nothing still changes what is drawn, but not where."""
        space = SearchSpace(
            replace(each, prior=Prior(WORST, 0.0)) if each.name == "rate" else each for each in PLAIN.hyperparameters
        )
        proposals = drive(propose_with(sampler, space), 24, outcome=scored)
        assert n_near(proposals, WORST) <= 6


@pytest.mark.parametrize("sampler", TAKE_PRIORS)
def test_a_condition_on_a_hyperparameter_with_a_prior(sampler):
    proposals = drive(propose_with(sampler, with_prior(growth=1.5, depth=3)), 15)
    assert all(("growth" in values) == (values["depth"] > 1) for values in proposals)


class TestTrust:
    SPACE = with_prior(rate=BEST)

    def trust(self, *outcomes):
        history = History((SCORE,), epochs=6)
        for rate, outcome in outcomes:
            position = history.begin({"width": 16, "rate": rate, "kind": "a", "depth": 1, "fixed": "yes"})
            if outcome is not None:
                history.end(position, outcome)
        return ExpertPrior(self.SPACE, history, 1, 10).trust()

    def test_before_there_is_anything_to_compare(self):
        assert self.trust() == 0.5
        assert self.trust((BEST, completed(1.0))) == 0.5
        assert self.trust((BEST, completed(1.0)), (WORST, completed(0.0))) == 0.5
        assert self.trust((WORST, completed(1.0)), (WORST, completed(0.0))) == 0.5

    def test_good_and_bad_ones(self):
        elsewhere = [(WORST, completed(0.0)), (1e-3, completed(1.0))]
        near = [BEST, 1.1 * BEST, 0.9 * BEST]
        assert self.trust(*elsewhere, *((rate, completed(2.0)) for rate in near)) == 4 / 5
        assert self.trust(*elsewhere, *((rate, completed(-2.0)) for rate in near)) == 1 / 5

    def test_a_failure_is_no_good_trial(self):
        elsewhere = [(WORST, completed(0.0)), (1e-3, completed(1.0))]
        assert self.trust(*elsewhere, (BEST, Outcome(TrialState.FAILED))) == 1 / 3

    def test_a_running_one_counts_as_bad(self):
        elsewhere = [(WORST, completed(0.0)), (1e-3, completed(1.0))]
        assert self.trust(*elsewhere, (BEST, completed(2.0)), (BEST, None)) == 2 / 4
        assert self.trust(*elsewhere, (WORST, None)) == 1 / 2


@pytest.mark.parametrize(("is_of_this_sweep", "least", "most"), [(True, 0, 15), (False, 80, 100)])
def test_only_results_of_this_sweep_fade_a_prior(is_of_this_sweep, least, most):
    """Of 200 results, those near the centre are the best: the trust is near 1."""
    history = History((SCORE,), epochs=6)
    for number in range(200):
        rate = BEST if number % 2 else WORST
        position = history.begin(PLAIN.defaults | {"rate": rate}, is_of_this_sweep=is_of_this_sweep)
        history.end(position, completed(float(number % 2)))
    prior = ExpertPrior(with_prior(rate=BEST), history, 1, 10)
    assert prior.trust() > 0.95
    assert least <= sum(prior.propose(number) is not None for number in range(100)) <= most


@pytest.mark.parametrize("comparable", [True, False])
def test_a_warm_start_begins_with_the_centre_too(comparable):
    """The earlier sweep's best would be next, as two trials of this sweep have ended."""
    space = with_prior(rate=BEST)
    evidence = [
        Evidence(PLAIN.defaults | {"rate": rate}, completed(-rate), comparable=comparable, sweep_id="s")
        for rate in (1e-4, 2e-4, 5e-4, 2e-3)
    ]
    for seed in range(5):
        proposer = propose_with("random", space, seed, evidence=evidence)
        for number, rate in enumerate((0.05, 0.1)):
            proposer.adopt(number, PLAIN.defaults | {"rate": rate}, proposed=False)
            proposer.tell(number, completed(0.0))
        assert proposer.propose(2) == space.expected


def test_every_kind_of_end_is_no_obstacle():
    for sampler in TAKE_PRIORS:
        drive(propose_with(sampler, with_prior(rate=BEST, depth=2)), 20, workers=3, outcome=every_outcome)


def test_executions_repeat_the_centre():
    proposals = drive(propose_with("random", with_prior(rate=BEST), executions=2), 4, outcome=scored)
    assert proposals[0] == proposals[1] != proposals[2] == proposals[3]
