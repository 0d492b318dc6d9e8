"""The ledger of held-out test sets: which sweeps have tested a model on which one, and the level that follows.

Every comparison on the same test set is one more chance to promote a model that is no better. So the k-th opening is
compared at the one-sided level `opening_level(k)`, and all of them together promote by chance in at most 5% of cases.

An opening belongs to a sweep: a test that is resumed or repeated for the same sweep counts once. Openings are known
from `.galaxy_exp/test_openings.jsonl`, which stays when sweeps are deleted, from the journals of sweeps that an earlier
release tested, and from the tags of the MLflow store, which several machines may share.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import JournalError, JournalWriteError
from galaxy_exp.folders import ProjectFolder, SweepFolder, fsync_path, open_locked
from galaxy_exp.registry import version_tags
from galaxy_exp.wording import iso_time

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from galaxy_exp.data.prepared import PreparedData

__all__ = [
    "TOTAL_LEVEL",
    "describe_opening",
    "digest_each_image",
    "digest_images",
    "digest_test_set",
    "digests_of_test_set",
    "find_openers",
    "find_openers_in_store",
    "opening_level",
    "record_opening",
]

TOTAL_LEVEL = 0.05
"""Bound on the probability that any of the comparisons on one test set promotes a model that is no better."""

_TESTED = b'"sealed_test_opened"'


def opening_level(number: int) -> float:
    """The one-sided level of the comparison at the `number`-th opening of a test set, counted from 1.

    At most number - 1 comparisons have gone before, as the champion's own test was an opening too. The j-th has the
    level 0.05 / (j (j + 1)): 2.5%, 0.83%, 0.42%, and so on, which add up to 5% (alpha spending; Foster & Stine 2008).
    """
    comparison = max(number - 1, 1)
    return TOTAL_LEVEL / (comparison * (comparison + 1))


def describe_opening(number: int, *, compared: bool) -> str:
    """`opening 3 of this test set; level 0.83%`; without the level if nothing was compared at it."""
    level = f"; level {100 * opening_level(number):.2g}%" if compared else ""
    return f"opening {number} of this test set{level}"


def digest_test_set(data: PreparedData) -> str:
    """Identifies the sealed test images by the data set and its split."""
    return hashlib.sha256(f"{data.digest}/{data.split_digest}".encode()).hexdigest()


def digests_of_test_set(data: PreparedData) -> frozenset[str]:
    """What the test set is known by: `digest_test_set`, which all releases have, and its images and labels alone.

    The second stays the same if only training images were added to a data set with a split of the user's own.
    """
    images = np.load(data.sealed.images, mmap_mode="r")
    return frozenset({digest_test_set(data), digest_images(images, np.load(data.sealed.labels))})


def digest_images(images: NDArray[np.uint8], labels: NDArray[Any]) -> str:
    """Identifies images (n, height, width, 3) and their labels (n,), in whatever order they are."""
    return hashlib.sha256(repr(images.shape[1:]).encode() + b"".join(sorted(_digest_each(images, labels)))).hexdigest()


def digest_each_image(images: NDArray[np.uint8], labels: NDArray[Any]) -> NDArray[np.bytes_]:
    """Identifies each image with its label: hexadecimal digits, (n,), by which rows of two test sets are matched."""
    return np.array([digest.hex() for digest in _digest_each(images, labels)], dtype="S32")


def _digest_each(images: NDArray[np.uint8], labels: NDArray[Any]) -> Iterator[bytes]:
    for image, label in zip(images, labels, strict=True):
        yield hashlib.blake2b(image.tobytes() + b"%d" % label, digest_size=16).digest()


def record_opening(project: ProjectFolder, digests: frozenset[str], opener: str) -> int:
    """Notes, before the test set is read, that it is opened; on disk before it returns.

    Args:
        project: the folder with the ledger.
        digests: what the test set is known by; two sets that share one are the same.
        opener: id of the sweep, or what else opens it; once is enough.

    Returns:
        How many have opened the test set as far as the project knows, this one included.

    Raises:
        JournalError: the ledger is damaged.
        JournalWriteError: the ledger cannot be written.
    """
    path = project.test_openings
    entry = {"time": iso_time(time.time()), "opener": opener, "digests": sorted(digests)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_locked(path, wait=True) as file:
            known, intact = _read_ledger(path)
            if not any(opener == each["opener"] and digests <= set(each["digests"]) for each in known):
                file.truncate(intact)
                file.write(json.dumps(entry).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        fsync_path(path.parent)
    except OSError as error:
        raise JournalWriteError(
            f"{path}: cannot be written: {error.strerror}; the test set stays closed until its opening is on record"
        ) from error
    return len(find_openers(project, digests))


def find_openers(project: ProjectFolder, digests: frozenset[str]) -> set[str]:
    """All that opened a test set, as far as the project's ledger and journals know.

    Raises:
        JournalError: the ledger is damaged.
    """
    entries, _ = _read_ledger(project.test_openings)
    found = {entry["opener"] for entry in entries if digests & set(entry["digests"])}
    for folder in project.sweep_folders():
        if folder.sweep_id not in found and not digests.isdisjoint(_tested_digests(folder)):
            found.add(folder.sweep_id)
    return found


def _read_ledger(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The entries, and the bytes that they take; a torn last line, of a process that was killed, is left out."""
    content = path.read_bytes() if path.exists() else b""
    intact = content[: content.rfind(b"\n") + 1]
    entries = []
    for number, line in enumerate(intact.splitlines(), start=1):
        try:
            entry = json.loads(line)
            entries.append({"opener": str(entry["opener"]), "digests": [str(each) for each in entry["digests"]]})
        except (ValueError, KeyError, TypeError):
            raise JournalError(
                f"{path}:{number}: damaged line in the ledger of test openings; expected an object with opener and "
                "digests; correct the line or restore the file from a copy"
            ) from None
    return entries, len(intact)


def _tested_digests(folder: SweepFolder) -> Iterator[str]:
    """The test sets that a journal says were opened; a damaged line is for those who read the whole journal."""
    if not folder.journal.is_file():
        return
    with folder.journal.open("rb") as lines:
        for line in lines:
            if _TESTED in line and line.endswith(b"\n"):
                try:
                    yield str(json.loads(line)["report"]["digest"])
                except (ValueError, KeyError, TypeError):
                    continue


def find_openers_in_store(client: MlflowClient, digests: frozenset[str]) -> set[str]:
    """All sweeps that opened a test set, as far as the versions and runs of an MLflow store know, deleted runs too.

    Raises:
        mlflow.exceptions.MlflowException: the store cannot be read.
    """
    tagged = [f"tags.`{tag}` = '{digest}'" for digest in digests
              for tag in (version_tags.TEST_DIGEST, version_tags.TEST_IMAGES)]  # fmt: skip
    found = set()
    for condition in tagged:
        for version in _pages(client.search_model_versions, condition):
            found.add(version.tags.get(version_tags.SWEEP_ID) or f"{version.name}/{version.version}")
        for run in _runs(client, condition):
            found.add(run.data.tags.get(version_tags.SWEEP_ID) or run.info.run_id)
    return found


def _runs(client: MlflowClient, condition: str) -> Iterator[Any]:
    from mlflow.entities import ViewType

    experiments = [each.experiment_id for each in _pages(client.search_experiments, ViewType.ALL)]
    yield from _pages(client.search_runs, experiments, condition, run_view_type=ViewType.ALL)


def _pages(search: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(*arguments, page_token=token, **options)
        yield from page
        token = page.token
        if not token:
            return
