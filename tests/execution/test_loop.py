"""The loop with any search: baseline and enqueued configurations first, replay in the recorded order, the budget."""

from collections import deque
from dataclasses import replace

import pytest
from written_records import started

from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.config.sweep import SweepConfig
from galaxy_exp.errors import EngineError
from galaxy_exp.execution.budget import Budget
from galaxy_exp.execution.engine import LostWorker
from galaxy_exp.execution.hang_detection import HangDetector
from galaxy_exp.execution.loop import SweepLoop
from galaxy_exp.execution.trials import FinalistSource, SearchSource
from galaxy_exp.journal.events import (
    EpochReported,
    FinalistsChosen,
    SweepChanged,
    SweepResumed,
    SweepStarted,
    TrialProposed,
    TrialStarted,
)
from galaxy_exp.journal.journal import Journal, read_events, read_record
from galaxy_exp.records import DATA_GONE, ENCODER_GONE, Decision, EpochReport, TrialResult, TrialState
from galaxy_exp.search.proposer import NoProposal
from galaxy_exp.search.schedulers import build_scheduler, no_scheduler

EPOCHS = 4


class ScriptedProposer:
    """Proposes what it was given, and remembers all calls."""

    def __init__(self, *proposals):
        self.proposals = deque(proposals)
        self.calls = []

    def propose(self, number):
        answer = self.proposals.popleft() if self.proposals else NoProposal.EXHAUSTED
        if not isinstance(answer, NoProposal):
            self.calls.append(("propose", number))
        return answer

    def adopt(self, number, values, *, proposed):
        self.calls.append(("adopt", number, proposed))

    def tell(self, number, outcome):
        self.calls.append(("tell", number, outcome.state.value, outcome.values))


class ImmediateEngine:
    """Trains in no time: the score of epoch e is `score` + e / 100. Holds `slots` trials at once."""

    def __init__(self, slots=1):
        self.slots = slots
        self.running = deque()

    def free_slots(self):
        return self.slots - len(self.running)

    def submit(self, spec):
        self.running.append([spec, 0, True])

    def next_event(self, timeout_seconds=None):
        if not self.running:
            return None
        self.running.rotate(-1)
        spec, epoch, go_on = self.running[-1]
        if go_on and epoch < EPOCHS:
            self.running[-1][1] += 1
            return EpochReport(spec.number, spec.attempt, epoch + 1, self.metrics(spec, epoch + 1))
        self.running.pop()
        state = TrialState.COMPLETED if epoch == EPOCHS else TrialState.STOPPED
        return TrialResult(
            spec.number, spec.attempt, state, "", best_epoch=epoch, metrics=self.metrics(spec, epoch), epochs=epoch
        )

    def metrics(self, spec, epoch):
        return {"val_macro_f1": spec.values["score"] + epoch / 100}

    def answer(self, number, decision):
        for entry in self.running:
            if entry[0].number == number:
                entry[2] = decision is Decision.CONTINUE


class Spec:
    precision: str | None = None

    def __init__(self, trial, attempt):
        self.number, self.attempt, self.values = trial.number, attempt, trial.values


@pytest.fixture
def run(tmp_path):
    def run(proposer, slots=1, fresh=True, enqueued=(), finalists=None, seeds=1, **search):
        search = {"baseline": True, "scheduler": "none", "max_trials": 20} | search
        config = SearchConfig(**search)
        scheduler = build_scheduler(config, EPOCHS)
        folder = tmp_path / "s-1"
        start = started(search, baseline={"score": 0.1}, enqueued=list(enqueued))
        with Journal.create(folder, start) if fresh else Journal.reopen(folder) as journal:
            if not fresh:
                journal.append(SweepChanged(config=start.config, changes=[]))
            source = SearchSource(proposer, Budget(scheduler, EPOCHS))
            reason = SweepLoop(journal, source, scheduler, ImmediateEngine(slots), Spec).run()
            if finalists is not None and journal.record.finalists is None:
                journal.append(FinalistsChosen(numbers=finalists, reason=reason))
            if finalists is not None:
                reason = SweepLoop(journal, FinalistSource(seeds), no_scheduler(), ImmediateEngine(slots), Spec).run()
        return reason, read_record(folder)

    return run


def test_baseline_and_enqueued_configurations_come_first_and_are_not_proposals(run):
    proposer = ScriptedProposer({"score": 0.5}, {"score": 0.6})
    reason, record = run(proposer, enqueued=[{"score": 0.2}, {"score": 0.3}], max_trials=5)
    assert reason == "max_trials reached"
    assert [trial.values["score"] for trial in record.trials.values()] == [0.1, 0.2, 0.3, 0.5, 0.6]
    assert [trial.predetermined for trial in record.trials.values()] == [True, True, True, False, False]
    assert [call for call in proposer.calls if call[0] != "tell"] == [
        ("adopt", 0, False),
        ("adopt", 1, False),
        ("adopt", 2, False),
        ("propose", 3),
        ("propose", 4),
    ]


