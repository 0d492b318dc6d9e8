"""Batch jobs through dask-jobqueue: a real one-node SLURM where it is installed, and a stand-in for its commands."""

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dask
import pytest
from dask_clusters import dask_engine
from toy_sweeps import MODULE, results, run_sweep, undisturbed

from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.clusters import SlurmCluster, find_obstacle, make_certificate
from galaxy_exp.execution.dask_engine import DaskEngine
from galaxy_exp.execution.dask_protocol import DaskConnection
from galaxy_exp.journal.events import EpochReported

pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed: pip install 'galaxy-exp[slurm]'")
pytestmark = pytest.mark.slow

ROLES = ("client", "scheduler", "worker")
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue")

SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={spool}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={spool}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
KillWait=5
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=short Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

SBATCH = """#!{python}
import os, subprocess, sys
if os.path.exists("refusing"):
    sys.exit("sbatch: error: Batch job submission failed: Required partition not available")
script = "export SLURM_JOB_ID=$$\\n" + open(sys.argv[1]).read()
log = open("jobs.log", "ab")
job = subprocess.Popen(["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
open("jobs", "a").write(f"{{job.pid}}\\n")
print("Submitted batch job", job.pid)
"""

SCANCEL = """#!{python}
import os, signal, sys
for job in sys.argv[1:]:
    try:
        os.killpg(int(job), signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


def is_alive_group(number):
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


class StandIn:
    """Commands by the names of SLURM's: a job is a process group of this machine, known by its number."""

    def __init__(self, folder, monkeypatch):
        for name, text in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
            (folder / name).write_text(text.format(python=sys.executable))
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        self.folder = folder

    def close(self):
        """Jobs that the engine left behind are a fault; they are ended all the same."""
        jobs = (self.folder / "jobs").read_text().split()
        left = [job for job in jobs if is_alive_group(int(job))]
        subprocess.run(["scancel", *left], check=True)
        assert not left


class Slurm:
    """munged, slurmctld and slurmd for this machine alone, on ports of their own."""

    def __init__(self, folder, monkeypatch):
        if missing := [name for name in DAEMONS if not shutil.which(name)]:
            pytest.skip(f"SLURM is not installed ({', '.join(missing)} not found); Debian: apt-get install slurm-wlm")
        if os.geteuid() != 0:
            pytest.skip("only root can start SLURM's daemons")
        self.folder = folder
        self.daemons = []
        # sockets are made there, and their paths may have 107 characters
        self.spool = tempfile.TemporaryDirectory(prefix="slurm", dir="/tmp")
        spool = Path(self.spool.name)
        spool.chmod(0o711)
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            ports = one.getsockname()[1], two.getsockname()[1]
        host = socket.gethostname().split(".")[0]
        conf = folder / "slurm.conf"
        conf.write_text(SLURM_CONF.format(host=host, ports=ports, folder=folder, spool=spool, cpus=os.cpu_count()))
        (folder / "state").mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        monkeypatch.setenv("SLURM_CONF", str(conf))
        files = {"key-file": key, "socket": spool / "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
        options = [f"--{option}={folder / file}" for option, file in (files | {"seed-file": "munged.seed"}).items()]
        self.start("munged", "--force", "--foreground", *options)
        self.start("slurmctld", "-D", "-c", "-f", str(conf))
        self.start("slurmd", "-D", "-N", "node", "-f", str(conf))
        deadline = time.monotonic() + 60
        while "idle" not in subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True).stdout:
            assert time.monotonic() < deadline, (folder / "daemons.log").read_text()
            time.sleep(0.2)
        first = ["sbatch", "--wait", "--partition=short", "--output=/dev/null", "--wrap=true"]
        subprocess.run(first, check=True, timeout=60)

    def start(self, *command):
        with (self.folder / "daemons.log").open("ab") as log:
            self.daemons.append(subprocess.Popen(command, stdout=log, stderr=log))

    def close(self):
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait(30)
        self.spool.cleanup()


OPTIONS = {"cores": 1, "memory": "1GB", "interface": "lo"}


@pytest.fixture(params=[StandIn, Slurm], ids=["stand-in", "slurm"])
def batch_system(request, tmp_path, monkeypatch):
    folder = tmp_path / "batch"
    folder.mkdir(mode=0o711)
    monkeypatch.chdir(folder)
    system = request.param(folder, monkeypatch)
    yield system
    system.close()


def test_eight_trials_in_two_jobs_of_which_one_is_cancelled(batch_system, tmp_path):
    certificate = tmp_path / "it's my sweep.tls"  # its path comes into a shell script
    workers = SlurmCluster(2, OPTIONS | {"memory": "500MB", "walltime": "00:10:00", "queue": "short"}, certificate)
    engine = dask_engine(workers, tmp_path / "logs" / "worker.log", module=MODULE)
    cancelled, addresses, modes, strangers = [], set(), {}, []

    def watch(event):
        if not addresses:
            scheduler = workers.dask_cluster.scheduler
            addresses.update([scheduler.address, *scheduler.workers])
            modes.update({file.name: stat.S_IMODE(file.stat().st_mode) for file in certificate.iterdir()})
            strangers.append(find_obstacle(scheduler.address.replace("tls://", "tcp://"), 10))
        if isinstance(event, EpochReported) and not cancelled:
            cancelled.append(event.report.number)
            subprocess.run(["scancel", (tmp_path / str(event.report.number) / "job").read_text()], check=True)

    proposals = [{"score": 0.5 + number / 20, "seconds": 0.5} for number in range(8)]
    record = run_sweep(tmp_path, engine, proposals, watch=watch)
    assert results(record) == undisturbed(tmp_path / "undisturbed", proposals)
    assert len(addresses) > 1 and all(address.startswith("tls://") for address in addresses)
    assert modes == {"cert.pem": 0o600, "key.pem": 0o600}
    assert strangers[0].startswith("the scheduler there wants TLS")
    assert not certificate.exists()
    assert {number: len(trial.losses) for number, trial in record.trials.items() if trial.losses} == {cancelled[0]: 1}


