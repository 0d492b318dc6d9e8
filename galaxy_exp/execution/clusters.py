"""Clusters on which trials run: a running Dask cluster, or batch jobs of SLURM."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import ssl
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from distributed import Client, Security

from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.errors import ConfigError, first_line
from galaxy_exp.interrupts import interrupts_delayed

__all__ = ["Cluster", "RunningCluster", "SlurmCluster", "build_cluster", "find_obstacle", "make_certificate"]

CONNECT_SECONDS = 5.0
"""How long the driver waits for a scheduler to answer."""

_GREETING_SECONDS = 0.5
"""A Dask scheduler without TLS sends the first message at once; one with TLS waits for the client."""

_TLS_KEYS = ("distributed.comm.tls.ca-file", "distributed.comm.tls.client.cert")
_TLS_KEY_FILE = "distributed.comm.tls.client.key"
"""Not needed if the certificate's file contains the key."""

_ROLES = ("client", "scheduler", "worker")


class Cluster(ABC):
    """A source of Dask workers.

    Args:
        limit: the largest number of workers that may be used; None: all.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit

    @abstractmethod
    def connect(self) -> Client:
        """A client of the cluster's scheduler.

        Raises:
            ConfigError: the scheduler does not exist, or cannot be used.
        """

    def scale(self, workers: int) -> None:
        """Changes the largest number of workers that may be used."""
        self.limit = workers

    def replace_lost_workers(self) -> str | None:
        """Starts workers in place of those that have ended, without waiting for them; called now and then.

        Returns:
            Why those of the call before could not be started, in one line.
        """
        return None  # most clusters replace them themselves

    def close(self) -> None:  # noqa: B027
        """Ends what `connect` started."""


def build_cluster(config: ExecutionConfig, certificate_folder: Path) -> Cluster:
    """The cluster that a sweep file configures, not connected yet.

    Args:
        config: names a scheduler, a scheduler file or a cluster.
    """
    assert config.workers != "auto", "the sweep file's check refuses it for clusters"
    if config.cluster is not None:
        return SlurmCluster(config.workers or 1, config.cluster_options, certificate_folder)
    file = Path(config.scheduler_file).resolve() if config.scheduler_file else None
    return RunningCluster(config.scheduler, file, config.workers)


class RunningCluster(Cluster):
    """The workers of a scheduler that somebody else started, and that stays when the sweep ends.

    Args:
        address: `tcp://HOST:PORT` or `tls://HOST:PORT`.
        scheduler_file: as written by `dask scheduler --scheduler-file`; used if there is no address.
    """

    def __init__(self, address: str | None, scheduler_file: Path | None = None, limit: int | None = None) -> None:
        super().__init__(limit)
        self._address = address
        self._scheduler_file = scheduler_file

    def connect(self) -> Client:
        """See `Cluster.connect`."""
        key = "scheduler" if self._address else "scheduler_file"
        address = self._address or self._read_file()
        where = f"execution.{key}: {address}" + ("" if self._address else f" of {self._scheduler_file}")
        obstacle = find_obstacle(address, CONNECT_SECONDS)
        if obstacle is not None:
            raise ConfigError(f"{where}: {obstacle}")
        try:
            return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(f"{where}: no Dask scheduler answers: {first_line(error)}") from None

    def _read_file(self) -> str:
        assert self._scheduler_file is not None
        try:
            found = json.loads(self._scheduler_file.read_text())
        except FileNotFoundError:
            raise ConfigError(f"execution.scheduler_file: {self._scheduler_file} does not exist") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"execution.scheduler_file: {self._scheduler_file}: {first_line(error)}") from None
        if not isinstance(found, dict) or not isinstance(found.get("address"), str):
            expected = 'no "address" in it; expected a file that `dask scheduler --scheduler-file` wrote'
            raise ConfigError(f"execution.scheduler_file: {self._scheduler_file}: {expected}")
        return str(found["address"])


class SlurmCluster(Cluster):
    """Dask workers as SLURM jobs, which dask-jobqueue submits; the scheduler is a thread of the driver.

    The connections use TLS, with the certificates of Dask's configuration, if any, else with a certificate made for
    this sweep.

    Args:
        options: of `dask_jobqueue.SLURMCluster`; `security: false` turns TLS off.
        certificate_folder: the certificate is stored there until the end; it has to be on a shared file system.
    """

    def __init__(self, number: int, options: dict[str, Any], certificate_folder: Path) -> None:
        super().__init__(number)
        self._options = options
        self._certificate_folder = certificate_folder
        self.dask_cluster: Any = None
        """The `SLURMCluster`; None before `connect`."""
        self._refusal: str | None = None
        """Why the last submission of further jobs failed, in one line."""

    def connect(self) -> Client:
        """Submits the first jobs; see `Cluster.connect`."""
        try:
            with interrupts_delayed():  # its import sets a handler of Ctrl-C that ends the driver without a word
                from dask_jobqueue import SLURMCluster
        except ImportError:
            message = "execution.cluster: slurm needs dask-jobqueue; install it with: pip install 'galaxy-exp[slurm]'"
            raise ConfigError(message) from None
        security = self._security()
        self._refuse_spaces()
        try:
            loopback = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
            defaults = {"processes": 1, "scheduler_options": loopback, "silence_logs": "critical"}
            options = {**defaults, **self._options, "security": security}
            self.dask_cluster = SLURMCluster(**options)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            reason = first_line(error).removesuffix(", for example:")
            raise ConfigError(f"execution.cluster_options: {reason}") from None
        try:
            self.dask_cluster.sync(self._submit)
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(f"execution.cluster: slurm: sbatch does not take the jobs: {_last_line(error)}") from None
        return Client(self.dask_cluster, set_as_default=False)

    def scale(self, workers: int) -> None:
        """Submits further jobs; fewer workers than there are would end jobs that train, so the caller asks for more."""
        super().scale(workers)
        self.replace_lost_workers()

    def replace_lost_workers(self) -> str | None:
        """Submits jobs in place of those that have ended or were refused; see `Cluster.replace_lost_workers`."""
        self.dask_cluster.loop.add_callback(self._submit_further)
        return self._refusal

    def close(self) -> None:
        """Cancels the jobs and removes the certificate."""
        if self.dask_cluster is not None:
            with suppress(AssertionError):  # Dask asserts that no job was ever refused
                self.dask_cluster.close()
        shutil.rmtree(self._certificate_folder, ignore_errors=True)

    def _security(self) -> Security | None:
        is_on = self._options.get("security", True)
        if not isinstance(is_on, bool):
            raise ConfigError(f"execution.cluster_options: security: found {is_on!r}; expected true or false")
        if not is_on:
            return None
        protocol = self._options.get("protocol", "tls://")
        if str(protocol).startswith("tcp"):
            raise ConfigError(
                f"execution.cluster_options: protocol: {protocol} is not encrypted; expected tls://, or "
                "security: false as well, which lets anyone who reaches the scheduler's port run programs as you"
            )
        configured = Security(require_encryption=True)
        try:
            return configured if configured.tls_ca_file else make_certificate(self._certificate_folder)
        except ImportError:
            raise ConfigError(
                "execution.cluster: slurm: TLS needs cryptography; install it with: pip install cryptography"
            ) from None

    def _refuse_spaces(self) -> None:
        folder = self._options.get("log_directory")
        if isinstance(folder, str) and any(map(str.isspace, folder)):  # dask-jobqueue writes it without quotes
            raise ConfigError(
                f"execution.cluster_options: log_directory: found {folder!r}; expected a path without spaces, since "
                "sbatch gets it without quotes"
            )

    async def _submit(self) -> None:
        """Waits until the batch system has accepted or refused the jobs; no public method of Dask raises the latter."""
        jobs = self.dask_cluster.workers
        for name in [name for name, job in jobs.items() if job.job_id is None]:
            del jobs[name]  # it was refused, and Dask takes it for a worker
        self.dask_cluster.scale(self.limit)
        await self.dask_cluster._correct_state()

    async def _submit_further(self) -> None:
        try:
            await self._submit()
        except (OSError, RuntimeError, ValueError) as error:
            self._refusal = f"sbatch does not take further jobs: {_last_line(error)}"
        else:
            self._refusal = None


def _last_line(error: Exception) -> str:
    """Where dask-jobqueue puts what sbatch printed last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else first_line(error)