def test_an_exhausted_search_ends_the_sweep(run):
    reason, record = run(ScriptedProposer({"score": 0.5}))
    assert reason == "every configuration of the space was tried"
    assert len(record.trials) == 2


def test_a_search_that_waits_is_asked_again_after_the_next_result(run):
    proposer = ScriptedProposer({"score": 0.5}, NoProposal.WAIT, {"score": 0.6})
    reason, record = run(proposer, slots=3)
    assert reason == "every configuration of the space was tried"
    assert len(record.trials) == 3
    asked = [call[:2] for call in proposer.calls]
    assert asked.index(("tell", 0)) < asked.index(("propose", 2))


def test_a_search_that_waits_for_nothing_ends_the_sweep(run):
    reason, _ = run(ScriptedProposer(*[NoProposal.WAIT] * 9))
    assert reason == "the sampler waits for results, and no trial runs that could give any"


def test_a_resumed_search_learns_everything_in_the_recorded_order(run):
    proposals = [{"score": 0.5}, {"score": 0.6}, {"score": 0.7}]
    first = ScriptedProposer(*proposals)
    run(first, slots=2, max_trials=4)
    second = ScriptedProposer({"score": 0.8})
    _, record = run(second, slots=2, max_trials=5, fresh=False)
    replayed = [("adopt", call[1], True) if call[0] == "propose" else call for call in first.calls]
    assert second.calls[: len(replayed)] == replayed
    assert second.calls[len(replayed)] == ("propose", 4)
    assert len(record.trials) == 5


class TwoKindsOfMachine(ImmediateEngine):
    """Its two machines take turns in beginning trials; auto is another precision on each."""

    def __init__(self):
        super().__init__(slots=2)
        self.begun, self.said, self.lost = [], {}, deque()

    def submit(self, spec):
        self.said[spec.number] = spec.precision or ["bfloat16", "float32"][len(self.begun) % 2]
        self.begun.append((spec.number, spec.attempt, spec.precision))
        super().submit(spec)

    def kill(self, number, reason):
        entry = next(entry for entry in self.running if entry[0].number == number)
        self.running.remove(entry)
        self.lost.append(LostWorker(number, entry[0].attempt, reason))

    def next_event(self, timeout_seconds=None):
        if self.lost:
            return self.lost.popleft()
        event = super().next_event(timeout_seconds)
        if isinstance(event, EpochReport) and event.epoch == 1:
            return replace(event, precision=self.said[event.number])
        return event


def test_all_trials_have_the_precision_of_the_first_that_reports(tmp_path):
    start = started({"baseline": False, "scheduler": "none", "max_trials": 4})
    proposals = [{"score": 0.5 + number / 10} for number in range(4)]
    engine = TwoKindsOfMachine()
    with Journal.create(tmp_path / "s-1", start) as journal:

        def make_spec(trial, attempt):
            spec = Spec(trial, attempt)
            spec.precision = journal.record.precision
            return spec

        source = SearchSource(ScriptedProposer(*proposals), Budget(no_scheduler(), EPOCHS))
        SweepLoop(journal, source, no_scheduler(), engine, make_spec).run()
    record = read_record(tmp_path / "s-1")
    first = record.precision
    assert engine.begun[:2] == [(0, 1, ""), (1, 1, "")]
    assert {precision for _, _, precision in engine.begun[2:]} == {first}
    (again,) = [trial for trial in record.trials.values() if trial.losses]
    assert (again.attempt, again.losses) == (
        2,
        [
            f"training.precision: auto is {'float32' if first == 'bfloat16' else 'bfloat16'} on its machine; "
            f"all trials of this sweep use {first}"
        ],
    )
    assert [trial.reports[0].precision for trial in record.trials.values()] == [first] * 4
    assert all(trial.state is TrialState.COMPLETED and len(trial.reports) == EPOCHS for trial in record.trials.values())


def test_a_trial_whose_encoder_is_gone_stops_the_sweep_and_has_not_failed(run, monkeypatch):
    reason = f"{ENCODER_GONE}: start: mine.keras: no such file"

    def next_event(engine, timeout_seconds=None):
        spec, *_ = engine.running.pop()
        return TrialResult(spec.number, spec.attempt, TrialState.FAILED, reason)

    monkeypatch.setattr(ImmediateEngine, "next_event", next_event)
    with pytest.raises(EngineError, match=f"trial 0: {reason}"):
        run(ScriptedProposer({"filters": 8}), max_trials=1)


