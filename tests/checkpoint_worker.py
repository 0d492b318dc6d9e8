"""A worker process that leaves a checkpoint of every epoch: `python -m checkpoint_worker FD`.

Its environment says in the middle of which epoch the first attempt at a trial kills this process (KILLED_IN_EPOCH), and
whether JAX has the images on the device, as on a GPU (ON_DEVICE).
"""

import os
import signal
import sys
import time

from galaxy_exp.checkpoint_file import checkpoint_path
from galaxy_exp.execution.worker import main


def find_training():
    from galaxy_exp.hypermodel import on_device
    from galaxy_exp.hypermodel.batches import Batches
    from galaxy_exp.training import checkpoints, run_trial

    checkpoints.FIRST_SECONDS, checkpoints.SHARE = 0.0, 1e9
    checkpoints.Checkpoints._is_due = when_written(checkpoints.Checkpoints._is_due)
    if os.environ.get("ON_DEVICE"):
        on_device.PLATFORMS = ("cpu",)
    positions = Batches.positions

    def train(spec, report):
        def positions_or_death(batches, index):
            epoch = int(os.environ["KILLED_IN_EPOCH"])
            if spec.attempt == 1 and (batches._epoch + 1, index) == (epoch, 2):
                written = checkpoint_path(spec.checkpoints, spec.number, 1, epoch - 1)
                while not written.exists():
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
            return positions(batches, index)

        Batches.positions = positions_or_death
        return run_trial(spec, report)

    return train


def when_written(is_due):
    """Epochs of milliseconds end before the last checkpoint is written, and would get none."""

    def is_due_when_written(self):
        self._wait()
        return is_due(self)

    return is_due_when_written


if __name__ == "__main__":
    main(int(sys.argv[1]), find_training)
