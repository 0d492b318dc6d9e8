"""Whole sweeps of toy trials: the real loop, journal and engine, and `toy_worker` in place of training."""

from collections import deque

from toy_worker import EPOCHS, specification
from written_records import started

from galaxy_exp.execution.budget import Budget
from galaxy_exp.execution.engine import LocalEngine
from galaxy_exp.execution.hang_detection import HangDetector
from galaxy_exp.execution.loop import SweepLoop
from galaxy_exp.execution.trials import SearchSource
from galaxy_exp.execution.worker import WorkerProcess
from galaxy_exp.journal.journal import Journal, read_record
from galaxy_exp.search.proposer import NoProposal
from galaxy_exp.search.schedulers import no_scheduler

MODULE = "toy_worker"


class ListProposer:
    """Proposes what it was given, in that order."""

    def __init__(self, proposals):
        self.proposals = deque(proposals)

    def propose(self, number):
        return self.proposals.popleft() if self.proposals else NoProposal.EXHAUSTED

    def adopt(self, number, values, *, proposed):
        pass

    def tell(self, number, outcome):
        pass


class Watcher:
    """Calls a function with each event of the journal."""

    def __init__(self, function):
        self.function = function

    def on_event(self, event, record):
        self.function(event)


def run_sweep(folder, engine, proposals, hang_detector=None, watch=lambda event: None, **options):
    """Runs all proposals on an engine, which is closed; returns the record of the finished sweep."""
    search = {"baseline": False, "scheduler": "none", "max_trials": len(proposals)}
    source = SearchSource(ListProposer(proposals), Budget(no_scheduler(), EPOCHS))
    try:
        with Journal.create(folder / "s-1", started(search)) as journal:
            loop = SweepLoop(
                journal,
                source,
                no_scheduler(),
                engine,
                options.pop("make_spec", lambda trial, attempt: specify(trial, attempt, folder)),
                [Watcher(watch)],
                hang_detector=hang_detector or HangDetector(),
                **options,
            )
            loop.run()
    finally:
        engine.close()
    return read_record(folder / "s-1")


def specify(trial, attempt, folder):
    """What a toy worker gets."""
    return specification(trial.number, attempt, dict(trial.values), folder)


def results(record):
    """Of each trial: state, best metrics and the whole curve of the attempt that counts."""
    return {
        number: (trial.result.state, trial.result.metrics, trial.curve("val_macro_f1"))
        for number, trial in record.trials.items()
    }


def undisturbed(folder, proposals):
    """The results of the same sweep in one process beside this one."""
    return results(run_sweep(folder, LocalEngine([WorkerProcess(folder / "log", module=MODULE)]), proposals))
