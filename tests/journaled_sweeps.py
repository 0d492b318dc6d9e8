"""Sweeps whose journal is written by hand and whose runs are written by the projection, in a real MLflow store."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from mlflow import MlflowClient

from galaxy_exp.config import SweepConfig
from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.journal.events import (
    EpochReported,
    FinalistsChosen,
    SweepEnded,
    SweepStarted,
    TrialEnded,
    TrialProposed,
    TrialStarted,
    WinnerChosen,
)
from galaxy_exp.journal.journal import Journal, read_record
from galaxy_exp.records import EpochReport, TrialResult, TrialState
from galaxy_exp.tracking.projection import MlflowProjection

SWEEP = "tiny-1"


def trial_events(number, ends=True, attempt=1):
    events = [
        TrialProposed(number=number, values={"units": number}, seed=number),
        TrialStarted(number=number, attempt=attempt),
    ]
    events += [
        EpochReported(report=EpochReport(number, attempt, epoch, {"val_macro_f1": number + epoch / 10}), go_on=True)
        for epoch in (1, 2)
    ]
    result = TrialResult(number, attempt, TrialState.COMPLETED, "done", 2, {"val_macro_f1": number + 0.2}, 2)
    return [*events, TrialEnded(result=result)] if ends else events


FINISH = [
    FinalistsChosen(numbers=[], reason="max_trials reached"),
    WinnerChosen(number=1),
    SweepEnded(succeeded=True, reason="max_trials reached"),
]


@dataclass
class JournaledSweep:
    """One sweep in a folder, and what is done to it."""

    project: ProjectFolder
    client: MlflowClient
    uri: str
    experiment: str
    prepared: PreparedData
    said: list[str] = field(default_factory=list)
    """What the projection told."""
    clock: Callable[[], float] = time.monotonic
    """The projection's."""
    now: list[float] = field(default_factory=list)
    """The time of a clock that a test sets."""

    @property
    def folder(self):
        return self.project.sweep(SWEEP)

    @property
    def journal_file(self):
        return self.folder.path / "journal.jsonl"

    def begin(self, **changes):
        """The sweep's journal, open; a fresh one, or as it was left."""
        if self.journal_file.exists():
            return Journal.reopen(self.folder.path)
        config = SweepConfig.model_validate(
            {
                "tracking": {"experiment": self.experiment, "figures": False},
                "registry": {"model": self.experiment, "finalists": 0},
            }
        )
        values = {
            "config": config.model_dump(mode="json"),
            "space": {},
            "baseline": {},
            "data_folder": str(self.prepared.folder),
            "data_digest": self.prepared.digest,
            "split_digest": self.prepared.split_digest,
            "data_source": self.prepared.source,
            "simulated": self.prepared.simulated,
            "tracking_uri": self.uri,
            "software": {},
        }
        return Journal.create(self.folder.path, SweepStarted(**{"sweep_id": SWEEP, **values, **changes}))

    def projection(self, journal):
        return MlflowProjection(lambda: self.client, journal, self.folder, self.prepared, self.said.append, self.clock)

    def play(self, *events, tracked=True, closed=None, **changes):
        """What a driver did until it was killed, or closed its runs with a status."""
        with self.begin(**changes) as journal:
            projection = self.projection(journal)
            for event in events:
                written = journal.append(event)
                if isinstance(event, TrialEnded):
                    self.write_trial(event.result.number)
                if tracked:
                    projection.on_event(written, journal.record)
            if closed:
                projection.close_sweep(closed)

    def write_trial(self, number):
        path = self.folder.trial(number)
        path.mkdir(parents=True, exist_ok=True)
        n_images = len(np.load(self.prepared.files.validation_labels))
        np.save(path / "validation_probabilities.npy", np.full((n_images, 10), 0.1, np.float32))
        (path / "model.keras").write_bytes(b"a model")

    def finish(self):
        """A whole sweep of two trials, in order."""
        self.play(*trial_events(0), *trial_events(1), *FINISH, closed="FINISHED")

    def record(self):
        return read_record(self.folder.path)

    def runs(self):
        experiment = self.client.get_experiment_by_name(self.experiment)
        return {run.info.run_id: run for run in self.client.search_runs([experiment.experiment_id])}

    def statuses(self):
        return sorted(run.info.status for run in self.runs().values())
