"""Orders to a running sweep: what each does, what is refused, and that a killed driver makes no difference."""

import json
import math
import os
import subprocess
import sys
from collections import deque

import keras_tuner
import pytest
from privileges import without_roots_rights
from written_records import RecordWriter, started

from galaxy_exp.config import SweepConfig
from galaxy_exp.errors import OrderRefusedError
from galaxy_exp.evaluation.selection import choose_finalists, choose_winner
from galaxy_exp.execution.budget import Budget
from galaxy_exp.execution.loop import SweepLoop
from galaxy_exp.execution.orders import OrderDesk
from galaxy_exp.execution.trials import FinalistSource, SearchSource
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import (
    EpochReported,
    FinalistsChosen,
    OrderTaken,
    SweepChanged,
    SweepEnded,
    SweepResumed,
    TrialEnded,
    TrialProposed,
    TrialStarted,
    WinnerChosen,
    parse_event,
)
from galaxy_exp.journal.journal import Journal, read_record
from galaxy_exp.journal.orders import OrderFolder, parse_order
from galaxy_exp.journal.resume_changes import find_change
from galaxy_exp.records import Decision, EpochReport, TrialResult, TrialState
from galaxy_exp.search.building import build_proposer
from galaxy_exp.search.schedulers import build_scheduler, no_scheduler
from galaxy_exp.space.search_space import SearchSpace
from galaxy_exp.tell import _find_answer

EPOCHS = 4


def space():
    space = keras_tuner.HyperParameters()
    space.Float("rate", 0.0, 1.0, default=0.9)
    space.Boolean("deep", default=False)
    with space.conditional_scope("deep", [True]):
        space.Int("units", 2, 32, default=8)
    return space.get_config()


def config(**search):
    return SweepConfig(
        training={"epochs": EPOCHS},
        search={"sampler": "random", "scheduler": "none", "max_trials": 6, "seed": 3, **search},
        registry={"finalists": 2, "seeds": 1},
    ).model_dump(mode="json")


def start(**search):
    return started(config=config(**search), space=space(), baseline={"rate": 0.9, "deep": False})


class ScriptedEngine:
    """One trial at a time; when a trial has reported an epoch, people give the orders that stand for that moment.

    Args:
        folder: of the orders.
        script: by trial and epoch, the content of the files that are given.
    """

    def __init__(self, folder, script=None):
        self.folder, self.script, self.scaled = folder, script or {}, []
        self.events, self.spec = deque(), None

    def free_slots(self):
        return 1 if self.spec is None else 0

    def submit(self, spec):
        self.spec = spec
        self.report(1)

    def report(self, epoch):
        self.epoch = epoch
        self.events.append(EpochReport(self.spec.number, self.spec.attempt, epoch, self.metrics(epoch)))

    def metrics(self, epoch):
        return {"val_macro_f1": (1 - (self.spec.values["rate"] - 0.3) ** 2) * (1 - 0.5**epoch)}

    def next_event(self, timeout_seconds=None):
        event = self.events.popleft() if self.events else None
        if isinstance(event, EpochReport):
            self.give_orders(event.number, event.epoch)
        elif event is not None:
            self.spec = None
        return event

    def give_orders(self, number, epoch):
        for position, order in enumerate(self.script.get((number, epoch), ())):
            self.folder.mkdir(exist_ok=True)
            content = order if isinstance(order, str) else json.dumps(order)
            (self.folder / f"{number}-{epoch}-{position}.json").write_text(content)

    def answer(self, number, decision):
        if decision is Decision.CONTINUE and self.epoch < EPOCHS:
            self.report(self.epoch + 1)
            return
        state = TrialState.COMPLETED if self.epoch == EPOCHS else TrialState.STOPPED
        metrics, epoch = self.metrics(self.epoch), self.epoch
        self.events.append(
            TrialResult(number, self.spec.attempt, state, f"epoch {epoch}", epoch, metrics, epochs=epoch)
        )

    def scale(self, workers):
        self.scaled.append(workers)


class Spec:
    def __init__(self, trial, attempt):
        self.number, self.attempt, self.values, self.seed = trial.number, attempt, trial.values, trial.seed


