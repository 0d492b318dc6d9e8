"""The file of an encoder, from which a network may start: where it is, its card and its digest. It needs no Keras.

An encoder is a `.keras` file of a model from images, with values from 0 to 255, to a spatial map or to features. Its
input size, the order of channels and the scaling of values are part of it. `card.json` in it says how it was made.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from galaxy_exp.errors import ConfigError, reason_of
from galaxy_exp.folders import write_atomically

__all__ = [
    "EXPECTED_DESCRIPTION",
    "PACKAGED",
    "PRETRAINED",
    "SCRATCH",
    "SIMULATED",
    "check_classes",
    "describe_encoder",
    "describe_start",
    "file_sha256",
    "find_encoder",
    "is_description",
    "is_identity",
    "pack_encoder",
    "read_card",
    "store_encoder",
]

SCRATCH, PRETRAINED = "scratch", "pretrained"
"""Values of `start` that are no file."""

SIMULATED = "SIMULATED galaxies"
"""`trained_on` in the card of an encoder that was trained on simulated galaxies alone."""

PACKAGED = Path(__file__).parent / "hypermodel" / "pretrained.keras"
"""The encoder that `pretrained` means. Its card has the facts of its training."""

_CARD = "card.json"
_LARGEST_CARD, _LARGEST_CONFIG = 2**20, 2**24
"""In bytes."""
_LONGEST_DESCRIPTION = 200
EXPECTED_DESCRIPTION = f"expected one printable line of at most {_LONGEST_DESCRIPTION} characters"
"""For messages about what is no `is_description`."""
_RUNS_CODE = frozenset(("TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "Lambda", "__lambda__"))
"""Classes of Keras that run code which is not Keras's; some versions of Keras load them in safe mode too."""
_PACKAGES = ("keras", "galaxy_exp")
"""Those of an encoder's classes."""
_EXPECTED = f"expected {SCRATCH}, {PRETRAINED} or a .keras file"
_SHOWN = 16
"""Digits of the digest by which a sweep knows an encoder."""
_IDENTITY = re.compile(rf"(?:.*, )?sha256 [0-9a-f]{{{_SHOWN}}}")


def find_encoder(start: str, identity: str | None = None, stored: Path | None = None) -> Path:
    """The file that a value of `start` means: in the current folder, else in a folder from which modules are imported.

    The latter have the folder of the sweep's driver also in a worker that runs elsewhere.

    Args:
        identity: what `describe_encoder` returned when the sweep began; None: any file. Only the digest in it counts.
        stored: the folder of the sweep's copies, where a file with this identity is looked for first.

    Raises:
        ConfigError: there is none, or only another one than the sweep began with; one line.
    """
    if start != PRETRAINED and not start.endswith(".keras"):
        raise ConfigError(f"start: {start!r} was found; {_EXPECTED}")
    file = os.path.expanduser(start)  # noqa: PTH111  Path.expanduser raises for an unknown user
    places = [PACKAGED] if start == PRETRAINED else [Path(folder, file) for folder in ("", *sys.path)]
    if stored is not None and identity is not None:
        places.insert(0, _stored_file(identity, stored))
    found = [path for path in places if path.is_file()]
    if not found:
        raise ConfigError(f"start: {start}: no such file in {Path.cwd()}; {_EXPECTED}")
    if identity is None:
        return found[0]
    equal = next((path for path in found if _digits(path) == _digest_in(identity)), None)
    if equal is None:
        raise ConfigError(
            f"start: {found[0]} is another file than the sweep began with: sha256 {_digits(found[0])}; "
            f"expected {identity}"
        )
    return equal


def store_encoder(start: str, identity: str, stored: Path) -> None:
    """Copies an encoder into the folder of a sweep's copies, unless it is there; raises as `find_encoder`."""
    found, file = find_encoder(start, identity, stored), _stored_file(identity, stored)
    if found != file:
        write_atomically(file, lambda target: shutil.copyfile(found, target))


def is_identity(value: object) -> bool:
    """Whether it is what `describe_encoder` returns."""
    return isinstance(value, str) and _IDENTITY.fullmatch(value) is not None


def _digest_in(identity: str) -> str:
    return identity.rpartition(" ")[2]


def _stored_file(identity: str, stored: Path) -> Path:
    return stored / f"{_digest_in(identity)}.keras"


def describe_encoder(path: Path) -> str:
    """`SIMULATED galaxies, sha256 0123456789abcdef`: what it was trained on, if its card says so, and its digest."""
    trained_on = read_card(path).get("trained_on")
    digest = f"sha256 {_digits(path)}"
    return f"{trained_on}, {digest}" if trained_on else digest


