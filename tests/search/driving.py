"""Drives a proposer as the loop does, with trials that end in every possible way and out of order."""

import math
import random

import keras_tuner

from galaxy_exp.records import Objective, Outcome, TrialState
from galaxy_exp.search.proposer import NoProposal

SCORE = Objective("score", "max")


def mixed_space():
    """Numbers, categories and conditions; infinite."""
    space = keras_tuner.HyperParameters()
    space.Choice("width", [16, 32, 64], default=32)
    space.Float("rate", 1e-4, 1e-1, sampling="log", default=1e-3)
    space.Choice("kind", ["a", "b"])
    space.Int("depth", 1, 3)
    with space.conditional_scope("depth", [2, 3]):
        space.Float("growth", 1.0, 2.0, step=0.25)
    space.Fixed("fixed", "yes")
    return space


def finite_space():
    """Nine configurations: c exists only where b is true."""
    space = keras_tuner.HyperParameters()
    space.Choice("a", [1, 2, 3])
    space.Boolean("b")
    with space.conditional_scope("b", [True]):
        space.Choice("c", ["x", "y"])
    return space


def score_of(values):
    return -((math.log10(values["rate"]) + 2) ** 2) + 0.1 * values["depth"]


def every_outcome(number, values):
    """Complete, stopped, failed, diverged, lost and infeasible trials in turn."""
    best = score_of(values) if "rate" in values else float(values["a"])
    curve = tuple(best - 1 / epoch for epoch in range(1, 7))
    return (
        Outcome(TrialState.COMPLETED, curve, (curve[-1],)),
        Outcome(TrialState.STOPPED, curve[:2], (curve[1],)),
        Outcome(TrialState.FAILED, (math.nan,)),
        Outcome(TrialState.COMPLETED, curve, (curve[-1],), (-0.5,)),
        Outcome(TrialState.LOST),
        Outcome(TrialState.COMPLETED, (math.inf,), (math.inf,)),
        Outcome(TrialState.COMPLETED, curve, (curve[-1],), (0.5,)),
        Outcome(TrialState.INFEASIBLE, violations=(2.0,)),
    )[number % 8]


def drive(proposer, n, workers=1, recorded=(), outcome=every_outcome):
    """The proposals of n trials, or fewer if there are none left, with so many running at a time.

    Args:
        recorded: values of the first trials, which are adopted instead of proposed.
    """
    chance = random.Random(workers)
    proposals, running = [], []
    while len(proposals) < n:
        if len(running) == workers:
            number = running.pop(chance.randrange(workers))
            proposer.tell(number, outcome(number, proposals[number]))
        number = len(proposals)
        if number < len(recorded):
            values = recorded[number]
            proposer.adopt(number, values, proposed=True)
        else:
            values = proposer.propose(number)
        if values is NoProposal.WAIT:
            earliest = running.pop(0)
            proposer.tell(earliest, outcome(earliest, proposals[earliest]))
            continue
        if values is NoProposal.EXHAUSTED:
            break
        proposals.append(dict(values))
        running.append(number)
    return proposals


def distinct(proposals):
    return {frozenset(values.items()) for values in proposals}
