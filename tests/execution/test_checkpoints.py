"""Trials that continue from checkpoints: which one an attempt begins with, what a lost trial keeps, what is deleted."""

from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest
from written_records import RecordWriter, started

from galaxy_exp.checkpoint_file import Checkpoint as Content
from galaxy_exp.checkpoint_file import CheckpointIdentity, write_checkpoint
from galaxy_exp.config.sweep import SweepConfig
from galaxy_exp.errors import EngineError
from galaxy_exp.execution.budget import Budget
from galaxy_exp.execution.engine import LostWorker
from galaxy_exp.execution.loop import MAX_LOST_WORKERS, SweepLoop
from galaxy_exp.execution.observers import CheckpointKeeper
from galaxy_exp.execution.trials import (
    FinalistSource,
    SearchSource,
    epochs_known,
    find_longer_training,
    keep_files,
    trial_spec,
)
from galaxy_exp.folders import CheckpointName, SweepFolder
from galaxy_exp.journal.checkpoints import best_checkpoint
from galaxy_exp.journal.events import EpochReported, FinalistsChosen, TrialEnded, TrialStarted, WinnerChosen, WorkerLost
from galaxy_exp.journal.journal import Journal, read_record
from galaxy_exp.journal.replay import misplaced
from galaxy_exp.journal.resume_changes import find_change
from galaxy_exp.records import DATA_GONE, DISK_FULL, Decision, EpochReport, TrialResult, TrialState
from galaxy_exp.search.proposer import NoProposal
from galaxy_exp.search.schedulers import no_scheduler

EPOCHS = 6
KIB = 2**-20
"""A KiB in GiB."""


def write_readable(folder, checkpoint, epochs, schedule=False):
    values = {"schedule": "cosine"} if schedule else {}
    identity = CheckpointIdentity(checkpoint.epoch, epochs, schedule, values, 1, "float32", {}, [], [])
    write_checkpoint(folder.checkpoint(checkpoint), Content(identity, {}, {}))


def write(folder, *checkpoints, size=1024):
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    for checkpoint in checkpoints:
        folder.checkpoint(CheckpointName(*checkpoint)).write_bytes(bytes(size))


def found(folder):
    return {(each.number, each.attempt, each.epoch) for each in folder.find_checkpoints()}


class TestNames:
    def test_a_name_says_whose_it_is(self, tmp_path):
        folder = SweepFolder(tmp_path)
        assert folder.checkpoint(CheckpointName(3, 2, 17)).name == "0003-2-00017.npz"
        assert folder.find_checkpoints() == set()
        write(folder, (3, 2, 17), (12345, 10, 1))
        assert folder.find_checkpoints() == {CheckpointName(3, 2, 17), CheckpointName(12345, 10, 1)}

    def test_other_files_are_none(self, tmp_path):
        folder = SweepFolder(tmp_path)
        write(folder, (3, 2, 17))
        begun = folder.checkpoints / f".{'0a' * 16}.0003-2-00018.npz"
        for path in (begun, folder.checkpoints / "3-2-18.npz", folder.checkpoints / "notes.txt"):
            path.touch()
        assert found(folder) == {(3, 2, 17)}
        assert folder.incomplete_checkpoints() == {begun: CheckpointName(3, 2, 18)}


class Proposals:
    """Proposes these scores, or whole configurations."""

    def __init__(self, *scores):
        self.scores = deque(scores)

    def propose(self, number):
        if not self.scores:
            return NoProposal.EXHAUSTED
        proposal = self.scores.popleft()
        return proposal if isinstance(proposal, dict) else {"score": proposal}

    def adopt(self, number, values, *, proposed):
        if proposed:
            self.scores.popleft()

    def tell(self, number, outcome):
        pass


