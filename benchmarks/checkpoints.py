"""What checkpoints cost: the tutorial's network (8.4 million weights, Adam) with and without them, in one training.

    python benchmarks/checkpoints.py --data galaxies.h5 --pairs 5

After every second epoch a checkpoint is taken and written while the next epoch is trained. An epoch counts from the
answer to the report before it until its own report, so that it has the copying, the writing beside it, and validation.
Prints the median time of an epoch with a checkpoint and without, and what a checkpoint takes from an epoch (goal: at
most 2 %): the copying, which the training waits for, and the writing thread's processor time, without the time in which
that waits for the disk. Then the size of a checkpoint, and the time to write and read one. The first two epochs, which
compile, do not count. Other work on the machine shifts the times of epochs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, format_machine, write_json
from benchmarks.trials import build_spec
from galaxy_exp.checkpoint_file import read_checkpoint, write_checkpoint
from galaxy_exp.config.data_section import DataConfig, SimulatedConfig
from galaxy_exp.data import load_dataset, prepare_split
from galaxy_exp.records import Decision, EpochReport, SplitFiles, TrialState

GOAL = 0.02
"""Share of an epoch."""

WARM_UP = 2
"""Epochs that do not count; even, so that pairs stay pairs."""

QUICK = SimulatedConfig(n_images=150, image_size=24, class_proportions="equal")
DEFAULT = SimulatedConfig(n_images=4000, image_size=69, class_proportions="equal")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints the figures; writes them as JSON if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="as data.source of a sweep file; else simulated galaxies of 69 pixels")
    parser.add_argument("--pairs", type=int, default=5, help="epochs with a checkpoint, and as many without (5)")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--quick", action="store_true", help="two pairs on small images: whether it runs at all")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parsed = parser.parse_args(arguments)
    config = DataConfig(source=parsed.data) if parsed.data else DataConfig(simulated=QUICK if parsed.quick else DEFAULT)
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_checkpoints_") as scratch:
        files = prepare_split(load_dataset(config), config.split, Path(scratch)).files
        figures = measure(files, 2 if parsed.quick else parsed.pairs, parsed.precision, Path(scratch))
    print(format_machine(describe_machine()))
    print(format_figures(figures))
    write_json(parsed.json, figures)


def measure(files: SplitFiles, pairs: int, precision: str, scratch: Path) -> dict[str, Any]:
    """Trains the network and reads its last checkpoint; seconds and bytes by name."""
    from galaxy_exp.training import checkpoints, run_trial
    from galaxy_exp.training.continuation import Snapshot

    spec = build_spec(
        files,
        scratch / "trial",
        epochs=WARM_UP + 2 * pairs + 1,  # the last epoch has a rule of its own
        precision=precision,
        checkpoints=scratch / "checkpoints",
    )
    epochs: list[float] = []
    answered = [time.perf_counter()]

    def report(epoch: EpochReport) -> Decision:
        epochs.append(time.perf_counter() - answered[0])
        print(f"epoch {epoch.epoch}: {epochs[-1]:.2f} s", file=sys.stderr, flush=True)
        answered[0] = time.perf_counter()
        return Decision.CONTINUE

    def is_due(self: checkpoints.Checkpoints) -> bool:
        return len(self._recorder.reports) % 2 == 0

    taken: list[float] = []
    written: list[float] = []
    computed: list[float] = []
    write = timed(timed(write_checkpoint, computed, time.thread_time), written)
    with (
        patch.object(checkpoints.Checkpoints, "_is_due", is_due),
        patch.object(Snapshot, "take", timed(Snapshot.take, taken)),
        patch.object(checkpoints, "write_checkpoint", write),
        patch.object(checkpoints, "FIRST_SECONDS", 0.0),
    ):
        result = run_trial(spec, report)
    if result.state is not TrialState.COMPLETED:
        raise RuntimeError(f"the training failed: {result.reason}\n{result.traceback}")
    (path,) = (scratch / "checkpoints").iterdir()
    began = time.perf_counter()
    read_checkpoint(path)
    read_seconds = time.perf_counter() - began
    counted = epochs[WARM_UP:-1]
    with_one, without = counted[0::2], counted[1::2]
    return {
        "weights": result.parameters,
        "precision": result.precision,
        "epochs_with": with_one,
        "epochs_without": without,
        "copying": taken[1:],  # the first copy also makes its memory
        "writing": written[1:],
        "writing_processor": computed[1:],
        "share": (median(taken[1:]) + median(computed[1:])) / median(without),
        "difference": median(one / other - 1 for one, other in zip(with_one, without, strict=True)),
        "bytes": path.stat().st_size,
        "reading": read_seconds,
    }


def timed(
    function: Callable[..., Any], seconds: list[float], clock: Callable[[], float] = time.perf_counter
) -> Callable[..., Any]:
    """The function, which also notes how long each call took."""

    def call(*arguments: Any) -> Any:
        began = clock()
        try:
            return function(*arguments)
        finally:
            seconds.append(clock() - began)

    return call


def format_figures(figures: dict[str, Any]) -> str:
    """The lines for people."""
    verdict = "met" if figures["share"] <= GOAL else "missed"
    return "\n".join(
        [
            f"network: {figures['weights']:,} weights, Adam, {figures['precision']}",
            f"an epoch: {median(figures['epochs_with']):.2f} s with a checkpoint, "
            f"{median(figures['epochs_without']):.2f} s without; median difference of pairs "
            f"{100 * figures['difference']:+.2f} %",
            f"a checkpoint: {figures['bytes'] / 1e6:.1f} MB; copied in {1e3 * median(figures['copying']):.0f} ms, "
            f"written beside the training in {1e3 * median(figures['writing']):.0f} ms, of these "
            f"{1e3 * median(figures['writing_processor']):.0f} ms on the processor; "
            f"read in {1e3 * figures['reading']:.0f} ms",
            f"copying and that processor time by an epoch without: {100 * figures['share']:.2f} % "
            f"(goal: at most {100 * GOAL:.0f} %, {verdict})",
        ]
    )


if __name__ == "__main__":
    main()
