"""The way of a sweep's configuration through the package, while a small sweep runs from `run_sweep` to its model.

    python benchmarks/config_walk.py

It prints two numbered lists of files. The first has the files whose functions are given the whole configuration, in the
order of the calls; a return is a call in a file that the walk had left. The second has the files that read a section of
the configuration, whichever record holds it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import galaxy_exp
from galaxy_exp import run_sweep
from galaxy_exp.config import SweepConfig

SWEEP: dict[str, Any] = {
    "name": "walk",
    "data": {"source": "simulated", "simulated": {"n_images": 120, "image_size": 24}},
    "space": {"n_blocks": 1, "filters_1": 8, "filters_2": 8},
    "training": {"epochs": 1},
    "search": {"max_trials": 2},
    "registry": {"finalists": 1, "seeds": 1},
}
PACKAGE = Path(galaxy_exp.__file__).parent


class Walk:
    """Observes this process, all threads of it; workers are given no configuration."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.read: list[str] = []

    def note_call(self, frame: FrameType, event: str, argument: object) -> None:
        """For `sys.setprofile`."""
        code = frame.f_code
        if event != "call" or not Path(code.co_filename).is_relative_to(PACKAGE):
            return
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if any(isinstance(frame.f_locals.get(name), SweepConfig) for name in names):
            self.given.append(code.co_filename)

    def note_reads(self) -> None:
        """Replaces how attributes of configurations are read, until the process ends."""
        plain, sections = SweepConfig.__getattribute__, set(SweepConfig.model_fields)

        def read(config: SweepConfig, name: str) -> Any:
            if name in sections:
                self.read.append(sys._getframe(1).f_code.co_filename)
            return plain(config, name)

        setattr(SweepConfig, "__getattribute__", read)  # noqa: B010 - mypy refuses an assignment


def main() -> None:
    """Runs the sweep in a folder of its own and prints both walks."""
    walk = Walk()
    walk.note_reads()
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_walk_") as folder:
        os.chdir(folder)
        threading.setprofile(walk.note_call)
        sys.setprofile(walk.note_call)
        run_sweep(SWEEP, verbose=0)
        sys.setprofile(None)
        os.chdir(PACKAGE.parent)
    steps = [file for file, _ in groupby(walk.given)]
    n_files = len(set(steps))
    _print(f"given to functions of {n_files} files, with {len(steps) - n_files} returns", steps)
    readers = [file for file in dict.fromkeys(walk.read) if Path(file).is_relative_to(PACKAGE)]
    _print(f"read by {len(readers)} files", readers)


def _print(title: str, files: Sequence[str]) -> None:
    print(f"the configuration is {title}:")
    for number, file in enumerate(files, start=1):
        print(f"{number:3} {Path(file).relative_to(PACKAGE)}")


if __name__ == "__main__":
    main()
