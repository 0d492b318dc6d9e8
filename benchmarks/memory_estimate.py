"""Holds the memory that `galaxy-exp check` estimates for a network against what its training really takes.

    python benchmarks/memory_estimate.py

Each network is trained for a few steps in a process of its own, whose peak of resident memory beyond a process that
has trained the smallest of networks is read from /proc (Linux only).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

NETWORKS: list[tuple[int, dict[str, Any]]] = [
    (69, {"batch_size": 32}),
    (69, {"batch_size": 128}),
    (69, {"batch_size": 32, "dense_width": 512}),
    (69, {"batch_size": 32, "dense_width": 512, "optimizer": "sgd"}),
    (69, {"batch_size": 64, "dense_width": 2048}),
    (69, {"batch_size": 128, "n_blocks": 4, "batch_norm": True, "head": "gap"}),
    (150, {"batch_size": 32, "n_blocks": 4, "batch_norm": True}),
]
"""Side of the images in pixels and what differs from the baseline."""

POLICIES = ("float32", "mixed_bfloat16")
_STEPS = 12
_SMALLEST = {"n_blocks": 1, "filters_1": 1, "filters_2": 1, "dense_width": 0, "head": "gap", "batch_size": 8}


def measure(side: int, values: dict[str, Any], policy: str) -> tuple[int, int]:
    """Estimated and measured bytes, in this process."""
    import numpy as np

    from galaxy_exp.quiet import import_keras_quietly

    import_keras_quietly()
    import keras_tuner

    from galaxy_exp.check.probing import estimate_memory
    from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
    from galaxy_exp.training.machine import fresh_session

    def train(side: int, values: dict[str, Any]) -> int:
        rng = np.random.default_rng(0)
        n_images = _STEPS * values["batch_size"]
        images, labels = rng.integers(0, 256, (n_images, side, side, 3), np.uint8), rng.integers(0, 10, n_images)
        hp = keras_tuner.HyperParameters()
        hp.values.update(values)
        hypermodel = GalaxyCNN((side, side, 3), 10)
        with fresh_session(1, policy, False):
            model = hypermodel.build(hp)
            estimated = estimate_memory(model, values["batch_size"])
            hypermodel.fit(hp, model, images, labels, epochs=1)
            model.get_weights()
        return estimated

    train(24, _SMALLEST)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    estimated = train(side, values)
    return estimated, _status("VmHWM") - before


def _status(key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


def main(arguments: list[str]) -> int:
    """Measures everything, each in a process of its own; with arguments, one network in this one."""
    if arguments:
        print(json.dumps(measure(int(arguments[0]), json.loads(arguments[1]), arguments[2])))
        return 0
    print(f"{'policy':<16}{'side':>5}{'estimated MB':>14}{'measured MB':>13}{'ratio':>7}  network")
    for policy in POLICIES:
        for side, values in NETWORKS:
            command = [sys.executable, __file__, str(side), json.dumps(values), policy]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            estimated, measured = json.loads(done.stdout.splitlines()[-1])
            changes = ", ".join(f"{name}={value}" for name, value in values.items())
            figures = f"{estimated / 1e6:>14.0f}{measured / 1e6:>13.0f}{measured / estimated:>7.2f}"
            print(f"{policy:<16}{side:>5}{figures}  {changes}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