def to_the_end(journal, folder, script):
    """From wherever the journal stands, as a sweep does it; returns the engine."""
    record = journal.record
    engine = ScriptedEngine(folder / "orders", script)
    desk = OrderDesk(OrderFolder(folder / "orders"), engine)
    if record.finalists is None:
        scheduler = build_scheduler(record.config.search, EPOCHS)
        proposer = build_proposer(record.config.search, SearchSpace.from_config(record.started.space), epochs=EPOCHS)
        loop = SweepLoop(
            journal, SearchSource(proposer, Budget(scheduler, EPOCHS)), scheduler, engine, Spec, orders=desk
        )
        choose_finalists(journal, loop.run())
    if record.winner is None:
        SweepLoop(journal, FinalistSource(1), no_scheduler(), engine, Spec, orders=desk).run()
    choose_winner(journal)
    if record.ended is None:
        journal.append(SweepEnded(succeeded=True, reason=record.why_search_ended))
    return engine


@pytest.fixture
def scaled():
    """The numbers of workers that the engine was told."""
    return []


@pytest.fixture
def run(tmp_path, scaled):
    def run(script, **search):
        with Journal.create(tmp_path, start(**search)) as journal:
            scaled.extend(to_the_end(journal, tmp_path, script).scaled)
        assert [path for path in tmp_path.rglob("*") if path.parent.name == "orders"] == []
        return read_record(tmp_path)

    return run


def answers(record):
    return [(taken.accepted, taken.answer) for taken in record.orders]


def epochs_of(record):
    return [trial.epochs for trial in record.searched]