class _CertificateFiles(Security):  # type: ignore[misc]
    """Quotes the workers' paths, since dask-jobqueue writes them into a shell script."""

    def get_tls_config_for_role(self, role: str) -> dict[str, str]:
        found: dict[str, str] = super().get_tls_config_for_role(role)
        return {key: value and shlex.quote(value) for key, value in found.items()} if role == "worker" else found


def make_certificate(folder: Path) -> Security:
    """Makes a certificate and its key for one sweep; driver, scheduler and workers trust this certificate alone.

    Only this user can read the key, since whoever has it can run programs as this user.

    Args:
        folder: replaced; it has to be on a file system that all workers share.

    Raises:
        OSError: the files cannot be written.
    """
    made = Security.temporary()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    files = {"cert": folder / "cert.pem", "key": folder / "key.pem"}
    for kind, file in files.items():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(getattr(made, f"tls_client_{kind}"))
    settings = {f"tls_{role}_{kind}": str(file) for role in _ROLES for kind, file in files.items()}
    return _CertificateFiles(require_encryption=True, tls_ca_file=str(files["cert"]), **settings)


def find_obstacle(address: str, timeout_seconds: float) -> str | None:
    """Why no client can connect to a scheduler, in one line; None if nothing is known to prevent it.

    Args:
        address: `tcp://HOST:PORT` or `tls://HOST:PORT`; others are not examined.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls"):
        return None
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        return f"expected {parts.scheme}://HOST:PORT"
    return _settings_obstacle(parts.scheme) or _network_obstacle(parts.scheme, (host, port), timeout_seconds)


def _settings_obstacle(scheme: str) -> str | None:
    security = Security()
    if scheme == "tcp":
        is_refused = security.require_encryption
        return "Dask's configuration has require-encryption: true; expected tls://HOST:PORT" if is_refused else None
    files = (security.tls_ca_file, security.tls_client_cert, security.tls_client_key)
    for key, file in zip((*_TLS_KEYS, _TLS_KEY_FILE), files, strict=True):
        if file is None and key == _TLS_KEY_FILE:
            continue
        if file is None:
            return f"tls:// needs {key} in Dask's configuration, and it is not set (see: clusters, TLS)"
        if "\n" not in file and not Path(file).is_file():  # instead of a file, Dask accepts the certificate's text
            return f"{key} of Dask's configuration: {file} does not exist"
    try:
        security.get_connection_args("client")
    except (OSError, ValueError) as error:
        return f"the TLS files of Dask's configuration cannot be used: {first_line(error)}"
    return None


def _network_obstacle(scheme: str, place: tuple[str, int], timeout_seconds: float) -> str | None:
    try:
        greets = _greets(place, timeout_seconds)
    except OSError as error:
        return f"no Dask scheduler answers: {error.strerror or first_line(error)}"
    if scheme == "tls":
        return "the scheduler there does not use TLS; expected tcp://HOST:PORT" if greets else None
    if not greets and _speaks_tls(place, timeout_seconds):
        return "the scheduler there wants TLS; expected tls://HOST:PORT, and certificates (see: clusters, TLS)"
    return None


def _greets(place: tuple[str, int], timeout_seconds: float) -> bool:
    with socket.create_connection(place, timeout_seconds) as connection:
        connection.settimeout(_GREETING_SECONDS)
        with suppress(TimeoutError, ConnectionError):
            return bool(connection.recv(1))
    return False


def _speaks_tls(place: tuple[str, int], timeout_seconds: float) -> bool:
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(place, timeout_seconds) as connection, anyone.wrap_socket(connection):
            return True
    except OSError:
        return False
