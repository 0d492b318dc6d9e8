"""Scheduler and workers in network namespaces of their own, as on three hosts, and a link that goes down."""

import os
import shutil
import subprocess
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from dask_clusters import Cluster, dask_engine
from toy_sweeps import MODULE, results, run_sweep, undisturbed

from galaxy_exp.execution.clusters import RunningCluster
from galaxy_exp.journal.events import EpochReported

pytestmark = pytest.mark.slow

FAST = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s", "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s"}
"""A host that is cut off is noticed after eleven seconds, the least that Dask takes, not thirty."""


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Hosts:
    """Namespaces `scheduler`, `first` and `second`; the last two and this process have a link to the first.

    The addresses are of 198.18.0.0/15, set aside for tests (RFC 2544): of link N they end in N.1 and N.2.
    """

    def __init__(self, stack):
        self.names = {each: f"gx{os.getpid()}-{each}" for each in ("scheduler", "first", "second")}
        for name in self.names.values():
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
            ip("-n", name, "link", "set", "lo", "up")
        for number, host in enumerate((None, "first", "second"), start=1):
            near, far = f"gx{os.getpid()}n{number}", f"gx{os.getpid()}f{number}"
            ip("link", "add", near, "type", "veth", "peer", "name", far)
            ip("link", "set", near, "netns", self.names["scheduler"])
            self.bring_up(self.names["scheduler"], near, f"198.18.{number}.1/24")
            if host is not None:
                ip("link", "set", far, "netns", self.names[host])
            self.bring_up(host and self.names[host], far, f"198.18.{number}.2/24")

    def bring_up(self, name, link, address):
        inside = ("-n", name) if name else ()
        ip(*inside, "address", "add", address, "dev", link)
        ip(*inside, "link", "set", link, "up")

    def inside(self, host):
        return ("ip", "netns", "exec", self.names[host])

    def switch(self, number, state):
        """Link `number` of the scheduler's host goes "up" or "down"."""
        ip("-n", self.names["scheduler"], "link", "set", f"gx{os.getpid()}n{number}", state)


@pytest.fixture
def hosts():
    if not shutil.which("ip"):
        pytest.skip("there is no `ip` command here (Debian: iproute2)")
    with ExitStack() as stack:
        try:
            made = Hosts(stack)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        yield made


def test_a_host_that_is_cut_off_in_the_middle_of_a_sweep_and_comes_back(hosts, tmp_path):
    cluster = Cluster(tmp_path, environment=FAST, prefix=hosts.inside("scheduler"), host="0.0.0.0")
    port = urlsplit(cluster.address).port

    def add(number, host):
        return cluster.add_worker(hosts.inside(host), f"198.18.{number}.2", f"tcp://198.18.{number}.1:{port}")

    first = add(2, "first")
    reported, cut = set(), []

    def watch(event):
        if not isinstance(event, EpochReported):
            return
        report = event.report.number, event.report.attempt, event.report.epoch
        assert report not in reported
        reported.add(report)
        if not cut:
            hosts.switch(2, "down")
            cut.append(event.report.number)
            add(3, "second")
        elif event.report.number != cut[0] and first.poll() is None:
            first.wait(60)  # a Dask worker that has lost its scheduler ends
            hosts.switch(2, "up")
            add(2, "first")

    proposals = [{"score": 0.5 + number / 10, "seconds": 0.5} for number in range(5)]
    try:
        engine = dask_engine(
            RunningCluster(f"tcp://198.18.1.1:{port}"), tmp_path / "logs" / "worker.log", module=MODULE
        )
        record = run_sweep(tmp_path, engine, proposals, watch=watch)
    finally:
        cluster.close()
    assert results(record) == undisturbed(tmp_path / "undisturbed", proposals)
    assert {number: len(trial.losses) for number, trial in record.trials.items() if trial.losses} == {cut[0]: 1}
    assert "has left the cluster" in record.trials[cut[0]].losses[0]
