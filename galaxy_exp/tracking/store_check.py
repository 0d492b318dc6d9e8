"""Refuses an MLflow store that can never work, before anything is trained; accepts one that has an outage.

MLflow, which takes seconds to import, is called only if there is no other way.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from functools import cache
from importlib.metadata import distribution, entry_points, version
from pathlib import Path
from urllib.parse import quote, unquote

from galaxy_exp.errors import UnusableStoreError, first_line
from galaxy_exp.redaction import hide_in_address, hide_password
from galaxy_exp.tracking.addresses import resolve_tracking_uri, sqlite_file, whole_address
from galaxy_exp.tracking.calls import quiet_mlflow
from galaxy_exp.wording import Say

__all__ = ["TIMEOUT_SECONDS", "check_store", "refuse_unusable"]

_DATABASES = ("postgresql", "mysql", "mssql", "sqlite")
_MLFLOWS_OWN = ("databricks", "databricks-uc", "uc")
"""Addresses that only MLflow can check."""
_SCHEME = re.compile(r"([a-z][a-z0-9.-]+)(?:\+[a-z0-9+.-]*)?:", re.I)
"""As in MLflow: `./a:b` and `C:\\runs` are folders."""
TIMEOUT_SECONDS = 5.0
_SEARCH = "/api/2.0/mlflow/experiments/search"

_PACKAGES = {"MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary"}
"""Packages of database drivers by module, where the names differ."""


def check_store(
    tracking_uri: str | None, say: Say = lambda _: None, command: str | None = "", experiment: str = ""
) -> None:
    """Refuses a store to which a sweep could never write.

    Args:
        tracking_uri: as configured; None uses MLflow's choice.
        say: called with a line if MLflow will migrate the database.
        command: accepts `--set` for another store; empty for the current command, None if there is no such command.
        experiment: the name of the sweep's, which may have its folder of files elsewhere than a new one.

    Raises:
        UnusableStoreError: one line with the store, the problem, and the remedy.
    """
    uri = whole_address(resolve_tracking_uri(tracking_uri))
    origin = "tracking.uri"
    if not tracking_uri:
        variable = "MLFLOW_TRACKING_URI"
        origin = variable if os.environ.get(variable) else "MLflow's choice in this folder"
    usual = "sqlite:///mlflow.db"
    other = "sqlite:///runs.db" if uri == resolve_tracking_uri(usual) else usual
    remedy = (
        "; the sweep is finished and stays in this store: repair it, or put a backup in its place"
        if command is None
        else f"; or take another store: {command} --set tracking.uri={other}"
    )
    refuse_unusable(uri, say, f" ({origin})", remedy)
    if (file := sqlite_file(uri)) is not None:
        _check_files(file, uri, experiment)


def refuse_unusable(
    uri: str, say: Say = lambda _: None, origin: str = "", remedy: str = "", *, ask: bool = True, to_write: bool = True
) -> None:
    """As `check_store`, for the whole address of a store; `origin` and `remedy` are parts of the message.

    Args:
        ask: False accepts servers without asking them.
        to_write: False accepts a database that this user may only read.
    """
    try:
        _check(uri, say, ask, to_write)
    except _Unusable as error:
        message = f"MLflow store {hide_in_address(uri)}{origin}: {error}{remedy}"
        raise UnusableStoreError(" ".join(hide_password(message).split())) from error


class _Unusable(Exception):
    """The problem of a store, and its remedy."""


def _check(uri: str, say: Say, ask: bool, to_write: bool) -> None:
    found = _SCHEME.match(uri)
    scheme = uri if uri in _MLFLOWS_OWN else found[1].lower() if found else "file"
    if (file := sqlite_file(uri)) is not None:
        _check_sqlite(file, uri, say, to_write)
    elif scheme == "sqlite" and _is_in_memory(uri):
        raise _Unusable("is a database in memory, which ends with its process; expected a file: sqlite:///mlflow.db")
    elif scheme == "file":
        _check_folder()
    elif scheme in ("http", "https"):
        if ask:
            _check_server(uri)
    elif scheme in _DATABASES:
        _check_driver(uri)
    else:
        plugins = {each.name for each in entry_points(group="mlflow.tracking_store")}
        known = {*_DATABASES, *_MLFLOWS_OWN, *plugins, "http", "https"}
        if scheme not in known:
            raise _Unusable(f'unknown scheme "{scheme}"; expected one of {", ".join(sorted(known))}')


# folders


def _check_folder() -> None:
    """Checks MLflow's file store, which later releases open only with an environment variable."""
    insists = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")
    if insists or "MLFLOW_ALLOW_FILE_STORE" not in (_mlflow_folder() / "environment_variables.py").read_text():
        return
    raise _Unusable(
        f"is a folder of files, which MLflow {version('mlflow')} does not open any more; "
        "move its runs into a database: mlflow migrate-filestore; or allow it: MLFLOW_ALLOW_FILE_STORE=true"
    )


