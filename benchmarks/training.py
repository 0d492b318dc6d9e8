"""Images/s of the tutorial's network: its own script against galaxy_exp, and both against the peak of the machine.

    python benchmarks/training.py
    python benchmarks/training.py --rounds 9 --json training.json

Every contender is a process that has built its network and trained it for a while; then they take turns, some epochs
each, as often as `--rounds` says. What counts is images by the time of all those epochs, since where Keras waits, it
does so after some and not after others; but for the first of a turn, as the thread for which it waits sleeps the longer
the longer nothing was asked of it. What else the machine does hits all alike. The images are noise, since the time of
a step does not depend on what they show. The peak is what TensorFlow reaches when it multiplies large matrices in the
same precision, in the same turns; no training can be faster than it.

The operations of a training step are taken as three times those of the network forward (once for the outputs, once
for the gradients of weights, once for those of inputs), convolutions and dense layers alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, format_machine, numbers, open_console, write_json
from benchmarks.process import ROOT, own_environment
from benchmarks.trials import hyperparameters

__all__ = ["CONTENDERS", "galaxy_cnn", "main"]

IMAGE_SHAPE = (69, 69, 3)
N_CLASSES = 10
SEED_SCRIPT = "seed's script, float32, batch 32"
CONTENDERS: dict[str, dict[str, Any]] = {
    SEED_SCRIPT: {"script": True, "precision": "float32", "batch_size": 32},
    "galaxy_exp, float32, batch 32": {"precision": "float32", "batch_size": 32},
    "galaxy_exp, float32, batch 128": {"precision": "float32", "batch_size": 128},
    "galaxy_exp, bfloat16, batch 32": {"precision": "mixed_bfloat16", "batch_size": 32},
    "galaxy_exp, bfloat16, batch 128": {"precision": "mixed_bfloat16", "batch_size": 128},
    "the same, fed by Keras": {"precision": "mixed_bfloat16", "batch_size": 128, "fed_by_keras": True},
    "the same, Keras's Adam": {"precision": "mixed_bfloat16", "batch_size": 128, "optimizer": "adam"},
}
EPOCHS_A_TURN = 5
"""The first is not counted."""
MATRIX_SIZES = (1024, 2048, 4096)
GOALS = {"bfloat16": (5.0, 0.6), "float32": (1.5, 0.6)}
"""Images/s by the script's, and share of the peak, for each precision that the machine multiplies natively."""

Epoch = Callable[[], float]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=512, help="in an epoch")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.worker is not None:
        _work(parsed.worker, parsed.images)
        return
    machine = describe_machine()
    rows = summarise(measure(parsed.rounds, parsed.images))
    console = open_console(160)
    console.print(format_machine(machine), highlight=False)
    console.print(build_table(rows))
    write_json(parsed.json, {"machine": machine, "rows": rows})