def test_jobs_that_are_refused_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: none' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    engine = dask_engine(SlurmCluster(1, OPTIONS, tmp_path / "tls"), tmp_path / "worker.log")
    try:
        with pytest.raises(
            ConfigError, match="sbatch does not take the jobs: sbatch: error: invalid partition"
        ) as caught:
            engine.start()
    finally:
        engine.close()
    assert len(str(caught.value).splitlines()) == 1


CONNECT = """
import signal
from pathlib import Path
from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.clusters import SlurmCluster
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    SlurmCluster(1, {"security": False}, Path("tls")).connect()
except ConfigError as error:
    assert "must specify how much cores and memory" in str(error)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def test_ctrl_c_still_interrupts_when_dask_jobqueue_is_imported(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", CONNECT], check=True, cwd=tmp_path, env=environment, timeout=60)


def test_without_slurm_the_sweep_ends_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    engine = dask_engine(SlurmCluster(1, OPTIONS, tmp_path / "tls"), tmp_path / "worker.log")
    try:
        with pytest.raises(ConfigError, match=r"sbatch does not take the jobs: .*No such file"):
            engine.start()
    finally:
        engine.close()


START = """
import sys
from pathlib import Path
from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.worker_pool import build_engine
options = {"cores": 1, "memory": "1GB", "interface": "lo", "security": False}
engine = build_engine(ExecutionConfig(cluster="slurm", workers=2, cluster_options=options), Path("logs/worker.log"))
try:
    engine.start()
except ConfigError as error:
    print(error)
finally:
    engine.close()
"""


def test_a_refusal_prints_nothing_but_its_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    StandIn(tmp_path, monkeypatch)
    (tmp_path / "refusing").touch()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
    )
    assert run.stderr == ""
    assert re.fullmatch("execution.cluster: slurm: sbatch does not take the jobs: .*not available\n", run.stdout)


def test_further_jobs_that_are_refused_are_submitted_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("galaxy_exp.execution.dask_engine.RENEW_SECONDS", 0.5)
    StandIn(tmp_path, monkeypatch)
    said = []
    workers = SlurmCluster(1, OPTIONS | {"job_script_prologue": ["exit"], "security": False}, tmp_path / "tls")
    engine = DaskEngine(DaskConnection(workers, tmp_path / "worker.log", module=MODULE), said.append)

    def wait_until(is_so):
        deadline = time.monotonic() + 60
        while not is_so():
            assert time.monotonic() < deadline, said
            engine.next_event(0.1)

    try:
        engine.start()
        (tmp_path / "refusing").touch()
        engine.scale(2)
        wait_until(lambda: len(said) > 1)
        assert re.fullmatch(r"sbatch does not take further jobs: .* not available; trying again every \d+ s", said[1])
        (tmp_path / "refusing").unlink()
        wait_until(lambda: len((tmp_path / "jobs").read_text().split()) == 2)
        assert len(said) == 2
    finally:
        engine.close()


def test_a_log_directory_with_a_space_is_refused(tmp_path):
    workers = SlurmCluster(1, OPTIONS | {"log_directory": "job logs", "security": False}, tmp_path / "tls")
    with pytest.raises(ConfigError, match=r"cluster_options: log_directory: found 'job logs'; expected a path without"):
        workers.connect()


def started(monkeypatch, folder, options):
    """An engine with one job that never starts, and its scheduler's address."""
    StandIn(folder, monkeypatch)
    workers = SlurmCluster(1, OPTIONS | {"job_script_prologue": ["exit"]} | options, folder / "tls")
    engine = dask_engine(workers, folder / "worker.log", module=MODULE)
    try:
        engine.start()
        return workers.dask_cluster.scheduler.address, (folder / "tls").exists()
    finally:
        engine.close()


def test_tls_is_turned_off_by_its_key_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address, has_certificate = started(monkeypatch, tmp_path, {"security": False})
    assert (address.split(":")[0], has_certificate) == ("tcp", False)
    with pytest.raises(ConfigError, match=r"protocol: tcp:// is not encrypted; expected tls://, or security: false"):
        started(monkeypatch, tmp_path, {"protocol": "tcp://"})
    with pytest.raises(ConfigError, match="security: found 'no'; expected true or false"):
        started(monkeypatch, tmp_path, {"security": "no"})


def test_certificates_of_dasks_own_configuration_are_used_instead(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_certificate(tmp_path / "own")
    files = {f"{role}.{kind}": str(tmp_path / "own" / f"{kind}.pem") for role in ROLES for kind in ("cert", "key")}
    settings = {"ca-file": str(tmp_path / "own" / "cert.pem"), **files}
    with dask.config.set({f"distributed.comm.tls.{key}": file for key, file in settings.items()}):
        address, has_certificate = started(monkeypatch, tmp_path, {})
    assert (address.split(":")[0], has_certificate) == ("tls", False)
