"""The loop pauses trials and promotes them: over attempts, with several workers, killed and resumed anywhere."""

import random
from collections import deque

import pytest
from written_records import started

from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.config.sweep import SweepConfig
from galaxy_exp.errors import SweepFailedError
from galaxy_exp.execution.budget import Budget
from galaxy_exp.execution.loop import SweepLoop
from galaxy_exp.execution.orders import OrderDesk
from galaxy_exp.execution.trials import FinalistSource, SearchSource
from galaxy_exp.journal.events import FinalistsChosen, SweepResumed
from galaxy_exp.journal.journal import Journal, read_record
from galaxy_exp.journal.orders import OrderFolder, parse_order
from galaxy_exp.journal.resume_changes import find_change
from galaxy_exp.records import Decision, EpochReport, TrialResult, TrialState
from galaxy_exp.search.proposer import NoProposal
from galaxy_exp.search.schedulers import PromotionScheduler, build_scheduler, no_scheduler

EPOCHS = 8
HEIGHTS = [each / 20 for each in random.Random(5).sample(range(1, 20), 12)]


class Heights:
    """Proposes these heights, and remembers what it was told."""

    def __init__(self, heights):
        self.heights, self.told = heights, []

    def propose(self, number):
        return {"height": self.heights[number]} if number < len(self.heights) else NoProposal.EXHAUSTED

    def adopt(self, number, values, *, proposed):
        pass

    def tell(self, number, outcome):
        self.told.append((number, outcome.state, len(outcome.curve)))


class Workers:
    """They take turns, an epoch each; every report is answered before the next one."""

    def __init__(self, slots):
        self.slots, self.running, self.epochs, self.hook = slots, deque(), [], lambda report: None

    def free_slots(self):
        return self.slots - len(self.running)

    def submit(self, spec):
        self.running.append([*spec, Decision.CONTINUE])

    def next_event(self, timeout_seconds=None):
        if not self.running:
            return None
        self.running.rotate(-1)
        number, attempt, height, epoch, decision = entry = self.running[-1]
        if decision is Decision.CONTINUE and epoch < EPOCHS:
            entry[3] += 1
            self.epochs.append((number, epoch + 1))
            report = EpochReport(number, attempt, epoch + 1, self.metrics(height, epoch + 1))
            self.hook(report)
            return report
        self.running.pop()
        state = TrialState.COMPLETED if epoch == EPOCHS else TrialState.STOPPED
        return TrialResult(number, attempt, state, "because", epoch, self.metrics(height, epoch), epochs=epoch)

    def metrics(self, height, epoch):
        return {"val_macro_f1": height * (1 - 0.5**epoch)}

    def answer(self, number, decision):
        next(entry for entry in self.running if entry[0] == number)[4] = decision


class Sweep:
    """Trials of these heights; again with the same journal if it exists."""

    def __init__(self, folder, slots=1, heights=HEIGHTS, keeps_checkpoints=True, script=None, **search):
        settings = {"baseline": False, "max_trials": len(heights), "max_failures": 99} | search
        config = SweepConfig(search=settings, training={"epochs": EPOCHS}).model_dump(mode="json")
        self.folder, self.proposer, self.workers = folder, Heights(heights), Workers(slots)
        self.desk = OrderFolder(folder / "orders")
        is_new = not (folder / "journal.jsonl").exists()
        with (
            Journal.create(folder, started(config=config, baseline={"height": 0.1}))
            if is_new
            else Journal.reopen(folder) as journal
        ):
            if not is_new:
                journal.append(SweepResumed())
            scheduler = build_scheduler(SearchConfig(**settings), EPOCHS)
            self.workers.hook = lambda report: self.give_orders(report, script or {})
            self.reason = SweepLoop(
                journal,
                SearchSource(self.proposer, Budget(scheduler, EPOCHS)),
                scheduler,
                self.workers,
                lambda trial, attempt: (trial.number, attempt, trial.values["height"], trial.from_epoch),
                orders=OrderDesk(self.desk, self.workers),
                epochs_known=lambda trial: len(trial.reports) if keeps_checkpoints and trial.result else 0,
            ).run()
        self.record = read_record(folder)

    def give_orders(self, report, script):
        for order in script.pop((report.number, report.epoch), ()):
            self.desk.give(self.desk.new_name(), parse_order(order))

    @property
    def lengths(self):
        return [trial.epochs for trial in self.record.searched]


