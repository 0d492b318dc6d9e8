"""Turns a trained `.keras` file into a registered MLflow model version."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import ModelError
from galaxy_exp.folders import graph_of
from galaxy_exp.registry.version_tags import SWEEP_ID
from galaxy_exp.tracking.store import open_client, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

__all__ = ["ModelVersionRef", "build_signature", "find_version", "log_and_register", "pinned_requirements"]

MODEL_CODE = Path(__file__).with_name("pyfunc_model.py")
SIZE_RULE = (
    "images of another aspect ratio are centre-cropped, then resized (bilinear, antialiased); "
    "images under half the size are refused"
)

_WHAT_IT_HOLDS = (
    "Galaxy classifiers of galaxy_exp, a version for each sweep. Each version has its model card: data, training, "
    'search, sealed test, limits. The one with the alias `champion` is what `galaxy_exp.load_model("{name}")` and '
    "`models:/{name}@champion` give; how it became that is in the tags."
)
"""The description of a registered model."""


@dataclass(frozen=True, slots=True)
class ModelVersionRef:
    """Names one registered version."""

    name: str
    version: int
    uri: str
    """`models:/<name>/<version>`."""


def log_and_register(
    *,
    run_id: str,
    model_file: Path,
    class_names: Sequence[str],
    image_shape: Sequence[int],
    registered_name: str,
    input_example: NDArray[np.uint8],
    metadata: Mapping[str, Any],
    tags: Mapping[str, str],
    description: str,
    tracking_uri: str | None,
    preprocessing: Mapping[str, Any] | None = None,
    tta: bool = False,
) -> ModelVersionRef:
    """Logs the model to an existing run and registers it; the run's state and the active run stay as they are.

    Idempotent: a version of that name whose tag `galaxy_exp.sweep_id` is `metadata["sweep_id"]` is returned
    instead of being made again, so that a sweep killed between registering and journaling can repeat the call. A
    logged model that a call killed before registering left on the run is filled anew.
    Loading is not tried here: the sealed test has just loaded the very same file.

    Args:
        run_id: the run the model came from; it may be finished.
        model_file: `.keras`, uint8 (n, height, width, 3) to probabilities (n, n_classes); if its graph lies beside
            it (see `graph_of`), that is packaged.
        class_names: one per class, in label order.
        image_shape: (height, width) or (height, width, 3), in pixels.
        registered_name: created if it does not exist.
        preprocessing: what training did to raw images before it cached them, `Preprocessing.to_dict()`; the packaged
            model does the same.
        tta: whether the packaged model takes the mean over flips and quarter turns.
        input_example: uint8 (k, height, width, 3); a few images, stored as JSON (about 15 bytes a pixel).
        metadata: stored in the model's MLmodel file; must be JSON and hold `sweep_id`.
        tags: of the version, beside `galaxy_exp.sweep_id`.
        description: Markdown, shown by the MLflow UI.
        tracking_uri: None takes MLflow's own default.

    Raises:
        ModelError: the model file does not exist.
        TrackingError: MLflow refused or could not be reached.
    """
    if not model_file.is_file():
        raise ModelError(f"{model_file}: no such model file")
    client = open_client(tracking_uri)
    with tracking_errors(tracking_uri):
        found = _only_version(client, registered_name, str(metadata["sweep_id"]))
        if found is not None:
            return found
        logged = _claim_logged_model(client, run_id, registered_name.replace(".", "_"))  # where MLflow takes no dots
        with _finalized(client, logged), tempfile.TemporaryDirectory() as folder:
            package = _build_package(
                Path(folder),
                logged,
                run_id,
                model_file,
                class_names,
                image_shape,
                input_example,
                metadata,
                preprocessing or {},
                tta,
            )
            client.log_model_artifacts(logged.model_id, str(package))
        return _register(client, logged, run_id, registered_name, metadata, tags, description)


def find_version(client: MlflowClient, name: str, sweep_id: str) -> ModelVersionRef | None:
    """The version of `name` that `sweep_id` registered, if there is one."""
    found = _find_versions(client, name, sweep_id)
    return _ref(found[0]) if found else None


def _find_versions(client: MlflowClient, name: str, sweep_id: str) -> list[ModelVersion]:
    """The oldest first."""
    escaped = sweep_id.replace("'", "")
    found = client.search_model_versions(f"name = '{name}' and tags.`{SWEEP_ID}` = '{escaped}'")
    return sorted(found, key=lambda version: int(version.version))


def _only_version(client: MlflowClient, name: str, sweep_id: str) -> ModelVersionRef | None:
    """As `find_version`, and later ones are deleted.

    A server that is killed before it has answered has made a version, and MLflow's client asks again.
    """
    found = _find_versions(client, name, sweep_id)
    for double in found[1:]:
        client.delete_model_version(name, double.version)
    return _ref(found[0]) if found else None


def pinned_requirements() -> list[str]:
    """What the packaged model needs, at the versions installed here, as pip requirements."""
    names = ["mlflow", "keras", _installed_tensorflow(), "numpy", "pandas"]
    return [f"{name}=={version(name)}" for name in names]


def _installed_tensorflow() -> str:
    for name in ("tensorflow", "tensorflow-cpu", "tensorflow-intel", "tf-nightly"):
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    return "tensorflow"


def _claim_logged_model(client: MlflowClient, run_id: str, name: str) -> LoggedModel:
    """The run's only logged model of that name, made if there is none, and listed as output of the run."""
    from mlflow.entities import LoggedModelOutput

    run = client.get_run(run_id)
    experiment_id, this_run = run.info.experiment_id, f"source_run_id = '{run_id}' AND name = '{name}'"
    found = client.search_logged_models([experiment_id], filter_string=this_run)
    logged = found[0] if found else client.create_logged_model(experiment_id, name=name, source_run_id=run_id)
    for double in found or client.search_logged_models([experiment_id], filter_string=this_run):
        if double.model_id != logged.model_id:  # of a server that was killed before it had answered
            client.delete_logged_model(double.model_id)
    listed = run.outputs.model_outputs if run.outputs else []
    if logged.model_id not in [output.model_id for output in listed]:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return logged