class Worker:
    """One worker that writes a checkpoint after each answer; `script` says what happens where.

    Args:
        script: by (trial, attempt): the epoch in which the worker dies, before it reports it.
        torn: (trial, attempt) whose checkpoint cannot be read.
    """

    def __init__(self, folder, script=None, torn=()):
        self.folder, self.script, self.torn = folder, script or {}, torn
        self.events, self.begun = deque(), []

    def free_slots(self):
        return 0 if self.events else 1

    def submit(self, spec):
        begin = 0 if (spec.number, spec.attempt) in self.torn else spec.first_epoch
        self.begun.append((spec.number, spec.attempt, spec.first_epoch, spec.resume_from and spec.resume_from.name))
        self.spec = spec
        dies = self.script.get((spec.number, spec.attempt))
        for epoch in range(begin + 1, spec.epochs + 1):
            if epoch == dies:
                self.events.append(LostWorker(spec.number, spec.attempt, "killed"))
                return
            metrics = {"val_macro_f1": spec.values["score"] + epoch / 100}
            self.events.append(EpochReport(spec.number, spec.attempt, epoch, metrics))
        metrics = {"val_macro_f1": spec.values["score"] + spec.epochs / 100}
        done = TrialResult(
            spec.number, spec.attempt, TrialState.COMPLETED, "all", spec.epochs, metrics, epochs=spec.epochs
        )
        self.events.append(done)

    def next_event(self, timeout_seconds=None):
        event = self.events.popleft() if self.events else None
        if isinstance(event, EpochReport):
            self.reported = event
        return event

    def answer(self, number, decision):
        epoch = self.reported.epoch
        if decision is not Decision.CONTINUE and epoch < self.spec.epochs:
            self.events.clear()
            metrics = self.reported.metrics
            stopped = TrialResult(number, self.spec.attempt, TrialState.STOPPED, "", epoch, metrics, epochs=epoch)
            self.events.append(stopped)
        write(self.folder, (number, self.spec.attempt, self.reported.epoch))
        before = CheckpointName(number, self.spec.attempt, self.reported.epoch - 1)
        self.folder.checkpoint(before).unlink(missing_ok=True)


@pytest.fixture
def run(tmp_path):
    """Runs trials of these scores with a scripted worker; again with the same journal if `fresh` is false."""
    folder = SweepFolder(tmp_path / "s-1")

    def run(*scores, script=None, torn=(), fresh=True, stopping=lambda record: False, to_continue=(), max_epochs=None,
            **execution):  # fmt: skip
        search = {"baseline": False, "scheduler": "none", "max_trials": len(scores), "max_failures": 99}
        search |= {"max_epochs": max_epochs}
        config = SweepConfig(search=search, training={"epochs": EPOCHS}, execution=execution)
        start = started(config=config.model_dump(mode="json"), baseline={"score": 0.1})
        worker = Worker(folder, script, torn)
        with Journal.create(folder.path, start) if fresh else Journal.reopen(folder.path) as journal:
            record = journal.record
            loop = SweepLoop(
                journal,
                SearchSource(Proposals(*scores), Budget(no_scheduler(), EPOCHS)),
                no_scheduler(),
                worker,
                lambda trial, attempt: trial_spec(record, folder, None, trial, attempt),
                [CheckpointKeeper(folder)],
                stopping=lambda: stopping(record),
                keep_files=partial(keep_files, folder),
                epochs_known=partial(epochs_known, record, folder),
                to_continue=to_continue,
            )
            try:
                loop.run()
            except KeyboardInterrupt:
                assert stopping(record)
        record = read_record(folder.path)
        for trial in record.trials.values():
            assert loop._curves[trial.number] == [report.metrics["val_macro_f1"] for report in trial.known]
        return record, worker

    vars(run).update(folder=folder)
    return run


