"""What a running sweep says, on a terminal and elsewhere."""

import os
import re
import subprocess
import sys
import types

import pytest

from galaxy_exp.display import open_display, open_progress
from galaxy_exp.journal.events import (
    EpochReported,
    FinalistsChosen,
    OrderTaken,
    TrialEnded,
    TrialProposed,
    TrialStarted,
    WorkerLost,
)
from galaxy_exp.records import EpochReport, TrialResult, TrialState


@pytest.fixture(params=["terminal", "file"])
def show(request, monkeypatch, capsys):
    """A function: what the display writes to stderr for one event."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1" if request.param == "terminal" else "0")
    monkeypatch.setenv("COLUMNS", "160")

    def show_event(event, record):
        with open_display() as display:
            display.on_event(event, record)
        return capsys.readouterr().err

    return show_event


@pytest.mark.parametrize("text", ["not in [a, b]", "cannot read [/tmp/x.h5]", "a:smile:b"])
class TestMarkup:
    def test_a_reason_is_shown_as_it_is(self, show, make_record, text):
        event = TrialEnded(result=TrialResult(0, 1, TrialState.FAILED, text))
        assert text in show(event, make_record(event))

    def test_a_value_is_shown_as_it_is(self, show, make_record, text):
        assert text in show(TrialStarted(number=0, attempt=1), make_record(values={"head": text}))


class TestLostWorker:
    def test_the_trial_is_issued_again(self, show, make_record):
        lost = WorkerLost(number=0, attempt=1, reason="worker was ended by SIGKILL")
        assert "trial 0: worker was ended by SIGKILL; the trial is issued again" in show(lost, make_record(lost))

    def test_unless_it_was_the_last_attempt(self, show, make_record):
        """The loop writes the trial's end right after the loss, before observers see either."""
        lost = WorkerLost(number=0, attempt=4, reason="worker was ended by SIGKILL")
        ended = TrialEnded(result=TrialResult(0, 4, TrialState.LOST, "lost 4 workers"))
        shown = show(lost, make_record(lost, ended))
        assert "trial 0: worker was ended by SIGKILL; that was the last attempt" in shown
        assert "again" not in shown


class TestOrders:
    def test_what_was_ordered_and_the_answer(self, show, make_record):
        order = {"order": "stop", "trial": 0}
        taken = OrderTaken(file="1", order=order, accepted=True, answer="trial 0 ends after epoch 1 of 20")
        assert "order stop 0: trial 0 ends after epoch 1 of 20" in show(taken, make_record(taken))

    def test_a_refusal_is_named_as_one(self, show, make_record):
        taken = OrderTaken(file="1", order={"order": "finish"}, accepted=False, answer="the search is over")
        assert "order finish refused: the search is over" in show(taken, make_record(taken))


def test_a_trial_that_continues_says_from_where(capsys, monkeypatch, make_record):
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    paused = TrialResult(0, 1, TrialState.STOPPED, "paused after epoch 1 of 20", 1, {"val_macro_f1": 0.5}, 1)
    reported = EpochReported(report=EpochReport(0, 1, 1, {"val_macro_f1": 0.5}), go_on=False, paused=True)
    ended, again = TrialEnded(result=paused), TrialStarted(number=0, attempt=2, from_epoch=1)
    with open_display() as display:
        display.on_event(ended, make_record(reported, ended))
        display.on_event(again, make_record(reported, ended, again))
    shown = capsys.readouterr().err
    assert "trial 0 paused: val_macro_f1 0.5000 (paused after epoch 1 of 20, " in shown
    assert "trial 0 continues after epoch 1 (attempt 2): " in shown


class TestATrialThatBeginsAnew:
    REPORTED = EpochReported(report=EpochReport(0, 1, 1, {"val_macro_f1": 0.5}), go_on=False, paused=True)
    AGAIN = TrialStarted(number=0, attempt=2)

    @pytest.mark.parametrize(
        ("more", "why"),
        [("", "its checkpoint is gone"), ("; cannot continue: no space left on the disk", "it has no checkpoint")],
    )
    def test_after_a_pause_it_says_why(self, show, make_record, more, why):
        reason = f"paused after epoch 1 of 20{more}"
        paused = TrialEnded(result=TrialResult(0, 1, TrialState.STOPPED, reason, 1, {"val_macro_f1": 0.5}, 1))
        shown = show(self.AGAIN, make_record(self.REPORTED, paused, self.AGAIN))
        assert f"trial 0 begins anew (attempt 2): {why}" in shown

    def test_after_a_lost_worker_too(self, show, make_record):
        lost = WorkerLost(number=0, attempt=1, reason="worker was ended by SIGKILL")
        shown = show(self.AGAIN, make_record(self.REPORTED, lost, self.AGAIN))
        assert "trial 0 begins anew (attempt 2): it has no checkpoint" in shown

    def test_one_that_had_reported_nothing_is_just_started_again(self, show, make_record):
        lost = WorkerLost(number=0, attempt=1, reason="worker was ended by SIGKILL")
        assert "begins anew" not in show(self.AGAIN, make_record(lost, self.AGAIN))


def reader_gone():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def terminal_closed():
    terminal, theirs = os.openpty()
    os.close(terminal)
    return theirs


