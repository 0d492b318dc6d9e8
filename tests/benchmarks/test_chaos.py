import json
import random

import numpy as np
import pytest
from rich.console import Console
from written_records import started

from benchmarks.chaos import Reference, build_tables, describe, exit_code, is_bad, summarise
from benchmarks.chaos_facts import KINDS, Fact, compare, journal_facts
from benchmarks.chaos_round import PHASES, Step, draw_moments, read_timeline
from galaxy_exp.journal.events import EpochReported, SweepEnded, TrialEnded, TrialProposed, TrialStarted
from galaxy_exp.journal.journal import Journal
from galaxy_exp.records import EpochReport, TrialResult, TrialState


class TestComparing:
    REFERENCE = [Fact("runs", "trial 0", "1"), Fact("runs", "trial 1", "1"), Fact("metrics", "0 loss 1", "0.5")]

    def test_the_same_facts_in_another_order_do_not_differ(self):
        assert compare(self.REFERENCE, reversed(self.REFERENCE)) == []

    @pytest.mark.parametrize(
        ("found", "what"),
        [
            (REFERENCE[1:], "lost"),
            ([*REFERENCE, REFERENCE[0]], "doubled"),
            ([Fact("runs", "trial 0", "2"), *REFERENCE[1:]], "different"),
        ],
    )
    def test_what_is_missing_twice_there_or_another_is_told_apart(self, found, what):
        (difference,) = compare(self.REFERENCE, found)
        assert (difference.what, difference.kind, difference.key) == (what, "runs", "trial 0")

    def test_what_the_reference_has_not_is_doubled(self):
        (difference,) = compare(self.REFERENCE, [*self.REFERENCE, Fact("runs", "trial 7", "1")])
        assert (difference.what, difference.key) == ("doubled", "trial 7")


@pytest.fixture
def write_sweep(tmp_path):
    """A sweep of one trial of one epoch; `lost` attempts before it, `score` its result."""

    def write(name, lost=0, score=0.5, seconds=1.0):
        folder = tmp_path / name
        with Journal.create(folder, started()) as journal:
            journal.append(TrialProposed(number=0, values={"rate": 0.1}, seed=5))
            for attempt in range(1, lost + 2):
                journal.append(TrialStarted(number=0, attempt=attempt))
                metrics = {"val_macro_f1": score, "epoch_seconds": seconds}
                journal.append(EpochReported(report=EpochReport(0, attempt, 1, metrics), go_on=True))
            result = TrialResult(0, lost + 1, TrialState.COMPLETED, "", 1, metrics, 1, seconds)
            journal.append(TrialEnded(result=result))
            journal.append(SweepEnded(succeeded=True, reason="max_trials reached"))
        (folder / "trials" / "0000").mkdir(parents=True)
        np.save(folder / "trials" / "0000" / "test_probabilities.npy", np.float32([score]))
        return folder

    return write


class TestFactsOfAJournal:
    def test_attempts_that_were_lost_and_what_a_clock_measured_make_no_difference(self, write_sweep):
        reference = journal_facts(write_sweep("reference"))
        assert {fact.kind for fact in reference} == {"trials", "proposals", "results", "metrics", "files"}
        assert compare(reference, journal_facts(write_sweep("other", lost=2, seconds=7.0))) == []

    def test_an_attempt_that_continued_has_the_epochs_before_its_checkpoint(self, write_sweep, tmp_path):
        def report(attempt, epoch):
            metrics = {"val_macro_f1": epoch / 10, "epoch_seconds": 1.0 * attempt}
            return EpochReported(report=EpochReport(0, attempt, epoch, metrics), go_on=True)

        def facts(name, *events):
            with Journal.create(tmp_path / name, started()) as journal:
                for event in (TrialProposed(number=0, values={}, seed=5), *events):
                    journal.append(event)
                attempt = journal.record.trials[0].attempt
                journal.append(TrialEnded(result=TrialResult(0, attempt, TrialState.COMPLETED, "", epochs=2)))
            return journal_facts(tmp_path / name)

        first, again = TrialStarted(number=0, attempt=1), TrialStarted(number=0, attempt=2, from_epoch=1)
        expected = facts("unbroken", first, report(1, 1), report(1, 2))
        assert compare(expected, facts("continued", first, report(1, 1), report(1, 2), again, report(2, 2))) == []
        assert compare(expected, facts("anew", first, report(1, 1), again, report(2, 1), report(2, 2))) == []
        doubled = compare(expected, facts("doubled", first, report(1, 1), report(1, 2), report(1, 2)))
        assert {(one.what, one.key) for one in doubled} == {
            ("doubled", "0 val_macro_f1 2"),
            ("doubled", "0 epoch_seconds 2"),
        }

    def test_another_score_differs_in_result_metric_and_predictions(self, write_sweep):
        found = compare(journal_facts(write_sweep("reference")), journal_facts(write_sweep("other", score=0.25)))
        assert sorted((one.what, one.kind, one.key) for one in found) == [
            ("different", "files", "0000/test_probabilities.npy"),
            ("different", "metrics", "0 val_macro_f1 1"),
            ("different", "results", "trial 0"),
        ]

    def test_a_line_written_twice_is_doubled(self, write_sweep):
        folder = write_sweep("reference")
        reference = journal_facts(folder)
        lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
        (folder / "journal.jsonl").write_text("".join([*lines, lines[-2]]))
        (difference,) = compare(reference, journal_facts(folder))
        assert (difference.what, difference.kind, difference.key) == ("doubled", "results", "trial 0")