class TestRecovery:
    def test_a_lost_trial_continues_from_its_last_checkpoint(self, run):
        record, worker = run(0.5, script={(0, 1): 4, (0, 2): 5})
        assert worker.begun == [(0, 1, 0, None), (0, 2, 3, "0000-1-00003.npz"), (0, 3, 4, "0000-2-00004.npz")]
        trial = record.trials[0]
        assert [(report.attempt, report.epoch) for report in trial.reports] == [
            (1, 1), (1, 2), (1, 3), (2, 4), (3, 5), (3, 6)
        ]  # fmt: skip
        assert (trial.state, record.epochs) == (TrialState.COMPLETED, EPOCHS)

    def test_without_a_checkpoint_it_begins_with_its_first_epoch(self, run):
        record, worker = run(0.5, script={(0, 1): 1})
        assert worker.begun == [(0, 1, 0, None), (0, 2, 0, None)]
        assert record.epochs == EPOCHS

    def test_while_it_repeats_epochs_they_count_so_that_no_other_trial_takes_them(self):
        writer = RecordWriter()
        number = writer.start(0.1, 0.2, 0.3)
        writer.apply(TrialStarted(number=number, attempt=2))
        assert writer.record.epochs == 3
        for epoch in range(1, 5):
            report = EpochReport(number, 2, epoch, {"val_macro_f1": 0.1})
            writer.apply(EpochReported(report=report, go_on=True))
            assert writer.record.epochs == max(3, epoch)

    def test_it_repeats_all_epochs_that_it_had_under_max_epochs(self, run):
        run(0.5, stopping=lambda record: record.epochs >= 5, checkpoint_gib=0)
        with Journal.reopen(run.folder.path) as journal:
            journal.append(find_change(journal.record, overrides=["search.max_epochs=5"]))
        record, worker = run(0.5, fresh=False)
        assert worker.begun == [(0, 2, 0, None)]
        assert [(trial.epochs, trial.is_paused) for trial in record.trials.values()] == [(5, True)]

    def test_checkpoints_can_be_turned_off(self, run):
        record, worker = run(0.5, script={(0, 1): 4}, checkpoint_gib=0)
        assert worker.begun == [(0, 1, 0, None), (0, 2, 0, None)]
        assert (worker.spec.checkpoints, record.epochs) == (None, EPOCHS)

    def test_a_checkpoint_that_cannot_be_read_costs_the_epochs_and_nothing_else(self, run):
        record, worker = run(0.5, script={(0, 1): 4}, torn=[(0, 2)])
        assert worker.begun[1] == (0, 2, 3, "0000-1-00003.npz")
        assert [report.attempt for report in record.trials[0].reports] == [2] * EPOCHS
        assert record.epochs == EPOCHS

    def test_a_trial_that_comes_further_each_time_is_not_given_up(self, run):
        record, _ = run(0.5, script={(0, attempt): attempt + 1 for attempt in range(1, EPOCHS)})
        assert len(record.trials[0].losses) == EPOCHS - 1 > MAX_LOST_WORKERS
        assert record.trials[0].state is TrialState.COMPLETED

    def test_one_that_dies_in_the_same_epoch_is(self, run):
        record, worker = run(0.5, script={(0, attempt): 4 for attempt in range(1, 9)})
        assert [first for _, _, first, _ in worker.begun] == [0, 3, 3, 3, 3]
        assert record.trials[0].state is TrialState.LOST
        assert record.trials[0].result.reason == "lost 4 workers; the last: killed"

    def test_after_ctrl_c_it_continues_with_the_next_epoch(self, run):
        record, _ = run(0.5, stopping=lambda record: record.epochs >= 3)
        assert record.trials[0].result is None
        record, worker = run(0.5, fresh=False)
        assert worker.begun == [(0, 2, 3, "0000-1-00003.npz")]
        assert record.epochs == EPOCHS

    def test_without_checkpoints_ctrl_c_does_not_wait_for_one(self, run):
        run(0.5, stopping=lambda record: record.epochs >= 3, checkpoint_gib=0)
        _, worker = run(0.5, fresh=False, checkpoint_gib=0)
        assert worker.begun == [(0, 2, 0, None)]

    def test_after_a_kill_of_the_driver_it_continues_from_its_last_checkpoint(self, run, monkeypatch):
        monkeypatch.setattr(Worker, "answer", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(0.5)
        monkeypatch.undo()
        write(run.folder, (0, 1, 1), (0, 1, 2))
        _, worker = run(0.5, fresh=False)
        assert worker.begun == [(0, 2, 1, "0000-1-00001.npz")]  # the second was never reported

    def test_an_epoch_that_ended_the_trial_is_reported_again(self):
        """The driver was killed between its answer and the trial's end, so the same answer has to be given."""
        trial = RecordWriter()
        number = trial.start(0.1, 0.2, 0.3)
        known = trial.record.trials[number]
        checkpoints = {CheckpointName(number, 1, 2), CheckpointName(number, 1, 3)}
        assert best_checkpoint(known, checkpoints) == CheckpointName(number, 1, 3)
        known.decision = Decision.PAUSE
        assert best_checkpoint(known, checkpoints) == CheckpointName(number, 1, 2)

    def test_a_checkpoint_of_an_attempt_that_does_not_count_is_not_used(self):
        writer = RecordWriter()
        number = writer.start(0.1, 0.2, 0.3)
        writer.apply(TrialStarted(number=number, attempt=2))
        writer.apply(EpochReported(report=EpochReport(number, 2, 1, {"val_macro_f1": 0.1}), go_on=True))
        trial = writer.record.trials[number]
        assert best_checkpoint(trial, {CheckpointName(number, 1, 3), CheckpointName(number, 1, 1)}) is None
        assert best_checkpoint(trial, {CheckpointName(number, 1, 3), CheckpointName(number, 2, 1)}) == CheckpointName(
            number, 2, 1
        )

    def test_a_journal_that_lost_reports_is_refused(self):
        writer = RecordWriter()
        number = writer.start(0.1, 0.2)
        assert misplaced(TrialStarted(number=number, attempt=2, from_epoch=2), writer.record) is None
        why = misplaced(TrialStarted(number=number, attempt=2, from_epoch=3), writer.record)
        assert why == f"begins with 3 epochs of trial {number}, which has reported 2"


class TestLostAfterItHadEnded:
    """A trial that was paused after its second epoch continues."""

    @pytest.fixture
    def continued(self, run):
        run(0.5, stopping=lambda record: record.epochs >= 3)
        with Journal.reopen(run.folder.path) as journal:
            metrics = {"val_macro_f1": 0.52}
            paused = TrialResult(0, 1, TrialState.STOPPED, "paused after epoch 2 of 6", 2, metrics, epochs=2)
            report = journal.record.trials[0].reports[1]
            journal.append(EpochReported(report=report, go_on=False, paused=True))
            journal.append(TrialEnded(result=paused))
            (run.folder.trial(0)).mkdir(parents=True)
            run.folder.model(0).touch()
            journal.append(TrialStarted(number=0, attempt=2, from_epoch=2))

    def test_it_keeps_what_it_had(self, run, continued):
        record, _ = run(0.5, fresh=False, script={(0, attempt): 3 for attempt in range(3, 9)})
        trial = record.trials[0]
        assert (trial.state, trial.epochs, record.epochs) == (TrialState.STOPPED, 2, 2)
        assert trial.result.reason == "paused after epoch 2 of 6; continued, and lost 4 workers; the last: killed"
        assert record.leaderboard() == [trial]
        assert run.folder.model(0).exists()
        assert (trial.is_paused, found(run.folder)) == (False, set())

    def test_its_epochs_are_those_of_its_end_again(self, run, continued):
        """Lost attempts had reported the third epoch, and were answered to pause there."""
        with Journal.reopen(run.folder.path) as journal:
            before = list(journal.record.trials[0].reports), list(journal.record.trials[0].report_times)
            revision = journal.record.trials[0].revision
            third = EpochReport(0, 2, 3, {"val_macro_f1": 0.99})
            journal.append(EpochReported(report=third, go_on=False, paused=True))
            for attempt in range(3, 3 + MAX_LOST_WORKERS):
                journal.append(WorkerLost(number=0, attempt=attempt, reason="killed"))
        record, _ = run(0.5, fresh=False, script={(0, attempt): 3 for attempt in range(3, 9)})
        trial = record.trials[0]
        assert (trial.reports, trial.report_times) == before
        assert record.history[-1].reports == tuple(before[0])
        assert (trial.is_paused, trial.revision > revision) == (False, True)

    @pytest.fixture
    def failing(self, run, continued, monkeypatch):
        """Resumes the sweep; the trial's attempt reports one epoch, and ends so."""

        def failing(state, reason):
            def submit(worker, spec):
                worker.spec = spec
                run.folder.attempt(0, spec.attempt).mkdir()
                if spec.first_epoch == 2:
                    worker.events.append(EpochReport(0, spec.attempt, 3, {"val_macro_f1": 0.1}))
                worker.events.append(TrialResult(0, spec.attempt, state, reason, epochs=3, seconds=7.0))

            monkeypatch.setattr(Worker, "submit", submit)
            return run(0.5, fresh=False)[0]

        return failing

    @pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.INFEASIBLE])
    def test_if_it_fails_it_keeps_what_it_had(self, run, failing, state):
        record = failing(state, "loss is nan at epoch 4")
        trial = record.trials[0]
        assert trial.result.reason == f"paused after epoch 2 of 6; continued, and {state}: loss is nan at epoch 4"
        assert (trial.state, trial.epochs, len(trial.reports), trial.is_paused) == (TrialState.STOPPED, 2, 2, False)
        assert (record.leaderboard(), record.epochs, trial.seconds) == ([trial], 2, 7.0)
        assert run.folder.model(0).exists()
        assert (run.folder.attempts(0), found(run.folder)) == ([], set())

    @pytest.mark.parametrize("reason", [DISK_FULL, f"{DATA_GONE}: x.npy"])
    def test_its_model_outlives_a_full_disk_and_lost_images(self, run, failing, reason):
        with pytest.raises(EngineError) if reason == DISK_FULL else nullcontext():
            failing(TrialState.FAILED, reason)
        assert run.folder.model(0).exists()


