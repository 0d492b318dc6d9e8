"""Stores that can never work are refused in one line with a remedy, and those that are merely away are let pass."""

from __future__ import annotations

import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
from mlflow_databases import OLD_SCHEMA, old_database
from mlflow_servers import free_port, mlflow_server
from privileges import without_roots_rights

from galaxy_exp.errors import UnusableStoreError
from galaxy_exp.tracking.store import open_client
from galaxy_exp.tracking.store_check import check_store, refuse_unusable


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_client(f"sqlite:///{path}")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def refusal(uri: str | None) -> str:
    with pytest.raises(UnusableStoreError) as caught:
        check_store(uri)
    message = str(caught.value)
    assert "\n" not in message
    assert "--set tracking.uri=sqlite:///" in message
    assert caught.value.exit_code == 2
    return message


def execute(path: Path, *statements: str) -> str:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    return f"sqlite:///{path}"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("./mlruns", "is a folder of files, .* mlflow migrate-filestore"),
        ("file:///srv/mlruns", "is a folder of files, "),
        ("./a:b/mlruns", "is a folder of files, "),
        ("a/b:c/mlruns", "is a folder of files, "),
        ("C:\\mlruns", "is a folder of files, "),
        ("nothing:x", 'unknown scheme "nothing"'),
        ("ftp://example.org/x", 'unknown scheme "ftp"; expected one of .*https'),
        ("sqlite:///.", "is not a file"),
        *(
            (f"sqlite:{name}", "is a database in memory")
            for name in ("//", "///:memory:", "///file:x?mode=memory&uri=true")
        ),
        ("sqlite:///notes.txt/mlflow.db", "notes.txt is not a folder"),
        ("sqlite:///notes.txt", "file is not a database"),
        ("mssql+nothing://me@example.org/x", "cannot be read as the address of a database"),
        ("mysql+aiomysql://me:hunter22@example.org/x", "not installed: pip install aiomysql"),
        ("http://[::1", "cannot be read as an address"),
    ],
)
def test_what_no_waiting_makes_usable_is_refused(folder: Path, uri: str, said: str) -> None:
    (folder / "notes.txt").write_text("some notes that are long enough to be read as a database of SQLite")

    message = refusal(uri)
    assert re.search(said, message)
    assert "hunter22" not in message


def test_an_old_file_store_that_mlflow_takes_by_itself_is_refused(folder: Path) -> None:
    (folder / "mlruns" / "0").mkdir(parents=True)
    (folder / "mlruns" / "0" / "meta.yaml").touch()
    assert "(MLflow's choice in this folder): is a folder of files" in refusal(None)


@pytest.mark.parametrize("uri", ["databricks", "databricks://profile", "uc:http://example.org", "databricks-uc://x"])
def test_mlflows_own_stores_are_let_pass(folder: Path, uri: str) -> None:
    check_store(uri)


