"""What a model's card says about the precision of its numbers."""

import pytest
from written_records import RecordWriter

from galaxy_exp.journal.events import WinnerChosen
from galaxy_exp.registry.model_card import write_card


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_card_says_that_the_registered_model_computes_in_float32(prepared, precision):
    writer = RecordWriter()
    winner = writer.trial(0.5, precision=precision)
    writer.apply(WinnerChosen(number=winner))
    card = write_card(writer.record, prepared, writer.record.trials[winner])
    differs = ", also of the validation scores; the registered model computes in float32, and so do its test scores"
    assert f"- precision: {precision}{'' if precision == 'float32' else differs}\n" in card
