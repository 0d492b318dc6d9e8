"""Held-out test sets: how one is identified, who opened it, and what a version predicted on it.

Every comparison on the same test set is one more occasion to promote a model that is no better. So openings are
counted, and the level of a comparison falls with their number (`evaluation.resampling.opening_level`).

An opening belongs to a sweep: a test that is resumed or repeated for the same sweep counts once. Openings are known
from the ledger `.galaxy_exp/test_openings.jsonl`, which stays when sweeps are deleted, from the journals of sweeps that
an earlier release tested, and from the tags of the MLflow store, which several machines may share.

A version's predictions are the artifact `sealed_test.npz` of its run (some 80 bytes an image before compression), so
that later challengers can be compared with it. They are not in the package, which whoever serves the model downloads.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.votes import build_votes, describe_votes
from galaxy_exp.errors import JournalError, JournalWriteError
from galaxy_exp.evaluation.resampling import opening_level
from galaxy_exp.folders import ProjectFolder, SweepFolder, fsync_path, open_locked
from galaxy_exp.questions import Votes
from galaxy_exp.records import AGREEMENT
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.catalogue import search_all
from galaxy_exp.tracking.calls import quiet_mlflow
from galaxy_exp.wording import iso_time

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from galaxy_exp.data.prepared import PreparedData

__all__ = [
    "HeldOutPredictions",
    "describe_opening",
    "digest_each_image",
    "digest_images",
    "digest_test_set",
    "digests_of_test_set",
    "fetch_held_out_predictions",
    "find_openers",
    "find_openers_in_store",
    "load_held_out_votes",
    "log_held_out_predictions",
    "record_opening",
]

ARTIFACT = "sealed_test.npz"
_TESTED = b'"sealed_test_opened"'


def digest_test_set(data: PreparedData) -> str:
    """Identifies the held-out test set by the data set and its split."""
    return hashlib.sha256(f"{data.digest}/{data.split_digest}".encode()).hexdigest()


def digests_of_test_set(data: PreparedData) -> frozenset[str]:
    """Everything that identifies the test set: `digest_test_set`, which all releases know, and `digest_images`.

    The second stays the same if only training images were added to a data set with a user-defined split.
    """
    images = np.load(data.held_out.images, mmap_mode="r")
    return frozenset({digest_test_set(data), digest_images(images, np.load(data.held_out.labels))})


def digest_images(images: NDArray[np.uint8], labels: NDArray[Any]) -> str:
    """Identifies images (n, height, width, 3) and their labels (n,), in whatever order they are."""
    return hashlib.sha256(repr(images.shape[1:]).encode() + b"".join(sorted(_digest_each(images, labels)))).hexdigest()


def digest_each_image(images: NDArray[np.uint8], labels: NDArray[Any]) -> NDArray[np.bytes_]:
    """Identifies each image with its label: hexadecimal digits, (n,), by which rows of two test sets are matched."""
    return np.array([digest.hex() for digest in _digest_each(images, labels)], dtype="S32")


def _digest_each(images: NDArray[np.uint8], labels: NDArray[Any]) -> Iterator[bytes]:
    for image, label in zip(images, labels, strict=True):
        yield hashlib.blake2b(image.tobytes() + b"%d" % label, digest_size=16).digest()


def load_held_out_votes(data: PreparedData) -> Votes | None:
    """The votes of the held-out test set; None if the data has labels alone."""
    if data.votes is None or data.held_out.votes is None:
        return None
    return Votes(data.votes.questions, np.load(data.held_out.votes), data.votes.are_counts)


def describe_opening(number: int, *, compared: bool) -> str:
    """`opening 3 of this test set; level 0.83%`; without the level if nothing was compared at it."""
    level = f"; level {100 * opening_level(number):.2g}%" if compared else ""
    return f"opening {number} of this test set{level}"


def record_opening(project: ProjectFolder, digests: frozenset[str], opener: str) -> int:
    """Records that a test set is opened, on disk before it returns, so before the images are read.

    Args:
        project: the folder with the ledger.
        digests: those of the test set; two sets that share one are the same.
        opener: id of the sweep, or of whatever else opens it; it counts once.

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
            f"{path}: cannot be written: {error.strerror}; the test set is not used before its opening is "
            "recorded: make room, or the file writable, and then repeat the command, or resume the sweep"
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
    """The entries and their length in bytes, without a last line that a killed process left torn."""
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
    """The test sets that a journal records as opened; a damaged line is reported where the whole journal is read."""
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
    """All sweeps that opened a test set according to the versions and runs of an MLflow store, deleted runs included.

    Raises:
        mlflow.exceptions.MlflowException: the store cannot be read.
    """
    from mlflow.entities import ViewType

    experiments = [each.experiment_id for each in search_all(client.search_experiments, ViewType.ALL)]
    found = set()
    for digest in digests:
        for tag in (version_tags.TEST_DIGEST, version_tags.TEST_IMAGES):
            condition = f"tags.`{tag}` = '{digest}'"
            for version in search_all(client.search_model_versions, condition):
                found.add(version.tags.get(version_tags.SWEEP_ID) or f"{version.name}/{version.version}")
            for run in search_all(client.search_runs, experiments, condition, run_view_type=ViewType.ALL):
                found.add(run.data.tags.get(version_tags.SWEEP_ID) or run.info.run_id)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutPredictions:
    """Labels and predictions of one held-out test set."""

    digest: str
    """Identifies the test images and labels, as does the version's tag `galaxy_exp.test_digest`."""
    labels: NDArray[np.int64]
    """(n,)"""
    probabilities: NDArray[np.float32]
    """(n, n_classes)"""
    images: NDArray[np.bytes_] | None = None
    """(n,), `digest_each_image`; None in tests of older releases."""
    votes: Votes | None = None
    """Of a model of votes, whose `probabilities` are the outputs (n, n_answers); its `labels` are winning answers."""
    agreement: float = AGREEMENT
    """As of `held_out_report.build_vote_report`."""

    def in_order_of(self, other: HeldOutPredictions) -> HeldOutPredictions | None:
        """The predictions with their rows in the order of another test of the same images; None for other images."""
        if self.probabilities.shape != other.probabilities.shape:
            return None
        if self.digest == other.digest:
            return self
        if self.images is None or other.images is None:
            return None
        mine, wanted = np.argsort(self.images, kind="stable"), np.argsort(other.images, kind="stable")
        if not np.array_equal(self.images[mine], other.images[wanted]):
            return None
        rows = np.empty_like(mine)
        rows[wanted] = mine
        votes = self.votes and Votes(self.votes.questions, self.votes.values[rows], self.votes.are_counts)
        return HeldOutPredictions(
            other.digest, self.labels[rows], self.probabilities[rows], other.images, votes, self.agreement
        )


