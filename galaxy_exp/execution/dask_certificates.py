"""A certificate for one sweep, with which its driver, scheduler and workers recognise each other and encrypt."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from distributed import Security

__all__ = ["make_certificate"]

_ROLES = ("client", "scheduler", "worker")


class _CertificateFiles(Security):  # type: ignore[misc]
    """Dask's settings for a certificate in files; dask-jobqueue writes those of a worker into a shell script."""

    def get_tls_config_for_role(self, role: str) -> dict[str, str]:
        found: dict[str, str] = super().get_tls_config_for_role(role)
        return {key: value and shlex.quote(value) for key, value in found.items()} if role == "worker" else found


def make_certificate(folder: Path) -> Security:
    """Makes a certificate and its key, which are valid for each other alone.

    Whoever can read the key can run programs as this user, so it is readable for this user alone.

    Args:
        folder: made anew; on a file system that all workers share.

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
