"""A real journal cut off anywhere can be read, and the sweep resumed from there ends as the uninterrupted one."""

from collections import deque

import keras_tuner
import pytest
from written_records import started

from galaxy_exp.config import SweepConfig
from galaxy_exp.evaluation.selection import choose_finalists, choose_winner
from galaxy_exp.execution.budget import Budget
from galaxy_exp.execution.engine import LostWorker
from galaxy_exp.execution.loop import SweepLoop
from galaxy_exp.execution.trials import FinalistSource, SearchSource
from galaxy_exp.journal.events import SweepEnded, SweepResumed
from galaxy_exp.journal.journal import Journal, read_record
from galaxy_exp.records import Decision, EpochReport, TrialResult, TrialState
from galaxy_exp.search.building import build_proposer
from galaxy_exp.search.schedulers import build_scheduler, no_scheduler
from galaxy_exp.space.search_space import SearchSpace

EPOCHS = 4
FAILS, LOSES_A_WORKER = 5, 7
CONFIG = SweepConfig(
    training={"epochs": EPOCHS},
    search={"sampler": "tpe", "max_trials": 14, "seed": 3, "first_rung": 1, "reduction_factor": 2},
    registry={"finalists": 2, "seeds": 2},
).model_dump(mode="json")


class CurveEngine:
    """One trial at a time whose curve follows from its values and seed; one fails, one loses its first worker."""

    def __init__(self):
        self.events = deque()
        self.spec = None

    def free_slots(self):
        return 1 if self.spec is None else 0

    def submit(self, spec):
        self.spec = spec
        self.report(1)

    def report(self, epoch):
        self.epoch = epoch
        self.events.append(EpochReport(self.spec.number, self.spec.attempt, epoch, self.metrics(epoch)))

    def metrics(self, epoch):
        rate = self.spec.values["rate"]
        noise = self.spec.seed % 1000 / 1e5
        return {"val_macro_f1": (1 - (rate - 0.3) ** 2 + noise) * (1 - 0.5**epoch)}

    def next_event(self, timeout_seconds=None):
        event = self.events.popleft() if self.events else None
        if not isinstance(event, EpochReport | None):
            self.spec = None
        return event

    def answer(self, number, decision):
        if number == LOSES_A_WORKER and self.spec.attempt == 1:
            self.events.append(LostWorker(number, 1, "killed"))
        elif decision is Decision.CONTINUE and self.epoch < EPOCHS:
            self.report(self.epoch + 1)
        else:
            self.events.append(self.result())

    def result(self):
        number, attempt = self.spec.number, self.spec.attempt
        if number == FAILS:
            return TrialResult(number, attempt, TrialState.FAILED, "a bad day", epochs=self.epoch)
        state = TrialState.COMPLETED if self.epoch == EPOCHS else TrialState.STOPPED
        return TrialResult(
            number, attempt, state, "", best_epoch=self.epoch, metrics=self.metrics(self.epoch), epochs=self.epoch
        )


class Spec:
    def __init__(self, trial, attempt):
        self.number, self.attempt, self.values, self.seed = trial.number, attempt, trial.values, trial.seed


def start():
    space = keras_tuner.HyperParameters()
    space.Float("rate", 0.0, 1.0, default=0.9)
    space.Boolean("deep", default=False)
    with space.conditional_scope("deep", [True]):
        space.Int("units", 2, 32, default=8)
    return started(config=CONFIG, space=space.get_config(), baseline={"rate": 0.9, "deep": False})


def to_the_end(journal):
    """From wherever the journal stands, as a sweep does it, but for what needs a network and MLflow."""
    record = journal.record
    search = record.config.search
    if record.finalists is None:
        scheduler = build_scheduler(search, EPOCHS)
        proposer = build_proposer(search, SearchSpace.from_config(record.started.space), epochs=EPOCHS)
        source = SearchSource(proposer, Budget(scheduler, EPOCHS))
        choose_finalists(journal, SweepLoop(journal, source, scheduler, CurveEngine(), Spec).run())
    if record.winner is None:
        SweepLoop(journal, FinalistSource(record.config.registry.seeds), no_scheduler(), CurveEngine(), Spec).run()
    choose_winner(journal)
    if record.ended is None:
        journal.append(SweepEnded(succeeded=True, reason=record.why_search_ended))


def outcome(record):
    """All that should not depend on interruptions."""
    trials = [
        (t.number, t.values, t.seed, t.predetermined, t.retrains, t.state, t.epochs, t.curve("val_macro_f1"))
        for t in record.trials.values()
    ]
    order = [known.number for known in record.history if known.step == "ended"]
    return trials, order, record.finalists, record.why_search_ended, record.winner, record.ended.reason


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a finished sweep."""
    folder = tmp_path_factory.mktemp("whole")
    with Journal.create(folder, start()) as journal:
        to_the_end(journal)
    return folder


@pytest.fixture(scope="module")
def lines(whole):
    return (whole / "journal.jsonl").read_bytes().splitlines(keepends=True)


@pytest.fixture
def cut(tmp_path):
    """A sweep's folder whose journal is these bytes."""

    def cut(content):
        (tmp_path / "journal.jsonl").write_bytes(content)
        return tmp_path

    return cut


def test_the_sweep_has_something_of_everything(whole):
    record = read_record(whole)
    assert {trial.state for trial in record.trials.values()} == {
        TrialState.COMPLETED,
        TrialState.STOPPED,
        TrialState.FAILED,
    }
    assert len(record.trials) == 14 + 4
    assert record.trials[LOSES_A_WORKER].losses == ["killed"]
    assert len({trial.values.get("units") for trial in record.trials.values()}) > 3


def test_a_cut_within_a_line_reads_as_one_before_it(lines, cut):
    for position in range(1, len(lines)):
        before, line = b"".join(lines[:position]), lines[position]
        expected = read_record(cut(before))
        for length in sorted({1, len(line) // 3, len(line) // 2, len(line) - 2, len(line) - 1}):
            found = read_record(cut(before + line[:length]))
            assert (found.trials, found.history) == (expected.trials, expected.history)
            assert found.updated_at == expected.updated_at


def test_a_sweep_cut_off_anywhere_ends_as_the_uninterrupted_one(whole, lines, cut):
    expected = outcome(read_record(whole))
    for position in range(1, len(lines)):
        tail = lines[position][:-1] if position % 2 else b""
        folder = cut(b"".join(lines[:position]) + tail)
        with Journal.reopen(folder) as journal:
            journal.append(SweepResumed())
            to_the_end(journal)
        assert outcome(read_record(folder)) == expected, f"cut after line {position}"


def test_a_sweep_cut_off_again_and_again_ends_as_the_uninterrupted_one(whole, lines, cut):
    """Each driver lives for a dozen lines."""
    content, written = lines[0], b""
    while content != written:
        folder = cut(content)
        with Journal.reopen(folder) as journal:
            journal.append(SweepResumed())
            to_the_end(journal)
        written = (folder / "journal.jsonl").read_bytes()
        content += b"".join(written[len(content) :].splitlines(keepends=True)[:12])
    assert outcome(read_record(folder)) == outcome(read_record(whole))