def answers(record):
    return [(taken.accepted, taken.answer) for taken in record.orders]


@pytest.mark.parametrize("slots", [1, 3])
class TestPromoted:
    def test_the_best_is_trained_to_its_end_and_no_epoch_twice(self, tmp_path, slots):
        sweep = Sweep(tmp_path / "s-1", slots)
        assert sweep.lengths[HEIGHTS.index(max(HEIGHTS))] == EPOCHS
        assert min(sweep.lengths) < EPOCHS
        assert len(sweep.workers.epochs) == len(set(sweep.workers.epochs)) == sweep.record.epochs == sum(sweep.lengths)
        assert sweep.reason == "max_trials reached"
        assert all(trial.is_paused == (trial.epochs < EPOCHS) for trial in sweep.record.searched)
        assert max(trial.attempt for trial in sweep.record.searched) > 1

    def test_the_search_learns_each_pause_and_a_resumed_one_the_same_in_the_same_order(self, tmp_path, slots):
        first = Sweep(tmp_path / "s-1", slots)
        assert len(first.proposer.told) == sum(trial.attempt for trial in first.record.searched)
        again = Sweep(tmp_path / "s-1", slots)
        assert again.proposer.told == first.proposer.told
        assert again.workers.epochs == []

    def test_without_checkpoints_epochs_are_repeated_and_nothing_is_decided_otherwise(self, tmp_path, slots):
        kept = Sweep(tmp_path / "s-1", slots)
        lost = Sweep(tmp_path / "s-2", slots, keeps_checkpoints=False)
        assert len(lost.workers.epochs) > len(set(lost.workers.epochs))
        if slots == 1:
            assert lost.lengths == kept.lengths
        assert lost.lengths[HEIGHTS.index(max(HEIGHTS))] == EPOCHS
        assert [len(trial.known) for trial in lost.record.searched] == lost.lengths

    def test_every_answer_follows_from_the_journal_before_it(self, tmp_path, slots):
        """What a resumed sweep would have answered there."""
        folder = tmp_path / "s-1"
        Sweep(folder, slots)
        scheduler = build_scheduler(SearchConfig(), EPOCHS)
        lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
        (tmp_path / "s-2").mkdir()
        checked = 0
        for position in range(2, len(lines)):
            (tmp_path / "s-2" / "journal.jsonl").write_bytes(b"".join(lines[:position]))
            record = read_record(tmp_path / "s-2")
            (tmp_path / "s-2" / "journal.jsonl").write_bytes(b"".join(lines[: position + 1]))
            after = read_record(tmp_path / "s-2")
            curves = {trial.number: trial.curve("val_macro_f1") for trial in record.searched}
            paused = [trial.number for trial in record.searched if trial.is_paused]
            for trial in record.searched:
                now = after.trials[trial.number]
                if len(now.reports) > len(trial.reports) and now.epochs < EPOCHS:
                    grown = curves | {trial.number: now.curve("val_macro_f1")}
                    assert scheduler.decide(trial.number, grown, paused) is now.decision
                    checked += 1
                if now.attempt > trial.attempt and trial.is_paused:
                    free = len(record.trials) < len(HEIGHTS)
                    assert scheduler.choose(curves, paused, can_start_new=free) == trial.number
                    checked += 1
        assert checked > 20


@pytest.mark.parametrize("keeps_checkpoints", [True, False])
def test_a_sweep_cut_off_anywhere_ends_as_the_unbroken_one(tmp_path, keeps_checkpoints):
    whole = Sweep(tmp_path / "s-1")
    lines = (tmp_path / "s-1" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for position in range(1, len(lines)):
        folder = tmp_path / f"cut-{position}"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:position]))
        resumed = Sweep(folder, keeps_checkpoints=keeps_checkpoints)
        assert resumed.lengths == whole.lengths, f"cut after line {position}"
        assert resumed.proposer.told == whole.proposer.told, f"cut after line {position}"


def test_once_the_sampler_has_nothing_left_the_best_is_trained_to_its_end(tmp_path):
    sweep = Sweep(tmp_path / "s-1", max_trials=99)
    assert sweep.reason == "every configuration of the space was tried"
    assert sweep.lengths[HEIGHTS.index(max(HEIGHTS))] == EPOCHS