def _mlflow_folder() -> Path:
    return Path(str(distribution("mlflow").locate_file("mlflow")))


# SQLite


def _is_in_memory(uri: str) -> bool:
    name, _, options = uri.partition(":")[2].partition("?")
    return name.strip("/") in ("", ":memory:", "file::memory:") or "mode=memory" in options


def _check_sqlite(file: Path, uri: str, say: Say, to_write: bool) -> None:
    folder = _nearest(file.parent)
    if not folder.is_dir():
        raise _Unusable(f"{folder} is not a folder")
    if to_write and not os.access(folder, os.W_OK | os.X_OK):
        raise _Unusable(
            f"no permission to write in {folder}, as SQLite does beside the database: make it writable for this user"
        )
    if not os.path.lexists(file):
        return
    if not file.is_file():
        raise _Unusable("is not a file" if file.exists() else f"{file} is a link to nothing")
    if not os.access(file, os.R_OK):
        raise _Unusable(f"no permission to read {file}: make it readable for this user")
    if to_write and not os.access(file, os.W_OK):
        raise _Unusable(f"no permission to write {file}: make it writable for this user")
    tables, found = _read_schema(file)
    if tables and "experiments" not in tables:
        raise _Unusable("is the database of another program")
    if found:
        _check_schema(found, tables, uri, say)


def _nearest(path: Path) -> Path:
    """The path itself or the innermost folder above it that exists; Path.exists raises without permission."""
    return next(each for each in (path, *path.parents) if os.access(each, os.F_OK))


def _check_files(database: Path, uri: str, experiment: str) -> None:
    """Refuses a folder of models and figures that cannot be written, which MLflow would notice at the sweep's end.

    MLflow writes those of a new experiment to `mlruns` in the current folder.
    """
    found = None
    if os.path.lexists(database):
        try:
            with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=0)) as opened:
                query = "SELECT artifact_location FROM experiments WHERE name = ?"
                found = opened.execute(query, (experiment,)).fetchone()
        except sqlite3.Error:  # another process has locked it, or is making it
            return
    path = "mlruns" if found is None else str(found[0]).removeprefix("file://")
    spellings = [Path(each).absolute() for each in (path, unquote(path))]
    known = [each for each in spellings if os.access(each, os.F_OK)]  # an experiment's may be a bucket
    folder = known[0] if known else None if found else _nearest(spellings[0])
    if folder is not None and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise UnusableStoreError(
            f"MLflow store {hide_in_address(uri)}: no permission to write in {folder}, where MLflow keeps the files of "
            "runs and models: make it a folder that is writable for this user"
        )


def _read_schema(file: Path) -> tuple[set[str], str]:
    """The tables of a database and MLflow's revision of them; empty if another process has locked it.

    SQLite undoes what a process that was killed left half written, so the file is opened to write where it can be.
    """
    address = f"file:{quote(str(file))}?mode=rw"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=TIMEOUT_SECONDS)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            versioned = "alembic_version" in tables
            found = database.execute("SELECT version_num FROM alembic_version").fetchall() if versioned else []
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            return set(), ""
        if file.with_name(f"{file.name}-journal").exists():
            raise _Unusable(
                f"a process was killed while it wrote into {file}, and undoing that takes the right to write in "
                f"{file.parent}: let a user who has it open the MLflow UI on the database once"
            ) from error
        raise _Unusable(f"cannot be read: {error}") from error
    except sqlite3.DatabaseError as error:
        raise _Unusable(f"cannot be read: {error}; put a backup in its place, or move it away") from error
    return tables, found[0][0] if len(found) == 1 else ""


