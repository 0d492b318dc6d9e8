from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import mlflow
import numpy as np
import pytest
from doc_commands import fenced
from PIL import Image

from galaxy_exp.errors import ModelError, TrackingError
from galaxy_exp.registry.classifier import load_model
from galaxy_exp.registry.packaging import (
    ModelPackage,
    ModelVersionRef,
    build_signature,
    find_version,
    log_and_register,
    pinned_requirements,
)
from galaxy_exp.registry.pyfunc_model import views_of
from galaxy_exp.registry.version_tags import SWEEP_ID

from .conftest import CLASS_NAMES, Store, coloured


def test_registers_a_version_of_the_given_run_and_leaves_the_run_finished(
    register: Callable[..., ModelVersionRef], store: Store
) -> None:
    run_id = store.finished_run()
    ref = register("packaged", sweep_id="a-sweep", run_id=run_id)
    found = store.client.get_model_version("packaged", str(ref.version))
    assert ref.uri == f"models:/packaged/{ref.version}"
    assert found.run_id == run_id
    assert found.tags[SWEEP_ID] == "a-sweep"
    assert found.description == "A tiny network for tests."
    run = store.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    (output,) = run.outputs.model_outputs
    logged = store.client.get_logged_model(output.model_id)
    assert logged.artifact_location == found.source
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "packaged", "version": found.version}]
    assert str(logged.status.value) == "READY"


def test_the_active_run_and_the_tracking_uri_of_the_user_stay(register: Callable[..., ModelVersionRef]) -> None:
    before = mlflow.get_tracking_uri()
    register("undisturbed")
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == before


def test_the_same_sweep_registers_once(register: Callable[..., ModelVersionRef], store: Store) -> None:
    first, again = register("once", sweep_id="same"), register("once", sweep_id="same")
    assert again == first
    assert len(store.client.search_model_versions("name = 'once'")) == 1
    assert find_version(store.client, "once", "another") is None


def test_nothing_is_printed_and_logging_is_as_before(
    register: Callable[..., ModelVersionRef], capfd: pytest.CaptureFixture[str]
) -> None:
    filters = [list(handler.filters) for handler in logging.getLogger("mlflow").handlers]
    level, environment = logging.getLogger("mlflow").level, dict(os.environ)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        register("quiet")
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in caught] == []
    assert [list(handler.filters) for handler in logging.getLogger("mlflow").handlers] == filters
    assert logging.getLogger("mlflow").level == level
    assert dict(os.environ) == environment


