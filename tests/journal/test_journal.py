"""The journal survives being cut off anywhere, and refuses what it cannot trust."""

import fcntl
import json
import multiprocessing
import os
import signal
import time

import pytest
from written_records import started

from galaxy_exp.errors import JournalError, JournalWriteError
from galaxy_exp.journal.events import (
    EpochReported,
    ModelRegistered,
    ParentRunCreated,
    SweepEnded,
    SweepResumed,
    TrialEnded,
    TrialProjected,
    TrialProposed,
    TrialRunCreated,
    TrialStarted,
    WorkerLost,
)
from galaxy_exp.journal.journal import Journal, is_running, read_record
from galaxy_exp.records import EpochReport, TrialResult, TrialState


def report(number, epoch, value, attempt=1):
    return EpochReport(number, attempt, epoch, {"val_macro_f1": value, "loss": 1.0})


def ended(number, state=TrialState.COMPLETED, value=0.5, attempt=1):
    metrics = {"val_macro_f1": value} if state.has_model else {}
    return TrialEnded(result=TrialResult(number, attempt, state, "because", 1, metrics, 2, 3.0))


@pytest.fixture
def sweep_folder(tmp_path):
    folder = tmp_path / "s-1"
    with Journal.create(folder, started(), clock=iter(range(100, 200)).__next__) as journal:
        journal.append(TrialProposed(number=0, values={"filters_1": 32, "batch_norm": True}, seed=5))
        journal.append(TrialStarted(number=0, attempt=1))
        journal.append(EpochReported(report=report(0, 1, 0.25), go_on=True))
        journal.append(EpochReported(report=report(0, 2, float("nan")), go_on=True))
        journal.append(ended(0))
        journal.append(TrialProposed(number=1, values={"filters_1": 16}, seed=6))
        journal.append(TrialStarted(number=1, attempt=1))
        journal.append(EpochReported(report=report(1, 1, 0.125), go_on=False))
    return folder


class TestRoundTrip:
    def test_the_record_is_the_same_after_reading(self, sweep_folder):
        record = read_record(sweep_folder)
        assert record.sweep_id == "s-1"
        assert list(record.trials) == [0, 1]
        assert record.trials[0].values == {"filters_1": 32, "batch_norm": True}
        assert record.trials[0].state is TrialState.COMPLETED
        assert record.trials[1].state is TrialState.RUNNING
        assert record.trials[1].curve("val_macro_f1") == [0.125]
        assert [trial.number for trial in record.running] == [1]

    def test_nan_survives_and_every_line_is_strict_json(self, sweep_folder):
        assert str(read_record(sweep_folder).trials[0].curve("val_macro_f1")) == "[0.25, nan]"
        for line in (sweep_folder / "journal.jsonl").read_text().splitlines():
            json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    def test_keys_on_disk_are_those_of_every_release(self, tmp_path):
        with Journal.create(tmp_path / "s-1", started()) as journal:
            journal.append(TrialProposed(number=0, values={}, seed=5, predetermined=True))
            journal.append(TrialProposed(number=1, values={}, seed=6, retrains=0))
        lines = [json.loads(line) for line in (tmp_path / "s-1" / "journal.jsonl").read_text().splitlines()]
        assert [(line["settled"], line["confirms"]) for line in lines[1:]] == [(True, None), (False, 0)]
        trials = read_record(tmp_path / "s-1").trials
        assert [(trial.predetermined, trial.retrains) for trial in trials.values()] == [(True, None), (False, 0)]

    def test_events_carry_the_clock_of_the_journal(self, sweep_folder):
        record = read_record(sweep_folder)
        assert (record.started.time, record.trials[0].proposed_at, record.updated_at) == (100, 101, 108)

    def test_the_time_until_mlflow_is_written_to_is_no_time_of_work(self, sweep_folder):
        before = read_record(sweep_folder)
        with Journal.reopen(sweep_folder, clock=lambda: 1e6) as journal:  # as by galaxy-exp sync or doctor, days later
            journal.append(ParentRunCreated(run_id="a"))
            journal.append(TrialRunCreated(number=0, run_id="b", attempt=1))
            journal.append(TrialProjected(number=0))
            journal.append(ModelRegistered(number=0, name="galaxies", version=1))
        record = read_record(sweep_folder)
        assert (record.active_seconds, record.updated_at) == (before.active_seconds, before.updated_at)

    def test_a_closed_journal_is_not_written_to_nor_what_took_its_place(self, sweep_folder, tmp_path):
        with Journal.reopen(sweep_folder) as journal:
            pass
        content = (sweep_folder / "journal.jsonl").read_bytes()
        with (tmp_path / "other").open("wb"), pytest.raises(JournalWriteError):
            journal.append(SweepResumed())
        assert (tmp_path / "other").read_bytes() == b""
        assert (sweep_folder / "journal.jsonl").read_bytes() == content

    def test_reopening_goes_on_behind_the_last_event(self, sweep_folder):
        with Journal.reopen(sweep_folder) as journal:
            journal.append(SweepResumed())
            journal.append(SweepEnded(succeeded=True, reason="done"))
        record = read_record(sweep_folder)
        assert record.ended is not None
        assert len(record.trials) == 2


