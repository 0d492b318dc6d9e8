"""How cores and GPUs are divided; no GPU is needed to know."""

import pytest

from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.resources import (
    available_cores,
    count_workers,
    gpu_environment,
    refuse_too_many,
    threads_each,
    visible_gpus,
    worker_environments,
)


@pytest.mark.parametrize(("cores", "workers", "each"), [(16, 4, 4), (16, 5, 3), (2, 2, 1), (2, 8, 1)])
def test_workers_together_have_no_more_threads_than_cores(cores, workers, each):
    assert threads_each(cores, workers) == each


@pytest.mark.parametrize(
    ("environment", "devices", "gpus"),
    [
        ({}, ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"], ["0", "1"]),
        ({}, [], []),
        ({"CUDA_VISIBLE_DEVICES": "2, 3"}, ["nvidia0"], ["2", "3"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-5f1c,MIG-07aa"}, [], ["GPU-5f1c", "MIG-07aa"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, ["nvidia0"], []),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, ["nvidia0"], ["0"]),
    ],
)
def test_visible_gpus_are_those_that_cuda_would_see(environment, devices, gpus):
    assert visible_gpus(environment, devices) == gpus


@pytest.mark.parametrize(("per_gpu", "expected"), [(1, "0101"), (2, "0011")])
def test_each_worker_gets_a_gpu(per_gpu, expected):
    found = [gpu_environment(["0", "1"], per_gpu, position) for position in range(4)]
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in found] == list(expected)
    assert gpu_environment([], per_gpu, 0) == {}


@pytest.mark.parametrize(
    ("gpus", "settings", "workers", "is_local"),
    [
        ("", {}, 1, True),
        ("0", {}, 1, True),
        ("0,1", {}, 2, True),
        ("0,1", {"workers_per_gpu": 3}, 6, True),
        ("0,1", {"workers": 1}, 1, True),
        ("0,1", {"engine": "inline"}, 1, True),
        ("", {"workers": 3}, 3, True),
        ("", {"engine": "local", "workers": 3}, 3, True),
        ("", {"engine": "dask"}, 1, True),
        ("", {"engine": "dask", "workers": 3}, 3, True),
        ("", {"scheduler": "tcp://host:8786"}, 1, False),
    ],
)
def test_the_engine_follows_from_the_machine_and_the_sweep_file(monkeypatch, gpus, settings, workers, is_local):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    config = ExecutionConfig(**settings)
    assert (count_workers(config), config.is_local) == (workers, is_local)


def test_workers_share_threads_and_gpus_and_one_alone_is_not_limited(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    found = worker_environments(ExecutionConfig(workers=3, workers_per_gpu=2))
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["0", "0", "1"]
    assert [each["TF_NUM_INTRAOP_THREADS"] for each in found] == [str(threads_each(available_cores(), 3))] * 3
    assert worker_environments(ExecutionConfig(workers=1)) == [{}]
    (limited,) = worker_environments(ExecutionConfig(workers=1, threads=2))
    assert limited["OMP_NUM_THREADS"] == "2"


def test_more_workers_than_memory_could_hold_are_refused():
    memory = 2 * 2**30
    refuse_too_many(ExecutionConfig(workers=10), memory)
    refuse_too_many(ExecutionConfig(workers=9999, scheduler="tcp://host:8786"), memory)
    with pytest.raises(ConfigError, match=r"workers: 11 workers need 2 GiB .* has 2 GiB; expected at most 10"):
        refuse_too_many(ExecutionConfig(workers=11), memory)
