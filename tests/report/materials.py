"""What the report page is made of, of sweeps written by hand in every state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from written_records import RecordWriter

from galaxy_exp.evaluation.confidence import measure_calibration
from galaxy_exp.evaluation.held_out_report import build_report
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import (
    FinalistsChosen,
    PromotionDecided,
    SealedTestOpened,
    SweepEnded,
    TrialProposed,
    WinnerChosen,
)
from galaxy_exp.records import TrialState
from galaxy_exp.report.material import DataFacts, Finalist, Gain, Material, Picture, TrialsAhead
from galaxy_exp.sweep_report import collect_material

HOSTILE = "<script>alert('x')</script>"
SPACE = {
    "space": [
        {"class_name": "Float", "config": {"name": "rate", "min_value": 0.0, "max_value": 1.0, "step": None}},
        {"class_name": "Choice", "config": {"name": HOSTILE, "values": ["<a>", "b & c"], "conditions": []}},
        {"class_name": "Fixed", "config": {"name": "norm", "value": True}},
    ]
}
SETTINGS: dict[str, Any] = {
    "sweep_id": f"{HOSTILE}-1",
    "space": SPACE,
    "baseline": {"rate": 0.5, HOSTILE: "<a>", "norm": False},
    "data_source": f"https://me:geheim@host/{HOSTILE}.h5",
    "software": {"python": "3.11", "galaxy-exp": "0.1", "git_commit": "abc"},
}
LABELS = np.array([0, 0, 1, 1, 1, 2])
PROBABILITIES = np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0.2, 0.8, 0], [0, 0.7, 0.3], [0.1, 0.9, 0], [0, 0.3, 0.7]])
NAMES = (HOSTILE, "Disk, Edge-on", "rare")


def searched(n_trials: int = 12, **search: Any) -> RecordWriter:
    """A baseline and proposed trials, every third stopped early."""
    writer = RecordWriter(search, {"finalists": 1, "seeds": 2}, **SETTINGS)
    writer.trial(0.2, 0.3, 0.4, values=SETTINGS["baseline"], settled=True)
    for number in range(1, n_trials):
        values = {"rate": number / n_trials, HOSTILE: ["<a>", "b & c"][number % 2], "norm": True}
        state = TrialState.STOPPED if number % 3 == 0 else TrialState.COMPLETED
        curve = (0.3, 0.4 + number / 40) if state is TrialState.STOPPED else (0.3, 0.4, 0.5 + number / 40)
        writer.trial(*curve, values=values, state=state, parameters=1000 * (1 + number % 4))
    writer.trial(float("nan"), float("nan"), state=TrialState.FAILED)
    return writer


def finished(**search: Any) -> Material:
    writer = searched(**search)
    best = writer.record.leaderboard()[0]
    writer.apply(FinalistsChosen(numbers=[best.number], reason="max_trials reached"))
    number = len(writer.record.trials)
    writer.apply(TrialProposed(number=number, values=best.values, seed=9, confirms=best.number))
    writer.apply(WinnerChosen(number=best.number))
    for tested in (best.number, 0):
        report = build_report(LABELS, PROBABILITIES, NAMES, "digest", temperature=1.5).to_dict()
        writer.apply(SealedTestOpened(number=tested, report=report))
    writer.apply(PromotionDecided(name="m", version=1, promoted=True, reason="first version"))
    writer.apply(SweepEnded(succeeded=True, reason="max_trials reached"))
    picture = Picture("data:image/jpeg;base64,AAAA", 8, 8, HOSTILE, "rare", 0.93)
    counts = {part: dict.fromkeys(NAMES, 4) for part in ("train", "validation", "test")}
    return Material(
        record=writer.record,
        data=DataFacts(SETTINGS["data_source"], False, "d", "s", NAMES, (24, 24, 3), counts),
        sweep_file="name: tiny\n",
        finalists=(Finalist(best.number, 0.775, (0.75, 0.77), 0.76, 0.014),),
        gains=(Gain("accuracy", 0.2, 0.1, 0.3), Gain("macro_f1", 0.1, -0.02, 0.22)),
        calibration=measure_calibration(LABELS, PROBABILITIES),
        mistakes=(picture,),
        n_mistakes=1,
        expected_gain=0.012,
        ahead=TrialsAhead(10, 27, 0.5, 11, 11),
    )


def collected(writer: RecordWriter, tmp_path: Path) -> Material:
    return collect_material(writer.record, SweepFolder(tmp_path))


def unfinished(tmp_path: Path) -> Material:
    return collected(searched(), tmp_path)


def failed(tmp_path: Path) -> Material:
    writer = RecordWriter({"baseline": False}, **SETTINGS)
    for _ in range(3):
        writer.trial(state=TrialState.FAILED)
    writer.apply(SweepEnded(succeeded=False, reason="3 trials in a row failed"))
    return collected(writer, tmp_path)


def empty(tmp_path: Path) -> Material:
    return collected(RecordWriter(**SETTINGS), tmp_path)


STATES = {
    "finished": lambda _: finished(),
    "several objectives": lambda _: finished(objective=["val_macro_f1", "-parameters"]),
    "simulated": lambda _: replace(finished(), data=DataFacts("simulated", True, "d", "s")),
    "unfinished": unfinished,
    "failed": failed,
    "empty": empty,
}
