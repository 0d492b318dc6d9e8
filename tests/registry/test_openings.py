from __future__ import annotations

import json
import multiprocessing
import tracemalloc
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from galaxy_exp.errors import JournalError, JournalWriteError
from galaxy_exp.evaluation import metrics
from galaxy_exp.evaluation.metrics import METRICS
from galaxy_exp.evaluation.resampling import TOTAL_LEVEL, opening_level, paired_permutation
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.openings import (
    describe_opening,
    digest_images,
    find_openers,
    find_openers_in_store,
    record_opening,
)
from galaxy_exp.registry.promotion import Candidate, decide_promotion
from galaxy_exp.registry.sealed_predictions import SealedPredictions

from .conftest import Store

TEST_SET = frozenset({"data and split", "images"})


@pytest.fixture
def project(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder(tmp_path / ".galaxy_exp")


def test_the_first_comparison_is_at_2_5_percent_and_all_together_stay_under_the_total() -> None:
    assert [opening_level(number) for number in (1, 2, 3, 4)] == pytest.approx([0.025, 0.025, 0.05 / 6, 0.05 / 12])
    assert sum(map(opening_level, range(2, 10_000))) < TOTAL_LEVEL
    assert describe_opening(4, compared=False) == "opening 4 of this test set"
    assert describe_opening(4, compared=True) == "opening 4 of this test set; level 0.42%"


def test_each_opener_counts_once_and_test_sets_that_share_a_digest_are_one(project: ProjectFolder) -> None:
    assert record_opening(project, TEST_SET, "a") == 1
    assert record_opening(project, TEST_SET, "b") == 2
    assert record_opening(project, TEST_SET, "a") == 2
    assert record_opening(project, frozenset({"images", "with other training images"}), "c") == 3
    assert record_opening(project, frozenset({"another test set"}), "a") == 1
    assert find_openers(project, TEST_SET) == {"a", "b", "c"}
    assert len(project.test_openings.read_text().splitlines()) == 4


def test_a_torn_line_is_cut_off_and_a_damaged_one_is_named(project: ProjectFolder) -> None:
    record_opening(project, TEST_SET, "a")
    with project.test_openings.open("a") as file:
        file.write('{"opener": "b", "dig')
    assert find_openers(project, TEST_SET) == {"a"}
    assert record_opening(project, TEST_SET, "c") == 2
    lines = project.test_openings.read_text().splitlines()
    assert [json.loads(line)["opener"] for line in lines] == ["a", "c"]
    project.test_openings.write_text(f'{lines[0]}\n{{"opener": 3}}\n{lines[1]}\n')
    for look in (find_openers, lambda *known: record_opening(*known, "d")):
        with pytest.raises(JournalError, match=r"test_openings.jsonl:2: damaged line in the ledger"):
            look(project, TEST_SET)


def test_a_ledger_that_cannot_be_written_keeps_the_test_set_closed(project: ProjectFolder) -> None:
    project.test_openings.mkdir(parents=True)
    with pytest.raises(
        JournalWriteError, match=r"test_openings.jsonl: cannot be written: .*; the test set stays closed"
    ):
        record_opening(project, TEST_SET, "a")


def _open_ten(path: Path, first: int) -> None:
    for number in range(first, first + 10):
        record_opening(ProjectFolder(path), TEST_SET, f"sweep {number}")


def test_processes_that_record_at_once_lose_nothing(project: ProjectFolder) -> None:
    processes = [multiprocessing.Process(target=_open_ten, args=(project.path, first)) for first in (0, 5, 10)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert find_openers(project, TEST_SET) == {f"sweep {number}" for number in range(20)}
    assert len(project.test_openings.read_text().splitlines()) == 20


def test_journals_of_earlier_releases_count_until_they_are_in_the_ledger(project: ProjectFolder) -> None:
    journal = project.sweep("old").journal
    journal.parent.mkdir(parents=True)
    opened = {"event": "sealed_test_opened", "number": 0, "report": {"digest": "data and split"}}
    journal.write_text(f'{{"event": "sweep_started"}}\n{json.dumps(opened)}\n{{"event": "sealed_test_opened", "num')
    assert find_openers(project, TEST_SET) == {"old"}
    assert find_openers(project, frozenset({"another"})) == set()
    assert record_opening(project, frozenset({"another"}), "old") == 1  # as `evaluate` with its model records it
    assert find_openers(project, TEST_SET) == {"old"}
    assert record_opening(project, TEST_SET, "new") == 2


def test_a_store_knows_its_versions_and_runs_also_those_in_the_bin(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for search in ("search_experiments", "search_runs", "search_model_versions"):  # every answer on several pages
        monkeypatch.setattr(store.client, search, partial(getattr(store.client, search), max_results=1))
    store.client.create_experiment("newer than that of the runs, and so on the first page")
    runs = [store.finished_run() for _ in range(3)]
    for run_id, tag, sweep in (
        (runs[0], version_tags.TEST_DIGEST, "sweep a"),
        (runs[1], version_tags.TEST_IMAGES, "sweep b"),
        (runs[2], version_tags.TEST_IMAGES, "sweep b"),
    ):
        digest = "of a store" if tag == version_tags.TEST_DIGEST else "of a store, images"
        store.client.set_tag(run_id, tag, digest)
        store.client.set_tag(run_id, version_tags.SWEEP_ID, sweep)
    store.client.delete_run(runs[0])
    store.client.create_registered_model("counted")
    tags = {version_tags.TEST_DIGEST: "of a store", version_tags.SWEEP_ID: "sweep c"}
    store.client.create_model_version("counted", "file:///nowhere", tags=tags)
    known = frozenset({"of a store", "of a store, images"})
    assert find_openers_in_store(store.client, known) == {"sweep a", "sweep b", "sweep c"}
    assert find_openers_in_store(store.client, frozenset({"of no store"})) == set()


def test_a_digest_is_of_images_and_labels_in_any_order() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3)).astype(np.uint8)
    labels = np.arange(6) % 3
    order = np.random.default_rng(1).permutation(6)
    assert digest_images(images, labels) == digest_images(images[order], labels[order])
    assert digest_images(images, labels) != digest_images(images, (labels + 1) % 3)
    assert digest_images(images, labels) != digest_images(images.reshape(6, 2, 8, 3), labels)


def test_with_accuracy_the_p_value_is_that_of_mcnemar() -> None:
    from scipy.stats import binomtest

    labels = np.zeros(60, np.int64)
    right, wrong = np.array([0.9, 0.1]), np.array([0.1, 0.9])
    for n_better, n_worse in ((5, 0), (9, 2), (14, 3), (3, 3)):
        a, b = np.tile(right, (60, 1)), np.tile(right, (60, 1))
        b[:n_better], a[n_better : n_better + n_worse] = wrong, wrong
        exact = binomtest(n_better, n_better + n_worse, alternative="greater").pvalue
        assert paired_permutation(labels, a, b, "accuracy", level=exact / 2) == pytest.approx(exact, rel=1e-9)
        assert paired_permutation(labels, b, a, "accuracy", level=0.025) > 0.5


@pytest.mark.parametrize("metric", METRICS)
def test_a_p_value_is_the_share_of_exchanges_that_are_as_good(metric: str) -> None:
    """Against all exchanges of the predictions of 12 images, each scored by itself."""
    rng = np.random.default_rng(3)
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    a, b = _classifier(labels, 0.8, rng), _classifier(labels, 0.6, rng)
    a[0], b[0] = b[1], a[1]

    def gain(exchanged: np.ndarray) -> float:
        scores = [
            metrics.summarise_predictions(labels, np.where(exchanged[:, np.newaxis], one, other))[metric]
            for one, other in ((b, a), (a, b))
        ]
        return (scores[0] - scores[1]) * (-1 if metric == "loss" else 1)

    every = [gain(np.array(bits)) for bits in product((False, True), repeat=12)]
    exact = np.mean(np.array(every) >= every[0] - 1e-9)
    assert 0.001 < exact < 0.5
    assert paired_permutation(labels, a, b, metric, level=exact / 500) == pytest.approx(exact, rel=0.1)
    assert paired_permutation(labels, a, a, metric) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_equal_models_fall_below_the_level_as_seldom_as_it_says(metric: str) -> None:
    rng, level, n_sets = np.random.default_rng(11), 0.1, 400
    fell = 0
    for seed in range(n_sets):
        labels = rng.integers(0, 3, 60)
        a, b = _classifier(labels, 0.7, rng), _classifier(labels, 0.7, rng)
        fell += paired_permutation(labels, a, b, metric, level, seed=seed) <= level
    assert fell <= n_sets * level + 3 * np.sqrt(n_sets * level)
    assert fell >= n_sets * level / 4


@pytest.mark.parametrize("metric", METRICS)
def test_the_memory_that_exchanging_takes_has_a_bound(metric: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 40_000)
    predicted = [np.where(rng.random(40_000) < share, labels, rng.integers(0, 10, 40_000)) for share in (0.72, 0.7)]
    a, b = (0.55 * np.eye(10, dtype=np.float32)[each] + np.float32(0.045) for each in predicted)
    paired_permutation(labels[:100], a[:100], b[:100], metric)  # imports what it needs
    tracemalloc.start()
    try:
        paired_permutation(labels, a, b, metric, opening_level(2))
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("metric", METRICS)
def test_a_p_value_can_be_as_small_as_the_level_asks_for(metric: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    level = opening_level(12)
    better, worse = _classifier(labels, 0.95, rng), _classifier(labels, 0.6, rng)
    assert paired_permutation(labels, better, worse, metric, level=level) < level / 10
    assert paired_permutation(labels, worse, better, metric, level=level) > 0.5


def test_many_models_that_are_no_better_are_seldom_promoted_on_one_test_set() -> None:
    """A champion and twelve challengers, all equally good, on one test set; counted are the sets that promote one.

    The promise is 5% for all together; with the fixed level of 2.5% of earlier releases it is several times that.
    """
    rng = np.random.default_rng(7)
    n_sets = 250
    fell = fell_at_fixed_level = 0
    for _ in range(n_sets):
        labels = rng.integers(0, 3, 200)
        champion = _classifier(labels, 0.7, rng)
        p_values = {
            opening: paired_permutation(
                labels, _classifier(labels, 0.7, rng), champion, "accuracy", opening_level(opening)
            )
            for opening in range(2, 14)
        }
        fell += any(p <= opening_level(opening) for opening, p in p_values.items())
        fell_at_fixed_level += any(p <= 0.025 for p in p_values.values())
    assert fell / n_sets <= TOTAL_LEVEL
    assert fell_at_fixed_level / n_sets > 2 * TOTAL_LEVEL


def test_what_is_enough_at_the_second_opening_may_not_be_at_the_tenth() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    better = SealedPredictions("same", labels, _classifier(labels, 0.8, rng))
    probabilities = better.probabilities.copy()
    wrong = np.flatnonzero(probabilities.argmax(axis=1) == labels)[:9]
    probabilities[wrong] = np.roll(probabilities[wrong], 1, axis=1)
    champion = Candidate("galaxy10-cnn", 1, False, "val_accuracy", SealedPredictions("same", labels, probabilities))
    challenger = Candidate("galaxy10-cnn", 2, False, "val_accuracy", better)
    second, tenth = (decide_promotion(challenger, champion, opening=opening) for opening in (2, 10))
    assert (second.promote, tenth.promote) == (True, False)
    assert second.p_value == pytest.approx(2**-9, rel=0.5)
    assert second.reason.endswith("; opening 2 of this test set; level 2.5%")
    assert tenth.reason.startswith(
        "not clearly better than version 1, the champion, on the same 200 sealed test images"
    )
    assert tenth.reason.endswith("; opening 10 of this test set; level 0.056%")
    assert (tenth.opening, tenth.against) == (10, 1)


def _classifier(labels: np.ndarray, accuracy: float, rng: np.random.Generator) -> np.ndarray:
    """Probabilities (n, 3) that are right with this probability, independently for each image."""
    predicted = np.where(rng.random(len(labels)) < accuracy, labels, (labels + rng.integers(1, 3, len(labels))) % 3)
    probabilities = np.full((len(labels), 3), 0.1, np.float32)
    probabilities[np.arange(len(labels)), predicted] = 0.8
    return probabilities
