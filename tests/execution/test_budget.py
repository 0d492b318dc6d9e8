"""When a sweep has had enough."""

import random

import pytest
from written_records import RecordWriter

from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.execution.budget import Budget, expected_gain, trials_without_gain
from galaxy_exp.journal.events import TrialEnded, TrialStarted
from galaxy_exp.records import TrialResult, TrialState
from galaxy_exp.search.schedulers import build_scheduler


def make(epochs=10, **search):
    config = SearchConfig(**search)
    return RecordWriter(search), Budget(build_scheduler(config, epochs), epochs)


def test_nothing_is_refused_without_limits():
    writer, budget = make(max_trials=3)
    writer.trial(0.5)
    assert budget.refusal(writer.record, now=1e9) is None
    assert budget.exceeded(writer.record, now=1e9, epochs_reported=1) is None


def test_max_trials():
    writer, budget = make(max_trials=2)
    writer.trial(0.5)
    writer.start(0.5)
    assert budget.refusal(writer.record, writer.time) == "max_trials reached"


class TestMaxEpochs:
    def test_running_trials_end_when_it_is_used_up(self):
        writer, budget = make(max_epochs=5)
        writer.trial(0.1, 0.2, 0.3)
        writer.start(0.1)
        assert budget.exceeded(writer.record, writer.time) is None
        assert budget.exceeded(writer.record, writer.time, epochs_reported=1) == "max_epochs reached: 5 epochs"

    def test_no_trial_is_started_that_cannot_finish_a_rung(self):
        writer, budget = make(max_epochs=6, first_rung=3)
        writer.trial(0.1, 0.2, 0.3)
        assert budget.refusal(writer.record, writer.time) is None
        writer.trial(0.4)
        assert "2 epochs are left, too few for another trial's first 3" in budget.refusal(writer.record, writer.time)

    def test_without_stopping_a_trial_needs_all_its_epochs(self):
        writer, budget = make(max_epochs=19, scheduler="none")
        writer.trial(*[0.1] * 10)
        assert "9 epochs are left, too few for another trial's first 10" in budget.refusal(writer.record, writer.time)

    def test_what_running_trials_need_for_their_rung_is_kept_for_them(self):
        writer, budget = make(max_epochs=8, first_rung=3)
        writer.start(0.1)
        assert budget.refusal(writer.record, writer.time) is None
        writer.start()
        assert "2 epochs are left" in budget.refusal(writer.record, writer.time)


class TestMaxHours:
    def test_time_between_stop_and_resume_does_not_count(self):
        from galaxy_exp.journal.events import SweepResumed

        writer, budget = make(max_hours=1.0)
        writer.trial(0.1)
        writer.time += 10_000
        writer.apply(SweepResumed())
        assert budget.exceeded(writer.record, writer.time) is None
        assert budget.exceeded(writer.record, writer.time + 3500) is None
        assert "max_hours reached: 1.0" in budget.exceeded(writer.record, writer.time + 3600)

    def test_no_trial_is_started_that_cannot_finish_a_rung_at_the_usual_speed(self):
        writer, budget = make(max_hours=0.1, first_rung=2)
        writer.trial(0.1, 0.2)
        assert budget.refusal(writer.record, 330) is None
        assert "15 s are left, too few for another trial's first 2 epochs" in budget.refusal(writer.record, 345)


class TestNoGain:
    def test_trials_in_a_row_without_gain_end_the_sweep(self):
        writer, budget = make(max_trials_without_gain=2, max_trials=99)
        for value in (0.5, 0.6, 0.6):
            writer.trial(value)
        assert trials_without_gain(writer.record) == 1
        assert budget.refusal(writer.record, writer.time) is None
        writer.trial(state=TrialState.FAILED)
        assert budget.refusal(writer.record, writer.time) == "no gain in the last 2 trials"

    def test_a_baseline_that_breaks_a_constraint_sets_no_mark(self):
        writer, _ = make(max_trials_without_gain=2, constraints={"parameters": "<= 1000"})
        writer.trial(0.9, settled=True, parameters=5000)
        for value in (0.4, 0.5, 0.6):
            writer.trial(value, parameters=500)
        assert trials_without_gain(writer.record) == 0

    @pytest.mark.parametrize(("reached", "count"), [(0.5, 1), (0.7, 0)])
    def test_a_trial_that_continues_counts_once_and_improves_on_its_own_score_only(self, reached, count):
        writer, _ = make(max_trials_without_gain=9, max_trials=99)
        best = writer.trial(0.6)
        writer.trial(0.4)
        assert trials_without_gain(writer.record) == 1
        writer.apply(TrialStarted(number=best, attempt=2, from_epoch=1))
        assert trials_without_gain(writer.record) == 1
        metrics = {"val_macro_f1": max(reached, 0.6)}
        writer.apply(TrialEnded(result=TrialResult(best, 2, TrialState.COMPLETED, "all", 2, metrics, epochs=2)))
        assert trials_without_gain(writer.record) == count

    def test_nothing_but_failures(self):
        writer, _ = make()
        writer.trial(state=TrialState.FAILED)
        assert trials_without_gain(writer.record) == 1


class TestExpectedGain:
    def make_scores(self, scores, **search):
        writer, budget = make(max_trials=999, **search)
        writer.trial(0.3, settled=True)
        for score in scores:
            writer.trial(score)
        return writer, budget

    def test_there_is_no_estimate_from_few_trials(self):
        writer, _ = self.make_scores([0.5] * 19)
        assert expected_gain(writer.record) is None

    def test_equal_scores_promise_nothing(self):
        writer, _ = self.make_scores([0.5] * 20)
        assert expected_gain(writer.record) == 0

    def test_it_is_near_what_draws_from_the_same_distribution_gain(self):
        rng = random.Random(1)
        gains, estimates = [], []
        for _ in range(60):
            scores = [rng.gauss(0.7, 0.05) for _ in range(20)]
            more = [rng.gauss(0.7, 0.05) for _ in range(10)]
            gains.append(max(0.0, max(more) - max(scores)))
            estimates.append(expected_gain(self.make_scores(scores)[0].record))
        assert sum(estimates) / 60 == pytest.approx(sum(gains) / 60, abs=0.008)

    def test_less_is_expected_when_the_best_is_far_ahead(self):
        rng = random.Random(1)
        scores = [rng.gauss(0.7, 0.02) for _ in range(20)]
        near = expected_gain(self.make_scores(scores)[0].record)
        far = expected_gain(self.make_scores([0.9, *scores])[0].record)
        assert far < near / 10

    def test_a_sweep_with_nothing_to_expect_ends_and_says_so(self):
        writer, budget = self.make_scores([0.7 + 0.001 * (n % 5) for n in range(20)], min_expected_gain=0.01)
        assert "less than min_expected_gain (0.01)" in budget.refusal(writer.record, writer.time)