def _build_package(
    folder: Path,
    logged: LoggedModel,
    run_id: str,
    model_file: Path,
    class_names: Sequence[str],
    image_shape: Sequence[int],
    input_example: NDArray[np.uint8],
    metadata: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    tta: bool = False,
) -> Path:
    """The MLflow model folder that is uploaded."""
    from mlflow import pyfunc
    from mlflow.models import Model

    package = folder / "package"
    pyfunc.save_model(
        path=str(package),
        python_model=str(MODEL_CODE),
        artifacts={  # as URIs, since MLflow decodes a path
            "model": (graph_of(model_file) if graph_of(model_file).is_dir() else model_file).absolute().as_uri(),
            "classes": _write_classes(folder, class_names, image_shape, preprocessing, tta).as_uri(),
        },
        mlflow_model=Model(
            artifact_path=logged.artifact_location, run_id=run_id, model_uuid=logged.model_id, model_id=logged.model_id
        ),
        metadata=dict(metadata),
        signature=build_signature(class_names),
        input_example=input_example,
        pip_requirements=pinned_requirements(),
    )
    return package


@contextmanager
def _finalized(client: MlflowClient, logged: LoggedModel) -> Iterator[None]:
    """The logged model ends READY, or FAILED after an exception."""
    try:
        yield
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")


def _write_classes(
    folder: Path, class_names: Sequence[str], image_shape: Sequence[int], preprocessing: Mapping[str, Any], tta: bool
) -> Path:
    path = folder / "classes.json"
    classes = {
        "class_names": list(class_names),
        "image_size": [int(side) for side in image_shape[:2]],
        "rule": SIZE_RULE,
        "tta": tta,
        "preprocessing": dict(preprocessing),
    }
    path.write_text(json.dumps(classes, indent=1), encoding="utf-8")
    return path


def build_signature(class_names: Sequence[str]) -> ModelSignature:
    """uint8 (-1, -1, -1, 3) in; `label`, `class_name`, `probability` and one `p_<class name>` per class out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.long, "label"),
        ColSpec(DataType.string, "class_name"),
        ColSpec(DataType.float, "probability"),
        *(ColSpec(DataType.float, f"p_{name}") for name in class_names),
    ]
    inputs: list[ColSpec | TensorSpec] = [TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _register(
    client: MlflowClient,
    logged: LoggedModel,
    run_id: str,
    name: str,
    metadata: Mapping[str, Any],
    tags: Mapping[str, str],
    description: str,
) -> ModelVersionRef:
    _ensure_registered_model(client, name)
    created = client.create_model_version(
        name,
        source=logged.artifact_location,  # "models:/<id>" would be looked up in the global tracking store
        run_id=run_id,
        model_id=logged.model_id,
        tags={**tags, SWEEP_ID: str(metadata["sweep_id"])},
        description=description,
    )
    only = _only_version(client, name, str(metadata["sweep_id"])) or _ref(created)
    versions = json.dumps([{"name": only.name, "version": only.version}])
    client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": versions})  # the UI links them by it
    return only


def _ensure_registered_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=_WHAT_IT_HOLDS.format(name=name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _ref(found: ModelVersion) -> ModelVersionRef:
    return ModelVersionRef(found.name, int(found.version), f"models:/{found.name}/{found.version}")
