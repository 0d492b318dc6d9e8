"""A real MLflow server that is killed, answers 500, hangs, is slow or has no disk left: the sweep does not mind."""

import shutil
from types import SimpleNamespace

import pytest
from journaled_sweeps import FINISH, JournaledSweep, trial_events
from mlflow_servers import FaultyProxy, free_port, mlflow_server
from tiny_disks import fill_disk, tiny_disk

from galaxy_exp.cli.main import run_command
from galaxy_exp.errors import TrackingError
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.tracking import names
from galaxy_exp.tracking.store import open_client

pytestmark = pytest.mark.slow

TRIALS = [event for number in range(4) for event in trial_events(number)]
OUTAGE = range(7, 14)
"""Which of the events fall into it."""


@pytest.fixture(scope="module", autouse=True)
def impatience():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "8")
        yield


@pytest.fixture(scope="module")
def server(empty_store, tmp_path_factory):
    """A server that can be killed and started again."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    shutil.copy(empty_store, folder / "server.db")
    server = SimpleNamespace(port=port)

    def start():
        server.running = mlflow_server(folder, port)
        server.running.__enter__()

    def kill():
        server.running.__exit__(None, None, None)

    server.start, server.kill = start, kill
    start()
    yield server
    kill()


@pytest.fixture
def sweep_at(tmp_path, prepared, request, monkeypatch):
    """A function: the sweep that is tracked at an address. Its clock stands still unless `now[0]` is changed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GALAXY_EXP_HOME", raising=False)

    def sweep_at(uri):
        now = [0.0]
        made = JournaledSweep(
            ProjectFolder.default(), open_client(uri), uri, request.node.name.strip("]").replace("[", " "), prepared
        )
        made.now, made.clock = now, lambda: now[0]
        return made

    return sweep_at


@pytest.fixture
def proxy(server):
    with FaultyProxy(server.port) as proxy:
        yield proxy


def play(sweep, events, before):
    """Plays events to one projection, and calls `before` with the number of each."""
    with sweep.begin() as journal:
        projection = sweep.projection(journal)
        for number, event in enumerate(events):
            before(number)
            if event.event == "trial_ended":
                sweep.write_trial(event.result.number)
            projection.on_event(journal.append(event), journal.record)


def assert_nothing_lost_or_doubled(sweep, statuses):
    runs = list(sweep.runs().values())
    assert sorted(run.data.tags.get(names.TRIAL, "sweep") for run in runs) == ["0", "1", "2", "3", "sweep"]
    assert sorted({run.info.status for run in runs}) == statuses
    for trial in sweep.record().trials.values():
        history = sweep.client.get_metric_history(trial.run_id, "val_macro_f1")
        assert [point.value for point in history] == trial.curve("val_macro_f1")
        assert "history.csv" in {file.path for file in sweep.client.list_artifacts(trial.run_id)}


def assert_told_once(sweep):
    assert ["the sweep continues" in line for line in sweep.said] == [True, False]
    assert sweep.said[1].endswith("is back and has everything")
    assert "\n" not in sweep.said[0]


@pytest.mark.parametrize("mood", ["refuses", "500", "hangs"])
def test_an_outage_in_the_middle_is_told_once_and_caught_up(sweep_at, proxy, mood):
    sweep = sweep_at(proxy.uri)
    asked = []

    def before(number):
        proxy.mood = mood if number in OUTAGE else "fine"
        asked.append(proxy.requests)
        if number == OUTAGE.stop:
            sweep.now[0] += 3600

    play(sweep, TRIALS, before)
    assert asked[OUTAGE.stop] - asked[OUTAGE.start] <= 2  # it is not asked at every event
    assert_told_once(sweep)
    assert_nothing_lost_or_doubled(sweep, ["FINISHED", "RUNNING"])


def test_a_server_that_is_killed_and_comes_back_is_caught_up(sweep_at, server):
    sweep = sweep_at(f"http://127.0.0.1:{server.port}")

    def before(number):
        if number == OUTAGE.start:
            server.kill()
        if number == OUTAGE.stop:
            server.start()
            sweep.now[0] += 3600

    play(sweep, TRIALS, before)
    assert_told_once(sweep)
    assert_nothing_lost_or_doubled(sweep, ["FINISHED", "RUNNING"])


def test_a_server_that_is_down_at_the_end_gets_the_rest_from_sync(sweep_at, proxy, capsys):
    sweep = sweep_at(proxy.uri)
    with sweep.begin() as journal:
        projection = sweep.projection(journal)
        for event in [*TRIALS, *FINISH]:
            if event.event == "trial_ended":
                sweep.write_trial(event.result.number)
                proxy.mood = "500" if event.result.number == 2 else "fine"
            projection.on_event(journal.append(event), journal.record)
        proxy.mood = "500"
        with pytest.raises(TrackingError, match="cannot be written to"):
            projection.close_sweep("FINISHED")
    assert run_command(["sync"]) == 1
    assert "500" in capsys.readouterr().err
    proxy.mood = "fine"
    assert run_command(["sync"]) == 0
    assert_nothing_lost_or_doubled(sweep, ["FINISHED"])
    before = sweep.runs()
    assert run_command(["sync"]) == 0
    assert sweep.runs().keys() == before.keys()
    assert_nothing_lost_or_doubled(sweep, ["FINISHED"])


def test_a_slow_server_is_left_alone_half_of_the_time_and_gets_everything(sweep_at, proxy):
    sweep = sweep_at(proxy.uri)
    waited = [0.0]

    def delay():
        waited[0] += 2.0
        sweep.now[0] += 2.0

    proxy.before_each = delay
    with sweep.begin() as journal:
        projection = sweep.projection(journal)
        for event in TRIALS:
            if event.event == "trial_ended":
                sweep.write_trial(event.result.number)
            projection.on_event(journal.append(event), journal.record)
            sweep.now[0] += 60
        assert waited[0] < 0.5 * sweep.now[0]
        assert len(sweep.said) == 1
        assert "is slow" in sweep.said[0]
        proxy.before_each = lambda: None
        projection.catch_up()
    assert_nothing_lost_or_doubled(sweep, ["FINISHED", "RUNNING"])


def test_a_store_without_space_is_told_once_and_caught_up(sweep_at, tmp_path):
    with tiny_disk(tmp_path / "tiny", megabytes=8) as disk:
        sweep = sweep_at(f"sqlite:///{disk / 'mlflow.db'}")
        sweep.client.create_experiment(sweep.experiment, artifact_location=(disk / "artifacts").as_uri())
        filler = disk / "filler"

        def before(number):
            if number == OUTAGE.start:
                fill_disk(filler)
            if number == OUTAGE.stop:
                filler.unlink()
                sweep.now[0] += 3600

        play(sweep, TRIALS, before)
        assert_told_once(sweep)
        assert_nothing_lost_or_doubled(sweep, ["FINISHED", "RUNNING"])