def _digits(path: Path) -> str:
    """The first digits of a file's digest."""
    return file_sha256(path)[:_SHOWN]


def describe_start(values: Mapping[str, Any]) -> str | None:
    """`pretrained (SIMULATED galaxies, sha256 0123456789abcdef)`: the encoder that a network started from, if any."""
    if "start" not in values or not is_identity(values.get("encoder")):
        return None
    return f"{values['start']} ({values['encoder']})"


def file_sha256(path: Path) -> str:
    """The digest of a file, 64 hexadecimal digits."""
    status = path.stat()
    return _sha256(path.resolve(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _sha256(path: Path, _modified: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_card(path: Path) -> dict[str, Any]:
    """What the file says about how it was made; empty without a card.

    Raises:
        ConfigError: the file is no archive, its card is damaged, or `trained_on` in it is no `is_description`.
    """
    card = _read_json(path, _CARD, _LARGEST_CARD)
    if card is None:
        return {}
    if not isinstance(card, dict):
        raise ConfigError(f"start: {path}: its {_CARD} is a {type(card).__name__}; expected an object with keys")
    _check_card(path, card)
    return card


def is_description(text: object) -> bool:
    """Whether it can be `trained_on` of a card: one printable line of at most 200 characters."""
    return isinstance(text, str) and text.isprintable() and len(text) <= _LONGEST_DESCRIPTION


def check_classes(path: Path) -> None:
    """Checks by name that an encoder has only classes of Keras and of galaxy_exp, and none that runs other code.

    Raises:
        ConfigError: it has something else, which is named; or its configuration is damaged.
    """
    pending = [_read_json(path, "config.json", _LARGEST_CONFIG)]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if (reason := _refused(part)) is not None:
                raise ConfigError(f"start: {path}: has {reason}; expected only layers of Keras without other code")
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def _refused(part: Mapping[str, Any]) -> str | None:
    """Why a part of a configuration is not loaded; None: it is."""
    if "class_name" not in part:
        return None
    module, registered = part.get("module"), part.get("registered_name")
    if not all(isinstance(name, str | None) for name in (part["class_name"], module, registered)):
        return "a class whose name is not text"
    for name in (part["class_name"], registered, part.get("config")):  # the last is the name of a function
        if isinstance(name, str) and name.rpartition(".")[2].rpartition(">")[2] in _RUNS_CODE:
            return f"a {name}, which runs code that is not Keras's"
    if module is not None and module.partition(".")[0] not in (*_PACKAGES, "builtins"):
        return f"{part['class_name']!r} of the module {module!r}"
    if registered is not None and ">" in registered and registered.partition(">")[0] not in _PACKAGES:
        return f"the class {registered!r} of another package"
    return None


def _read_json(path: Path, member: str, largest: int) -> Any:
    """A member of a `.keras` file, of at most so many bytes; None without one."""
    try:
        with zipfile.ZipFile(path) as archive:
            if member not in archive.namelist():
                return None
            entry = archive.getinfo(member)
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ConfigError(f"start: {path}: its {member} is compressed in an unusual way; expected deflated")
            with archive.open(entry) as file:
                content = file.read(largest + 1)
            if max(entry.file_size, len(content)) > largest:
                raise ConfigError(f"start: {path}: its {member} is too large; expected at most {largest:,} bytes")
            return json.loads(content)
    except RecursionError as error:
        raise ConfigError(f"start: {path}: its {member} is nested too deep") from error
    except (OSError, ValueError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise ConfigError(f"start: {path}: not a .keras file: {reason_of(error)}") from error


def _check_card(path: Path, card: Mapping[str, Any]) -> None:
    if not is_description(card.get("trained_on", "")):
        raise ConfigError(f"start: {path}: trained_on in its {_CARD}: {EXPECTED_DESCRIPTION}")


def pack_encoder(saved: Path, path: Path, card: Mapping[str, Any]) -> None:
    """Writes a `.keras` file with a card, without the date of saving: equal models and cards give equal files.

    Args:
        path: of the file to write; an existing one is replaced.

    Raises:
        ConfigError: `trained_on` of the card is no `is_description`.
    """
    _check_card(path, card)
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(members["metadata.json"])
    members["metadata.json"] = json.dumps({**metadata, "date_saved": ""}).encode()
    members[_CARD] = json.dumps(dict(card), indent=1, sort_keys=True).encode()

    def write(target: Path) -> None:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in members.items():  # without a date, ZipInfo has 1980-01-01
                packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)

    write_atomically(path, write)
