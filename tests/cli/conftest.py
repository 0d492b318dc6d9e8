"""Records of sweeps made by hand, for tests of what is shown of them."""

import pytest

from galaxy_exp.config import parse_sweep
from galaxy_exp.journal.events import SweepStarted, TrialProposed, TrialStarted
from galaxy_exp.journal.replay import replay


@pytest.fixture
def make_record():
    """A function: the record of a sweep of one trial that has just been started, then of the events given."""

    def make(*events, values=None, tracking_uri="sqlite:///mlflow.db", **config):
        started = SweepStarted(
            sweep_id="tiny-1",
            config=parse_sweep({"search": {"baseline": False}, **config}).model_dump(mode="json"),
            space={},
            baseline={},
            data_folder="data",
            data_digest="d",
            split_digest="s",
            tracking_uri=tracking_uri,
            software={},
        )
        proposed = TrialProposed(number=0, values=values or {"units": 3}, seed=1)
        return replay([started, proposed, TrialStarted(number=0, attempt=1), *events], "journal")

    return make
