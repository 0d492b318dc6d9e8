"""Journals written by hand, for what reads records."""

from galaxy_exp.config import SweepConfig
from galaxy_exp.journal.events import EpochReported, SweepStarted, TrialEnded, TrialProposed, TrialStarted
from galaxy_exp.journal.replay import apply_event, replay
from galaxy_exp.records import EpochReport, TrialResult, TrialState


def started(search=None, registry=None, **changes):
    values = {
        "sweep_id": "s-1",
        "config": SweepConfig(search=search or {}, registry=registry or {}).model_dump(mode="json"),
        "space": {},
        "baseline": {},
        "data_folder": "data",
        "data_digest": "d",
        "split_digest": "s",
        "tracking_uri": "sqlite:///mlflow.db",
        "software": {},
    }
    return SweepStarted(**(values | changes))


class RecordWriter:
    """A record that grows by whole trials, one second an event."""

    def __init__(self, search=None, registry=None, **changes):
        self.time = 0.0
        self.record = replay([started(search, registry, **changes)], "test")

    def apply(self, event):
        self.time += 1.0
        apply_event(event.model_copy(update={"time": self.time}), self.record)

    def start(self, *curve, values=None, settled=False):
        """A trial that has reported these epochs and still runs; returns its number."""
        number = len(self.record.trials)
        self.apply(TrialProposed(number=number, values=values or {}, seed=1, settled=settled))
        self.apply(TrialStarted(number=number, attempt=1))
        for epoch, value in enumerate(curve, start=1):
            self.apply(EpochReported(report=EpochReport(number, 1, epoch, {"val_macro_f1": value}), go_on=True))
        return number

    def trial(self, *curve, state=TrialState.COMPLETED, values=None, settled=False, **costs):
        """A trial that has ended; returns its number."""
        number = self.start(*curve, values=values, settled=settled)
        metrics = {"val_macro_f1": max(curve)} if curve and state.has_model else {}
        self.apply(
            TrialEnded(
                result=TrialResult(
                    number,
                    1,
                    state,
                    "because",
                    metrics=metrics,
                    epochs=len(curve),
                    training_seconds=10.0 * len(curve),
                    **costs,
                )
            )
        )
        return number
