"""The curves a pruner sees are those of the record, without the trial's own."""

from written_records import RecordWriter

from galaxy_exp.execution.curves import Curves


def test_view_of_the_others():
    writer = RecordWriter()
    first, second = writer.trial(0.1, 0.2), writer.start(0.3)
    curves = Curves(writer.record)
    curves.add(second, 0.4)
    assert list(curves[second]) == [0.3, 0.4]
    others = curves.without(second)
    assert dict(others) == {first: [0.1, 0.2]}
    assert (list(others), len(others), list(others.values()), list(others.items())) == (
        [first],
        1,
        [[0.1, 0.2]],
        [(first, [0.1, 0.2])],
    )
    assert second not in others
    assert others.get(second) is None


def test_a_new_attempt_begins_afresh():
    writer = RecordWriter()
    number = writer.start(0.3)
    curves = Curves(writer.record)
    curves.begin(number)
    assert list(curves[number]) == []
