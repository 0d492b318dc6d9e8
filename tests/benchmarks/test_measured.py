import json

import pytest

from benchmarks.measured import newest_journal, read_handwired, read_journal

VALUES = {"val_accuracy": 0.7, "images_per_second": 1.0}


def _epoch(time, number, speed):
    report = {"number": number, "attempt": 1, "epoch": 1, "metrics": {"images_per_second": speed}}
    return {"event": "epoch_reported", "time": time, "report": report, "go_on": True}


def _ended(time, number, training_seconds):
    result = {"number": number, "training_seconds": training_seconds, "metrics": VALUES, "precision": "float32"}
    return {"event": "trial_ended", "time": time, "result": result}


EVENTS = [
    {"event": "sweep_started", "time": 90.0},
    {"event": "trial_proposed", "time": 100.0, "number": 0},
    _epoch(104.0, 0, 10.0),
    _epoch(108.0, 0, 50.0),
    _ended(109.0, 0, 7.0),
    {"event": "trial_proposed", "time": 109.5, "number": 1},
    _epoch(113.0, 1, 20.0),
    _ended(115.0, 1, 4.0),
    {"event": "trial_projected", "time": 110.0, "number": 0},
    {"event": "trial_projected", "time": 117.0, "number": 1},
    {"event": "winner_chosen", "time": 118.0, "number": 1},
    {"event": "sealed_test_opened", "time": 119.0, "number": 1, "report": {"accuracy": 0.6, "macro_f1": 0.5}},
    {"event": "sealed_test_opened", "time": 120.0, "number": 0, "report": {"accuracy": 0.1, "macro_f1": 0.1}},
]


class TestReadJournal:
    def test_times_run_from_the_first_proposal_to_the_last_tracked_trial(self):
        fits, _ = read_journal(map(json.dumps, EVENTS))
        assert fits.span_seconds == 17.0
        assert fits.fit_seconds == [7.0, 4.0]
        assert fits.beyond_fit_seconds == [2.0, 2.0]
        assert fits.beyond_fit_mean == pytest.approx(3.0)
        assert fits.images_per_second == [[10.0, 50.0], [20.0]]

    def test_result_is_that_of_the_winner(self):
        _, result = read_journal(map(json.dumps, EVENTS))
        assert (result.val_accuracy, result.test_accuracy, result.test_macro_f1) == (0.7, 0.6, 0.5)
        assert result.precision == "float32"

    def test_unfinished_sweep_is_refused(self):
        with pytest.raises(LookupError, match="no finished sweep"):
            read_journal(map(json.dumps, EVENTS[:5]))

    def test_journal_is_found_in_the_project_folder(self, tmp_path):
        journal = tmp_path / ".galaxy_exp" / "sweeps" / "one" / "journal.jsonl"
        journal.parent.mkdir(parents=True)
        journal.touch()
        assert newest_journal(tmp_path) == journal


class TestReadHandwired:
    def test_beyond_the_fit_is_wall_less_fit(self):
        trial = {"wall_seconds": 30.0, "fit_seconds": 10.0, "images_per_second": [5.0, 7.0]}
        content = {"trials": [trial, trial], "val_accuracy": 0.1, "test_accuracy": 0.2, "test_macro_f1": 0.3}
        fits, result = read_handwired(content)
        assert fits.span_seconds == 60.0
        assert fits.beyond_fit_seconds == [20.0, 20.0]
        assert result.test_macro_f1 == 0.3


class TestFigures:
    def test_speed_is_that_of_the_fastest_epoch_of_the_first_fit(self, by_hand):
        assert by_hand.figures()["baseline_speed"] == 120.0

    def test_sums_and_differences(self, by_hand):
        figures = by_hand.figures()
        assert figures["fit_seconds"] == 30.0
        assert figures["epochs"] == 5
        assert figures["outside_seconds"] == 30.0
        assert figures["beyond_fit_mean"] == figures["beyond_fit_median"] == 20.0

    def test_is_plain_json(self, by_hand):
        content = json.loads(json.dumps(by_hand.to_dict()))
        assert content["usage"]["wall_seconds"] == 100.0
        assert content["table"]["n_runs"] == 2
