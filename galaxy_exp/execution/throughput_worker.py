"""A worker process that measures instead of training trials: `python -m galaxy_exp.execution.throughput_worker FD`.

Where memory runs out, the system is asked to end this process before any other.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from galaxy_exp.execution.worker import RunTrial, main


def _find_measuring() -> RunTrial:
    """What measures; imports Keras and its backend."""
    from galaxy_exp.training.throughput import measure_throughput

    return measure_throughput


if __name__ == "__main__":
    with suppress(OSError):  # not every system has it or lets it be changed
        Path("/proc/self/oom_score_adj").write_text("1000")
    main(int(sys.argv[1]), _find_measuring, "measures with the network of")