@pytest.mark.parametrize("chosen", [77, "1"])
def test_a_scheduler_that_chooses_no_paused_trial_ends_the_sweep_with_one_line(tmp_path, monkeypatch, chosen):
    monkeypatch.setattr(PromotionScheduler, "choose", lambda *_, **__: chosen)
    with pytest.raises(SweepFailedError) as failed:
        Sweep(tmp_path / "s-1")
    assert str(failed.value) == (
        f"search.scheduler promote: choose returned {chosen!r}; expected None or the number of a paused trial: 0"
    )


def test_a_cluster_without_workers_yet_does_not_end_a_search_with_paused_trials(tmp_path, monkeypatch):
    heights = HEIGHTS[:3]
    Sweep(tmp_path / "s-1", heights=heights, max_epochs=7)
    left = deque([0] * 3)
    free_slots = Workers.free_slots
    monkeypatch.setattr(Workers, "free_slots", lambda workers: left.popleft() if left else free_slots(workers))
    with Journal.reopen(tmp_path / "s-1") as journal:
        journal.append(find_change(journal.record, overrides=["search.max_epochs=70"]))
    sweep = Sweep(tmp_path / "s-1", heights=heights, max_epochs=70)
    assert max(sweep.lengths) == EPOCHS


class TestBudget:
    def test_a_baseline_that_the_budget_paused_continues_first(self, tmp_path):
        search = {"baseline": True, "max_epochs": 3}
        assert Sweep(tmp_path / "s-1", **search).lengths == [3]
        with Journal.reopen(tmp_path / "s-1") as journal:
            assert journal.record.trials[0].is_paused
            journal.append(find_change(journal.record, overrides=["search.max_epochs=20"]))
        sweep = Sweep(tmp_path / "s-1", **search | {"max_epochs": 20})
        assert sweep.workers.epochs[:5] == [(0, epoch) for epoch in range(4, 9)]
        assert sweep.record.epochs == 20

    @pytest.mark.parametrize("slots", [1, 3])
    @pytest.mark.parametrize("keeps_checkpoints", [True, False])
    def test_what_is_left_of_the_epochs_goes_to_paused_trials(self, tmp_path, slots, keeps_checkpoints):
        sweep = Sweep(tmp_path / "s-1", slots, keeps_checkpoints=keeps_checkpoints, max_epochs=21)
        assert 21 <= sweep.record.epochs < 21 + slots
        assert sweep.reason.startswith("max_epochs")


class TestOrders:
    def test_finish_promotes_nothing(self, tmp_path):
        sweep = Sweep(tmp_path / "s-1", script={(5, 1): [{"order": "finish"}]})
        assert sweep.reason == "ordered to finish"
        assert sweep.workers.epochs[-1] == (5, 2)

    def test_a_paused_trial_that_is_stopped_never_continues(self, tmp_path):
        best = HEIGHTS.index(max(HEIGHTS[:4]))
        script = {(4, 1): [{"order": "stop", "trial": best}]}
        sweep = Sweep(tmp_path / "s-1", script=script)
        trial = sweep.record.trials[best]
        assert answers(sweep.record) == [(True, f"trial {best} is paused already, and does not continue")]
        assert (trial.is_paused, trial.epochs < EPOCHS) == (False, True)

    def test_a_trial_that_an_order_paused_waits_for_the_last_new_one(self, tmp_path):
        best = HEIGHTS.index(max(HEIGHTS))
        unordered = Sweep(tmp_path / "s-1")
        ordered = Sweep(tmp_path / "s-2", script={(best, 1): [{"order": "pause", "trial": best}]})
        last_new = ordered.workers.epochs.index((len(HEIGHTS) - 1, 1))
        assert all(number != best or epoch <= 2 for number, epoch in ordered.workers.epochs[:last_new])
        assert ordered.lengths[best] == unordered.lengths[best] == EPOCHS


def test_finalists_train_beside_paused_trials_of_the_search_which_stay_paused(tmp_path):
    lengths = Sweep(tmp_path / "s-1").lengths
    with Journal.reopen(tmp_path / "s-1") as journal:
        journal.append(FinalistsChosen(numbers=[1, 2], reason="max_trials reached"))
        workers = Workers(2)
        SweepLoop(
            journal,
            FinalistSource(2),
            no_scheduler(),
            workers,
            lambda trial, attempt: (trial.number, attempt, trial.values["height"], trial.from_epoch),
        ).run()
        record = journal.record
    assert [trial.epochs for trial in record.searched] == lengths
    assert [trial.epochs for trial in record.trials.values() if trial.retrains is not None] == [EPOCHS] * 4
