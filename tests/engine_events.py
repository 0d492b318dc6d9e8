"""How tests of engines play the loop's part."""

import socket

import psutil

from galaxy_exp.records import Decision, EpochReport

TIMEOUT_SECONDS = 120


def wait(engine):
    event = engine.next_event(TIMEOUT_SECONDS)
    assert event is not None
    return event


def assert_no_port_is_open_to_other_machines(processes):
    sockets = [each for process in processes for each in process.net_connections("inet")]
    assert {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN} <= {"127.0.0.1", "::1"}
    assert not [each for each in sockets if each.type == socket.SOCK_DGRAM]


def follow(engine, number, decision=Decision.CONTINUE):
    """Answers every report until the trial ends; returns all events."""
    events = [wait(engine)]
    while isinstance(events[-1], EpochReport):
        engine.answer(number, decision)
        events.append(wait(engine))
    return events
