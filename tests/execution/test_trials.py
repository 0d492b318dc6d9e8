"""What a search learns of the trials in a journal."""

import keras_tuner
import pytest
from written_records import RecordWriter

from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.execution.budget import Budget
from galaxy_exp.execution.trials import SearchSource, outcome_of
from galaxy_exp.journal.events import EpochReported, TrialEnded, TrialProposed, TrialStarted
from galaxy_exp.records import EpochReport, TrialResult, TrialState
from galaxy_exp.search.building import build_proposer
from galaxy_exp.search.schedulers import build_scheduler
from galaxy_exp.space.search_space import SearchSpace

EPOCHS = 4


class JournalWriter(RecordWriter):
    """Every event is written as the journal writes it, and read again."""

    def apply(self, event):
        super().apply(type(event).model_validate_json(event.model_dump_json()))

    def begin(self, number, values):
        self.apply(TrialProposed(number=number, values=values, seed=1))
        self.apply(TrialStarted(number=number, attempt=1))

    def report(self, number, attempt, epoch, seconds):
        metrics = {"val_macro_f1": 0.1 * epoch} | ({} if seconds is None else {"epoch_seconds": seconds})
        self.apply(EpochReported(report=EpochReport(number, attempt, epoch, metrics), go_on=True))

    def end(self, number, attempt=1, *, state=TrialState.COMPLETED, epochs=0, training_seconds=0.0):
        metrics = {"val_macro_f1": 0.1 * epochs} if state.has_model else {}
        result = TrialResult(
            number, attempt, state, "because", metrics=metrics, epochs=epochs, training_seconds=training_seconds
        )
        self.apply(TrialEnded(result=result))

    def outcome(self, number):
        return outcome_of(self.record.trials[number], self.record.objectives, ())


@pytest.fixture
def writer():
    return JournalWriter()


class TestSecondsOfAnEpoch:
    def test_the_first_epoch_which_compiles_is_left_out(self, writer):
        writer.begin(0, {})
        for epoch, seconds in enumerate((60.0, 2.0, 4.0), start=1):
            writer.report(0, 1, epoch, seconds)
        writer.end(0, epochs=3, training_seconds=72.0)
        assert writer.outcome(0).epoch_seconds == 3.0

    def test_so_is_that_of_a_later_attempt(self, writer):
        writer.begin(0, {})
        writer.report(0, 1, 1, 60.0)
        writer.report(0, 1, 2, 2.0)
        writer.apply(TrialStarted(number=0, attempt=2, from_epoch=2))
        writer.report(0, 2, 3, 50.0)
        writer.report(0, 2, 4, 4.0)
        writer.end(0, 2, epochs=4, training_seconds=120.0)
        assert len(writer.record.trials[0].reports) == 4
        assert writer.outcome(0).epoch_seconds == 3.0

    def test_without_another_epoch_it_is_the_mean(self, writer):
        writer.begin(0, {})
        writer.report(0, 1, 1, 60.0)
        writer.end(0, epochs=1, training_seconds=66.0)
        assert writer.outcome(0).epoch_seconds == 66.0

    def test_reports_without_seconds_leave_the_mean(self, writer):
        writer.begin(0, {})
        writer.report(0, 1, 1, None)
        writer.report(0, 1, 2, None)
        writer.end(0, epochs=2, training_seconds=10.0)
        assert writer.outcome(0).epoch_seconds == 5.0

    @pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.LOST, TrialState.INFEASIBLE])
    def test_no_epoch_has_none(self, writer, state):
        writer.begin(0, {})
        writer.end(0, state=state)
        assert writer.outcome(0).epoch_seconds is None


def _source(space):
    search = SearchConfig(cost="seconds", scheduler="none")
    return SearchSource(build_proposer(search, space, epochs=EPOCHS), Budget(build_scheduler(search, EPOCHS), EPOCHS))


def test_a_resumed_sweep_weighs_the_seconds_in_its_journal():
    """One trial is lost and one has no seconds."""
    declared = keras_tuner.HyperParameters()
    declared.Float("rate", 1e-4, 1e-1, sampling="log")
    declared.Int("depth", 1, 8)
    space = SearchSpace.of(declared)
    writer = JournalWriter({"cost": "seconds", "scheduler": "none", "baseline": False}, space=space.get_config())
    uninterrupted, proposed = _source(space), []
    for number in range(14):
        proposed.append(uninterrupted.next_trial(writer.record, 0.0).values)
        resumed = _source(space)
        resumed.replay(writer.record)
        assert resumed.next_trial(writer.record, 0.0).values == proposed[-1]
        writer.begin(number, proposed[-1])
        if number == 3:
            writer.end(number, state=TrialState.LOST)
        else:
            for epoch in range(1, EPOCHS + 1):
                writer.report(number, 1, epoch, None if number == 4 else 2.0 ** proposed[-1]["depth"])
            writer.end(number, epochs=EPOCHS, training_seconds=0.0 if number == 4 else 100.0)
        uninterrupted.tell(writer.record, writer.record.trials[number])
    assert writer.outcome(3).epoch_seconds is None
    assert not writer.outcome(4).epoch_seconds
    depths = [values["depth"] for values in proposed]
    assert sum(depths[7:]) < sum(depths[:7])
