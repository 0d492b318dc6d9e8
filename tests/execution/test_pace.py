"""When a silent worker counts as hung."""

import pytest

from galaxy_exp.execution.pace import LATER_EPOCH_SECONDS, SLOWNESS, Pace


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    return Pace(clock=clock)


def is_overdue_after(pace, clock, seconds):
    clock.now += seconds
    return bool(pace.overdue())


def test_a_first_epoch_has_time_to_start(pace, clock):
    pace.begin(0)
    assert not is_overdue_after(pace, clock, 600)
    assert is_overdue_after(pace, clock, 1)
    assert pace.overdue() == {
        0: "hung: nothing heard for 601 s, 600 s were allowed for a first epoch (execution.first_epoch_minutes)"
    }


def test_how_long_that_is_can_be_said(clock):
    pace = Pace(3600, clock=clock)
    pace.begin(0)
    assert not is_overdue_after(pace, clock, 3600)
    assert is_overdue_after(pace, clock, 1)


def test_a_first_epoch_is_compared_with_those_of_other_trials(pace, clock):
    pace.begin(0)
    clock.now += 500
    pace.hear(0)
    pace.forget(0)
    pace.begin(1)
    assert not is_overdue_after(pace, clock, 500 * SLOWNESS)
    assert is_overdue_after(pace, clock, 1)


def test_later_epochs_are_compared_with_the_trial_itself(pace, clock):
    for number, seconds in ((0, 2), (1, 30)):
        pace.begin(number)
        clock.now += seconds
        pace.hear(number)
        pace.forget(1 - number)
    assert not is_overdue_after(pace, clock, 30 * SLOWNESS)
    assert is_overdue_after(pace, clock, 1)


def test_short_epochs_are_not_judged_by_moments(pace, clock):
    pace.begin(0)
    clock.now += 0.01
    pace.hear(0)
    assert not is_overdue_after(pace, clock, LATER_EPOCH_SECONDS)
    assert is_overdue_after(pace, clock, 1)


def test_a_trial_that_ended_is_never_overdue(pace, clock):
    pace.begin(0)
    pace.forget(0)
    pace.hear(0)
    assert not is_overdue_after(pace, clock, 1e9)
