"""Hides passwords in text that is printed, journaled or stored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote

__all__ = ["HIDDEN", "hide_in_address", "hide_password", "known_address", "remember_address"]

HIDDEN = "***"

_WHOLE: dict[str, str] = {}
"""Whole addresses by the same address with its password hidden; only in the memory of this process."""

_SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_ADDRESS_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

_SHORTEST = 6
"""Shortest secret that is searched for, in characters: shorter ones are parts of ordinary words."""

_USER = re.compile(r"([A-Za-z][\w+.-]*://)(?!/)\S*@")
"""`user:password@` up to the last @, as a password that is not percent-encoded may contain @ and /."""

_QUERY = re.compile(r"([?&;][\w-]*(?:password|passwd|pwd|token|secret|signature|odbc_connect)[\w-]*=)[^&;\s'\"]*", re.I)
"""`?password=...`, as in addresses of databases and in signed addresses."""

_HEADER = re.compile(r"(authorization['\"]?\s*[:=]\s*['\"]?(?:(?:basic|bearer)\s+)?)[^\s'\",]+", re.I)


def hide_password(text: str) -> str:
    """A URI, or a text with URIs, without passwords.

    Replaces by `***`: `user:password` of every URI; values of `password=`, `token=` and similar keys of its query; what
    follows `Authorization:`; and the secrets for MLflow and proxies in the environment of this process.
    """
    for secret in _secrets_of_environment(os.environ):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return _HEADER.sub(rf"\g<1>{HIDDEN}", hide_in_address(text))


def hide_in_address(address: str) -> str:
    """As `hide_password`, for one address that has to name the same place afterwards.

    Only passwords inside the address are changed, not secrets of the environment: a password `mlflow` must not change
    `sqlite:///mlflow.db`.
    """
    address = _USER.sub(rf"\g<1>{HIDDEN}@", address)
    return _QUERY.sub(rf"\g<1>{HIDDEN}", address)


def remember_address(address: str) -> str:
    """As `hide_in_address`; this process remembers the whole address for `known_address`."""
    hidden = hide_in_address(address)
    if hidden != address:
        _WHOLE[hidden] = address
    return hidden


def known_address(hidden: str) -> str | None:
    """The whole address that was passed to `remember_address`, if any."""
    return _WHOLE.get(hidden)


def _secrets_of_environment(environment: Mapping[str, str]) -> list[str]:
    found = {environment.get(name, "") for name in _SECRET_VARIABLES}
    for name in _ADDRESS_VARIABLES:
        for address in (environment.get(name, ""), environment.get(name.lower(), "")):
            found.update(_passwords_of(address))
    return sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)


def _passwords_of(address: str) -> Iterator[str]:
    """The password of `scheme://user:password@host`: unchanged, percent-decoded and percent-encoded."""
    matched = re.match(r"[A-Za-z][\w+.-]*://(?!/)[^:/@]*:(.*)@", address)
    if matched:
        yield from (matched[1], unquote(matched[1]), quote(matched[1], safe=""))
