"""What an unknown word is taken for, in sweep files and in hypermodels alike."""

import pytest

from galaxy_exp.wording import did_you_mean, nearest

KNOWN = ["filters_1", "dropout_1", "learning_rate"]


@pytest.mark.parametrize(
    ("word", "meant"), [("filter_1", "filters_1"), ("lerning_rate", "learning_rate"), ("zzz", None), ("learn", None)]
)
def test_one_measure_of_what_is_near(word, meant):
    assert nearest(word, KNOWN) == meant
    tail = did_you_mean(word, KNOWN)
    assert ("did you mean" in tail) == (meant is not None)
    assert tail.endswith("known: filters_1, dropout_1, learning_rate")
