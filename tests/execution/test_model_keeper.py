from __future__ import annotations

from pathlib import Path

import pytest
from written_records import RecordWriter

from galaxy_exp.execution.observers import ModelKeeper
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import FinalistsChosen, TrialEnded, TrialProposed
from galaxy_exp.records import TrialResult, TrialState


@pytest.mark.parametrize(("ensemble", "kept"), [(False, [0, 1, 3]), (True, [0, 1, 2, 3])])
def test_of_a_finalist_s_seeds_the_best_model_is_kept_unless_their_mean_is_wanted(
    tmp_path: Path, ensemble: bool, kept: list[int]
) -> None:
    writer, folder = RecordWriter(registry={"ensemble": ensemble}), SweepFolder(tmp_path)
    keeper = ModelKeeper(folder)
    writer.trial(0.2)
    writer.trial(0.5)
    writer.apply(FinalistsChosen(numbers=[1], reason="max_trials reached"))
    for number in range(4):
        folder.trial(number).mkdir(parents=True)
        (folder.trial(number) / "model.keras").touch()
    for number, value in ((2, 0.4), (3, 0.6)):
        writer.apply(TrialProposed(number=number, values={}, seed=number, confirms=1))
        ended = TrialEnded(
            result=TrialResult(number, 1, TrialState.COMPLETED, "done", 1, {"val_macro_f1": value}, epochs=1)
        )
        writer.apply(ended)
        keeper.on_event(ended, writer.record)
    assert [number for number in range(4) if (folder.trial(number) / "model.keras").exists()] == kept
