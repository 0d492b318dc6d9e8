"""`dask scheduler` and `dask worker` as a user would start them."""

import json
import os
import subprocess
import sys
import time

import dask
import psutil
from distributed import Client, LocalCluster

from galaxy_exp.execution.dask_engine import DaskEngine
from galaxy_exp.execution.dask_protocol import DaskConnection
from galaxy_exp.execution.worker import WORKER_MODULE

LOOPBACK = "127.0.0.1:0"


def workers_below(pid, module=WORKER_MODULE):
    """The processes that run trials, by the module that their command line names."""
    below = psutil.Process(pid).children(recursive=True)
    return [process for process in below if module in process.cmdline()]


class InProcessCluster:
    """Scheduler and Dask workers as threads of this process, for `DaskConnection`; no port is open to other machines.

    Args:
        limit: how many workers there are.
    """

    def __init__(self, limit):
        self.limit = limit

    def connect(self):
        settings = {
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            "distributed.worker.profile.enabled": False,
        }
        with dask.config.set(settings):
            self.cluster = LocalCluster(
                protocol="inproc://",
                n_workers=self.limit,
                threads_per_worker=1,
                processes=False,
                scheduler_kwargs={"dashboard": False, "dashboard_address": LOOPBACK},
                worker_dashboard_address=LOOPBACK,
                memory_limit=0,
                silence_logs=False,
            )
        return Client(self.cluster, set_as_default=False)

    def scale(self, workers):
        self.limit = workers

    def replace_lost_workers(self):
        pass

    def close(self):
        self.cluster.close()


def dask_engine(cluster, log_file, **options):
    """An engine on the workers of a cluster; the options are those of `DaskConnection`."""
    return DaskEngine(DaskConnection(cluster, log_file, **options))


class Cluster:
    """A scheduler and its workers; all end with `close`.

    Args:
        folder: for the scheduler file and the log.
        protocol: "tcp" or "tls".
        environment: of all processes, beside that of this one.
        prefix: a command in front, such as one that enters another network namespace.
        host: where the scheduler listens.
    """

    def __init__(self, folder, protocol="tcp", environment=None, prefix=(), host="127.0.0.1"):
        self.file = folder / "scheduler.json"
        self.folder = folder
        self.protocol = protocol
        self.environment = environment or {}
        self.workers = []
        options = ("--port", "0", "--no-dashboard", "--scheduler-file", str(self.file))
        self.scheduler = self.start("scheduler", *options, prefix=prefix, host=host)

    def start(self, *arguments, prefix=(), host="127.0.0.1"):
        command = [*prefix, sys.executable, "-m", "dask", *arguments, "--host", f"{self.protocol}://{host}"]
        with (self.folder / "dask.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=os.environ | self.environment)

    def add_worker(self, prefix=(), host="127.0.0.1", scheduler=None):
        """Starts a worker that finds the scheduler by its file, or at an address."""
        where = (scheduler,) if scheduler else ("--scheduler-file", str(self.file))
        self.wait_for_scheduler()
        options = ("--nthreads", "1", "--no-dashboard", "--no-nanny", *where)
        self.workers.append(self.start("worker", *options, prefix=prefix, host=host))
        return self.workers[-1]

    def wait_for_scheduler(self):
        while not self.file.exists():
            assert self.scheduler.poll() is None, (self.folder / "dask.log").read_text()
            time.sleep(0.05)

    @property
    def address(self):
        self.wait_for_scheduler()
        return json.loads(self.file.read_text())["address"]

    def close(self):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