class TestTornAndDamaged:
    def test_every_prefix_of_a_journal_can_be_read_and_resumed(self, sweep_folder, tmp_path):
        content = (sweep_folder / "journal.jsonl").read_bytes()
        first_line = content.index(b"\n") + 1
        copy = tmp_path / "copy"
        copy.mkdir()
        for length in range(first_line, len(content) + 1):
            (copy / "journal.jsonl").write_bytes(content[:length])
            complete = content[:length].count(b"\n")
            with Journal.reopen(copy) as journal:
                journal.append(SweepResumed())
            assert (copy / "journal.jsonl").read_bytes().count(b"\n") == complete + 1
            read_record(copy)

    def test_a_journal_cut_within_its_first_line_is_refused(self, sweep_folder):
        (sweep_folder / "journal.jsonl").write_bytes(b'{"event":"sweep_sta')
        with pytest.raises(JournalError, match="does not begin with the start of a sweep"):
            read_record(sweep_folder)

    def test_a_damaged_line_is_named(self, sweep_folder):
        lines = (sweep_folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
        lines[2] = b"\x00\x00garbage\n"
        (sweep_folder / "journal.jsonl").write_bytes(b"".join(lines))
        with pytest.raises(JournalError, match=r"journal.jsonl:3: damaged line"):
            Journal.reopen(sweep_folder)

    def test_an_event_about_an_unknown_trial_is_named(self, sweep_folder):
        with (sweep_folder / "journal.jsonl").open("a") as file:
            file.write(TrialStarted(number=7, attempt=1).model_dump_json() + "\n")
        with pytest.raises(JournalError, match=r"journal.jsonl:10: trial_started names trial 7, which was never"):
            read_record(sweep_folder)

    def test_a_missing_journal_says_how_to_find_others(self, tmp_path):
        with pytest.raises(JournalError, match="no such journal; galaxy-exp list"):
            Journal.reopen(tmp_path)

    def test_several_events_are_as_one_after_the_other(self, sweep_folder):
        with Journal.reopen(sweep_folder, clock=iter((200.0, 201.0)).__next__) as journal:
            events = [TrialProposed(number=2, values={}, seed=7), TrialStarted(number=2, attempt=1)]
            written = journal.append_all(events)
            assert [event.time for event in written] == [200.0, 201.0]
            assert journal.record.trials[2].attempt == 1
            kept = journal.record.trials[2]
        assert read_record(sweep_folder).trials[2] == kept

    @pytest.mark.parametrize(
        ("events", "space"),
        [([SweepResumed()], 10), ([SweepResumed(), SweepEnded(succeeded=True, reason="done")], 100)],
        ids=["none fits", "the first of two fits"],
    )
    def test_a_full_disk_leaves_the_journal_as_it_was(self, sweep_folder, events, space):
        import resource

        before = (sweep_folder / "journal.jsonl").read_bytes()
        with Journal.reopen(sweep_folder) as journal:
            old = resource.getrlimit(resource.RLIMIT_FSIZE)
            ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + space, old[1]))
            try:
                with pytest.raises(
                    JournalWriteError, match="cannot be written: File too large; nothing finished is lost"
                ):
                    journal.append_all(events)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, old)
                signal.signal(signal.SIGXFSZ, ignored)
            assert journal.record.ended is None
        assert (sweep_folder / "journal.jsonl").read_bytes() == before


