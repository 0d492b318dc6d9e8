import numpy as np
import pytest

from galaxy_exp.hypermodel.optimizers import cosine_schedule


def _rates(steps):
    schedule = cosine_schedule(2.0, steps)
    return np.array([float(schedule(step)) for step in range(steps + 1)])


def test_warms_up_over_a_twentieth_and_falls_to_zero():
    rates = _rates(100)
    assert rates[0] == pytest.approx(0.4)
    assert rates[5] == pytest.approx(2.0)
    assert (np.diff(rates[:6]) > 0).all() and (np.diff(rates[5:]) < 0).all()
    assert rates[100] == pytest.approx(0.0, abs=1e-6)
    assert rates[99] > 0


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_still_train(steps):
    rates = _rates(steps)
    assert rates[0] > 0
    assert rates.max() == pytest.approx(2.0)