class TestEachOrder:
    def test_a_stopped_trial_ends_after_its_current_epoch(self, run):
        record = run({(2, 1): [{"order": "stop", "trial": 2}]}, max_trials=4)
        assert answers(record) == [(True, "trial 2 ends after epoch 2 of 4")]
        assert epochs_of(record) == [4, 4, 2, 4]
        assert record.trials[2].state is TrialState.STOPPED

    def test_a_paused_trial_ends_and_the_journal_knows_it_may_continue(self, run, tmp_path):
        record = run({(1, 2): [{"order": "pause", "trial": 1}]}, max_trials=3)
        assert answers(record) == [(True, "trial 1 is paused after epoch 3 of 4")]
        assert epochs_of(record) == [4, 4, 4]
        assert record.trials[1].attempt == 2
        assert record.end_order[:3] == [0, 2, 1]  # it continued when no new trial could start
        lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
        paused = [line["report"] for line in lines if line["event"] == "epoch_reported" and line["paused"]]
        assert [(report["number"], report["epoch"]) for report in paused] == [(1, 3)]

    def test_the_baseline_can_be_stopped(self, run):
        record = run({(0, 1): [{"order": "stop", "trial": 0}]}, max_trials=2)
        assert epochs_of(record) == [2, 4]

    def test_the_later_of_two_orders_to_a_trial_holds(self, run):
        record = run({(1, 1): [{"order": "stop", "trial": 1}, {"order": "pause", "trial": 1}]}, max_trials=2)
        assert [text for _, text in answers(record)] == [
            "trial 1 ends after epoch 2 of 4",
            "trial 1 is paused after epoch 2 of 4",
        ]
        assert [trial.attempt for trial in record.searched] == [1, 2]

    def test_a_configuration_is_the_next_trial_and_not_a_proposal(self, run):
        values = {"rate": 0.31, "deep": False}
        record = run({(1, 1): [{"order": "try", "values": values}]}, max_trials=4)
        assert answers(record) == [(True, "trial 2 tries rate=0.31")]
        assert record.trials[2].values == values
        assert [trial.predetermined for trial in record.searched] == [True, False, True, False]

    def test_configurations_are_tried_in_the_order_of_their_orders(self, run):
        orders = [{"order": "try", "values": {"rate": rate, "deep": False}} for rate in (0.31, 0.32)]
        record = run({(1, 1): orders}, max_trials=5)
        assert [text for _, text in answers(record)] == ["trial 2 tries rate=0.31", "trial 3 tries rate=0.32"]
        assert [record.trials[number].values["rate"] for number in (2, 3)] == [0.31, 0.32]

    def test_limits_hold_from_the_next_trial_on(self, run):
        record = run({(1, 4): [{"order": "limits", "limits": {"max_trials": 3}}]}, max_trials=2)
        assert answers(record) == [(True, "search.max_trials: was 2, is 3 now")]
        assert len(record.searched) == 3
        assert record.config.search.max_trials == 3

    def test_a_lower_limit_says_how_many_waiting_configurations_get_no_trial(self, run):
        waiting = [{"order": "try", "values": {"rate": rate, "deep": False}} for rate in (0.31, 0.32)]
        record = run({(1, 1): [*waiting, {"order": "limits", "limits": {"max_trials": 3}}]})
        assert answers(record)[2] == (
            True,
            "search.max_trials: was 6, is 3 now; 1 of 2 configurations that wait to be tried will get no trial",
        )
        assert len(record.searched) == 3

    def test_a_limit_of_epochs_that_is_exceeded_ends_the_running_trial(self, run):
        record = run({(1, 1): [{"order": "limits", "limits": {"max_epochs": 6, "max_hours": None}}]})
        assert (epochs_of(record), record.why_search_ended) == ([4, 2], "max_epochs reached: 6 epochs")

    def test_workers_are_scaled_and_recorded(self, run, scaled):
        record = run({(1, 1): [{"order": "workers", "workers": 3}]}, max_trials=2)
        assert scaled == [3]
        assert record.execution.workers == 3
        assert answers(record)[0][1].startswith("3 workers from now on, ")

    def test_workers_replace_a_number_that_was_measured(self):
        writer = RecordWriter()
        change = find_change(writer.record, overrides=["execution.workers=2"])
        writer.apply(OrderTaken(file="1", order=None, accepted=True, answer="", change=change))
        assert (writer.record.execution.workers, writer.record.workers_chosen) == (2, None)

    def test_finish_ends_the_running_trial_and_the_search(self, run):
        record = run({(2, 1): [{"order": "finish"}]})
        assert answers(record) == [
            (True, "no further trial begins; 1 running one ends after the current epoch, then finalists, test and "
                   "registration follow"),
        ]  # fmt: skip
        assert (epochs_of(record), record.why_search_ended) == ([4, 4, 2], "ordered to finish")
        assert record.ended.succeeded
        assert len(record.finalists) == 2

    def test_a_search_that_waits_for_a_result_starts_what_is_enqueued(self, tmp_path):
        """As KerasTuner's Hyperband waits for all trials of a rung."""
        from galaxy_exp.search.proposer import NoProposal

        class WaitingProposer:
            def propose(self, number):
                return NoProposal.WAIT

            def adopt(self, number, values, *, proposed):
                pass

            tell = adopt

        class TwoSlots(ScriptedEngine):
            def free_slots(self):
                return 2 if self.spec is None else 1

            def submit(self, spec):
                if self.spec is not None:
                    raise KeyboardInterrupt  # the second trial began while the first one runs
                super().submit(spec)

        order = {"order": "try", "values": {"rate": 0.31, "deep": False}}
        engine = TwoSlots(tmp_path / "orders", {(0, 1): [order]})
        with Journal.create(tmp_path, start()) as journal:
            desk = OrderDesk(OrderFolder(tmp_path / "orders"), engine)
            source = SearchSource(WaitingProposer(), Budget(no_scheduler(), EPOCHS))
            with pytest.raises(KeyboardInterrupt):
                SweepLoop(journal, source, no_scheduler(), engine, Spec, orders=desk).run()
        assert [trial.epochs for trial in read_record(tmp_path).trials.values()] == [1, 0]


