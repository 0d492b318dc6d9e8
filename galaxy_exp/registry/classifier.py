"""Loading a registered model, by default the champion, and classifying images with it."""

from __future__ import annotations

import copy
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import HOW_TO_START, ModelError, first_line
from galaxy_exp.evaluation.confidence import scale_probabilities
from galaxy_exp.evaluation.vote_metrics import states_concentrations
from galaxy_exp.questions import Questions
from galaxy_exp.quiet import BACKEND_ENVIRONMENT, import_keras_quietly
from galaxy_exp.records import BUILT_IN_MODEL
from galaxy_exp.redaction import hide_in_address
from galaxy_exp.registry.catalogue import find_holder, parse_reference
from galaxy_exp.registry.exported import ONNX_SUFFIX, ExportedModel
from galaxy_exp.registry.version_tags import CHAMPION, SIMULATED
from galaxy_exp.tracking.addresses import uri_option
from galaxy_exp.tracking.calls import quiet_mlflow
from galaxy_exp.tracking.registry_file import query_name
from galaxy_exp.tracking.store import open_existing_client, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import PyFuncModel

    from galaxy_exp.data import ImageDataset
    from galaxy_exp.data.image_arrays import Preprocessing

__all__ = ["GalaxyClassifier", "Predictions", "load_model"]

_LOGGED_MODEL = "models:/m-"
"""How the URI of a model starts that was logged, registered or not."""
_EXPECTED = "models:/<name>/<number> or models:/<name>@<alias>"
_SEVERAL_FAILURES = "The following failures occurred"
"""How MLflow's message begins where the reason is in its last line."""
_MOST_NAMES = 10
"""Registered models that a message names."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The classes of n images."""

    labels: NDArray[np.int64]
    """(n,), the most probable class."""
    class_names: list[str]
    """Its name, one per image."""
    probabilities: NDArray[np.float32]
    """(n, n_classes), in label order."""
    fractions: NDArray[np.float32] | None = None
    """(n, n_answers), of the answers to all questions in the order of `GalaxyClassifier.questions`; None for a model of
    classes. The classes of a model of votes are the answers to its first question, `probabilities` their fractions."""
    concentrations: NDArray[np.float32] | None = None
    """(n, n_questions), of the Dirichlet distribution of each question's fractions; NaN if the model states none."""

    def outputs(self, questions: Questions) -> NDArray[np.float64]:
        """What a network of votes gave, (n, n_answers): the fractions times the concentrations of their questions."""
        if self.fractions is None or self.concentrations is None:
            raise ModelError("these are predictions of classes; expected those of a model of votes")
        return self.fractions.astype(np.float64) * questions.by_answer(np.nan_to_num(self.concentrations, nan=1.0))


