"""Why a Dask scheduler cannot be spoken to, in one line and before a client is made: address, network, TLS settings."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from distributed import Security

from galaxy_exp.errors import first_line

__all__ = ["find_obstacle", "read_address"]

_GREETING_SECONDS = 0.5
"""A Dask scheduler without TLS speaks first, and at once; one with TLS waits for the other side."""

_TLS_KEYS = ("distributed.comm.tls.ca-file", "distributed.comm.tls.client.cert")
_TLS_KEY_FILE = "distributed.comm.tls.client.key"
"""Not needed if the file of the certificate has the key as well."""


def read_address(scheduler_file: Path) -> str:
    """The address in a file that `dask scheduler --scheduler-file` wrote.

    Raises:
        ValueError: it is no such file.
        OSError: it cannot be read.
    """
    found = json.loads(scheduler_file.read_text())
    if not isinstance(found, dict) or not isinstance(found.get("address"), str):
        raise ValueError('no "address" in it; expected a file that `dask scheduler --scheduler-file` wrote')
    return str(found["address"])


def find_obstacle(address: str, timeout_seconds: float) -> str | None:
    """What keeps a client from the scheduler, or None; Dask's configuration says how TLS is to be used.

    Args:
        address: `tcp://HOST:PORT` or `tls://HOST:PORT`; others are left to Dask.
        timeout_seconds: of the connection.
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
            return f"tls:// needs {key} in Dask's configuration, and it is not set (docs/clusters.md, TLS)"
        if "\n" not in file and not Path(file).is_file():  # Dask takes the certificate itself as well
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
        return "the scheduler there wants TLS; expected tls://HOST:PORT, and certificates (docs/clusters.md, TLS)"
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