class TestRefused:
    @pytest.mark.parametrize(
        ("order", "reason"),
        [
            ({"order": "stop", "trial": 9}, "there is no trial 9 yet; the newest is trial 1"),
            ({"order": "pause", "trial": 0}, "trial 0 has ended: completed, epoch 4"),
            ({"order": "try", "values": {"rate": 0.9, "deep": False}}, "trial 0 has these values already"),
            (
                {"order": "try", "values": {"rate": 0.2}},
                "the values are not a whole configuration of the space of this sweep: deep",
            ),
            (
                {"order": "try", "values": {"rate": 0.2, "deep": False, "units": 3}},
                "the values are not a whole configuration of the space of this sweep: units",
            ),
            (
                {"order": "try", "values": {"rate": 0.2, "deep": False}},
                "max_trials is 2, which leaves no trial for it; raise it first: galaxy-exp tell s-1 limits "
                "--max-trials 3",
            ),
            ({"order": "limits", "limits": {"max_trials": 0}}, "--max-trials: found 0; expected a value greater"),
            ({"order": "limits", "limits": {"max_hours": -1}}, "--max-hours: found -1"),
        ],
        ids=str,
    )
    def test_with_the_reason_and_nothing_changes(self, run, order, reason):
        record = run({(1, 1): [order]}, max_trials=2)
        (taken,) = record.orders
        assert (taken.accepted, taken.change) == (False, None)
        assert taken.answer.startswith(reason)
        assert epochs_of(record) == [4, 4]

    def test_a_trial_in_its_last_epoch(self, run):
        record = run({(1, 3): [{"order": "stop", "trial": 1}]}, max_trials=2)
        assert answers(record) == [(False, "trial 1 is in its last epoch (4 of 4) and ends with it")]

    def test_a_configuration_more_than_max_trials(self, run):
        orders = [{"order": "try", "values": {"rate": rate, "deep": False}} for rate in (0.31, 0.32)]
        record = run({(1, 1): orders}, max_trials=3)
        assert answers(record)[1] == (
            False,
            "max_trials is 3, which leaves no trial for it; raise it first: galaxy-exp tell s-1 limits --max-trials 4",
        )

    def test_a_configuration_after_the_budget(self, run):
        order = {"order": "try", "values": {"rate": 0.31, "deep": False}}
        record = run({(1, 1): [order]}, max_epochs=8)
        assert answers(record) == [
            (False, "no further trial begins: max_epochs: 0 epochs are left, too few for another trial's first 4")
        ]

    def test_a_configuration_that_waits_already(self, run):
        order = {"order": "try", "values": {"rate": 0.31, "deep": False}}
        assert answers(run({(1, 1): [order, order]}))[1] == (False, "trial 2 has these values already")

    def test_while_finalists_are_trained_again(self, run):
        orders = [
            {"order": "stop", "trial": 3},
            {"order": "finish"},
            {"order": "limits", "limits": {"max_trials": 9}},
            {"order": "try", "values": {"rate": 0.31, "deep": False}},
        ]
        record = run({(3, 1): orders}, max_trials=3)
        first, *others = record.orders
        assert not any(taken.accepted for taken in record.orders)
        finalist = record.trials[3].retrains
        assert first.answer == (
            f"trial 3 trains finalist {finalist} again, and finalists are compared after all their epochs"
        )
        for taken in others:
            assert taken.answer.startswith(
                "the search is over (max_trials reached), and its finalists are being trained again (0 of 2 trainings "
                "are done)"
            )

    def test_more_workers_than_memory_could_hold(self, tmp_path):
        (taken,) = take(tmp_path, RecordWriter(), {"order": "workers", "workers": 10_000})
        assert not taken.accepted
        assert "10000 workers need 1953 GiB" in taken.answer

    def test_workers_of_an_engine_with_one(self, tmp_path):
        writer = RecordWriter(config=SweepConfig(execution={"engine": "inline"}).model_dump(mode="json"))
        (taken,) = take(tmp_path, writer, {"order": "workers", "workers": 2})
        assert "engine: inline has one worker process" in taken.answer

    def test_fewer_slurm_jobs(self, tmp_path):
        execution = {"cluster": "slurm", "workers": 3}
        writer = RecordWriter(config=SweepConfig(execution=execution).model_dump(mode="json"))
        fewer, more = take(tmp_path, writer, *({"order": "workers", "workers": number} for number in (2, 4)))
        assert not fewer.accepted
        assert fewer.answer.endswith("stop the sweep with Ctrl-C, then: galaxy-exp resume s-1 --workers 2")
        assert (more.accepted, more.answer) == (True, "4 jobs of the cluster from now on")


class TestASweepThatEndsMeanwhile:
    """While `galaxy-exp tell` waits for the answer."""

    def test_failed(self, tmp_path):
        ended = SweepEnded(succeeded=False, reason="5 trials in a row failed")
        with pytest.raises(OrderRefusedError) as refused:
            _find_answer("1.json", [ended], SweepFolder(tmp_path / "s-1"))
        assert str(refused.value) == (
            "sweep s-1 ended before it took the order: 5 trials in a row failed; galaxy-exp resume s-1 continues it"
        )

    def test_or_has_a_winner(self, tmp_path):
        with pytest.raises(OrderRefusedError, match="its winner is chosen"):
            _find_answer("1.json", [WinnerChosen(number=0)], SweepFolder(tmp_path / "s-1"))