def log_held_out_predictions(client: MlflowClient, run_id: str, test: HeldOutPredictions) -> None:
    """Stores the predictions as artifact of the run; repeating it overwrites them with the same."""
    with tempfile.TemporaryDirectory() as folder, quiet_mlflow():
        path = Path(folder, ARTIFACT)
        images: dict[str, Any] = {} if test.images is None else {"images": test.images}
        if test.votes is not None:
            described = describe_votes(test.votes) | {"agreement": test.agreement}
            images |= {"votes": test.votes.values, "votes_description": np.array(json.dumps(described))}
        digest = np.array(test.digest)
        np.savez_compressed(path, labels=test.labels, probabilities=test.probabilities, digest=digest, **images)
        client.log_artifact(run_id, str(path))


def fetch_held_out_predictions(client: MlflowClient, run_id: str | None) -> HeldOutPredictions | None:
    """The predictions stored with the run; None only if the run or its artifact is gone or damaged.

    A store that cannot be reached raises MLflow's exception: a decision made without the predictions is final.
    """
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    with quiet_mlflow(), tempfile.TemporaryDirectory() as folder:
        try:
            stored = [each.path for each in client.list_artifacts(run_id)]
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return _read(Path(client.download_artifacts(run_id, ARTIFACT, folder))) if ARTIFACT in stored else None


def _read(path: Path) -> HeldOutPredictions | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored: dict[str, Any] = {name: arrays[name] for name in ("digest", "labels", "probabilities")}
            images = arrays.get("images")
            votes, described = arrays.get("votes"), json.loads(str(arrays.get("votes_description", "null")))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    test = HeldOutPredictions(str(stored["digest"]), stored["labels"].astype(np.int64), stored["probabilities"], images)
    if votes is None or described is None:
        return test
    return replace(test, votes=build_votes(described, votes), agreement=float(described["agreement"]))
