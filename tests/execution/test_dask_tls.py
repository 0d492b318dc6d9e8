"""A Dask cluster with TLS, set up by Dask's own settings, and every way in which the two sides do not fit."""

import subprocess
from pathlib import Path

import dask
import pytest
from dask_clusters import Cluster, dask_engine
from toy_sweeps import MODULE, results, run_sweep, undisturbed

from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.clusters import RunningCluster, find_obstacle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Dask's settings, with a certificate that its own authority has signed."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        try:
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("there is no openssl command here, with which certificates are made")

    def authority(name):
        key = ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-subj", f"/CN={name}")
        openssl("req", "-x509", *key, "-days", "2", "-out", f"{name}.pem")

    authority("ca")
    authority("stranger")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-subj", "/CN=dask", "-out", "request.pem")
    signed_by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    openssl("x509", "-req", "-in", "request.pem", *signed_by, "-out", "cert.pem")
    roles = ("scheduler", "worker", "client")
    files = {f"{role}.{what}": str(folder / f"{what}.pem") for role in roles for what in ("cert", "key")}
    settings = {"ca-file": str(folder / "ca.pem"), **files}
    return {f"distributed.comm.tls.{key}": value for key, value in settings.items()} | {
        "distributed.comm.require-encryption": True
    }


def as_environment(settings):
    """The same for other processes; Dask reads two underscores as a dot."""
    return {f"DASK_{key.replace('.', '__').replace('-', '_').upper()}": str(value) for key, value in settings.items()}


@pytest.fixture(scope="module")
def tls_cluster(tls, tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), "tls", as_environment(tls))
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def plain_cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("plain"))
    yield cluster
    cluster.close()


def obstacle(folder, settings, address):
    """The one line with which a sweep ends that is given this address."""
    engine = dask_engine(RunningCluster(address), folder / "worker.log")
    try:
        with dask.config.set(settings), pytest.raises(ConfigError) as caught:
            engine.start()
    finally:
        engine.close()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value).removeprefix(f"execution.scheduler: {address}: ")


def test_a_sweep_on_a_cluster_with_tls(tls, tls_cluster, tmp_path):
    proposals = [{"score": 0.5}, {"score": 0.6}]
    tls_cluster.add_worker()
    engine = dask_engine(RunningCluster(None, tls_cluster.file), tmp_path / "logs" / "worker.log", module=MODULE)
    with dask.config.set(tls):
        record = run_sweep(tmp_path, engine, proposals)
    assert tls_cluster.address.startswith("tls://")
    assert results(record) == undisturbed(tmp_path / "undisturbed", proposals)


def test_a_scheduler_that_wants_tls_and_a_driver_that_does_not_is_one_line(tls, tls_cluster, plain_cluster, tmp_path):
    secret = tls_cluster.address
    open_address = secret.replace("tls://", "tcp://")
    plain = plain_cluster.address
    none = {}
    wants = "the scheduler there wants TLS; expected tls://HOST:PORT, and certificates (see: clusters, TLS)"
    assert obstacle(tmp_path, none, open_address) == wants
    unset = "tls:// needs distributed.comm.tls.ca-file in Dask's configuration, and it is not set (see: clusters, TLS)"
    assert obstacle(tmp_path, none, secret) == unset
    refuses = "the scheduler there does not use TLS; expected tcp://HOST:PORT"
    assert obstacle(tmp_path, tls, plain.replace("tcp://", "tls://")) == refuses
    required = "Dask's configuration has require-encryption: true; expected tls://HOST:PORT"
    assert obstacle(tmp_path, tls, plain) == required


def test_certificates_that_do_not_fit_are_one_line(tls, tls_cluster, tmp_path):
    def with_file(key, file):
        return obstacle(tmp_path, tls | {f"distributed.comm.tls.{key}": str(file)}, tls_cluster.address)

    ca = tls["distributed.comm.tls.ca-file"]
    missing = "distributed.comm.tls.client.cert of Dask's configuration: none.pem does not exist"
    assert with_file("client.cert", "none.pem") == missing
    assert with_file("client.key", ca).startswith("the TLS files of Dask's configuration cannot be used: ")
    assert "TLS certificate does not match" in with_file("ca-file", ca.replace("ca.pem", "stranger.pem"))


def test_one_file_may_have_both_certificate_and_key(tls, tls_cluster, tmp_path):
    both = tmp_path / "both.pem"
    files = (tls[f"distributed.comm.tls.client.{what}"] for what in ("cert", "key"))
    both.write_text("".join(Path(file).read_text() for file in files))
    settings = {"distributed.comm.tls.client.cert": str(both), "distributed.comm.tls.client.key": None}
    with dask.config.set(tls | settings):
        assert find_obstacle(tls_cluster.address, 10) is None