class TestDoneAlready:
    @pytest.mark.parametrize(
        ("order", "answer"),
        [
            ({"order": "limits", "limits": {"max_trials": 6}}, "the limits have these values already"),
            ({"order": "workers", "workers": 2}, "the number of workers is 2 already"),
            ({"order": "finish"}, "the search was ordered to finish already"),
        ],
        ids=str,
    )
    def test_an_order_given_twice_is_done(self, tmp_path, order, answer):
        execution = {"workers": 2}
        writer = RecordWriter(config=config() | {"execution": SweepConfig(execution=execution).execution.model_dump()})
        *_, last = take(tmp_path, writer, *([order] * 2))
        assert (last.accepted, last.answer, last.change) == (True, answer, None)

    def test_after_finish_other_orders_to_the_search_are_refused(self, tmp_path):
        limits = {"order": "limits", "limits": {"max_trials": 9}}
        _, taken = take(tmp_path, RecordWriter(), {"order": "finish"}, limits)
        assert (taken.accepted, taken.answer) == (False, "the search was ordered to finish")


class TestWhileTheWorkerOfATrialThatEndsStillSaves:
    """The trial was answered, and its end is not known yet."""

    @pytest.fixture
    def answered(self):
        def answered(**answer):
            writer = RecordWriter(config=config())
            number = writer.start(0.1, 0.2)
            trial = writer.record.trials[number]
            writer.apply(EpochReported(report=trial.reports[-1], go_on=False, **answer))
            return writer, trial

        return answered

    def end(self, writer, trial):
        writer.apply(TrialEnded(result=TrialResult(trial.number, 1, TrialState.STOPPED, "paused", epochs=2)))

    def test_stop_ends_a_paused_trial_for_good_also_if_the_worker_is_lost(self, answered, tmp_path):
        writer, trial = answered(paused=True)
        (taken,) = take(tmp_path, writer, {"order": "stop", "trial": trial.number})
        assert (taken.accepted, taken.answer) == (True, "trial 0 is paused already, and does not continue")
        assert trial.answers == [Decision.CONTINUE, Decision.STOP]
        self.end(writer, trial)
        assert not trial.is_paused

    def test_pause_holds_a_paused_trial(self, answered, tmp_path):
        writer, trial = answered(paused=True)
        (taken,) = take(tmp_path, writer, {"order": "pause", "trial": trial.number})
        assert taken.answer == "trial 0 is paused already, and continues when no new trial may start"
        self.end(writer, trial)
        assert (trial.is_paused, trial.held) == (True, True)

    def test_a_stopped_trial_stays_stopped(self, answered, tmp_path):
        writer, trial = answered()
        stop, pause = take(tmp_path, writer, *({"order": each, "trial": 0} for each in ("stop", "pause")))
        assert [stop.accepted, pause.accepted] == [True, False]
        assert stop.answer == pause.answer == "trial 0 is stopped already, after epoch 2"
        self.end(writer, trial)
        assert not trial.is_paused

    def test_finish_leaves_a_paused_trial_paused(self, answered, tmp_path):
        writer, trial = answered(paused=True)
        take(tmp_path, writer, {"order": "finish"})
        self.end(writer, trial)
        assert trial.is_paused


def take(folder, writer, *orders):
    """The answers to orders that wait in a folder."""
    box = OrderFolder(folder / "orders")
    for order in orders:
        box.give(box.new_name(), parse_order(order))
    desk = OrderDesk(box, ScriptedEngine(folder))
    desk.take(writer.record, writer.apply, lambda: None)
    return writer.record.orders


def give_twice(box):
    """The names of the files of two orders."""
    names = [box.new_name(), box.new_name()]
    for name in names:
        box.give(name, parse_order({"order": "finish"}))
    return names