def test_a_trial_whose_images_are_gone_has_not_failed_and_is_issued_again(run, monkeypatch):
    """Trial 1 finds them again, trial 2 never does."""
    reason = f"{DATA_GONE}: [Errno 5] Input/output error: 'x.npy'"
    immediate = ImmediateEngine.next_event

    def next_event(engine, timeout_seconds=None):
        spec = engine.running[-1][0] if engine.running else None
        if spec is None or spec.number == 0 or (spec.number == 1 and spec.attempt == 3):
            return immediate(engine, timeout_seconds)
        engine.running.pop()
        return TrialResult(spec.number, spec.attempt, TrialState.FAILED, reason)

    monkeypatch.setattr(ImmediateEngine, "next_event", next_event)
    _, record = run(ScriptedProposer({"score": 0.5}, {"score": 0.6}), max_trials=3)
    assert [trial.state for trial in record.trials.values()] == [TrialState.COMPLETED] * 2 + [TrialState.LOST]
    assert record.trials[1].losses == [reason] * 2
    assert record.trials[2].result.reason == f"lost 4 workers; the last: {reason}"


def test_max_epochs_stops_running_trials_and_starts_no_more(run):
    proposer = ScriptedProposer(*[{"score": 0.5 + n / 10} for n in range(4)])
    reason, record = run(proposer, max_epochs=10, scheduler="asha-stop", first_rung=2, reduction_factor=2)
    assert record.epochs == 10
    assert reason == "max_epochs reached: 10 epochs"
    assert [trial.epochs for trial in record.trials.values()] == [4, 4, 2]
    assert record.trials[2].state is TrialState.STOPPED


def test_the_search_learns_all_objectives(run):
    proposer = ScriptedProposer()
    run(proposer, objective=["val_macro_f1", "-parameters"])
    assert proposer.calls[-1] == ("tell", 0, "completed", None)


class TestFinalists:
    def test_each_is_trained_again_with_fresh_seeds_and_the_search_does_not_learn_of_it(self, run):
        proposer = ScriptedProposer({"score": 0.5}, {"score": 0.6})
        reason, record = run(proposer, finalists=[2, 1], seeds=2, max_trials=3)
        assert reason == "every finalist was trained with every seed"
        again = [trial for trial in record.trials.values() if trial.retrains is not None]
        assert [(trial.number, trial.retrains, trial.values["score"]) for trial in again] == [
            (3, 2, 0.6),
            (4, 1, 0.5),
            (5, 2, 0.6),
            (6, 1, 0.5),
        ]
        assert len({trial.seed for trial in record.trials.values()}) == 7
        assert max(number for _, number, *_ in proposer.calls) == 2
        assert [trial.number for trial in record.leaderboard()] == [2, 1, 0]

    def test_they_run_all_their_epochs_whatever_the_budget(self, run):
        _, record = run(ScriptedProposer({"score": 0.5}), finalists=[1], seeds=2, max_trials=2, max_epochs=8)
        assert [trial.epochs for trial in record.trials.values()] == [4, 4, 4, 4]

    def test_a_resumed_search_does_not_learn_of_them(self, run):
        run(ScriptedProposer({"score": 0.5}), finalists=[1], seeds=1, max_trials=2)
        second = ScriptedProposer()
        _, record = run(second, finalists=[1], seeds=2, max_trials=2, fresh=False)
        assert {number for _, number, *_ in second.calls} == {0, 1}
        assert len(record.trials) == 4


class SilentEngine(ImmediateEngine):
    """Says nothing of trial 1 until it was killed, and has no worker at first."""

    def __init__(self):
        super().__init__()
        self.to_come = 2
        self.lost = deque()
        self.reasons = []

    def free_slots(self):
        return 0 if self.to_come else super().free_slots()

    def next_event(self, timeout_seconds=None):
        self.to_come = max(0, self.to_come - 1)
        if self.lost:
            return self.lost.popleft()
        if self.running and self.running[0][0].number == 1 and self.running[0][0].attempt == 1:
            return None
        return super().next_event(timeout_seconds)

    def kill(self, number, reason):
        spec = self.running.popleft()[0]
        self.reasons.append((spec.number, reason))
        self.lost.append(LostWorker(number, spec.attempt, reason))


class HungAtOnce(HangDetector):
    """Every trial counts as hung."""

    def __init__(self):
        super().__init__()
        self.watched = set()

    def watch(self, number):
        self.watched.add(number)

    def forget(self, number):
        self.watched.discard(number)

    def hung_trials(self):
        return dict.fromkeys(self.watched, "hung")


