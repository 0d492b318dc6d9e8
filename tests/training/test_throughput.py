"""A training that is watched for its speed alone."""

import pytest

from galaxy_exp.records import Decision, TrialState
from galaxy_exp.training.throughput import measure_throughput

from .conftest import UserModel

pytestmark = pytest.mark.slow


def watch(spec, windows):
    """Measures until so many windows are over; returns the result and the reports."""
    reports = []

    def report(window):
        reports.append(window)
        return Decision.CONTINUE if window.epoch < windows else Decision.STOP

    return measure_throughput(spec, report), reports


def test_it_goes_on_over_epochs_until_it_is_told_to_stop(make_spec):
    spec = make_spec(epochs=1)
    result, reports = watch(spec, windows=1)
    assert (result.state, result.precision) == (TrialState.STOPPED, "float32")
    assert [(each.number, each.attempt, each.epoch) for each in reports] == [(4, 2, 0), (4, 2, 1)]
    assert reports[0].metrics["images_per_second"] == 0
    assert reports[1].metrics["images_per_second"] > 0
    assert all(0 <= each.metrics["memory_bytes"] < each.metrics["memory_limit"] for each in reports)
    assert not spec.folder.exists()


def test_steps_that_are_trained_several_at_a_time_are_all_counted(make_spec, user_models):
    class ThreeAtATime(UserModel):
        def build(self, hp):
            model = super().build(hp)
            model.steps_per_execution = 3
            return model

        def fit(self, hp, model, x, y, **kwargs):
            seen.append(kwargs["callbacks"][0])
            return model.fit(x, y, batch_size=10, **kwargs | {"epochs": 4, "validation_data": None})

    seen = []
    user_models.Three = ThreeAtATime
    result, _ = watch(make_spec("user_models:Three"), windows=0)
    assert result.state is TrialState.STOPPED
    assert seen[0].n_seen == 3 * 3 * 10  # three executions to get warm


@pytest.mark.parametrize("what", ["build", "fit", "exit"])
def test_a_network_that_cannot_be_trained_says_why(make_spec, user_models, what):
    class Broken(UserModel):
        def build(self, hp):
            if what == "build":
                raise RuntimeError("a bad day\nwith a second line")
            return super().build(hp)

        def fit(self, hp, model, *args, **kwargs):
            if what == "exit":
                raise SystemExit

    user_models.Broken = Broken
    user_models.Space = UserModel
    spec = make_spec("user_models:Space" if what == "build" else "user_models:Broken")
    user_models.Space = Broken
    result, reports = watch(spec, windows=1)
    assert (result.state, reports) == (TrialState.FAILED, [])
    expected = {
        "build": "RuntimeError: a bad day with a second line",
        "fit": "RuntimeError: the hypermodel's fit ended without a single",
        "exit": "SystemExit (from sys.exit or argparse)",
    }
    assert result.reason.startswith(expected[what])


def test_what_the_report_raises_passes_through(make_spec):
    def report(window):
        raise EOFError("nobody listens")

    with pytest.raises(EOFError, match="nobody listens"):
        measure_throughput(make_spec(), report)


def test_peak_memory_is_what_is_not_shared(tmp_path):
    from galaxy_exp.training.machine import peak_memory

    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t 900 kB\nRssAnon:\t 500 kB\nRssFile:\t 300 kB\nRssShmem:\t 10 kB\n")
    assert peak_memory(status) == 590 * 1024
    assert peak_memory(tmp_path / "none") == 0
