"""Tables show text as it is."""

import pytest

from galaxy_exp.cli.output import print_rows

AWKWARD = ["not in [a, b]", "cannot read [/tmp/x.h5]", "[red]", "a:smile:b", "[bold"]


@pytest.mark.parametrize("text", AWKWARD)
def test_nothing_in_a_table_is_taken_for_markup(text, capsys):
    print_rows([{text: text}], "table")
    assert capsys.readouterr().out.count(text) == 2