class TestFiles:
    def test_what_is_no_order_is_refused_named_and_removed(self, run):
        record = run({(1, 1): ['{"order": "sto', '{"order": "dance"}', "[]"]}, max_trials=2)
        assert [taken.order for taken in record.orders] == [None] * 3
        for taken in record.orders:
            assert taken.answer.startswith(f"orders/{taken.file} is not an order: ")
            assert taken.answer.endswith("; it was removed")

    @pytest.mark.parametrize(
        "order",
        [
            {"order": "limits", "limits": {"max_trails": 3}},
            {"order": "limits", "limits": {"training.epochs": 30}},
            {"order": "limits", "limits": {}},
            {"order": "stop", "trial": -1},
            {"order": "workers", "workers": 0},
            {"order": "finish", "at": "once"},
            {"order": "limits", "limits": {"max_hours": math.nan}},
            {"order": "limits", "limits": {"max_hours": math.inf}},
            {"order": "try", "values": {"kind": "gal\udce9xies"}},
            {"order": "try", "values": {"gal\udce9xies": 1}},
        ],
        ids=str,
    )
    def test_orders_with_mistakes_are_no_orders(self, order):
        with pytest.raises(ValueError, match=r"^\w+\.\w+.*: "):
            parse_order(order)

    def test_a_value_that_is_not_finite_is_named(self):
        with pytest.raises(ValueError, match=r"^try\.values\.rate\.\w+: Input should be a finite number$"):
            parse_order({"order": "try", "values": {"rate": math.nan}})

    def test_links_pipes_and_folders_do_not_hold_the_driver_up(self, tmp_path):
        folder = tmp_path / "orders"
        (folder / "kept").mkdir(parents=True)
        (folder / ".being-written").write_text("{")
        os.mkfifo(folder / "pipe")
        (folder / "link").symlink_to(tmp_path)
        writer = RecordWriter()
        OrderDesk(OrderFolder(folder), ScriptedEngine(folder)).take(writer.record, writer.apply, lambda: None)
        assert [taken.file for taken in writer.record.orders] == ["link", "pipe"]
        assert all("not a regular file" in taken.answer for taken in writer.record.orders)
        assert sorted(path.name for path in folder.iterdir()) == [".being-written", "kept"]

    def test_a_name_that_the_journal_cannot_hold_does_not_end_the_sweep(self, tmp_path):
        (tmp_path / os.fsdecode(b"gal" + bytes([233]) + b"xy.json")).write_text('{"order": "finish"}')
        box = OrderFolder(tmp_path)
        (received,) = box.receive(())
        taken = OrderTaken(file=received.name, order=received.order, accepted=True, answer="")
        assert parse_event(taken.model_dump_json().encode()) == taken
        assert list(box.receive({taken.file})) == []
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_may_not_be_read_does_not_end_the_sweep(self, tmp_path):
        tmp_path.chmod(0)
        code = (
            "import pathlib, sys\n"
            "from galaxy_exp.journal.orders import OrderFolder\n"
            "print(list(OrderFolder(pathlib.Path(sys.argv[1])).receive(())))\n"
        )
        command = without_roots_rights([sys.executable, "-c", code, str(tmp_path)])
        done = subprocess.run(command, capture_output=True, text=True)
        tmp_path.chmod(0o700)
        assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr

    def test_an_order_can_be_withdrawn_until_it_is_taken(self, tmp_path):
        box = OrderFolder(tmp_path / "orders")
        first, second = give_twice(box)
        assert box.withdraw(first)
        (received,) = box.receive(())
        assert received.name == second
        assert not box.withdraw(second)
        received.remove()
        assert list(box.receive(())) == []

    def test_what_a_killed_driver_had_taken_is_taken_again_unless_it_is_answered(self, tmp_path):
        box = OrderFolder(tmp_path / "orders")
        names = give_twice(box)
        assert len(list(box.receive(()))) == 2  # and then the driver was killed
        (again,) = box.receive({names[0]})
        assert (again.name, str(again.order)) == (names[1], "finish")
        again.remove()
        assert list(box.path.iterdir()) == []


SCRIPT = {
    (1, 1): [{"order": "stop", "trial": 1}],
    (2, 2): [{"order": "pause", "trial": 2}, {"order": "stop", "trial": 77}],
    (3, 1): [{"order": "try", "values": {"rate": 0.31, "deep": True, "units": 5}}, "{"],
    (3, 3): [{"order": "try", "values": {"rate": 0.31, "deep": True, "units": 5}}],
    (5, 2): [{"order": "limits", "limits": {"max_trials": 9}}, {"order": "workers", "workers": 2}],
    (7, 2): [{"order": "finish"}],
    (8, 1): [{"order": "stop", "trial": 8}, {"order": "finish"}],
}


