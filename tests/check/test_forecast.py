import pytest

from galaxy_exp.check.forecast import forecast_epochs, forecast_sweep
from galaxy_exp.config import parse_sweep
from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.records import Timing

TIMING = Timing(epoch_seconds=36.0, start_seconds=0.0, once_seconds=0.0, seconds_per_image=0.0)


def config(epochs=9, **search):
    return parse_sweep({"training": {"epochs": epochs}, "search": search, "registry": {"finalists": 0}})


def test_without_early_stopping_every_trial_counts_in_full():
    found = forecast_sweep(config(scheduler="none", max_trials=10), 1, None, [TIMING])
    assert (found.trials, found.epochs, found.most_epochs) == (10, (90, 90), 90)
    assert found.hours == (pytest.approx(0.9), pytest.approx(0.9))
    assert found.notes == ("every trial runs all its epochs",)


@pytest.mark.parametrize(
    "scheduler", ["promote", "asha", "hyperband", "asha-stop", "hyperband-stop", "median", "patience"]
)
def test_early_stopping_saves_epochs_and_less_where_trials_keep_getting_better(scheduler):
    least, most = forecast_epochs(config(scheduler=scheduler, first_rung=1, patience=2), 20)
    assert 20 <= least <= most <= 180
    assert least < 180


def test_a_paused_trial_starts_once_more_when_it_continues():
    starting = Timing(epoch_seconds=0.0, start_seconds=3600.0, once_seconds=0.0, seconds_per_image=0.0)
    found = {
        scheduler: forecast_sweep(config(scheduler=scheduler, first_rung=1, max_trials=20), 1, None, [starting]).hours
        for scheduler in ("none", "asha-stop", "asha", "promote")
    }
    assert found["none"] == found["asha-stop"] == (20.0, 20.0)
    assert 20.0 < found["asha"][0] <= found["asha"][1] <= 60.0  # rungs after epochs 1 and 3 of 9
    assert 20.0 < found["promote"][0] <= found["promote"][1] <= 100.0  # after epochs 1, 2, 4 and 8


def test_a_paused_trial_does_not_repeat_what_is_done_once():
    preparing = Timing(epoch_seconds=0.0, start_seconds=0.0, once_seconds=3600.0, seconds_per_image=0.0)
    found = forecast_sweep(config(scheduler="promote", first_rung=1, max_trials=20), 1, None, [preparing])
    assert found.hours == (20.0, 20.0)


def test_a_long_sweep_goes_on_like_its_first_trials():
    some, many = (forecast_epochs(config(first_rung=1), trials)[0] for trials in (60, 600))
    assert 8 * some < many < 11 * some


def test_a_finite_space_has_no_more_trials_than_configurations():
    assert forecast_sweep(config(max_trials=50), 1, 12, []).trials == 13
    assert forecast_sweep(config(max_trials=50, executions=3), 1, 12, []).trials == 37
    assert forecast_sweep(config(max_trials=5), 1, 12, []).hours is None


def test_the_baseline_goes_at_its_own_pace():
    slow = Timing(epoch_seconds=360.0, start_seconds=0.0, once_seconds=0.0, seconds_per_image=0.0)
    found = forecast_sweep(config(scheduler="none", max_trials=2, epochs=10), 1, None, [slow, TIMING])
    assert found.hours == (pytest.approx(1.1), pytest.approx(1.1))


def test_finalists_train_again_whatever_the_limits_of_the_search():
    sweep = parse_sweep(
        {"training": {"epochs": 10}, "search": {"scheduler": "none", "max_trials": 2, "max_hours": 0.5}}
        | {"registry": {"finalists": 3, "seeds": 4}}
    )
    found = forecast_sweep(sweep, 1, None, [TIMING])
    assert (found.finalist_trials, found.finalist_epochs) == (8, 80)
    assert found.hours == (pytest.approx(1.0), pytest.approx(1.0))
    assert found.notes[1] == "max_hours 0.5: will not be reached"


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        ({"max_epochs": 90}, "max_epochs 90: will not be reached"),
        ({"max_epochs": 45}, "max_epochs 45: will end the sweep at trial 5 of 10"),
        ({"max_hours": 0.5}, "max_hours 0.5: will end the sweep at trial 6 of 10"),
    ],
)
def test_the_sweep_s_own_limits_are_held_against_it(limits, line):
    found = forecast_sweep(config(scheduler="none", max_trials=10, **limits), 1, None, [TIMING])
    assert found.notes[1:] == (line,)


@pytest.mark.parametrize(
    ("execution", "line"),
    [
        (
            {"workers": 4},
            "timed with one worker; 4 workers share this machine's processors and take more than 1/4 of it",
        ),
        (
            {"scheduler": "tcp://10.0.0.1:8786", "workers": 8},
            "timed on this machine; 8 workers of its speed take 1/8 of that, at least the longest trial",
        ),
        ({}, None),
    ],
)
def test_several_workers_are_told(execution, line):
    several = config(max_trials=10).model_copy(update={"execution": ExecutionConfig(**execution)})
    assert (line in forecast_sweep(several, 1, None, [TIMING]).notes) == (line is not None)


def test_what_trials_share_is_counted_once():
    sharing = [TIMING, Timing(36.0, 0.0, 0.0, 0.0, shared_seconds=3600.0), TIMING]
    alone, shared = (forecast_sweep(config(max_trials=20), 1, None, each).hours for each in ([TIMING] * 3, sharing))
    assert shared == (pytest.approx(alone[0] + 1), pytest.approx(alone[1] + 1))