def test_a_file_store_is_let_pass_if_the_user_insists(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    check_store("./mlruns")


class TestSchema:
    def test_the_present_one_and_none_yet_are_fine(self, database: Path, folder: Path) -> None:
        (folder / "empty.db").touch()
        for uri in (f"sqlite:///{database}", "sqlite:///empty.db", "sqlite:///new/folder/mlflow.db", None):
            check_store(uri, pytest.fail)

    def test_a_newer_one_is_refused(self, database: Path, folder: Path) -> None:
        copy = shutil.copy(database, folder / "newer.db")
        uri = execute(Path(copy), "UPDATE alembic_version SET version_num = 'fedcba987654'")
        assert "has the schema fedcba987654, which MLflow" in refusal(uri)
        with pytest.raises(UnusableStoreError, match="update MLflow"):
            open_client(uri)

    def test_an_older_one_that_mlflow_refuses_is_refused_with_the_command(self, database: Path, folder: Path) -> None:
        copy = shutil.copy(database, folder / "older.db")
        uri = execute(Path(copy), f"UPDATE alembic_version SET version_num = '{OLD_SCHEMA}'")
        assert f"back it up, then: mlflow db upgrade {uri}" in refusal(uri)

    def test_one_that_mlflow_migrates_is_named_first(self, folder: Path) -> None:
        uri, said = old_database(folder / "old.db"), []
        check_store(uri, said.append)
        (line,) = said
        assert f"will migrate its database {uri} from schema {OLD_SCHEMA}" in line
        assert "back it up" in line
        opening = "import sys; from galaxy_exp.tracking.store import open_client; open_client(sys.argv[1])"
        both = [subprocess.Popen([sys.executable, "-c", opening, uri]) for _ in range(2)]
        assert [process.wait() for process in both] == [0, 0]
        check_store(uri, pytest.fail)

    def test_the_database_of_another_program_is_refused(self, folder: Path) -> None:
        uri = execute(folder / "studies.db", "CREATE TABLE studies (id INTEGER)")
        assert "is the database of another program" in refusal(uri)

    def test_one_that_is_locked_is_let_pass(
        self, database: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("galaxy_exp.tracking.store_check.TIMEOUT_SECONDS", 0.2)
        copy = shutil.copy(database, folder / "locked.db")
        with sqlite3.connect(copy, isolation_level=None) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            check_store(f"sqlite:///{copy}")


WRITES_HALF = """
import os, sqlite3, sys

database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")  # so that it writes before it commits
database.execute("BEGIN IMMEDIATE")
database.execute("CREATE TABLE half (written)")
database.executemany("INSERT INTO half VALUES (?)", [("x" * 1000,)] * 200)
os._exit(1)
"""


class TestHalfWritten:
    """What a process that was killed in the middle of a transaction leaves."""

    @pytest.fixture
    def half_written(self, database: Path, folder: Path) -> Path:
        copy = folder / "mlflow.db"
        shutil.copy(database, copy)
        subprocess.run([sys.executable, "-c", WRITES_HALF, copy], check=False)
        assert (folder / "mlflow.db-journal").exists()
        return copy

    def test_is_undone(self, half_written: Path) -> None:
        check_store(f"sqlite:///{half_written}")
        with sqlite3.connect(half_written) as connection:
            assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)

    @pytest.mark.parametrize("shut", ["file", "folder"])
    def test_is_refused_to_who_may_only_read(self, half_written: Path, shut: str) -> None:
        """In a process without root's rights."""
        half_written.chmod(0o444 if shut == "file" else 0o666)
        half_written.parent.chmod(0o777 if shut == "file" else 0o555)
        code = "import sys; from galaxy_exp.tracking.store_check import refuse_unusable as check; "
        code += "check(sys.argv[1], to_write=False)"
        command = without_roots_rights([sys.executable, "-c", code, f"sqlite:///{half_written}"])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        half_written.parent.chmod(0o777)
        assert done.returncode == 1
        assert "a process was killed while it wrote into" in done.stderr


@pytest.mark.parametrize("shut", ["folder", "file"])
def test_what_the_user_may_not_write_is_refused(folder: Path, shut: str) -> None:
    """In a process without root's rights."""
    (folder / "mlflow.db").touch()
    (folder / "mlflow.db").chmod(0o444 if shut == "file" else 0o666)
    folder.chmod(0o777 if shut == "file" else 0o555)
    code = "import sys; from galaxy_exp.tracking.store_check import check_store; check_store(sys.argv[1])"
    command = without_roots_rights([sys.executable, "-c", code, f"sqlite:///{folder / 'mlflow.db'}"])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    folder.chmod(0o777)
    assert done.returncode == 1
    assert "no permission to " in done.stderr


CHECKS_EXPERIMENT = """
import sys
from galaxy_exp.tracking.store_check import check_store

check_store(sys.argv[1], experiment=sys.argv[2])
"""


class TestFilesOfRuns:
    """In a process without root's rights; `old` has its files in `elsewhere`."""

    @pytest.fixture
    def done(self, database: Path, folder: Path) -> Iterator[Callable[[str, str], subprocess.CompletedProcess[str]]]:
        shutil.copy(database, folder / "mlflow.db")
        (folder / "mlruns").mkdir()
        (folder / "elsewhere %41").mkdir()
        client = open_client(f"sqlite:///{folder}/mlflow.db")
        client.create_experiment("old", (folder / "elsewhere %41").as_uri())
        client.create_experiment("bucket", "s3://bucket/old")

        def check(experiment: str, shut: str) -> subprocess.CompletedProcess[str]:
            (folder / shut).chmod(0o555)
            code = [sys.executable, "-c", CHECKS_EXPERIMENT, f"sqlite:///{folder}/mlflow.db", experiment]
            return subprocess.run(without_roots_rights(code), capture_output=True, text=True, check=False)

        yield check
        for name in ("mlruns", "elsewhere %41"):
            (folder / name).chmod(0o755)

    @pytest.mark.parametrize(("experiment", "shut"), [("new", "mlruns"), ("old", "elsewhere %41")])
    def test_that_may_not_be_written_are_refused(self, done, folder, experiment: str, shut: str) -> None:
        refused = done(experiment, shut)
        assert refused.returncode == 1
        assert f"no permission to write in {folder / shut}, where MLflow keeps the files" in refused.stderr

    @pytest.mark.parametrize(
        ("experiment", "shut"), [("old", "mlruns"), ("bucket", "mlruns"), ("new", "elsewhere %41")]
    )
    def test_of_another_experiment_do_not_matter(self, done, experiment: str, shut: str) -> None:
        assert done(experiment, shut).stderr == ""


@contextmanager
def server_that_answers(status: int, body: bytes = b"", wait: Event | None = None, location: str = "") -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if wait is not None:
                wait.wait(60)
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - names of http.server

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        if wait is not None:
            wait.set()
        server.shutdown()
        server.server_close()


class TestServers:
    @pytest.mark.parametrize(
        ("status", "body", "said"),
        [
            (404, b"", "answers 404, but not as an MLflow server"),
            (200, b"<html>", "answers 200, but not as an MLflow server"),
            (200, b"[1]", "answers 200, but not as an MLflow server"),
            (403, b"Invalid Host header", "403"),
            (401, b"", "401.*MLFLOW_TRACKING_USERNAME"),
        ],
    )
    def test_that_are_none_or_refuse_are_refused(self, folder: Path, status: int, body: bytes, said: str) -> None:

        with server_that_answers(status, body) as uri:
            assert re.search(said, refusal(uri))
            refuse_unusable(uri, ask=False)

    @pytest.mark.parametrize(
        ("location", "said"),
        [
            (
                "https://ml.example/x/api/2.0/mlflow/experiments/search?max_results=1",
                "redirects to https://ml.example/x;",
            ),
            ("https://login.example/", "answers 302, but not as an MLflow server"),
        ],
    )
    def test_that_redirect_are_refused(self, folder: Path, location: str, said: str) -> None:
        with server_that_answers(302, location=location) as uri:
            assert said in refusal(uri)

    @pytest.mark.parametrize("status", [500, 503, 429, 408])
    def test_that_are_out_of_order_are_let_pass(self, folder: Path, status: int) -> None:
        with server_that_answers(status) as uri:
            check_store(uri)

    def test_that_are_away_or_hang_are_let_pass(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("galaxy_exp.tracking.store_check.TIMEOUT_SECONDS", 0.2)
        check_store(f"http://127.0.0.1:{free_port()}")
        with server_that_answers(200, wait=Event()) as uri:
            check_store(uri)

    def test_whose_tls_breaks_off_are_let_pass_and_those_without_tls_refused(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with socket.create_server(("127.0.0.1", 0)) as server:

            def hang_up() -> None:
                with suppress(OSError):
                    while True:
                        with server.accept()[0] as connection:
                            connection.recv(65536)

            Thread(target=hang_up, daemon=True).start()
            check_store(f"https://127.0.0.1:{server.getsockname()[1]}")
        with server_that_answers(200) as uri:
            assert "WRONG_VERSION_NUMBER" in refusal(uri.replace("http", "https"))

    @pytest.mark.slow
    def test_of_mlflow_are_fine(self, folder: Path) -> None:
        with mlflow_server(folder, free_port()) as uri:
            check_store(uri)
            check_store(f"{uri}/")