def disk_full():
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize("open_stderr", [reader_gone, terminal_closed, disk_full])
@pytest.mark.parametrize("terminal", ["0", "1"])
def test_a_sweep_outlives_what_its_messages_go_to(terminal, open_stderr):
    code = (
        "from galaxy_exp.cli.output import say\n"
        "from galaxy_exp.display import open_display\n"
        "with open_display() as display:\n"
        "    display.say('one')\n"
        "    display.say('two')\n"
        "say('three')\n"
        "print('went on')\n"
    )
    stderr = open_stderr()
    environment = os.environ | {"TTY_COMPATIBLE": terminal}
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=stderr, env=environment)
    os.close(stderr)
    assert (done.returncode, done.stdout) == (0, b"went on\n")


@pytest.fixture
def events(make_record):
    """Two epochs and the end of a trial, each with the record then."""
    reports = [EpochReported(report=EpochReport(0, 1, e, {"val_macro_f1": 0.1 * e}), go_on=True) for e in (1, 2)]
    result = TrialResult(0, 1, TrialState.COMPLETED, "all 2 epochs", 2, {"val_macro_f1": 0.2}, 2, 26.2)
    happened = [TrialStarted(number=0, attempt=1), *reports, TrialEnded(result=result)]
    told = {"values": {"head": "<b>[red]"}, "training": {"epochs": 40}}
    return [(event, make_record(*happened[1 : place + 1], **told)) for place, event in enumerate(happened)]


class TestFromPython:
    def show(self, verbose, events):
        with open_progress(verbose) as display:
            display.say("preparing")
            for event, record in events:
                display.on_event(event, record)
            display.conclude(events[-1][1])

    def test_a_script_has_a_line_a_trial_on_stderr(self, events, capsys):
        self.show(1, events)
        output = capsys.readouterr()
        assert output.out == ""
        clock, *lines = [line.partition(" ") for line in output.err.splitlines()]
        assert re.fullmatch(r"\d\d:\d\d:\d\d", clock[0])
        assert clock[2] == "preparing"
        assert [line[2] for line in lines[:3]] == [
            "sweep tiny-1: at most 20 trials of 40 epochs, objective val_macro_f1",
            "trial 0 started: head=<b>[red]",
            "trial 0 completed: val_macro_f1 0.2000 (all 2 epochs, 26 s); 1 of 20 trials, best val_macro_f1 0.2000 "
            "(trial 0)",
        ]
        assert "best so far: trial 0, val_macro_f1 0.2000 on validation images" in output.err
        assert "epoch 1" not in output.err

    def test_and_with_2_a_line_an_epoch_however_many_there_are(self, events, capsys):
        self.show(2, events)
        shown = capsys.readouterr().err
        assert "trial 0 epoch 1: val_macro_f1 0.1000" in shown
        assert "trial 0 epoch 2: val_macro_f1 0.2000" in shown

    def test_a_notebook_has_one_table_that_is_replaced(self, events, capsys, monkeypatch):
        """The kernel is made up, since Jupyter is not installed with galaxy_exp."""
        shown = []
        handle = types.SimpleNamespace(update=lambda page: shown.append(page.html))
        kernel = types.SimpleNamespace(kernel=object())
        pages = types.SimpleNamespace(display=lambda page, display_id: handle)
        monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
        monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: kernel))
        monkeypatch.setitem(sys.modules, "IPython.display", pages)
        self.show(1, events)
        output = capsys.readouterr()
        assert output.out + output.err == ""
        assert "preparing" in shown[0]
        last = shown[-1]
        assert "sweep tiny-1: at most 20 trials of 40 epochs" in last
        assert "1 of 20 trials, best val_macro_f1 0.2000 (trial 0)" in last
        assert "head=&lt;b&gt;[red]" in last
        assert "<b>[red]" not in last
        assert "best so far: trial 0" in last
        self.show(2, events)
        assert "trial 0 epoch 1: val_macro_f1 0.1000" in capsys.readouterr().out


@pytest.mark.parametrize("width", [30, 60, 80, 160])
def test_the_live_table_fits_and_cuts_no_word(make_record, width):
    from rich.console import Console

    from galaxy_exp.display import _trial_table

    values = {f"hyperparameter_{number}": number for number in range(9)}
    console = Console(width=width, force_terminal=False)
    with console.capture() as shown:
        console.print(_trial_table(make_record(TrialStarted(number=0, attempt=1), values=values), width))
    text = shown.get()
    assert max(map(len, text.splitlines())) <= width
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert ("hyperparameter_0=0," in text) == (width >= 80)


def test_the_live_table_shows_the_finalists_and_what_they_train_again(make_record):
    from rich.console import Console

    from galaxy_exp.display import _trial_table

    def ended(number, value):
        return TrialEnded(result=TrialResult(number, 1, TrialState.COMPLETED, "", 2, {"val_macro_f1": value}, 2))

    record = make_record(
        ended(0, 0.4),
        FinalistsChosen(numbers=[0], reason="max_trials reached"),
        TrialProposed(number=1, values={"units": 3}, seed=2, confirms=0),
        TrialStarted(number=1, attempt=1),
        ended(1, 0.35),
        TrialProposed(number=2, values={"units": 3}, seed=3, confirms=0),
        TrialStarted(number=2, attempt=1),
    )
    console = Console(width=120, force_terminal=False)
    with console.capture() as shown:
        console.print(_trial_table(record, 120))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.get().splitlines() if "│" in line]
    assert rows == [
        ["2", "running", "0/20", "", "trial 0 again, with another seed"],
        ["1", "completed", "2/20", "0.3500", "trial 0 again, with another seed"],
        ["0", "completed", "2/20", "0.4000", "units=3"],
    ]