def outcome(record):
    """All that should not depend on interruptions."""
    trials = [
        (t.number, t.values, t.seed, t.predetermined, t.retrains, t.state, t.epochs, t.curve("val_macro_f1"))
        for t in record.trials.values()
    ]
    orders = [(taken.file, taken.order, taken.accepted, taken.answer) for taken in record.orders]
    settings = (record.config.search.max_trials, record.execution.workers)
    return trials, orders, settings, record.finalists, record.why_search_ended, record.winner, record.ended.reason


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with Journal.create(folder, start()) as journal:
        to_the_end(journal, folder, SCRIPT)
    return folder


def test_the_sweep_has_orders_of_every_kind(whole):
    record = read_record(whole)
    assert [taken.accepted for taken in record.orders] == [True] * 2 + [False, True] + [False] * 2 + [True] * 3 + [
        False
    ] * 2
    assert epochs_of(record) == [4, 2, 3, 4, 4, 4, 4, 3]
    assert record.trials[4].values == {"rate": 0.31, "deep": True, "units": 5}
    assert record.why_search_ended == "ordered to finish"


def test_a_sweep_with_orders_cut_off_anywhere_ends_as_the_uninterrupted_one(whole, tmp_path):
    """Orders whose answer was journaled are not given again; if their file is left, it does nothing."""
    lines = (whole / "journal.jsonl").read_bytes().splitlines(keepends=True)
    expected = outcome(read_record(whole))
    for position in range(1, len(lines)):
        (tmp_path / "journal.jsonl").write_bytes(b"".join(lines[:position]))
        with Journal.reopen(tmp_path) as journal:
            journal.append(SweepResumed())
            to_the_end(journal, tmp_path, SCRIPT)
        assert outcome(read_record(tmp_path)) == expected, f"cut after line {position}"
        assert list((tmp_path / "orders").iterdir()) == [] if (tmp_path / "orders").exists() else True


class TestResumed:
    def test_a_finished_search_stays_finished_until_a_limit_changes(self):
        writer = RecordWriter()
        writer.apply(OrderTaken(file="1", order={"order": "finish"}, accepted=True, answer=""))
        budget = Budget(no_scheduler(), EPOCHS)
        writer.apply(SweepResumed())
        assert budget.refusal(writer.record, 1.0) == "ordered to finish"
        writer.apply(find_change(writer.record, overrides=["execution.workers=2"]))
        assert writer.record.is_ordered_to_finish
        writer.apply(find_change(writer.record, overrides=["search.max_trials=99"]))
        assert budget.refusal(writer.record, 1.0) is None

    def test_time_while_an_order_changes_limits_counts_as_running(self):
        writer = RecordWriter()
        before = writer.record.active_seconds
        change = SweepChanged(config=writer.record.started.config, changes=[])
        writer.apply(OrderTaken(file="1", order=None, accepted=True, answer="", change=change))
        assert writer.record.active_seconds == before + 1

    def test_a_stopped_trial_that_begins_anew_ends_after_the_same_epoch(self):
        writer = RecordWriter()
        number = writer.start(0.1, 0.2)
        writer.apply(OrderTaken(file="1", order={"order": "stop", "trial": number}, accepted=True, answer=""))
        writer.apply(TrialStarted(number=number, attempt=2))
        trial = writer.record.trials[number]
        assert [str(trial.ordered_at(epoch)) for epoch in (1, 2, 3)] == ["continue", "continue", "stop"]

    def test_finalists_are_not_ended_by_an_order_of_the_search(self):
        writer = RecordWriter()
        writer.trial(0.5)
        writer.apply(OrderTaken(file="1", order={"order": "finish"}, accepted=True, answer=""))
        writer.apply(FinalistsChosen(numbers=[0], reason="ordered to finish"))
        writer.apply(TrialProposed(number=1, values={}, seed=2, retrains=0))
        assert str(writer.record.trials[1].ordered_at(1)) == "continue"
