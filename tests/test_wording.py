"""Hints at misspelt words, short values, and numbers written as text."""

import pytest

from galaxy_exp.wording import did_you_mean, format_duration, nearest, parse_number, short_value, shorten

KNOWN = ["filters_1", "dropout_1", "learning_rate"]


@pytest.mark.parametrize(
    ("word", "meant"), [("filter_1", "filters_1"), ("lerning_rate", "learning_rate"), ("zzz", None), ("learn", None)]
)
def test_one_measure_of_what_is_near(word, meant):
    assert nearest(word, KNOWN) == meant
    tail = did_you_mean(word, KNOWN)
    assert ("did you mean" in tail) == (meant is not None)
    assert tail.endswith("known: filters_1, dropout_1, learning_rate")


def test_values_and_texts_are_short():
    assert [short_value(value) for value in (0.123456, 1e-7, 12, True, "text")] == [
        "0.1235",
        "1e-07",
        "12",
        "True",
        "text",
    ]
    assert short_value(0.123456, 2) == "0.12"
    assert [shorten("abcde", length) for length in (5, 4)] == ["abcde", "abc…"]


@pytest.mark.parametrize(("text", "number"), [("1e3", 1000.0), (" 2 ", 2.0), ("1_0", None), ("", None), ("two", None)])
def test_a_number_as_text(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (8.26, "8.3 s"),
        (26.2, "26 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3599.6, "1 h"),
        (3720, "1 h 02 min"),
        (86400, "24 h"),
    ],
)
def test_durations_are_as_people_say_them(seconds, text):
    assert format_duration(seconds) == text