def measure(rounds: int, n_images: int) -> dict[str, list[dict[str, float]]]:
    """What each contender, and `peak`, said in each round."""
    names = ["peak", *CONTENDERS]
    said: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with ExitStack() as stack:
        workers = {}
        for name in names:
            command = [sys.executable, __file__, "--worker", name, "--images", str(n_images)]
            workers[name] = worker = stack.enter_context(
                subprocess.Popen(
                    command, cwd=ROOT, env=own_environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            # until it has warmed up; the others must not compute meanwhile
            _ask(worker)
        for number in range(rounds):
            for name, worker in workers.items():
                said[name].append(_ask(worker))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for worker in workers.values():
            worker.communicate("end\n")
    return said


def _ask(worker: subprocess.Popen[str]) -> dict[str, float]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"error: a contender ended with exit code {worker.wait()}; its message is above")
    answer: dict[str, float] = json.loads(line)
    return answer


def summarise(said: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """One row a contender: images by the time of all its epochs, the ratio to the script, the share of the peak."""
    peaks = {name: statistics.median(each[name] for each in said["peak"]) for name in GOALS}
    speeds = {name: statistics.harmonic_mean(each["images_per_second"] for each in said[name]) for name in CONTENDERS}
    rows = []
    for name, options in CONTENDERS.items():
        precision = options["precision"].removeprefix("mixed_")
        gflops_per_image = said[name][0]["flops_per_image"] / 1e9
        gflops = speeds[name] * gflops_per_image
        rows.append(
            {
                "contender": name,
                "images_per_second": speeds[name],
                "each_round": [each["images_per_second"] for each in said[name]],
                "times_the_script": speeds[name] / speeds[SEED_SCRIPT],
                "gflops": gflops,
                "peak_gflops": peaks[precision],
                "share_of_peak": gflops / peaks[precision],
                "peak_times_the_script": peaks[precision] / gflops_per_image / speeds[SEED_SCRIPT],
            }
        )
    return rows


def build_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows for people."""
    of_contender = numbers("images/s", "times the script", "GFLOP/s")
    of_machine = numbers("peak GFLOP/s", "share of peak", "the peak, times the script")
    title = "training step of the tutorial's network"
    table = Table("", *of_contender, *of_machine, title=title, title_justify="left")
    for row in rows:
        table.add_row(
            row["contender"],
            f"{row['images_per_second']:,.0f}",
            f"{row['times_the_script']:.2f}",
            f"{row['gflops']:.0f}",
            f"{row['peak_gflops']:.0f}",
            f"{row['share_of_peak']:.0%}",
            f"{row['peak_times_the_script']:.2f}",
        )
    return table


def _work(name: str, n_images: int) -> None:
    """Answers each line of stdin with a line of JSON; the first answer comes after warming up. Ends at `end`."""
    if name == "peak":
        _answer_peaks()
        return
    import keras
    import numpy as np

    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (n_images, *IMAGE_SHAPE), dtype=np.uint8)
    labels = rng.integers(0, N_CLASSES, n_images)
    options = CONTENDERS[name]
    keras.utils.set_random_seed(1)
    fit, model = _script(images, labels, options) if options.get("script") else galaxy_cnn(images, labels, options)
    clock = _answering_clock(3 * _multiplications(model), n_images)
    fit(epochs=10**6, callbacks=[clock], verbose=0)


def _script(images: Any, labels: Any, options: dict[str, Any]) -> tuple[Callable[..., Any], Any]:
    """The tutorial's way: float32 images in 0..1 in memory, Keras's own `fit`."""
    import keras_tuner
    import numpy as np

    from benchmarks.handwired import TutorialNetwork

    model = TutorialNetwork(IMAGE_SHAPE, N_CLASSES, False).build(keras_tuner.HyperParameters())
    scaled = images.astype(np.float32) / 255.0
    return lambda **extras: model.fit(scaled, labels, batch_size=options["batch_size"], **extras), model


def galaxy_cnn(images: Any, labels: Any, options: dict[str, Any]) -> tuple[Callable[..., Any], Any]:
    """As a worker of a sweep trains its baseline."""
    import keras

    from galaxy_exp.hypermodel.batches import Batches
    from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN

    keras.config.set_dtype_policy(options["precision"])
    hypermodel = GalaxyCNN(IMAGE_SHAPE, N_CLASSES)
    hp = hyperparameters(hypermodel, {"batch_size": options["batch_size"]})
    model = hypermodel.build(hp)
    if options.get("optimizer"):
        model.compile(options["optimizer"], model.loss, metrics=["accuracy"], jit_compile=False)
    if options.get("fed_by_keras"):
        batches = Batches(images, labels, options["batch_size"], seed=1)
        return lambda **extras: model.fit(batches, **extras), model
    return lambda **extras: hypermodel.fit(hp, model, images, labels, seed=1, **extras), model


def _multiplications(model: Any) -> int:
    """Operations of the convolutions and dense layers for one image forward."""
    from keras import layers

    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.Dense):
            kernel = layer.kernel.shape
            per_output = 2
            for side in kernel[:-1]:
                per_output *= side
            outputs = 1
            for side in layer.output.shape[1:]:
                outputs *= side
            total += per_output * outputs
    return total


def _answering_clock(flops_per_image: int, n_images: int) -> Any:
    import keras

    class AnsweringClock(keras.callbacks.Callback):  # type: ignore[misc]
        """Waits for a line before each turn, and says how fast it was after it."""

        def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            if epoch % EPOCHS_A_TURN == 0:
                self.model.stop_training = sys.stdin.readline().strip() != "go"

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            if epoch % EPOCHS_A_TURN == 0:
                self.began = time.perf_counter()
            if epoch % EPOCHS_A_TURN == EPOCHS_A_TURN - 1:
                speed = (EPOCHS_A_TURN - 1) * n_images / (time.perf_counter() - self.began)
                print(json.dumps({"images_per_second": speed, "flops_per_image": flops_per_image}), flush=True)

    return AnsweringClock()


def _answer_peaks() -> None:
    import tensorflow as tf

    multiply = tf.function(tf.matmul)
    matrices = {
        (dtype, size): tf.cast(tf.random.normal((size, size)), dtype) for dtype in GOALS for size in MATRIX_SIZES
    }
    for matrix in matrices.values():
        multiply(matrix, matrix).numpy()
    while sys.stdin.readline().strip() == "go":
        best = dict.fromkeys(GOALS, 0.0)
        for (dtype, size), matrix in matrices.items():
            for _ in range(3):
                began = time.perf_counter()
                multiply(matrix, matrix).numpy()
                best[dtype] = max(best[dtype], 2 * size**3 / (time.perf_counter() - began) / 1e9)
        print(json.dumps(best), flush=True)


if __name__ == "__main__":
    main()
