"""The MLflow UI of a store, served by this process.

`mlflow ui` starts two processes and four workers, each of which imports all of MLflow: on two cores it takes three
times as long until the first page.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from galaxy_exp.interrupts import signals_as_interrupts
from galaxy_exp.tracking.store import tracking_errors

__all__ = ["serve_ui"]


_ARTIFACTS = "mlflow-artifacts:/"
"""Where experiments that are created in the UI put their artifacts, as with `mlflow ui`."""


def serve_ui(uri: str, port: int, on_ready: Callable[[], None]) -> None:
    """Serves the UI on 127.0.0.1 until Ctrl-C or SIGTERM.

    Args:
        on_ready: called when the pages can be opened.

    Raises:
        TrackingError: MLflow cannot open the store.
    """
    os.environ.setdefault("_MLFLOW_SGI_NAME", "uvicorn")
    # jobs evaluate language models, in eight processes
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    import uvicorn

    with signals_as_interrupts(), suppress(KeyboardInterrupt):
        with tracking_errors(uri):
            from mlflow.server import constants
            from mlflow.server.handlers import initialize_backend_stores

            os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = os.environ[constants.REGISTRY_STORE_URI_ENV_VAR] = uri
            os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = _ARTIFACTS
            os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
            os.environ.setdefault(constants.ARTIFACTS_DESTINATION_ENV_VAR, "./mlartifacts")
            initialize_backend_stores(uri, uri, _ARTIFACTS)
            from mlflow.server.fastapi_app import app
        logging.getLogger("mlflow").setLevel(logging.ERROR)

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
                await super().startup(sockets)  # type: ignore[arg-type]
                if self.started:
                    on_ready()

        options: dict[str, Any] = {"log_level": "error", "access_log": False, "timeout_graceful_shutdown": 1}
        Server(uvicorn.Config(app, "127.0.0.1", port, **options)).run()
