"""Simulated volunteers: their votes follow the true parameters, and scatter around known fractions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galaxy_exp.config.data_section import DataConfig, SimulatedConfig, SplitConfig
from galaxy_exp.config.reading import load_sweep
from galaxy_exp.data import load_dataset, prepare_split
from galaxy_exp.data.simulated import TRUTH_DTYPE, VOLUNTEER_QUESTIONS, simulate_with_truth, true_fractions
from galaxy_exp.data.simulated.volunteers import draw_votes
from galaxy_exp.data.summary import summarise_dataset

SPIRAL: dict[str, Any] = {
    "label": 8, "surface_brightness": 20.5, "half_light_radius": 12, "axis_ratio": 0.8, "inclination": 37,
    "arm_strength": 0.5, "seeing": 2.0, "noise": 0.01, "sersic_index": 1.5,
}  # fmt: skip
ELLIPTICAL = {
    **SPIRAL,
    "label": 1,
    "inclination": np.nan,
    "arm_strength": 0.0,
    "half_light_radius": 8,
    "sersic_index": 4,
}


def made_up(galaxy: dict[str, Any], n_images: int = 1, **changes: Any) -> Any:
    truth = np.zeros(n_images, TRUTH_DTYPE)
    for name, value in {**galaxy, **changes}.items():
        truth[name] = value
    truth["number"] = np.arange(n_images)
    return truth


def fractions(galaxy: dict[str, Any], **changes: Any) -> dict[str, float]:
    found = VOLUNTEER_QUESTIONS.fractions(true_fractions(made_up(galaxy, **changes)))
    return dict(zip(VOLUNTEER_QUESTIONS.answers, found[0].tolist(), strict=True))


def test_answers_depend_on_the_true_parameters() -> None:
    spiral = fractions(SPIRAL)
    assert spiral["smooth-or-featured.featured"] > 0.8
    assert spiral["spiral-arms.yes"] > 0.7
    assert spiral["edge-on.yes"] < 0.1
    assert fractions(ELLIPTICAL)["smooth-or-featured.smooth"] > 0.8
    assert fractions(SPIRAL, inclination=88, arm_strength=0)["edge-on.yes"] > 0.8
    assert fractions(SPIRAL, arm_strength=0.2)["spiral-arms.yes"] < spiral["spiral-arms.yes"]
    for worse in ({"seeing": 8.0}, {"noise": 0.2}, {"surface_brightness": 24.0}):
        seen = fractions(SPIRAL, **worse)
        assert seen["smooth-or-featured.featured"] < spiral["smooth-or-featured.featured"]
        assert seen["spiral-arms.yes"] < spiral["spiral-arms.yes"]


def test_fractions_of_a_question_sum_to_the_share_who_get_there() -> None:
    true = true_fractions(made_up(SPIRAL, 3))
    totals = VOLUNTEER_QUESTIONS.totals(true)
    np.testing.assert_allclose(totals[:, 0], 1)
    np.testing.assert_allclose(totals[:, 1], true[:, 1])
    np.testing.assert_allclose(totals[:, 2], true[:, 3])


def test_votes_scatter_around_the_true_fractions() -> None:
    truth = made_up(SPIRAL, 3000, surface_brightness=22)
    votes = draw_votes(truth, SimulatedConfig(volunteers=(10, 60)))
    assert votes.are_counts
    totals = votes.questions.totals(votes.values)
    assert (totals[:, 0].min(), totals[:, 0].max()) == (10, 60)
    assert len(np.unique(totals[:, 0])) == 51
    np.testing.assert_array_equal(totals[:, 1], votes.values[:, 1])
    np.testing.assert_array_equal(totals[:, 2], votes.values[:, 3])
    true = true_fractions(truth)
    np.testing.assert_allclose(votes.values.sum(axis=0) / totals[:, 0].sum(), true[0], atol=0.01)
    # as of independent volunteers: the variance of a binomial distribution
    n, p = totals[:, 0], true[0, 1]
    assert np.mean((votes.values[:, 1] - n * p) ** 2 / (n * p * (1 - p))) == pytest.approx(1, abs=0.1)


def test_the_votes_are_the_same_on_every_machine() -> None:
    votes = draw_votes(made_up(SPIRAL, 3), SimulatedConfig(volunteers=(10, 60), seed=5))
    assert votes.values.astype(int).tolist() == [[2, 51, 1, 50, 42, 8], [0, 48, 1, 47, 41, 6], [2, 24, 0, 24, 23, 1]]


def test_images_do_not_depend_on_volunteers() -> None:
    plain = simulate_with_truth(SimulatedConfig(n_images=60, image_size=24))
    voted = simulate_with_truth(SimulatedConfig(n_images=60, image_size=24, volunteers=20))
    assert plain.votes is None
    np.testing.assert_array_equal(plain.images, voted.images)
    np.testing.assert_array_equal(plain.labels, voted.labels)
    assert voted.votes is not None
    assert set(voted.votes.questions.totals(voted.votes.values)[:, 0]) == {20}


def test_from_the_shipped_sweep_file_to_prepared_votes(tmp_path: Path) -> None:
    config = load_sweep(Path(__file__).parents[2] / "sweeps" / "votes.yaml", ["data.simulated.n_images=150"]).data
    dataset = load_dataset(config)
    assert dataset.simulated
    assert dataset.class_names == ("smooth", "featured")
    prepared = prepare_split(dataset, config.split, tmp_path)
    assert prepared.files.votes is not None
    assert prepared.files.votes.questions == VOLUNTEER_QUESTIONS
    counted = np.load(prepared.files.votes.train)
    np.testing.assert_array_equal(counted[:, :2].argmax(axis=1), np.load(prepared.files.train_labels))
    summary = summarise_dataset(dataset, config.split, config.votes.agreement).votes
    assert summary is not None
    assert summary.medians is not None
    assert 30 <= summary.medians[0] <= 40
    assert 0.2 < summary.agreed < 0.8


def test_a_summary_of_labels_has_no_votes() -> None:
    config = DataConfig.model_validate({"simulated": {"n_images": 60, "image_size": 24}})
    assert summarise_dataset(load_dataset(config), SplitConfig()).votes is None
