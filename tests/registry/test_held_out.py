from __future__ import annotations

import json
import multiprocessing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from galaxy_exp.errors import JournalError, JournalWriteError
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.held_out import (
    describe_opening,
    digest_images,
    find_openers,
    find_openers_in_store,
    record_opening,
)

from .conftest import Store

TEST_SET = frozenset({"data and split", "images"})


@pytest.fixture
def project(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder(tmp_path / ".galaxy_exp")


def test_an_opening_is_described_with_its_level_if_something_was_compared() -> None:
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
    for look in (find_openers, lambda project, digests: record_opening(project, digests, "d")):
        with pytest.raises(JournalError, match=r"test_openings.jsonl:2: damaged line in the ledger"):
            look(project, TEST_SET)


def test_a_ledger_that_cannot_be_written_keeps_the_test_set_closed(project: ProjectFolder) -> None:
    project.test_openings.mkdir(parents=True)
    with pytest.raises(
        JournalWriteError, match=r"test_openings.jsonl: cannot be written: .*; the test set is not used"
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
