"""A worker process without a network: `python -m toy_worker FD`, for tests of engines, hosts and faults.

The values of a trial determine what happens: `score` is the limit of the curve; `seconds` an epoch's duration; `fate`
what happens to the process in the second epoch, up to the attempt `until`; `group` the control group that the fate
"memory" fills. With the fates "helped" and "forked" it starts another process, with "anew" the trial begins once more
after its second report.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from galaxy_exp.execution.worker import main
from galaxy_exp.folders import write_atomically
from galaxy_exp.records import Decision, EpochReport, Objective, TrialResult, TrialSpec, TrialState

EPOCHS = 3
SIGNALS = {"stop": signal.SIGSTOP, "segfault": signal.SIGSEGV, "kill": signal.SIGKILL}


def train(spec, report):
    """Sleeps for each epoch and reports a curve that follows from the score; leaves a model and the job's number."""
    spec.folder.mkdir(parents=True, exist_ok=True)
    (spec.folder / "job").write_text(os.environ.get("SLURM_JOB_ID", ""))
    values = spec.values
    in_vain = [1, 2] if values.get("fate") == "anew" else []
    for epoch in [*in_vain, *range(1, spec.epochs + 1)]:
        time.sleep(values.get("seconds", 0.05))
        if epoch == 2 and spec.attempt <= values.get("until", 1):
            meet(values.get("fate"), values.get("group"))
        metrics = {"val_macro_f1": values["score"] * (1 - 0.5**epoch)}
        if report(EpochReport(spec.number, spec.attempt, epoch, metrics)) is not Decision.CONTINUE:
            break
    write_atomically(spec.folder / "model.keras", lambda path: path.write_text(str(spec.attempt)))
    state = TrialState.COMPLETED if epoch == spec.epochs else TrialState.STOPPED
    return TrialResult(spec.number, spec.attempt, state, "", best_epoch=epoch, metrics=metrics, epochs=epoch)


def meet(fate, group):
    hoard = []
    if fate in SIGNALS:
        os.kill(os.getpid(), SIGNALS[fate])
    elif fate == "memory":
        Path(group, "cgroup.procs").write_text(str(os.getpid()))
        while True:
            hoard.append(bytearray(b"x" * 2**20))
    elif fate == "helped":
        subprocess.Popen(["sleep", "600"])
    elif fate == "forked" and os.fork() == 0:
        time.sleep(600)


def specification(number, attempt, values, folder):
    """What `train` gets; without images and without a search space."""
    return TrialSpec(
        sweep_id="s-1",
        number=number,
        values=values,
        space={},
        hypermodel="none",
        data=None,
        epochs=EPOCHS,
        seed=1,
        precision="float32",
        deterministic=True,
        jit_compile=False,
        objective=Objective("val_macro_f1", "max"),
        folder=folder / str(number),
        attempt=attempt,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), lambda: train)