def _check_schema(found: str, tables: set[str], uri: str, say: Say) -> None:
    """MLflow migrates an older database if it lacks a table, and else refuses it; it always refuses a newer one.

    A database without a revision is being created.
    """
    revisions, latest = _revisions()
    if found == latest or latest is None:
        return
    release = version("mlflow")
    if found not in revisions:
        raise _Unusable(f"has the schema {found}, which MLflow {release} does not know: update MLflow (pip install -U)")
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - declares the tables
    from mlflow.store.db.base_sql_model import Base

    if tables >= set(Base.metadata.tables):
        shown = hide_in_address(uri)
        raise _Unusable(
            f"has the schema {found} of an earlier MLflow, and MLflow {release} needs {latest}: "
            f"back it up, then: mlflow db upgrade {shown}"
        )
    say(
        f"note: MLflow {release} will migrate its database {hide_in_address(uri)} from schema {found} to {latest}; "
        "earlier releases cannot open it then, so back it up if you need them"
    )


@cache
def _revisions() -> tuple[frozenset[str], str | None]:
    """The schemas that MLflow knows, and the latest of them if it can be determined."""
    revisions: set[str] = set()
    earlier: set[str] = set()
    for file in (_mlflow_folder() / "store" / "db_migrations" / "versions").glob("*_*.py"):
        text = file.read_text(encoding="utf-8")
        revisions.update(re.findall(r"^revision\b[^=]*=\s*[\"'](\w+)", text, re.M))
        for line in re.findall(r"^down_revision\b[^=]*=(.*)$", text, re.M):
            earlier.update(re.findall(r"\w+", line))
    latest = revisions - earlier
    return frozenset(revisions), latest.pop() if len(latest) == 1 else None


# other databases, and servers


def _check_driver(uri: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        package = _PACKAGES.get(error.name or "", error.name)
        raise _Unusable(f"its database driver is not installed: pip install {package}") from error
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise _Unusable(f"cannot be read as the address of a database: {first_line(error)}") from error


def _check_server(uri: str) -> None:
    """Asks the server for an experiment, without credentials; if that does not decide, MLflow's client asks."""
    import requests

    try:
        answer = requests.get(
            f"{uri.rstrip('/')}{_SEARCH}", {"max_results": 1}, timeout=TIMEOUT_SECONDS, allow_redirects=False
        )
    except requests.exceptions.SSLError:
        _ask_client(uri)
        return
    except (requests.ConnectionError, requests.Timeout):
        return
    except (requests.RequestException, ValueError) as error:
        raise _Unusable(f"cannot be read as an address: {first_line(error)}") from error
    target, is_same_path, _ = answer.headers.get("Location", "").partition(_SEARCH)
    if answer.status_code in (301, 302, 303) and is_same_path:  # requests would make a GET of what is sent there
        raise _Unusable(f"redirects to {hide_in_address(target)}; expected that address")
    try:
        content = answer.json()
    except ValueError:
        content = None
    is_mlflows = isinstance(content, dict) and content.keys() <= {"experiments", "next_page_token"}
    if answer.status_code == 404 or (answer.ok and not is_mlflows):
        raise _Unusable(
            f"answers {answer.status_code}, but not as an MLflow server does; expected its address with the path of a "
            "proxy, if any"
        )
    if answer.status_code in (400, 401, 403):
        _ask_client(uri)


def _ask_client(uri: str) -> None:
    """Asks with the user's credentials and certificates, which only MLflow can find."""
    from mlflow import MlflowClient

    try:
        with quiet_mlflow():
            MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except Exception as error:  # errors of MLflow and its libraries, of any type
        if _FOR_GOOD.search(str(error)):
            raise _Unusable(
                f"{first_line(error)}; see the address, and MLFLOW_TRACKING_USERNAME and ..._PASSWORD"
            ) from error


_FOR_GOOD = re.compile(
    r"\b40[0134]\b|PERMISSION_DENIED|UNAUTHENTICATED|CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER", re.I
)
"""In an error of MLflow's client that will not go away by itself."""