def test_requirements_are_not_inferred(
    register: Callable[..., ModelVersionRef], registered: ModelVersionRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow would load the model in another process for that, which takes 20 seconds."""

    def infer(*_: object, **__: object) -> list[str]:
        raise AssertionError("inferred")

    monkeypatch.setattr(mlflow.models, "infer_pip_requirements", infer)
    register("not-inferred")


def test_requirements_are_pinned_to_what_is_installed() -> None:
    names = [line.split("==")[0] for line in pinned_requirements()]
    assert names == ["mlflow", "keras", "tensorflow", "numpy", "pandas"]
    assert f"keras=={version('keras')}" in pinned_requirements()


def test_signature_names_every_class() -> None:
    signature = build_signature(["a", "b c"])
    assert str(signature.inputs) == "[Tensor('uint8', (-1, -1, -1, 3))]"
    assert signature.outputs.input_names() == ["label", "class_name", "probability", "p_a", "p_b c"]


def test_a_network_with_layers_of_the_user_s_own_is_packaged_as_a_graph(
    register: Callable[..., ModelVersionRef], store: Store, graph_file: Path
) -> None:
    ref = register("graph", file=graph_file)
    model = load_model(ref.uri, tracking_uri=store.uri)
    assert model.predict([coloured(1), coloured(2, 40, 30)]).labels.tolist() == [1, 2]


def test_the_package_takes_the_mean_over_flips_and_turns(
    register: Callable[..., ModelVersionRef], store: Store, upper_half: Path
) -> None:
    image = coloured(0)
    image[14:] = coloured(2)[14:]
    plain, mean = (
        load_model(register(name, file=upper_half, tta=tta).uri, tracking_uri=store.uri)
        for name, tta in (("one-view", False), ("all-views", True))
    )
    assert (plain.tta, mean.tta) == (False, True)
    views = plain.predict(np.concatenate(list(views_of(image[np.newaxis])))).probabilities
    assert mean.predict(image).probabilities == pytest.approx(views.mean(axis=0, keepdims=True), abs=1e-6)
    assert np.abs(views - views.mean(axis=0)).max() > 0.1


def test_a_missing_model_file_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.keras: no such model file"):
        log_and_register(
            ModelPackage(
                model_file=tmp_path / "nothing.keras",
                class_names=CLASS_NAMES,
                image_shape=(24, 24),
                input_example=np.zeros((1, 24, 24, 3), np.uint8),
                metadata={"sweep_id": "x"},
            ),
            run_id="x",
            registered_name="x",
            tags={},
            description="",
            tracking_uri=store.uri,
        )


def test_a_failed_packaging_marks_the_logged_model(
    register: Callable[..., ModelVersionRef], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Path:
        raise RuntimeError("disk full")

    monkeypatch.setattr(ModelPackage, "write", fail)
    with pytest.raises(TrackingError, match="RuntimeError: disk full"):
        register("never")
    logged = store.client.search_logged_models([store.experiment_id], filter_string="name = 'never'")
    assert [str(model.status.value) for model in logged] == ["FAILED"]


@pytest.mark.parametrize("step", ["log_outputs", "log_model_artifacts", "create_model_version"])
def test_killed_before_registering_it_makes_no_second_logged_model(
    register: Callable[..., ModelVersionRef], store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    run_id, name = store.finished_run(), f"killed-at-{step}"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mlflow.MlflowClient, step, _interrupt)
        register(name, sweep_id=name, run_id=run_id)
    ref = register(name, sweep_id=name, run_id=run_id)
    (logged,) = store.client.search_logged_models([store.experiment_id], filter_string=f"name = '{name}'")
    assert str(logged.status.value) == "READY"
    assert [output.model_id for output in store.client.get_run(run_id).outputs.model_outputs] == [logged.model_id]
    assert load_model(ref.uri, tracking_uri=store.uri).predict(coloured(1)).labels.tolist() == [1]


@pytest.mark.parametrize("step", ["create_logged_model", "create_model_version"])
def test_made_twice_by_a_client_that_got_no_answer_it_is_there_once(
    register: Callable[..., ModelVersionRef], store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    make = getattr(mlflow.MlflowClient, step)

    def make_twice(*args: Any, **kwargs: Any) -> Any:
        make(*args, **kwargs)
        return make(*args, **kwargs)

    name = f"twice-{step}"
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, step, make_twice)
        ref = register(name, sweep_id=name)
    (version,) = store.client.search_model_versions(f"name = '{name}'")
    assert int(version.version) == ref.version == 1
    (logged,) = store.client.search_logged_models([store.experiment_id], filter_string=f"name = '{name}'")
    assert str(logged.status.value) == "READY"


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


_ELSEWHERE = """
import json, sys
sys.modules["galaxy_exp"] = None  # importing it raises ImportError
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/galaxy10-cnn@champion")
images = np.load(sys.argv[2])
table = model.predict(images)
larger = model.predict(np.repeat(np.repeat(images, 2, axis=1), 2, axis=2))
print(json.dumps({"columns": list(table), "rows": table.to_dict("records"), "larger": larger["label"].tolist()}))
"""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _serving(store: Store) -> Iterator[str]:
    """The address of `mlflow models serve` with the champion."""
    port = str(_free_port())
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/galaxy10-cnn@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts uvicorn by its name
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store.uri, "PATH": path}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def _ask(address: str, images: np.ndarray) -> tuple[int, Any]:
    """Posts images as JSON; asks again until the server is up."""
    body = json.dumps({"inputs": images.tolist()}).encode()
    request = Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    for _ in range(1200):  # 5 minutes, on a busy machine
        try:
            with urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)
        except URLError:
            time.sleep(0.25)
    raise TimeoutError("the server did not come up")


@pytest.mark.slow
def test_mlflow_serves_it(
    registered: ModelVersionRef,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with _serving(store) as address:
        for place, channel in enumerate((2, 0)):
            Image.fromarray(coloured(channel, 30, 24)).save(tmp_path / f"{place}.png")
        pictures = [np.asarray(Image.open(tmp_path / f"{place}.png").convert("RGB")) for place in (0, 1)]
        status, answer = _ask(address, np.stack(pictures))
        assert status == 200
        expected = load_model(registered.uri, tracking_uri=store.uri).predict(pictures).probabilities
        served = [[row[f"p_{name}"] for name in CLASS_NAMES] for row in answer["predictions"]]
        assert np.array(served) == pytest.approx(expected, abs=1e-6)
        assert [row["class_name"] for row in answer["predictions"]] == ["blue, cigar shaped", "red"]
        status, answer = _ask(address, coloured(1, 6, 6)[None])
        assert status == 400
        assert "image 0 has 6 x 6 pixels; expected at least 12 x 12" in answer["message"]
        assert urlopen(f"{address}/ping", timeout=30).status == 200
        Image.fromarray(coloured(0, 30, 24)).save(tmp_path / "some.png")
        monkeypatch.chdir(tmp_path)
        exec("\n".join(fenced("how-to-serving.md", "python")).replace("http://127.0.0.1:5001", address), {})
        assert capsys.readouterr().out.startswith("red ")
        (curl,) = (block for block in fenced("how-to-serving.md", "") if block.startswith("curl "))
        command = curl.replace("http://127.0.0.1:5001", address)
        if shutil.which("curl"):
            done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, timeout=60)
            assert json.loads(done.stdout)["predictions"][0]["class_name"] == "red"


@pytest.mark.slow
def test_the_package_works_where_galaxy_exp_cannot_be_imported(
    registered: ModelVersionRef, store: Store, tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", np.stack([coloured(2), coloured(0)]))
    command = [sys.executable, "-c", _ELSEWHERE, store.uri, str(tmp_path / "images.npy")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["columns"] == ["label", "class_name", "probability", *(f"p_{name}" for name in CLASS_NAMES)]
    assert [row["class_name"] for row in answer["rows"]] == ["blue, cigar shaped", "red"]
    assert answer["larger"] == [2, 0]
