"""What several parts' tests share: a small prepared data set, and one real finished sweep."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from galaxy_exp.folders import open_locked

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TESTS = Path(__file__).parent

TINY_SWEEP = """
name: tiny
data:
  source: simulated
  simulated: {n_images: 150, image_size: 24, class_proportions: equal}
hypermodel: toys:TinyHyperModel
training: {epochs: 4, precision: float32, deterministic: true}
search: {max_trials: 5, seed: 3, first_rung: 1, reduction_factor: 2}
tracking: {experiment: tiny, figures: false}
registry: {model: tiny-model, finalists: 0}
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--refuse-skips", action="store_true", help="fail if any test was skipped")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test checks nothing: with `--refuse-skips` it fails the run, and the summary names it."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--refuse-skips") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, backwards as whole sweeps stand late: no process shall begin a long one last."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    ranks = {path: rank for rank, path in enumerate(dict.fromkeys(item.path for item in items))}
    items.sort(key=lambda item: (0, -ranks[item.path]) if item.path in slow else (1, ranks[item.path]))


@pytest.fixture(autouse=True)
def settings_stay():
    """No test leaves a setting of MLflow or galaxy_exp behind for the tests after it in the same process."""
    before = _settings()
    yield
    assert _settings() == before


def _settings() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.startswith(("MLFLOW_", "GALAXY_EXP_"))}


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A function: the path of a name, filled by the first process that asks for it; xdist's others find it filled."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def find(name: str, make: Callable[[Path], None]) -> Path:
        path, made = folder / name, folder / f"{name}.made"
        with open_locked(folder / f"{name}.lock", wait=True):
            if not made.exists():
                make(path)
                made.touch()
        return path

    return find


@pytest.fixture(scope="session")
def empty_store(made_once):
    """A SQLite file with MLflow's tables and no runs, to be copied: MLflow takes a second or two for the tables."""

    def make(path):
        from galaxy_exp.tracking.store import open_client

        open_client(f"sqlite:///{path}")

    return made_once("empty.db", make)


@pytest.fixture(scope="session")
def new_store(empty_store, tmp_path_factory):
    """A function: the address of another empty MLflow store."""

    def make() -> str:
        return f"sqlite:///{shutil.copy(empty_store, tmp_path_factory.mktemp('store') / 'mlflow.db')}"

    return make


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """150 simulated galaxies of 24 pixels in ten classes, split and written."""
    from galaxy_exp.config.data_section import DataConfig, SimulatedConfig, SplitConfig
    from galaxy_exp.data import load_dataset, prepare_split

    config = DataConfig(simulated=SimulatedConfig(n_images=150, image_size=24, class_proportions="equal"))
    return prepare_split(load_dataset(config), SplitConfig(), tmp_path_factory.mktemp("prepared"))


class Project:
    """A folder in which `galaxy-exp` is run as a user would, in processes of its own unless it is `call`ed.

    Args:
        sweep: its sweep file; None: it has one.
    """

    def __init__(self, path: Path, sweep: str | None = TINY_SWEEP) -> None:
        self.path = path
        self.output: subprocess.CompletedProcess[str] | None = None
        """What the sweep of `finished` printed."""
        if sweep is not None:
            (path / "sweep.yaml").write_text(sweep)
        settings = _settings()
        kept = {key: value for key, value in os.environ.items() if key not in settings}
        self.environment = kept | {"PYTHONPATH": str(TESTS), "COLUMNS": "200"}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "galaxy_exp", *arguments]

    def run(self, *arguments: str, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs to the end and insists on the exit code."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.path, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == exit_code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def call(self, *arguments: str, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        """As `run`, but in this process, which imports TensorFlow and MLflow once; its workers are processes as always.

        For tests of what a command does, not of the process that it is.
        """
        from galaxy_exp.cli.main import run_command

        output, errors = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
            patch.chdir(self.path)
            patch.setattr(sys, "path", [*sys.path])
            for name in os.environ.keys() - self.environment.keys():
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            status = run_command([*arguments])
        done = subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())
        assert status == exit_code, f"exit code {status}\n{done.stdout}\n{done.stderr}"
        return done

    def call_while(
        self, action: Callable[[], object], *arguments: str, exit_code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """As `call`, while a thread does something to the command; what that raises is raised."""
        with ThreadPoolExecutor(1) as other:
            acting = other.submit(action)
            done = self.call(*arguments, exit_code=exit_code)
            acting.result()
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Runs in the background, in a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell has it ignored
        )

    def copy_to(self, path: Path) -> "Project":
        """The same project elsewhere, with its own data and store, for tests that change it."""
        shutil.copytree(self.path, path, dirs_exist_ok=True)
        for journal in path.glob(".galaxy_exp/sweeps/*/journal.jsonl"):
            journal.write_text(journal.read_text().replace(str(self.path), str(path)))
        return Project(path)

    def sweep_folders(self) -> list[Path]:
        folders = (self.path / ".galaxy_exp" / "sweeps").glob("*")
        return sorted(folders, key=lambda folder: folder.stat().st_mtime)

    def record(self):
        from galaxy_exp.journal.journal import read_record

        return read_record(self.sweep_folders()[-1])

    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{self.path / 'mlflow.db'}")


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def with_store(project, empty_store):
    """The project has an empty MLflow store, as after another sweep."""
    shutil.copy(empty_store, project.path / "mlflow.db")


@pytest.fixture(scope="session")
def project_in():
    """Makes a project in a folder, for fixtures of a wider scope than `project`."""
    return Project


@pytest.fixture(scope="session")
def finished(made_once):
    """A project with one finished sweep of five tiny trials, with figures.

    All processes that run tests share it: read it, and change or `sync` or `resume` a copy.
    """

    def make(path):
        path.mkdir()
        project = Project(path, TINY_SWEEP.replace("figures: false", "figures: true"))
        done = project.run("sweep", "sweep.yaml")
        path.with_suffix(".json").write_text(json.dumps([done.args, done.returncode, done.stdout, done.stderr]))

    path = made_once("finished", make)
    project = Project(path, sweep=None)
    project.output = subprocess.CompletedProcess(*json.loads(path.with_suffix(".json").read_text()))
    return project
