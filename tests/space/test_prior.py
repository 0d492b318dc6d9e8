"""An expert's prior as a distribution, and what of it the journal keeps."""

import json
from dataclasses import replace

import numpy as np
import pytest

from galaxy_exp.space.domains import Prior, Range, Steps, ValueList
from galaxy_exp.space.search_space import Condition, Hyperparameter, Kind, SearchSpace, plain_text

DOMAINS = {
    "log": (Range(1e-4, 1e-1, "log"), 1e-3),
    "whole": (Range(1, 64, "log"), 64),
    "steps": (Steps(0.0, 0.6, 0.05), 0.0),
    "few whole": (Range(1, 4, "log"), 2),
    "whole from the end": (Range(1, 9, "reverse_log"), 8),
    "ordered": (ValueList([16, 32, 64], ordered=True), 32),
    "two": (ValueList([16, 32], ordered=True), 16),
    "words": (ValueList(["a", "b", "c"], ordered=False), "b"),
    "switch": (ValueList([False, True], ordered=False), True),
}
MIDDLES = (np.arange(100_000) + 0.5) / 100_000


@pytest.mark.parametrize(("domain", "centre"), DOMAINS.values(), ids=list(DOMAINS))
class TestDistribution:
    def test_density_is_one_on_average_and_highest_at_the_centre(self, domain, centre):
        density = Prior(centre, 0.7).density(domain, MIDDLES)
        assert density.mean() == pytest.approx(1, abs=1e-3)
        is_coarse = (
            domain.n_choices is not None and domain.n_choices < 5
        )  # the neighbours have some of the normal's mass
        assert density.min() == pytest.approx(0.3, abs=0.15 if is_coarse else 1e-4)
        at_centre = Prior(centre, 0.7).density(domain, np.array([domain.to_unit(centre)]))
        assert at_centre == pytest.approx(density.max(), rel=1e-3)

    def test_draws_have_the_density(self, domain, centre):
        prior = Prior(centre, 0.7)
        edges = np.linspace(0, 1, 13)
        if domain.n_choices:  # within the quantiles of one value, the draws are not even
            edges = np.array([*(domain.cell(domain.to_unit(value))[0] for value in domain.values()), 1.0])
        drawn, _ = np.histogram(prior.draw(domain, MIDDLES), edges)
        expected, _ = np.histogram(MIDDLES, edges, weights=prior.density(domain, MIDDLES))
        np.testing.assert_allclose(drawn, expected, atol=50)

    def test_no_confidence_is_no_prior(self, domain, centre):
        prior = Prior(centre, 0.0)
        np.testing.assert_array_equal(prior.draw(domain, MIDDLES), MIDDLES)
        np.testing.assert_array_equal(prior.density(domain, MIDDLES), 1)


@pytest.mark.parametrize("name", [name for name, (domain, _) in DOMAINS.items() if domain.n_choices])
def test_the_mean_density_of_the_values_is_one(name):
    domain, centre = DOMAINS[name]
    cells = [domain.cell(domain.to_unit(value)) for value in domain.values()]
    places = np.array([domain.to_unit(value) for value in domain.values()])
    sizes = np.array([last - first for first, last in cells])
    assert sizes.sum() == pytest.approx(1)
    assert (sizes * Prior(centre, 0.7).density(domain, places)).sum() == pytest.approx(1)


def test_a_choice_has_the_confidence_more_of_the_mass():
    domain, centre = DOMAINS["words"]
    values = [domain.from_unit(quantile) for quantile in Prior(centre, 0.7).draw(domain, MIDDLES)]
    assert values.count("b") / len(values) == pytest.approx(0.7 + 0.3 / 3, abs=1e-3)


RATE = Hyperparameter.range(Kind.FLOAT, "rate", 1e-4, 1e-1, None, "log", 1e-2, ())
KIND = Hyperparameter(Kind.CHOICE, "kind", "a", (), ("a", "b"))
DEPTH = Hyperparameter.range(Kind.INT, "depth", 1, 4, None, None, 2, (Condition("kind", ("b",)),))
SPACE = SearchSpace([replace(RATE, prior=Prior(1e-3, 0.7)), replace(KIND, prior=Prior("b", 0.5)), DEPTH])


def test_what_is_expected_are_centres_and_the_defaults_of_the_others():
    assert SPACE.expected == {"rate": 1e-3, "kind": "b", "depth": 2}
    assert SearchSpace([RATE, KIND, DEPTH]).expected == {"rate": 1e-2, "kind": "a"}


def test_the_journal_keeps_it_and_keras_tuner_passes_over_it():
    import keras_tuner

    config = json.loads(json.dumps(SPACE.get_config()))
    assert SearchSpace.from_config(config).hyperparameters == SPACE.hyperparameters
    without = keras_tuner.HyperParameters.from_config(config)
    assert SearchSpace.of(without).hyperparameters == SearchSpace([RATE, KIND, DEPTH]).hyperparameters
    assert "prior" not in json.dumps(SearchSpace([RATE, KIND, DEPTH]).get_config())


def test_it_is_described_with_the_values():
    described = [(each.describe_values(plain_text), each.describe_prior(plain_text)) for each in SPACE.hyperparameters]
    assert described == [
        ("0.0001 to 0.1", "prior at 0.001 with confidence 0.7"),
        ("a, b", "prior at b with confidence 0.5"),
        ("1 to 4", ""),
    ]
    assert [each.name for each in SPACE.with_prior] == ["rate", "kind"]