@dataclass(repr=False, eq=False)
class GalaxyClassifier:
    """A loaded model."""

    packaged: Any
    """An instance of the class in `pyfunc_model.py`, of the release that packaged it, or an `ExportedModel`."""
    uri: str
    """`models:/<name>/<version>`, or the argument of `load_model`."""
    name: str | None = None
    """Registered name; None for a model loaded from a path or a run."""
    version: int | None = None
    """Registered version; None likewise."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Of the registered version (data, metrics of the held-out test, promotion); empty likewise."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Stored with the model when it was packaged."""
    is_calibrated: bool = False
    """Whether `predict` gives probabilities at the model's temperature."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in label order."""
        return tuple(self.packaged.class_names)

    @property
    def questions(self) -> Questions | None:
        """What a model of votes answers; None for a model of classes."""
        items = getattr(self.packaged, "questions", ())
        return Questions.from_list(items) if items else None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width, in pixels, that the network was trained on."""
        height, width = self.packaged.image_size
        return height, width

    # The code in packages of earlier releases lacks some of the following.

    @property
    def crop(self) -> int | None:
        """Side in pixels of the square that training cut from the centre of its raw images; None if it did not."""
        return getattr(self.packaged, "centre", None)

    @property
    def raw_side(self) -> int | None:
        """Side in pixels of the smallest raw image after the training's crop, if training enlarged it."""
        return getattr(self.packaged, "raw_side", None)

    @property
    def greyscale(self) -> bool:
        """Whether training made its images grey."""
        return bool(getattr(self.packaged, "greyscale", False))

    @property
    def tta(self) -> bool:
        """Whether its probabilities are the mean over the flips and quarter turns of an image."""
        return bool(getattr(self.packaged, "tta", False))

    @property
    def fits(self) -> dict[str, Any] | None:
        """How training read FITS files, as `data.fits` of its sweep file; None if there were none, or it is unknown."""
        return getattr(self.packaged, "fits", None)

    @property
    def simulated(self) -> bool:
        """Whether it was trained on simulated galaxies, by its tags or its package."""
        return self.tags.get(SIMULATED) == "true" or bool(self.metadata.get("simulated", False))

    @property
    def temperature(self) -> float | None:
        """The divisor of logits for calibrated probabilities (see `evaluation.confidence.fit_temperature`).

        None for a model that an earlier release packaged.
        """
        return self.metadata.get("temperature")

    def calibrated(self) -> GalaxyClassifier:
        """The same model giving calibrated probabilities: the same classes, with another confidence.

        Raises:
            ModelError: the model has no temperature.
        """
        if self.questions is not None:
            raise ModelError(
                f"{self.uri} predicts fractions of votes, for which no temperature is fitted; leave calibration out: "
                "its concentrations say how sure it is"
            )
        if self.temperature is None:
            raise ModelError(
                f"{self.uri} was packaged without a temperature, as by earlier releases, so it cannot be calibrated"
            )
        return replace(self, is_calibrated=True)

    @property
    def network(self) -> Any:
        """The `keras.Model` within: uint8 (n, height, width, 3) of `image_size` to probabilities (n, n_classes).

        Of a model of votes, to a positive number for each answer, (n, n_answers).

        Raises:
            ModelError: the model is an exported network.
        """
        if isinstance(self.packaged, ExportedModel):
            raise ModelError(f"{self.uri} is an exported network; expected a packaged model, which has a Keras model")
        import keras

        network = self.packaged._network
        if isinstance(network, keras.Model):
            return network
        return keras.Sequential([keras.Input((*self.image_size, 3), dtype="uint8"), network])  # packaged as a graph

    def without_steps(self, done: Preprocessing) -> GalaxyClassifier:
        """The same model for images on which these steps were done: it does not crop them again.

        Raises:
            ModelError: the steps are others than those of the model's training.
        """
        if not (done.crop or done.resize or done.greyscale) or not hasattr(self.packaged, "centre"):
            return self
        as_trained = done.crop == self.crop and (not done.resize or self.image_size == (done.resize, done.resize))
        if not as_trained or (done.greyscale and not self.greyscale):
            raise ModelError(
                f"the images are preprocessed already ({', '.join(done.describe())}), in another way than in the "
                f"training of {self.uri}; expected raw images, without data.crop, data.resize and data.greyscale"
            )
        uncut = copy.copy(self.packaged)
        uncut.centre = None
        return replace(self, packaged=uncut)

    def predict(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]] | ImageDataset) -> Predictions:
        """Classifies images of any size from half the trained one upwards.

        Args:
            images: raw uint8 (n, height, width, 3), one image (height, width, 3), or a list of images of different
                sizes. Another aspect ratio is centre-cropped, then the image is resized. Of a data set, all images:
                those that were cropped when it was loaded are not cropped again.

        Raises:
            ModelError: an image that the model refuses; names its index and what is wrong with it. Or a data set that
                was preprocessed in another way than in the model's training.
        """
        if not isinstance(images, np.ndarray | Sequence):
            from galaxy_exp.data import ImageDataset

            if isinstance(images, ImageDataset):
                return self.without_steps(images.preprocessing).predict(images.images)
        try:
            probabilities = np.asarray(self.packaged.predict_probabilities(images), dtype=np.float32)
        except _mlflow_exception() as error:  # evaluated, so imported, only if there is an exception
            raise ModelError(str(error.message)) from error
        fractions = concentrations = None
        if (questions := self.questions) is not None:
            fractions = questions.fractions(probabilities).astype(np.float32)
            stated = states_concentrations(questions, probabilities)
            totals = questions.totals(probabilities)
            concentrations = np.where(stated, totals, np.nan).astype(np.float32)
            probabilities = fractions[:, : len(self.class_names)]
        labels = probabilities.argmax(axis=1).astype(np.int64)
        if self.is_calibrated and self.temperature is not None:
            probabilities = scale_probabilities(probabilities, self.temperature).astype(np.float32)
        names = [self.class_names[label] for label in labels]
        return Predictions(labels, names, probabilities, fractions, concentrations)

    def refusal(self, image: NDArray[Any]) -> str | None:
        """Why the model cannot classify this image, in a few words; None if it can."""
        reason: str | None = self.packaged.refusal(image)
        return reason

    def __repr__(self) -> str:
        return f"GalaxyClassifier({self.uri!r}, {len(self.class_names)} classes, image_size={self.image_size})"