class TestMoreEpochs:
    """Trials 0 to 3 have trained all 6 epochs; then the sweep is resumed with 8."""

    SCORES = (0.5, 0.7, 0.6, 0.1)

    @pytest.fixture
    def longer(self, run):
        def longer(**changes):
            run(*self.SCORES)
            for each in run.folder.find_checkpoints():
                write_readable(run.folder, each, EPOCHS)
            with Journal.reopen(run.folder.path) as journal:
                journal.append(FinalistsChosen(numbers=[1], reason="max_trials reached"))
                overrides = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
                journal.append(find_change(journal.record, overrides=["training.epochs=8", *overrides]))
                return find_longer_training(journal.record, run.folder)

        return longer

    def test_complete_trials_continue_the_best_first(self, run, longer):
        found = longer()
        assert found.describe(8) == ["trials that continue to epoch 8, the best first: 1, 2, 0, 3"]
        record, worker = run(*self.SCORES, fresh=False, to_continue=found.numbers)
        assert worker.begun == [(number, 2, 6, f"000{number}-1-00006.npz") for number in (1, 2, 0, 3)]
        assert [(trial.epochs, trial.state) for trial in record.trials.values()] == [(8, TrialState.COMPLETED)] * 4
        assert (record.epochs, record.finalists) == (32, None)
        assert find_longer_training(record, run.folder).numbers == ()

    def test_until_the_budget_is_spent_and_after_a_kill_the_others(self, run, longer):
        found = longer()
        run(*self.SCORES, fresh=False, to_continue=found.numbers, stopping=lambda record: record.epochs >= 27)
        with Journal.reopen(run.folder.path) as journal:
            left = find_longer_training(journal.record, run.folder).numbers
            journal.append(find_change(journal.record, overrides=["search.max_epochs=28"]))
        assert left == (0, 3)
        record, worker = run(*self.SCORES, fresh=False, to_continue=left, max_epochs=28)
        assert [(number, attempt, first) for number, attempt, first, _ in worker.begun] == [(2, 3, 7)]
        assert [trial.epochs for trial in record.trials.values()] == [6, 8, 8, 6]

    def test_others_say_why_not(self, run, longer):
        longer()
        run.folder.checkpoint(CheckpointName(0, 1, 6)).unlink()
        run.folder.checkpoint(CheckpointName(1, 1, 6)).write_bytes(b"torn")
        write_readable(run.folder, CheckpointName(2, 1, 6), EPOCHS, schedule=True)
        assert find_longer_training(read_record(run.folder.path), run.folder).describe(8) == [
            "trials that continue to epoch 8, the best first: 3",
            "completed trials that do not continue: 1 (a checkpoint that cannot be read)",
            "completed trials that do not continue: 1 (schedule: cosine spans its 6 epochs)",
            "completed trials that do not continue: 1 (no checkpoint of their last epoch)",
        ]

    def test_paused_and_interrupted_trials_with_a_schedule_are_told(self, tmp_path):
        folder, writer = SweepFolder(tmp_path), RecordWriter()
        folder.checkpoints.mkdir(parents=True)
        for schedule in (True, True, False):
            write_readable(folder, CheckpointName(writer.start(0.5), 1, 1), 20, schedule)
        report = writer.record.trials[1].reports[0]
        writer.apply(EpochReported(report=replace(report, epoch=2), go_on=False, paused=True))
        writer.apply(TrialEnded(result=TrialResult(1, 1, TrialState.STOPPED, "paused", 2, report.metrics, epochs=2)))
        assert find_longer_training(writer.record, folder).describe(80) == []
        writer.apply(find_change(writer.record, overrides=["training.epochs=80"]))
        assert find_longer_training(writer.record, folder).describe(80) == [
            "trials that begin anew since their cosine schedules end with epoch 20: 0, 1"
        ]


