"""What a running sweep says, on a terminal and elsewhere."""

import pytest

from galaxy_exp.cli.live import open_display
from galaxy_exp.journal.events import TrialEnded, TrialStarted
from galaxy_exp.records import TrialResult, TrialState


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
