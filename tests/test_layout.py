"""Tables and records fit the width, and no word is ever broken."""

import pytest

from galaxy_exp.layout import lay_out_record, lay_out_table, terminal_width, wrap

SWEEP = "galaxy10-20261128-120203"
SETTINGS = "n_blocks=4, width_growth=2, filters_1=16, augmentation=flips+rotations, learning_rate=0.00344"
ROWS = [
    {"sweep": SWEEP, "state": "finished", "best": 0.301, "note": SETTINGS, "started": "2026-11-28 12:02:03 +0000"},
    {"sweep": f"{SWEEP}-2", "state": "failed: 3 trials in a row failed", "best": None, "note": "", "started": ""},
]
IMPORTANCE = ("sweep", "state", "best", "note", "started")


def words(rows):
    return {word for row in rows for value in row.values() for word in str(value).split() if value is not None}


@pytest.mark.parametrize("width", [30, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("importance", [(), IMPORTANCE])
def test_every_line_fits_and_no_word_is_broken(width, importance):
    text = lay_out_table(ROWS, width, importance)
    assert all(len(line) <= max(width, len("augmentation=flips+rotations,") + 10) for line in text.splitlines())
    known = words(ROWS) | {"0.3010", "0.301", "no", "room", "for:", *IMPORTANCE, *(f"{name}," for name in IMPORTANCE)}
    assert {word for word in text.split() if set(word) != {"-"}} <= known
    assert SWEEP in text.split()


def test_columns_go_by_importance_and_are_named():
    text = lay_out_table(ROWS, 100, IMPORTANCE)
    assert text.splitlines()[0].split() == ["sweep", "state", "best", "note"], "the note is continued below"
    assert text.splitlines()[-1] == "no room for: started"
    assert lay_out_table(ROWS, 66, IMPORTANCE).splitlines()[-1] == "no room for: note, started"
    assert "no room for" not in lay_out_table(ROWS, 300, IMPORTANCE)


def test_without_a_column_that_may_go_the_rows_become_records():
    records = lay_out_table(ROWS, 60).split("\n\n")
    assert [record.splitlines()[0].split() for record in records] == [["sweep", SWEEP], ["sweep", f"{SWEEP}-2"]]
    assert "started" not in records[1], "what a row does not have is not shown"


def test_control_characters_are_shown_as_escapes():
    text = lay_out_table([{"note": "a\x1b[31mb\nc"}], 80)
    assert text.splitlines()[-1] == "a\\x1b[31mb c"
    assert wrap("a\x1b[2Jb", 80) == ["a\\x1b[2Jb"]


def test_lines_count_wide_characters_twice():
    assert wrap("\u6e26\u5dfb \u6e26\u5dfb", 8) == ["\u6e26\u5dfb", "\u6e26\u5dfb"]


def test_columns_without_a_value_are_left_out_and_scores_have_four_decimals():
    text = lay_out_table([{"trial": 1, "val": 0.3, "pareto": ""}, {"trial": 10, "val": 0.4524, "pareto": None}], 80)
    assert text.splitlines() == ["trial     val", "-----  ------", "    1  0.3000", "   10  0.4524"]


def test_tiny_and_large_numbers_keep_their_digits():
    assert "1e-05" in lay_out_table([{"rate": 1e-5}, {"rate": 0.5}], 80)
    assert "1234" in lay_out_table([{"seconds": 1234.5}], 80)


def test_wide_characters_take_two_places():
    first, _, *rows = lay_out_table([{"class": "\u6e26\u5dfb", "n": 1}, {"class": "disk", "n": 2}], 80).splitlines()
    assert first == "class  n"
    assert rows == ["\u6e26\u5dfb   1", "disk   2"]


def test_a_record_continues_below_its_values_and_has_no_empty_entries():
    text = lay_out_record({"id": SWEEP, "values": SETTINGS, "changed": None, "orders": [], "states": {"paused": 2}}, 60)
    assert text.splitlines()[0] == f"id      {SWEEP}"
    assert text.splitlines()[2].startswith("        ")
    assert "changed" not in text
    assert "orders" not in text
    assert text.endswith("states  paused 2")


def test_a_line_is_continued_with_its_own_indent():
    assert wrap("  one two three", 9, "  ") == ["  one two", "    three"]
    assert wrap("", 9) == [""]


@pytest.mark.parametrize(("columns", "width"), [("120", 120), ("0", 80), ("wide", 80), ("", 80)])
def test_the_width_is_that_of_columns_or_80(columns, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("os.get_terminal_size", _no_terminal)
    assert terminal_width() == width


def _no_terminal(_):
    raise OSError("no terminal")


def test_in_a_pipe_it_is_that_of_the_terminal_that_shows_it(monkeypatch):
    """As in `galaxy-exp list | head`, where only stdout is a pipe."""
    import os
    import sys

    monkeypatch.delenv("COLUMNS", raising=False)

    def size(descriptor):
        if descriptor == sys.__stdout__.fileno():
            raise OSError("a pipe")
        return os.terminal_size((100, 40))

    monkeypatch.setattr("os.get_terminal_size", size)
    assert terminal_width() == 100