class TestPromotedByKerasTuner:
    """Its Hyperband proposes trial 1, which continues trial 0."""

    FIRST = {"score": 0.5, "tuner/epochs": 2, "tuner/initial_epoch": 0}
    PROMOTED = {"score": 0.5, "tuner/epochs": 6, "tuner/initial_epoch": 2, "tuner/trial_id": "0"}

    def test_it_begins_with_the_checkpoint_of_the_other(self, run):
        record, worker = run(self.FIRST, self.PROMOTED, script={(1, 1): 3, (1, 2): 5})
        assert worker.begun == [
            (0, 1, 0, None),
            (1, 1, 2, "0000-1-00002.npz"),
            (1, 2, 2, "0000-1-00002.npz"),
            (1, 3, 4, "0001-2-00004.npz"),
        ]
        trial = record.trials[1]
        assert [(report.number, report.epoch) for report in trial.reports] == [
            (0, 1), (0, 2), (1, 3), (1, 4), (1, 5), (1, 6)
        ]  # fmt: skip
        assert (trial.epochs, trial.own_epochs, record.epochs) == (6, 4, 6)
        assert trial.seed == record.trials[0].seed

    def test_while_it_trains_the_other_s_checkpoint_is_kept(self, run):
        record, worker = run(self.FIRST, self.PROMOTED, checkpoint_gib=KIB / 2, script={(1, 1): 3, (1, 2): 3})
        assert [begun[2:] for begun in worker.begun[1:]] == [(2, "0000-1-00002.npz")] * 3
        assert record.epochs == 6

    def test_without_it_the_same_is_trained_from_the_first_epoch(self, run, monkeypatch):
        monkeypatch.setattr(Worker, "answer", lambda *_: None)
        record, worker = run(self.FIRST, self.PROMOTED)
        assert worker.begun == [(0, 1, 0, None), (1, 1, 0, None)]
        assert (record.trials[1].seed, record.epochs) == (record.trials[0].seed, 8)

    def test_a_finalist_that_is_trained_again_does_not_continue(self, run):
        run(self.FIRST, self.PROMOTED)
        with Journal.reopen(run.folder.path) as journal:
            journal.append(FinalistsChosen(numbers=[1], reason="max_trials reached"))
            record, worker = journal.record, Worker(run.folder)
            SweepLoop(
                journal,
                FinalistSource(1),
                no_scheduler(),
                worker,
                lambda trial, attempt: trial_spec(record, run.folder, None, trial, attempt),
                epochs_known=partial(epochs_known, record, run.folder),
            ).run()
        assert worker.begun == [(2, 1, 0, None)]
        assert record.trials[2].seed != record.trials[1].seed