def _hold(folder, ready):
    Journal.reopen(folder)
    ready.set()
    time.sleep(60)


class TestLock:
    def test_a_second_process_is_refused_and_a_dead_one_holds_nothing(self, sweep_folder):
        context = multiprocessing.get_context("spawn")
        ready = context.Event()
        process = context.Process(target=_hold, args=(sweep_folder, ready), daemon=True)
        process.start()
        assert ready.wait(30)
        with pytest.raises(JournalError, match="another galaxy-exp process"):
            Journal.reopen(sweep_folder)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        Journal.reopen(sweep_folder).close()

    def test_whoever_only_looks_refuses_nobody(self, sweep_folder, monkeypatch):
        looking = os.open(sweep_folder / "journal.jsonl", os.O_RDONLY)
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not is_running(sweep_folder)
        monkeypatch.setattr(time, "sleep", lambda seconds: os.close(looking))
        with Journal.reopen(sweep_folder):
            assert is_running(sweep_folder)
        assert not is_running(sweep_folder)

    def test_looking_makes_no_journal(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            is_running(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_reading_needs_no_lock(self, sweep_folder):
        with Journal.reopen(sweep_folder):
            assert read_record(sweep_folder).sweep_id == "s-1"


class TestRecord:
    def test_a_new_attempt_discards_what_the_lost_one_reported(self, sweep_folder):
        with Journal.reopen(sweep_folder) as journal:
            journal.append(WorkerLost(number=1, attempt=1, reason="killed"))
            journal.append(TrialStarted(number=1, attempt=2))
            assert journal.record.trials[1].curve("val_macro_f1") == []
            assert journal.record.trials[1].losses == ["killed"]
            assert journal.record.consecutive_failures() == 0

    def test_the_leaderboard_has_the_best_first_and_no_failures(self, sweep_folder):
        with Journal.reopen(sweep_folder) as journal:
            journal.append(ended(1, TrialState.STOPPED, 0.75))
            for number, state, value in ((2, TrialState.FAILED, 0.0), (3, TrialState.COMPLETED, 0.5)):
                journal.append(TrialProposed(number=number, values={}, seed=1))
                journal.append(ended(number, state, value))
            assert [trial.number for trial in journal.record.leaderboard()] == [1, 0, 3]

    def test_resuming_forgives_earlier_failures(self, sweep_folder):
        with Journal.reopen(sweep_folder) as journal:
            journal.append(ended(1, TrialState.FAILED))
            assert journal.record.consecutive_failures() == 1
            journal.append(SweepResumed())
            assert journal.record.consecutive_failures() == 0

    def test_a_broken_constraint_is_no_failure_and_ends_no_row(self, sweep_folder):
        with Journal.reopen(sweep_folder) as journal:
            states = (TrialState.FAILED, TrialState.INFEASIBLE, TrialState.LOST, TrialState.INFEASIBLE)
            for number, state in enumerate(states, start=1):
                if number > 1:
                    journal.append(TrialProposed(number=number, values={}, seed=1))
                journal.append(ended(number, state))
            assert journal.record.consecutive_failures() == 2

    def test_failures_in_a_row_are_counted_from_the_end(self, sweep_folder):
        with Journal.reopen(sweep_folder) as journal:
            journal.append(ended(1, TrialState.FAILED))
            journal.append(TrialProposed(number=2, values={}, seed=1))
            journal.append(ended(2, TrialState.LOST))
            assert journal.record.consecutive_failures() == 2

    def test_a_failed_trial_has_no_objective_but_a_running_one_has_its_best_so_far(self, sweep_folder):
        record = read_record(sweep_folder)
        assert record.trials[1].objective_value(record.objective) == 0.125
        with Journal.reopen(sweep_folder) as journal:
            journal.append(ended(1, TrialState.FAILED))
            assert journal.record.trials[1].objective_value(record.objective) is None
