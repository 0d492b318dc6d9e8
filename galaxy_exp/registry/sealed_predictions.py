"""What a version predicted on its sealed test set, kept so that a later challenger can be compared with it.

Stored as the artifact `sealed_test.npz` of the run that the version came from (labels, probabilities and
digests of the images, some 80 bytes an image before compression), not in the model's package, which whoever serves the
model downloads.
The digest of the test images stands both inside the file and as the version's tag `galaxy_exp.test_digest`.
"""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.tracking.calls import quiet_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["ARTIFACT", "SealedPredictions", "fetch_sealed_predictions", "log_sealed_predictions"]

ARTIFACT = "sealed_test.npz"


@dataclass(frozen=True, slots=True, eq=False)
class SealedPredictions:
    """Labels and predictions of one sealed test set."""

    digest: str
    """Identifies the test images and labels."""
    labels: NDArray[np.int64]
    """(n,)"""
    probabilities: NDArray[np.float32]
    """(n, n_classes)"""
    images: NDArray[np.bytes_] | None = None
    """(n,), `openings.digest_each_image`; None in tests of older releases."""

    def in_order_of(self, other: SealedPredictions) -> SealedPredictions | None:
        """The predictions with their rows in the order of another test of the same images; None for other images."""
        if self.probabilities.shape != other.probabilities.shape:
            return None
        if self.digest == other.digest:
            return self
        if self.images is None or other.images is None:
            return None
        own, wanted = np.argsort(self.images, kind="stable"), np.argsort(other.images, kind="stable")
        if not np.array_equal(self.images[own], other.images[wanted]):
            return None
        rows = np.empty_like(own)
        rows[wanted] = own
        return SealedPredictions(other.digest, self.labels[rows], self.probabilities[rows], other.images)


def log_sealed_predictions(client: MlflowClient, run_id: str, test: SealedPredictions) -> None:
    """Stores the predictions as artifact of the run; repeating it overwrites them with the same."""
    with tempfile.TemporaryDirectory() as folder, quiet_mlflow():
        path = Path(folder, ARTIFACT)
        images: dict[str, Any] = {} if test.images is None else {"images": test.images}
        digest = np.array(test.digest)
        np.savez_compressed(path, labels=test.labels, probabilities=test.probabilities, digest=digest, **images)
        client.log_artifact(run_id, str(path))


def fetch_sealed_predictions(client: MlflowClient, run_id: str | None) -> SealedPredictions | None:
    """The predictions stored with the run; None only if the run or its artifact is gone or damaged.

    A store that cannot be reached raises what MLflow raises: a decision made without the predictions is final.
    """
    with quiet_mlflow():
        if not run_id or not _is_stored(client, run_id):
            return None
        with tempfile.TemporaryDirectory() as folder:
            return _read(Path(client.download_artifacts(run_id, ARTIFACT, folder)))


def _is_stored(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return any(found.path == ARTIFACT for found in client.list_artifacts(run_id))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _read(path: Path) -> SealedPredictions | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored: dict[str, Any] = {name: arrays[name] for name in ("digest", "labels", "probabilities")}
            images = arrays.get("images")
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return SealedPredictions(str(stored["digest"]), stored["labels"].astype(np.int64), stored["probabilities"], images)