def _mlflow_exception() -> type[MlflowException]:
    from mlflow.exceptions import MlflowException

    return MlflowException


def load_model(
    name_or_uri: str = BUILT_IN_MODEL,
    alias: str = CHAMPION,
    tracking_uri: str | None = None,
    *,
    calibrated: bool = False,
) -> GalaxyClassifier:
    """Loads a model packaged by galaxy_exp. The package has Python code, which is run: load only what you trust.

    Args:
        name_or_uri: a registered name, whose version with `alias` is loaded; or `models:/<name>@<alias>`,
            `models:/<name>/<version>`, both also without `models:/`; `models:/<model id>`, the path or artifact URI of
            a model folder, or an .onnx file of `galaxy-exp models export`, which is read by ONNX Runtime, without
            TensorFlow and MLflow.
        alias: used with a plain name only.
        tracking_uri: None takes MLflow's own default (MLFLOW_TRACKING_URI, else sqlite:///mlflow.db).
        calibrated: whether its probabilities are those at its temperature; see `GalaxyClassifier.calibrated`.

    Raises:
        ModelError: nothing of that name, version or alias; names the store and the command that makes a model. Or a
            model without a temperature, with `calibrated`.
        TrackingError: the store cannot be read.
    """
    if not isinstance(name_or_uri, str | os.PathLike):
        raise ModelError(f"{name_or_uri!r}: expected a registered name, {_EXPECTED}, or a path")
    if not isinstance(alias, str):
        raise ModelError(f"alias={alias!r}: expected a name, such as {CHAMPION}; models:/NAME/{alias} is a version")
    found = _load(os.fspath(name_or_uri), alias, tracking_uri)
    return found.calibrated() if calibrated else found


def _load(name_or_uri: str, alias: str, tracking_uri: str | None) -> GalaxyClassifier:
    if name_or_uri.lower().endswith(ONNX_SUFFIX) and "://" not in name_or_uri:
        file = Path(name_or_uri)
        network = ExportedModel(file)
        tags = {SIMULATED: "true"} if network.simulated else {}
        return GalaxyClassifier(network, str(file), tags=tags, metadata=network.metadata)
    if Path(name_or_uri, "MLmodel").is_file():
        return _load_folder(Path(name_or_uri), name_or_uri)
    if name_or_uri.startswith(_LOGGED_MODEL):
        return _load_logged_model(name_or_uri, tracking_uri)
    is_version = re.fullmatch(r"(models:/.*|[^/:]+/\d+)", name_or_uri) and not Path(name_or_uri).exists()
    if not is_version and any(mark in name_or_uri for mark in (":", "/", os.sep)):
        return _load_artifact(name_or_uri, name_or_uri, tracking_uri)
    name, alias, number = parse_reference(name_or_uri.removesuffix("/"), alias, _EXPECTED)
    client = open_existing_client(tracking_uri)
    with tracking_errors(tracking_uri):
        version = find_holder(client, name, alias, number)
        if version is None:
            raise ModelError(_nothing_found(client, name, alias, number))
        location = client.get_model_version_download_uri(name, str(version.version))
    return _load_artifact(location, f"models:/{name}/{version.version}", tracking_uri, version)