class TestKeeper:
    @pytest.fixture
    def folder(self, tmp_path):
        return SweepFolder(tmp_path)

    @pytest.fixture
    def writer(self):
        config = SweepConfig(
            training={"epochs": 3}, execution={"checkpoint_gib": 3 * KIB}, search={"baseline": False}
        ).model_dump(mode="json")
        return RecordWriter(config=config)

    def test_those_of_trials_that_cannot_continue_are_deleted(self, writer, folder):
        lost, failed, stopped = writer.start(0.1), writer.start(0.2), writer.start(0.3)
        report = writer.record.trials[stopped].reports[-1]
        writer.apply(EpochReported(report=report, go_on=False))
        write(folder, *((number, 1, 1) for number in (lost, failed, stopped)))
        keeper = CheckpointKeeper(folder)
        for number, state in ((lost, TrialState.LOST), (failed, TrialState.FAILED), (stopped, TrialState.STOPPED)):
            keeper.on_event(end(writer, number, state), writer.record)
        assert found(folder) == set()

    def test_above_the_bound_completed_trials_go_before_paused_ones_and_the_worst_first(self, writer, folder):
        keeper = CheckpointKeeper(folder)
        for curve, is_paused in (((0.9,), True), ((0.2, 0.2, 0.9), False), ((0.1,), True), ((0.3, 0.3, 0.3), False)):
            number = writer.start(*curve)
            write(folder, (number, 1, len(curve)))
            if is_paused:
                report = writer.record.trials[number].reports[-1]
                writer.apply(EpochReported(report=report, go_on=False, paused=True))
            state = TrialState.STOPPED if is_paused else TrialState.COMPLETED
            keeper.on_event(end(writer, number, state), writer.record)
        assert found(folder) == {(0, 1, 1), (1, 1, 3), (2, 1, 1)}
        number = writer.start(0.5)
        write(folder, (number, 1, 1), size=2048)
        keeper.on_event(WorkerLost(number=number, attempt=1, reason="killed"), writer.record)
        assert found(folder) == {(0, 1, 1), (number, 1, 1)}

    def test_running_trials_keep_theirs_whatever_they_take(self, writer, folder):
        number = writer.start(0.1, 0.2)
        write(folder, (number, 1, 2), size=9999)
        CheckpointKeeper(folder).on_event(TrialStarted(number=number, attempt=1), writer.record)
        assert found(folder) == {(number, 1, 2)}

    def test_a_paused_trial_keeps_its_own_while_its_end_is_not_known(self, writer, folder):
        number = writer.start(0.1, 0.2)
        writer.record.trials[number].decision = Decision.PAUSE
        write(folder, (number, 1, 1), (number, 1, 2))
        keeper = CheckpointKeeper(folder)
        keeper.on_event(TrialStarted(number=number, attempt=1), writer.record)
        assert found(folder) == {(number, 1, 1), (number, 1, 2)}
        keeper.on_event(end(writer, number, TrialState.STOPPED), writer.record)
        assert found(folder) == {(number, 1, 2)}

    def test_those_of_lost_attempts_go_as_soon_as_there_is_a_newer_one(self, writer, folder):
        number = writer.start(0.1, 0.2)
        keeper = CheckpointKeeper(folder)
        writer.apply(TrialStarted(number=number, attempt=2, from_epoch=2))
        write(folder, (number, 1, 1), (number, 1, 2), (number, 1, 9), (77, 1, 1))
        keeper.on_event(TrialStarted(number=number, attempt=2), writer.record)
        assert found(folder) == {(number, 1, 2)}
        writer.apply(EpochReported(report=EpochReport(number, 2, 3, {"val_macro_f1": 0.3}), go_on=True))
        write(folder, (number, 2, 3))
        keeper.on_event(TrialStarted(number=number, attempt=2), writer.record)
        assert found(folder) == {(number, 2, 3)}

    def test_what_is_half_written_is_left_to_its_worker_and_deleted_if_that_was_lost(self, writer, folder):
        number = writer.start(0.1)
        write(folder)
        ours, old = (folder.checkpoints / f".{'0' * 32}.{CheckpointName(number, n, 1)}" for n in (1, 2))
        ours.touch()
        old.touch()
        CheckpointKeeper(folder).on_event(WorkerLost(number=number, attempt=2, reason="killed"), writer.record)
        assert (ours.exists(), old.exists()) == (True, False)

    def test_once_a_winner_is_chosen_no_trial_of_the_search_continues(self, writer, folder):
        number = writer.trial(0.1, 0.2, 0.3)
        write(folder, (number, 1, 3))
        event = TrialEnded(result=writer.record.trials[number].result)
        keeper = CheckpointKeeper(folder)
        keeper.on_event(event, writer.record)
        assert found(folder) == {(number, 1, 3)}
        writer.apply(WinnerChosen(number=number))
        keeper.on_event(event, writer.record)
        assert found(folder) == set()


def end(writer, number, state):
    """Ends a running trial and returns the event."""
    curve = writer.record.trials[number].curve("val_macro_f1")
    metrics = {"val_macro_f1": max(curve)} if state.has_model else {}
    event = TrialEnded(result=TrialResult(number, 1, state, "because", metrics=metrics, epochs=len(curve)))
    writer.apply(event)
    return event
