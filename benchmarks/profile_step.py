"""Where the time of a training step of the tutorial's network goes, by TensorFlow's profiler.

    python benchmarks/profile_step.py
    python benchmarks/profile_step.py --precision float32 --batch-size 32 --top 30

Operations are carried out one at a time, so that what each takes is its own and all together are the step; in training
some run side by side.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, format_machine, numbers, open_console
from benchmarks.training import IMAGE_SHAPE, N_CLASSES, galaxy_cnn
from galaxy_exp.quiet import import_keras_quietly

__all__ = ["main", "sum_by_operation"]

WARM_UP = 2
"""Epochs before the profiled ones; the first builds the graph."""
PROFILED = 2
_PREFIX = "StatefulPartitionedCall/"
"""Of the operations of a training step, against those of Python and of the pipeline that feeds it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Profiles and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="mixed_bfloat16")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=1024, help="in an epoch")
    parser.add_argument("--top", type=int, default=20, help="how many operations to show")
    parsed = parser.parse_args(arguments)
    options = {"precision": parsed.precision, "batch_size": parsed.batch_size}
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_profile_") as folder:
        seconds = _train(options, parsed.images, Path(folder))
        (file,) = Path(folder).rglob("*.xplane.pb")
        spent = sum_by_operation(file.read_bytes())
    steps = PROFILED * -(-parsed.images // parsed.batch_size)
    console = open_console(160)
    console.print(format_machine(describe_machine()), highlight=False)
    console.print(build_table(spent, steps, seconds, parsed.top))


def _train(options: dict[str, Any], n_images: int, folder: Path) -> float:
    """Leaves the profile in `folder` and returns the seconds of the profiled epochs."""
    import_keras_quietly()
    import keras
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(1)
    marks = []

    class Profiler(keras.callbacks.Callback):  # type: ignore[misc]
        """Profiles the epochs after `WARM_UP`."""

        def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            if epoch == WARM_UP:
                tf.profiler.experimental.start(str(folder))
                marks.append(time.perf_counter())

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            if epoch == WARM_UP + PROFILED - 1:
                marks.append(time.perf_counter())
                tf.profiler.experimental.stop()

    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (n_images, *IMAGE_SHAPE), dtype=np.uint8)
    fit, _ = galaxy_cnn(images, rng.integers(0, N_CLASSES, n_images), options)
    fit(epochs=WARM_UP + PROFILED, callbacks=[Profiler()], verbose=0)
    began, ended = marks
    return ended - began


def sum_by_operation(profile: bytes) -> Counter[str]:
    """Milliseconds by layer and operation, from the profiler's serialised `XSpace`."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(profile)
    spent: Counter[str] = Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if name.startswith(_PREFIX):
                    spent[name.removeprefix(_PREFIX)] += event.duration_ps / 1e9
    return spent


def build_table(spent: Counter[str], steps: int, seconds: float, top: int) -> Table:
    """The operations that take longest, per step."""
    step = 1000 * seconds / steps
    table = Table("", *numbers("ms", "share"), title=f"a step takes {step:.1f} ms", title_justify="left")
    for name, total in spent.most_common(top):
        table.add_row(name, f"{total / steps:.1f}", f"{total / steps / step:.0%}")
    rest = sum(spent.values()) - sum(total for _, total in spent.most_common(top))
    table.add_row("all other operations", f"{rest / steps:.1f}", f"{rest / steps / step:.0%}")
    return table


if __name__ == "__main__":
    main()
