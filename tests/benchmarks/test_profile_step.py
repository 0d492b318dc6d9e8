"""Where a training step's time goes: the profile added up."""

import subprocess
import sys

import pytest
from rich.console import Console

from benchmarks.process import ROOT
from benchmarks.profile_step import build_table, sum_by_operation


def make_profile():
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    plane = space.planes.add(name="/host:CPU")
    for number, name in enumerate(["StatefulPartitionedCall/conv:Conv2D", "StatefulPartitionedCall/relu:Relu", "Run"]):
        plane.event_metadata[number].name = name
    for milliseconds in ([30, 4, 60], [20]):
        line = plane.lines.add()
        for number, each in enumerate(milliseconds):
            line.events.add(metadata_id=number, duration_ps=each * 10**9)
    return space.SerializeToString()


def test_operations_of_the_step_are_added_up_over_all_threads():
    assert sum_by_operation(make_profile()) == {"conv:Conv2D": pytest.approx(50), "relu:Relu": pytest.approx(4)}


def test_the_table_is_per_step_and_says_what_it_leaves_out(capsys):
    Console(width=100).print(build_table(sum_by_operation(make_profile()), steps=10, seconds=0.1, top=1))
    shown = capsys.readouterr().out
    assert "a step takes 10.0 ms" in shown
    rows = [" ".join(line.replace("│", " ").split()) for line in shown.splitlines()]
    assert "conv:Conv2D 5.0 50%" in rows
    assert "all other operations 0.4 4%" in rows


@pytest.mark.slow
def test_command_line():
    options = ["--images", "16", "--batch-size", "8", "--precision", "float32", "--top", "40"]
    command = [sys.executable, "benchmarks/profile_step.py", *options]  # alone: it sets how TensorFlow uses threads
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    assert "Conv2DBackpropFilter" in done.stdout
    assert "ResourceApplyAdam" in done.stdout