def _nothing_found(client: MlflowClient, name: str, alias: str, number: int | None) -> str:
    wanted = f"version {number}" if number is not None else f"version with the alias {alias!r}"
    known = sorted(int(version.version) for version in client.search_model_versions(query_name(name)))
    if not known:
        others = [model.name for model in client.search_registered_models(max_results=_MOST_NAMES)]
        how_to = f"make one with: {HOW_TO_START}"
        instead = f"registered there: {', '.join(others)}" if others else how_to
        return f"no model {name!r} is registered in {hide_in_address(client.tracking_uri)}; {instead}"
    versions = ", ".join(map(str, known))
    return (
        f"model {name!r} in {hide_in_address(client.tracking_uri)} has no {wanted}; versions: {versions}; "
        f"choose one with: galaxy-exp models promote {name} {known[-1]}{uri_option(client.tracking_uri)}"
    )


def _load_logged_model(uri: str, tracking_uri: str | None) -> GalaxyClassifier:
    from mlflow.exceptions import MlflowException

    client = open_existing_client(tracking_uri)
    try:
        with quiet_mlflow():
            location = client.get_logged_model(uri.removeprefix("models:/")).artifact_location
    except MlflowException as error:
        where = hide_in_address(client.tracking_uri)
        raise ModelError(f"no model could be read at {uri} in {where}: {error.message}") from error
    return _load_artifact(location, uri, tracking_uri)


def _load_artifact(
    location: str, uri: str, tracking_uri: str | None, version: ModelVersion | None = None
) -> GalaxyClassifier:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    if is_local_uri(location) and not Path(local_file_uri_to_path(location), "MLmodel").is_file():  # type: ignore[no-untyped-call]
        why = f"expected a registered name, {_EXPECTED}, or the folder of an MLflow model, with its file MLmodel"
        if version is not None:
            why = "the files are gone, or their folder was moved: move it back, or put a link to it in its former place"
        raise ModelError(f"no model could be read at {uri} ({location}): {why}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            with quiet_mlflow():
                package = download_artifacts(artifact_uri=location, dst_path=folder, tracking_uri=tracking_uri)
        except (MlflowException, OSError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = lines[-1 if lines[0].startswith(_SEVERAL_FAILURES) else 0]
            raise ModelError(f"no model could be read at {uri} ({location}): {reason}") from error
        return _load_folder(Path(package), uri, version)


def _load_folder(package: Path, uri: str, version: ModelVersion | None = None) -> GalaxyClassifier:
    from mlflow import pyfunc

    _check_is_code(package, uri)
    import_keras_quietly()  # after the model was found: a wrong name is reported at once
    try:
        with quiet_mlflow(), BACKEND_ENVIRONMENT:
            loaded = pyfunc.load_model(package.absolute().as_uri())  # a URI, since MLflow decodes paths
    except NotImplementedError as error:
        raise ModelError(f"{uri} is packaged as a TensorFlow graph; expected KERAS_BACKEND=tensorflow") from error
    model, metadata = _galaxy_model(loaded, uri), loaded.metadata.metadata or {}
    if version is None:
        return GalaxyClassifier(model, uri, metadata=dict(metadata))
    return GalaxyClassifier(model, uri, version.name, int(version.version), dict(version.tags), dict(metadata))


def _check_is_code(package: Path, uri: str) -> None:
    """Refuses a model that MLflow would unpickle, before it does: ours are Python files (`pyfunc_model.py`)."""
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    try:
        flavor = Model.load(str(package)).flavors.get("python_function", {})
    except (MlflowException, OSError, ValueError, TypeError) as error:
        raise ModelError(f"{uri}: its MLmodel file cannot be read: {first_line(error)}") from error
    if flavor.get("loader_module") != "mlflow.pyfunc.loaders.code_model" or "model_code_path" not in flavor:
        raise ModelError(f"{uri} is an MLflow model, but none that galaxy_exp packaged")


def _galaxy_model(loaded: PyFuncModel, uri: str) -> Any:
    """The instance of the class in `pyfunc_model.py`; an MLflow signature takes no images of different sizes."""
    from mlflow.exceptions import MlflowException

    try:
        model = loaded.unwrap_python_model()  # type: ignore[no-untyped-call]
    except MlflowException:
        model = None
    if not hasattr(model, "predict_probabilities"):
        raise ModelError(f"{uri} is an MLflow model, but none that galaxy_exp packaged")
    return model