def events(*names):
    return [{"event": name, "time": float(second)} for second, name in enumerate(names, start=10)]


WHOLE = events("sweep_started", "trial_proposed", "trial_proposed", "finalists_chosen", "trial_proposed",
               "winner_chosen", "sealed_test_opened", "sealed_test_opened", "model_registered",
               "promotion_decided", "sweep_ended")  # fmt: skip


def test_a_timeline_has_every_phase_and_counts_events_of_a_kind():
    timeline = read_timeline(WHOLE, 4.0, 25.0)
    assert timeline[0] == Step("", 1, "start", 6.0)
    assert timeline[3] == Step("trial_proposed", 2, "search", 1.0)
    assert [step.phase for step in timeline if step.event == "sealed_test_opened"] == ["held-out test", "registration"]
    assert timeline[-1] == Step("sweep_ended", 1, "promotion and end", 5.0)
    assert set(PHASES) == {step.phase for step in timeline}


def test_moments_follow_from_the_seed_and_meet_every_phase_and_everybody():
    timeline = read_timeline(WHOLE, 4.0, 25.0)
    drawn = [draw_moments(timeline, random.Random(f"1/{number}")) for number in range(300)]
    assert drawn == [draw_moments(timeline, random.Random(f"1/{number}")) for number in range(300)]
    moments = [moment for one in drawn for moment in one]
    assert {moment.phase for moment in moments} == set(PHASES)
    assert {who for moment in moments for who in moment.victims} == {"driver", "worker", "server"}
    seconds = {(step.event, step.count): step.seconds for step in timeline}
    assert all(0 <= moment.delay <= seconds[moment.event, moment.count] for moment in moments)


def test_the_tables_add_up_and_tell_of_trouble():
    reference = Reference([Fact("trials", "0", ""), Fact("runs", "trial 0", ""), Fact("runs", "sweep", "")], [])
    killed = {"phase": "search", "victims": ["driver", "server"], "event": "trial_started", "delay": 0.1}
    difference = {"what": "doubled", "kind": "runs", "key": "sweep", "expected": ["1"], "found": ["1", "1"]}
    good = {"round": 1, "seconds": 1.0, "synced": False, "killed": [killed], "starts": 2, "trouble": []}
    good["differences"] = []
    bad = good | {"round": 2, "differences": [difference], "trouble": ["2-resume.log: traceback"]}
    assert (is_bad(good), is_bad(bad)) == (False, True)
    report = json.loads(json.dumps(summarise(reference, [good, bad])))
    assert report["kills"]["driver"]["search"] == report["kills"]["server"]["search"] == 2
    assert report["compared"]["runs"] == 4
    assert (report["lost"]["runs"], report["doubled"]["runs"]) == (0, 1)
    console = Console(width=160)
    with console.capture() as shown:
        console.print(*build_tables(report))
    assert all(label in shown.get() for label in KINDS.values())
    assert "doubled: runs, sweep: expected ['1'], found ['1', '1']" in describe(bad)


def test_checkpoints_that_nobody_continued_from_prove_nothing():
    good = {"round": 1, "seconds": 1.0, "synced": False, "killed": [], "starts": 2, "trouble": [], "differences": []}
    for continued, with_checkpoints, code in ((0, False, 0), (0, True, 1), (1, True, 0)):
        lines = [good | {"continued": continued}]
        assert exit_code(summarise(Reference([], []), lines), lines, with_checkpoints) == code
