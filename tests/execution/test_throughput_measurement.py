"""How `workers: auto` chooses, on machines that are made up."""

import pytest

from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.execution.throughput_measurement import (
    Memory,
    NotMeasuredError,
    Split,
    ThroughputMeasurement,
    choose,
    explain,
    possible_splits,
)
from galaxy_exp.execution.worker_pool import WorkerPool
from galaxy_exp.records import Throughput


class MadeUpWorkers:
    def __init__(self, machine, split):
        self.machine = machine
        self.workers = split.workers
        self.machine.open.add(self.workers)

    def start(self):
        self.machine.started.append(self.workers)

    def load(self, spec):
        if self.workers in self.machine.broken:
            raise NotMeasuredError("out of luck")
        return Memory(of_each=1, limit=self.machine.limit)

    def measure(self):
        return self.machine.rates[self.workers]

    def end(self):
        self.machine.open.remove(self.workers)


class Machine:
    """Gives so many images/s with so many workers."""

    def __init__(self, rates, limit=1000, broken=()):
        self.rates, self.limit, self.broken = rates, limit, broken
        self.open, self.started = set(), []

    def measure(self):
        measurement = ThroughputMeasurement(possible_splits(16), lambda split: MadeUpWorkers(self, split))
        measurement.start()
        return measurement.run(None)


@pytest.mark.parametrize(
    ("cores", "threads", "splits"),
    [
        (1, None, [(1, 1)]),
        (2, None, [(1, 2), (2, 1)]),
        (6, None, [(1, 6), (2, 3), (4, 1), (6, 1)]),
        (8, None, [(1, 8), (2, 4), (4, 2), (8, 1)]),
        (8, 3, [(1, 3), (2, 3)]),
        (2, 4, [(1, 4)]),
    ],
)
def test_cores_are_split_by_powers_of_two_and_one_by_one(cores, threads, splits):
    assert possible_splits(cores, threads) == [Split(*each) for each in splits]


@pytest.mark.parametrize(
    ("rates", "workers"),
    [({1: 100, 2: 150}, 2), ({1: 100, 2: 105}, 1), ({1: 100, 2: 106}, 2), ({1: 100, 2: 140, 4: 145}, 2), ({1: 5}, 1)],
)
def test_the_fastest_is_chosen_and_fewer_where_that_is_as_fast(rates, workers):
    assert choose([Throughput(number, 1, rate) for number, rate in rates.items()]).workers == workers


def test_more_workers_are_tried_as_long_as_they_are_faster():
    machine = Machine({1: 100.0, 2: 150.0, 4: 200.0, 8: 190.0, 16: 900.0})
    found = machine.measure()
    assert found.measured == (
        Throughput(1, 16, 100.0), Throughput(2, 8, 150.0), Throughput(4, 4, 200.0), Throughput(8, 2, 190.0),
    )  # fmt: skip
    assert machine.started == [1, 2]  # the others are started by what they are given
    assert machine.open == set()
    assert explain(found) == "4 of 4 threads each: 200 images/s together, against 100 with 1 worker"


def test_one_worker_that_is_as_fast_is_preferred_and_the_reason_is_printed():
    found = Machine({1: 100.0, 2: 104.0, 4: 90.0}).measure()
    line = "1 of 16 threads: 100 images/s, against 104 with 2 workers, which is no more than 5% faster"
    assert explain(found) == line


def test_no_more_workers_are_tried_than_memory_can_hold_beside_the_workers_before():
    machine = Machine({1: 100.0, 2: 150.0, 4: 200.0}, limit=7)
    found = machine.measure()
    assert [each.workers for each in found.measured] == [1, 2]
    assert explain(found).endswith("; 4 could need more memory than this machine has")
    assert machine.open == set()
    assert explain(Machine({}, limit=3).measure()) == "1; 2 could need more memory than this machine has"


def test_a_network_that_cannot_be_trained_leaves_one_worker():
    assert explain(Machine({}, broken=(1,)).measure()) == "1; its training could not be measured: out of luck"


def test_workers_that_fail_end_the_measurement():
    found = Machine({1: 100.0, 2: 150.0}, broken=(4,)).measure()
    assert choose(found.measured).workers == 2
    assert explain(found).endswith("; 4 could not be measured: out of luck")


@pytest.mark.parametrize(
    ("gpus", "settings", "workers", "why"),
    [
        ("0,1", {}, 2, "2, 1 on each GPU"),
        ("0,1", {"workers_per_gpu": 3}, 6, "6, 3 on each GPU"),
        ("", {"threads": 10_000}, 1, "1, which takes all cores that there are"),
    ],
)
def test_without_a_choice_nothing_is_measured(monkeypatch, tmp_path, gpus, settings, workers, why):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    said = []
    pool = WorkerPool(ExecutionConfig(workers="auto", **settings), tmp_path / "log", said.append)
    chosen = pool.choose_workers(None)
    assert (chosen.workers, chosen.why, chosen.measured) == (workers, why, [])
    assert said == [f"workers: {why}"]
