"""Messages between driver and Dask workers that get lost, and a connection to the scheduler that breaks."""

import selectors
import socket
import threading
from urllib.parse import urlsplit

import pytest
from dask_clusters import Cluster, InProcessCluster, dask_engine
from toy_sweeps import MODULE, results, run_sweep, undisturbed

from galaxy_exp.execution import dask_protocol
from galaxy_exp.execution.clusters import RunningCluster
from galaxy_exp.execution.dask_engine import DaskEngine
from galaxy_exp.execution.dask_protocol import DaskConnection, answer_trial
from galaxy_exp.journal.events import EpochReported
from galaxy_exp.records import TrialResult

pytestmark = pytest.mark.slow


class ForgetfulConnection(DaskConnection):
    """Loses the first answer to every report, as a broken connection between scheduler and worker would."""

    lost = frozenset()

    def call(self, function, address, spec, *arguments):
        what = (spec.number, arguments)
        if function is answer_trial and what not in self.lost:
            self.lost |= {what}
        else:
            super().call(function, address, spec, *arguments)


class DeafConnection(DaskConnection):
    """Loses the message with which a trial ends."""

    missed = 0

    def take(self, message):
        is_end = isinstance(message.event, TrialResult)
        self.missed += is_end
        if not is_end:
            super().take(message)


class Line:
    """A connection to a server through a port of its own, which can be cut and restored at once."""

    def __init__(self, host, port):
        self.server = (host, port)
        self.open = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.server)
            self.open += [near, far]
            threading.Thread(target=self.pass_on, args=(near, far), daemon=True).start()

    def pass_on(self, near, far):
        with selectors.DefaultSelector() as selector, near, far:
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in selector.select():
                    try:
                        data = key.fileobj.recv(2**16)
                        key.data.sendall(data)
                    except OSError:
                        return  # either side has ended it
                    if not data:
                        return

    def cut(self):
        for each in self.open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed before
        self.open.clear()


def test_answers_that_are_lost_on_the_way_are_given_again(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_protocol, "REPEAT_SECONDS", 0.2)
    connection = ForgetfulConnection(InProcessCluster(1), tmp_path / "logs" / "worker.log", module=MODULE)
    proposals = [{"score": 0.5}, {"score": 0.6}]
    record = run_sweep(tmp_path, DaskEngine(connection), proposals)
    assert len(connection.lost) == 6
    assert results(record) == undisturbed(tmp_path / "undisturbed", proposals)
    assert not any(trial.losses for trial in record.trials.values())


def test_a_trial_that_begins_anew_within_an_attempt_is_answered(tmp_path):
    engine = dask_engine(InProcessCluster(1), tmp_path / "logs" / "worker.log", module=MODULE)
    proposals = [{"score": 0.5, "fate": "anew"}]
    record = run_sweep(tmp_path, engine, proposals)
    assert results(record) == undisturbed(tmp_path / "undisturbed", proposals)
    assert [report.epoch for report in record.trials[0].reports] == [1, 2, 3]
    assert not record.trials[0].losses


def test_a_result_that_is_lost_on_the_way_is_fetched(tmp_path):
    connection = DeafConnection(InProcessCluster(1), tmp_path / "logs" / "worker.log", module=MODULE)
    proposals = [{"score": 0.5}, {"score": 0.6}]
    record = run_sweep(tmp_path, DaskEngine(connection), proposals)
    assert connection.missed == 2
    assert results(record) == undisturbed(tmp_path / "undisturbed", proposals)
    assert not any(trial.losses for trial in record.trials.values())


def test_a_broken_connection_to_the_scheduler_is_restored_and_the_trial_issued_again(tmp_path):
    cluster = Cluster(tmp_path)
    line = Line("127.0.0.1", urlsplit(cluster.address).port)
    cut = []

    def watch(event):
        if isinstance(event, EpochReported) and event.report.number == 1 and not cut:
            cut.append(True)
            line.cut()

    proposals = [{"score": 0.5 + number / 10, "seconds": 0.3} for number in range(3)]
    try:
        cluster.add_worker()
        engine = dask_engine(RunningCluster(f"tcp://127.0.0.1:{line.port}"), tmp_path / "worker.log", module=MODULE)
        record = run_sweep(tmp_path, engine, proposals, watch=watch)
    finally:
        line.listener.close()
        cluster.close()
    assert results(record) == undisturbed(tmp_path / "undisturbed", proposals)
    assert [len(trial.losses) for trial in record.trials.values()] == [0, 1, 0]
