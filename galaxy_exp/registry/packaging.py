"""Turns a trained `.keras` file into a registered MLflow model version."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import ModelError
from galaxy_exp.folders import graph_of
from galaxy_exp.questions import Questions
from galaxy_exp.registry.version_tags import SWEEP_ID
from galaxy_exp.tracking.calls import quiet_mlflow
from galaxy_exp.tracking.registry_file import query_name
from galaxy_exp.tracking.store import open_client, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

__all__ = [
    "ModelPackage",
    "ModelVersionRef",
    "build_signature",
    "find_version",
    "log_and_register",
    "pinned_requirements",
]

MODEL_CODE = Path(__file__).with_name("pyfunc_model.py")
SIZE_RULE = (
    "images of another aspect ratio are centre-cropped, then resized (bilinear, antialiased); "
    "images under half the size are refused"
)

_DESCRIPTION = (
    "Galaxy classifiers of galaxy_exp, a version for each sweep. Each version has its model card: data, training, "
    'search, held-out test, limits. The one with the alias `champion` is what `galaxy_exp.load_model("{name}")` and '
    "`models:/{name}@champion` give; how it became that is in the tags."
)
"""Of a registered model."""


@dataclass(frozen=True, slots=True)
class ModelVersionRef:
    """Names one registered version."""

    name: str
    version: int

    @property
    def uri(self) -> str:
        """`models:/<name>/<version>`."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelPackage:
    """A trained network with everything that is packaged with it."""

    model_file: Path
    """`.keras`, uint8 (n, height, width, 3) to probabilities (n, n_classes); if its graph is beside it (see
    `graph_of`), that is packaged."""
    class_names: Sequence[str]
    """One per class, in label order."""
    image_shape: Sequence[int]
    """(height, width) or (height, width, 3), in pixels."""
    input_example: NDArray[np.uint8]
    """(k, height, width, 3); a few images, stored as JSON (about 15 bytes a pixel)."""
    metadata: Mapping[str, Any]
    """For the package's MLmodel file: JSON with `sweep_id`."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """`Preprocessing.to_dict()` of the training, which the packaged model repeats."""
    tta: bool = False
    """Whether the packaged model takes the mean over flips and quarter turns."""
    questions: Questions | None = None
    """Of a model of votes, whose network gives a positive number per answer, (n, n_answers)."""

    def write(self, folder: Path, run_id: str, model_id: str, location: str) -> Path:
        """Writes the MLflow model into a new folder in `folder` and returns it.

        Args:
            folder: exists.
            run_id: the run the model came from.
            model_id: of MLflow's logged model.
            location: where MLflow stores the logged model's artifacts.
        """
        from mlflow import pyfunc
        from mlflow.models import Model

        classes, graph, target = folder / "classes.json", graph_of(self.model_file), folder / "package"
        classes.write_text(json.dumps(self._describe_classes(), indent=1), encoding="utf-8")
        network = graph if graph.is_dir() else self.model_file
        with quiet_mlflow():
            pyfunc.save_model(
                path=str(target),
                python_model=str(MODEL_CODE),
                artifacts={"model": network.absolute().as_uri(), "classes": classes.as_uri()},  # MLflow decodes paths
                mlflow_model=Model(artifact_path=location, run_id=run_id, model_uuid=model_id, model_id=model_id),
                metadata=dict(self.metadata),
                signature=build_signature(self.class_names, self.questions),
                input_example=self.input_example,
                pip_requirements=pinned_requirements(),
            )
        return target

    def _describe_classes(self) -> dict[str, Any]:
        return {
            "class_names": list(self.class_names),
            "image_size": [int(side) for side in self.image_shape[:2]],
            "rule": SIZE_RULE,
            "tta": self.tta,
            "preprocessing": dict(self.preprocessing),
            **({"questions": self.questions.to_list()} if self.questions is not None else {}),
        }


def log_and_register(
    package: ModelPackage,
    *,
    run_id: str,
    registered_name: str,
    tags: Mapping[str, str],
    description: str,
    tracking_uri: str | None,
) -> ModelVersionRef:
    """Logs the model to an existing run and registers it; the run's state and the active run stay as they are.

    Idempotent: a version of that name whose tag `galaxy_exp.sweep_id` is `package.metadata["sweep_id"]` is returned
    instead of being made again, so that a sweep killed between registering and journaling can repeat the call. A
    logged model that a call killed before registering left on the run is filled anew.
    Loading is not tried here: the held-out test has just loaded the same file.

    Args:
        package: the model.
        run_id: the run it came from; it may be finished.
        registered_name: created if it does not exist.
        tags: of the version, beside `galaxy_exp.sweep_id`.
        description: Markdown, shown by the MLflow UI.
        tracking_uri: None takes MLflow's own default.

    Raises:
        ModelError: the model file does not exist.
        TrackingError: MLflow refused or could not be reached.
    """
    if not package.model_file.is_file():
        raise ModelError(f"{package.model_file}: no such model file")
    client, sweep_id = open_client(tracking_uri), str(package.metadata["sweep_id"])
    with tracking_errors(tracking_uri):
        found = _only_version(client, registered_name, sweep_id)
        if found is not None:
            return found
        logged = _claim_logged_model(client, run_id, registered_name.replace(".", "_"))  # MLflow refuses dots here
        with _finalized(client, logged), tempfile.TemporaryDirectory() as folder:
            written = package.write(Path(folder), run_id, logged.model_id, logged.artifact_location)
            client.log_model_artifacts(logged.model_id, str(written))
        _ensure_registered_model(client, registered_name)
        created = client.create_model_version(
            registered_name,
            source=logged.artifact_location,  # "models:/<id>" would be looked up in the global tracking store
            run_id=run_id,
            model_id=logged.model_id,
            tags={**tags, SWEEP_ID: sweep_id},
            description=description,
        )
        only = _only_version(client, registered_name, sweep_id) or _ref(created)
        versions = json.dumps([{"name": only.name, "version": only.version}])
        client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": versions})  # the UI links them by it
    return only


def find_version(client: MlflowClient, name: str, sweep_id: str) -> ModelVersionRef | None:
    """The version of `name` that `sweep_id` registered, if any."""
    found = _find_versions(client, name, sweep_id)
    return _ref(found[0]) if found else None


def _find_versions(client: MlflowClient, name: str, sweep_id: str) -> list[ModelVersion]:
    """The oldest first."""
    escaped = sweep_id.replace("'", "")
    found = client.search_model_versions(f"{query_name(name)} and tags.`{SWEEP_ID}` = '{escaped}'")
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
    """Requirements of the packaged model for pip, at the versions installed here."""
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


@contextmanager
def _finalized(client: MlflowClient, logged: LoggedModel) -> Iterator[None]:
    """The logged model ends READY, or FAILED after an exception."""
    try:
        yield
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")


def build_signature(class_names: Sequence[str], questions: Questions | None = None) -> ModelSignature:
    """uint8 (-1, -1, -1, 3) in; `label`, `class_name`, `probability` and one `p_<class name>` per class out.

    Of a model of votes, one `p_<answer>` per answer and one `concentration_<question>` per question out.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.long, "label"),
        ColSpec(DataType.string, "class_name"),
        ColSpec(DataType.float, "probability"),
        *(ColSpec(DataType.float, f"p_{name}") for name in (questions.answers if questions else class_names)),
        *(ColSpec(DataType.float, f"concentration_{each.name}") for each in (questions.items if questions else ())),
    ]
    inputs: list[ColSpec | TensorSpec] = [TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _ensure_registered_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=_DESCRIPTION.format(name=name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _ref(found: ModelVersion) -> ModelVersionRef:
    return ModelVersionRef(found.name, int(found.version))
