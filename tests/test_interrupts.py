"""Signals that interrupt a sweep."""

import os
import signal

import pytest

from galaxy_exp.interrupts import signals_as_interrupts, signals_ignored


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_end_of_a_job_and_of_a_terminal_interrupt(number):
    before = signal.signal(number, signal.SIG_DFL)  # these tests may themselves run under nohup
    try:
        with pytest.raises(KeyboardInterrupt), signals_as_interrupts():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_nohup_holds():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_none_disturbs_the_cleaning_up(number):
    with signals_ignored():
        os.kill(os.getpid(), number)
