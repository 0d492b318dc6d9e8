"""Passwords taken out of what is printed, journaled or stored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote

__all__ = ["HIDDEN", "hide_in_address", "hide_password", "known_address", "remember_address"]

HIDDEN = "***"

_WHOLE: dict[str, str] = {}
"""Addresses by what they are without their password; of this process alone, and nowhere else."""

_SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_ADDRESS_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

_SHORTEST = 6
"""Characters of a secret that is looked for by itself: shorter ones are parts of ordinary words."""

_USER = re.compile(r"([A-Za-z][\w+.-]*://)(?!/)\S*@")
"""All of `user:password@`; to the last @, for a password that is not percent-encoded may hold @ and /."""

_QUERY = re.compile(r"([?&;][\w-]*(?:password|passwd|pwd|token|secret|signature|odbc_connect)[\w-]*=)[^&;\s'\"]*", re.I)
"""`?password=...`, as database drivers and signed addresses have it."""

_HEADER = re.compile(r"(authorization['\"]?\s*[:=]\s*['\"]?(?:(?:basic|bearer)\s+)?)[^\s'\",]+", re.I)


def hide_password(text: str) -> str:
    """A URI, or a text with URIs, fit to be printed or stored.

    `user:password@` of every URI becomes `***@`, as do values of `password=`, `token=` and the like in its query, what
    follows `Authorization:`, and the secrets that this process has in its environment for MLflow and for proxies.
    """
    for secret in _secrets_of_environment(os.environ):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return _HEADER.sub(rf"\g<1>{HIDDEN}", hide_in_address(text))


def hide_in_address(address: str) -> str:
    """As `hide_password`, for one address that has to lead to the same place afterwards.

    Only the parts that hold passwords are changed, whatever the environment's secrets are: a password `mlflow` does not
    make another file of `sqlite:///mlflow.db`.
    """
    address = _USER.sub(rf"\g<1>{HIDDEN}@", address)
    return _QUERY.sub(rf"\g<1>{HIDDEN}", address)


def remember_address(address: str) -> str:
    """As `hide_in_address`; this process remembers the whole address."""
    hidden = hide_in_address(address)
    if hidden != address:
        _WHOLE[hidden] = address
    return hidden


def known_address(hidden: str) -> str | None:
    """The whole address that `remember_address` got, if any."""
    return _WHOLE.get(hidden)


def _secrets_of_environment(environment: Mapping[str, str]) -> list[str]:
    """The longest first, so that none is left in part."""
    found = {environment.get(name, "") for name in _SECRET_VARIABLES}
    for name in _ADDRESS_VARIABLES:
        for address in (environment.get(name, ""), environment.get(name.lower(), "")):
            found.update(_passwords_of(address))
    return sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)


def _passwords_of(address: str) -> Iterator[str]:
    """The password of `scheme://user:password@host`, as it stands, percent-decoded and percent-encoded."""
    matched = re.match(r"[A-Za-z][\w+.-]*://(?!/)[^:/@]*:(.*)@", address)
    if matched:
        yield from (matched[1], unquote(matched[1]), quote(matched[1], safe=""))
