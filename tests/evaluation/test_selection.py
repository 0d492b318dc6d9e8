"""Who wins."""

import pytest
from written_records import RecordWriter

from galaxy_exp.errors import SweepFailedError
from galaxy_exp.evaluation.selection import choose_finalists, choose_winner, standings
from galaxy_exp.journal.events import TrialEnded, TrialProposed
from galaxy_exp.records import TrialResult, TrialState


class MemoryJournal:
    """A journal without a file."""

    def __init__(self, writer):
        self.record, self._writer = writer.record, writer

    def append(self, event):
        self._writer.apply(event)


def make(*scores, finalists=2):
    writer = RecordWriter(registry={"finalists": finalists, "seeds": 2})
    for number, score in enumerate(scores):
        writer.trial(score, values={"units": number})
    journal = MemoryJournal(writer)
    choose_finalists(journal, "max_trials reached")
    return journal


def again(journal, finalist, score, state=TrialState.COMPLETED):
    number = len(journal.record.trials)
    journal.append(TrialProposed(number=number, values={}, seed=number, confirms=finalist))
    metrics = {"val_macro_f1": score} if state.has_model else {}
    journal.append(TrialEnded(result=TrialResult(number, 1, state, "", 1, metrics, 1)))


def test_the_best_of_the_search_are_finalists():
    journal = make(0.5, 0.7, 0.6)
    assert journal.record.finalists == [1, 2]
    assert journal.record.why_search_ended == "max_trials reached"


def test_a_configuration_that_was_promoted_is_one_finalist():
    writer = RecordWriter(registry={"finalists": 2, "seeds": 2})
    for score, epochs in ((0.5, 2), (0.6, 4), (0.4, 2)):
        writer.trial(score, values={"units": 4 if score > 0.4 else 8, "tuner/epochs": epochs})
    journal = MemoryJournal(writer)
    choose_finalists(journal, "")
    assert journal.record.finalists == [1, 2]


def test_with_several_objectives_the_pareto_front_comes_first():
    writer = RecordWriter({"objective": ["val_macro_f1", "-parameters"]}, {"finalists": 3, "seeds": 1})
    for number, (score, parameters) in enumerate([(0.5, 10), (0.9, 900), (0.8, 950), (0.7, 300)]):
        writer.trial(score, values={"units": number}, parameters=parameters)
    journal = MemoryJournal(writer)
    choose_finalists(journal, "")
    assert journal.record.finalists == [1, 3, 0]


def test_the_best_mean_wins_and_its_best_seed_is_taken():
    journal = make(0.5, 0.9, 0.6)
    for finalist, score in ((1, 0.5), (2, 0.58), (1, 0.65), (2, 0.62)):
        again(journal, finalist, score)
    first, second = standings(journal.record)
    assert (first.finalist, first.mean, second.mean) == (2, pytest.approx(0.6), pytest.approx(0.575))
    assert first.spread == pytest.approx(0.0283, abs=1e-4)
    assert choose_winner(journal).number == 6


def test_a_finalist_that_fails_on_every_seed_cannot_win():
    journal = make(0.5, 0.9)
    again(journal, 1, 0.0, TrialState.FAILED)
    again(journal, 0, 0.4)
    assert [standing.finalist for standing in standings(journal.record)] == [0]
    assert choose_winner(journal).retrains == 0


def test_without_finalists_the_best_of_the_search_wins():
    journal = make(0.5, 0.9, finalists=0)
    assert journal.record.finalists == []
    assert choose_winner(journal).number == 1


def test_if_no_finalist_trains_again_the_best_of_the_search_wins():
    journal = make(0.5, 0.9)
    again(journal, 1, 0.0, TrialState.FAILED)
    assert choose_winner(journal).number == 1


def test_no_model_no_winner():
    writer = RecordWriter()
    writer.trial(state=TrialState.FAILED)
    journal = MemoryJournal(writer)
    choose_finalists(journal, "because")
    with pytest.raises(SweepFailedError, match="none of the 1 trials"):
        choose_winner(journal)
