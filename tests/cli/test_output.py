"""Tables show text as it is."""

import sys

import pytest
from tiny_disks import fill_disk, tiny_disk

from galaxy_exp.cli.output import print_rows, say

AWKWARD = ["not in [a, b]", "cannot read [/tmp/x.h5]", "[red]", "a:smile:b", "[bold"]


@pytest.mark.parametrize("text", AWKWARD)
def test_nothing_in_a_table_is_taken_for_markup(text, capsys):
    print_rows([{text: text}], "table", title=text)
    assert capsys.readouterr().out.count(text) == 3


def test_a_title_is_one_line_without_padding_whatever_the_width_of_the_table(capsys):
    print_rows([{"n": 1}], "table", title="much wider than the table")
    assert capsys.readouterr().out.startswith("much wider than the table\n")
    print_rows([{"n": "x" * 120}], "table", title="narrower")
    assert capsys.readouterr().out.startswith("narrower\n")


def test_a_message_that_cannot_be_printed_does_not_silence_later_ones(tmp_path, monkeypatch):
    with tiny_disk(tmp_path / "disk", 1) as disk, (disk / "log").open("a") as log:
        monkeypatch.setattr(sys, "stderr", log)
        fill_disk(disk / "other")
        say("lost")
        (disk / "other").unlink()
        say("printed")
        assert (disk / "log").read_text() == "printed\n"
