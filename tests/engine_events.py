"""How tests of engines play the loop's part."""

from galaxy_exp.records import Decision, EpochReport

TIMEOUT_SECONDS = 120


def wait(engine):
    event = engine.next_event(TIMEOUT_SECONDS)
    assert event is not None
    return event


def follow(engine, number, decision=Decision.CONTINUE):
    """Answers every report until the trial ends; returns all events."""
    events = [wait(engine)]
    while isinstance(events[-1], EpochReport):
        engine.answer(number, decision)
        events.append(wait(engine))
    return events