@pytest.fixture
def make_loop(tmp_path):
    def make(engine, epochs=EPOCHS, proposals=({"score": 0.5}, {"score": 0.6}), **options):
        search = {"baseline": True, "scheduler": "none", "max_trials": 3}
        config = SearchConfig(**search)
        scheduler = build_scheduler(config, epochs)
        sweep = SweepConfig(search=search, training={"epochs": epochs}).model_dump(mode="json")
        journal = Journal.create(tmp_path / "s-1", started(config=sweep, baseline={"score": 0.1}))
        source = SearchSource(ScriptedProposer(*proposals), Budget(scheduler, epochs))
        return SweepLoop(journal, source, scheduler, engine, Spec, **options), journal

    return make


def test_a_hung_worker_is_ended_and_its_trial_issued_again(make_loop):
    engine = SilentEngine()
    loop, journal = make_loop(engine, hang_detector=HungAtOnce())
    assert loop.run() == "max_trials reached"
    assert engine.reasons == [(1, "hung")]
    trial = journal.record.trials[1]
    assert (trial.attempt, trial.losses, trial.state) == (2, ["hung"], TrialState.COMPLETED)


class SleepyEngine(ImmediateEngine):
    """The machine sleeps for an hour at the first call."""

    now = 0.0

    def next_event(self, timeout_seconds=None):
        slept, self.now = self.now > 0, 3600.0
        return super().next_event(timeout_seconds) if slept else None

    def kill(self, number, reason):
        raise AssertionError(reason)


def test_while_the_machine_sleeps_no_worker_hangs_and_no_hours_count(make_loop, tmp_path):
    engine = SleepyEngine()
    detector = HangDetector(clock=lambda: engine.now)
    loop, journal = make_loop(engine, hang_detector=detector, clock=lambda: engine.now)
    assert loop.run() == "max_trials reached"
    assert journal.record.trials[0].attempt == 1
    events, _ = read_events(tmp_path / "s-1")
    assert [type(event) for event in events[:5]] == [
        SweepStarted,
        TrialProposed,
        TrialStarted,
        SweepResumed,
        EpochReported,
    ]
    assert events[3].asleep_seconds == 3600.0
    assert journal.record.active_seconds < 60
    assert journal.record.ended_before_resuming == 0


class PatientEngine(ImmediateEngine):
    """Continues a trial only when its report was answered."""

    def __init__(self, slots):
        super().__init__(slots)
        self.unanswered = set()

    def next_event(self, timeout_seconds=None):
        if all(entry[0].number in self.unanswered for entry in self.running):
            return None
        while self.running[0][0].number in self.unanswered:
            self.running.rotate(-1)
        event = super().next_event(timeout_seconds)
        if isinstance(event, EpochReport):
            self.unanswered.add(event.number)
        return event

    def answer(self, number, decision):
        super().answer(number, decision)
        self.unanswered.discard(number)


def test_a_loop_that_is_to_stop_waits_for_the_running_epochs_and_starts_nothing(make_loop):
    loop, journal = make_loop(PatientEngine(2), stopping=lambda: journal.record.epochs >= 3)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    record = journal.record
    assert len(record.trials) == 2
    assert all(trial.result is None for trial in record.trials.values())
    assert record.epochs == 4


def test_a_trial_in_its_last_epoch_ends_before_the_loop_stops(make_loop):
    loop, journal = make_loop(PatientEngine(1), stopping=lambda: journal.record.epochs >= EPOCHS)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert [trial.state for trial in journal.record.trials.values()] == [TrialState.COMPLETED]


def test_a_trial_of_fewer_epochs_ends_after_its_own_last(make_loop):
    """As KerasTuner's Hyperband has them."""
    proposals = [{"score": 0.5, "tuner/epochs": EPOCHS}, {"score": 0.6}]
    loop, journal = make_loop(PatientEngine(1), epochs=2 * EPOCHS, proposals=proposals,
                              stopping=lambda: journal.record.epochs >= 2 * EPOCHS)  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert journal.record.trials[1].state is TrialState.COMPLETED


class AbandonedEngine(ImmediateEngine):
    """Has lost its last worker for good."""

    def free_slots(self):
        return 0

    def next_event(self, timeout_seconds=None):
        raise AssertionError("no worker is there to wait for")


def test_nothing_left_to_train_needs_no_worker(run, tmp_path):
    run(ScriptedProposer({"score": 0.5}), finalists=[1], max_trials=2)
    with Journal.reopen(tmp_path / "s-1") as journal:
        loop = SweepLoop(journal, FinalistSource(1), no_scheduler(), AbandonedEngine(), Spec)
        assert loop.run() == "every finalist was trained with every seed"
