"""A whole sweep as a person finds it in MLflow: its journal is made up, what follows from it is real."""

import math
from pathlib import Path

import numpy as np
from journaled_sweeps import SWEEP, JournaledSweep

from galaxy_exp.config import SweepConfig
from galaxy_exp.evaluation.held_out_report import build_report
from galaxy_exp.journal.events import (
    EpochReported,
    FinalistsChosen,
    ModelRegistered,
    SealedTestOpened,
    SweepEnded,
    TrialEnded,
    TrialProposed,
    TrialStarted,
    WinnerChosen,
)
from galaxy_exp.records import EpochReport, TrialResult, TrialState
from galaxy_exp.registry.model_card import write_card
from galaxy_exp.registry.packaging import ModelPackage, log_and_register
from galaxy_exp.registry.winner import promote_winner
from galaxy_exp.sweep_report import refresh_report

PACKAGE = Path(__file__).parent / "registry" / "packages" / "0.1.0" / "package"
EPOCHS, SEARCHED, BEST, WINNER = 3, 6, 4, 7
SPACE = {
    "space": [
        {"class_name": "Choice", "config": {"name": "filters_1", "values": [16, 32, 64], "ordered": True}},
        {"class_name": "Boolean", "config": {"name": "batch_norm"}},
        {
            "class_name": "Float",
            "config": {"name": "learning_rate", "min_value": 1e-4, "max_value": 1e-1, "sampling": "log"},
        },
        {"class_name": "Choice", "config": {"name": "augmentation", "values": ["none", "flips"]}},
    ],
    "values": {},
}
BASELINE = {"filters_1": 32, "batch_norm": False, "learning_rate": 0.001, "augmentation": "none"}


def show_sweep(sweep: JournaledSweep) -> None:
    """A sweep of six trials and two that train the best again; tested, registered and written to MLflow."""
    config = {
        "tracking": {"experiment": sweep.experiment, "figures": False},
        "search": {"max_trials": SEARCHED},
        "training": {"epochs": EPOCHS},
        "registry": {"model": sweep.experiment, "finalists": 1, "seeds": 2},
    }
    started = {"config": SweepConfig.model_validate(config).model_dump(mode="json")}
    with sweep.begin(**started, space=SPACE, baseline=BASELINE) as journal:
        projection = sweep.projection(journal)
        for number in range(SEARCHED):
            _train(journal, sweep, number, _values(number), _score(number))
        journal.append(FinalistsChosen(numbers=[BEST], reason="max_trials reached"))
        for number in (WINNER - 1, WINNER):
            _train(journal, sweep, number, _values(BEST), 0.45 + 0.01 * number, confirms=BEST)
        journal.append(WinnerChosen(number=WINNER))
        for number, skill in ((WINNER, 3.0), (0, 1.0)):
            journal.append(SealedTestOpened(number=number, report=_tested(sweep.prepared, skill)))
        projection.catch_up()
        _register(journal, sweep)
        promote_winner(journal, sweep.folder, sweep.client)
        journal.append(SweepEnded(succeeded=True, reason="max_trials reached"))
        refresh_report(journal.record, sweep.folder, sweep.said.append)
        projection.close_sweep("FINISHED")


def _values(number):
    if number == 0:
        return BASELINE
    return {
        "filters_1": (16, 32, 64)[number % 3],
        "batch_norm": number % 2 == 1,
        "learning_rate": 10 ** (-4 + number / 2),
        "augmentation": "flips" if number > 2 else "none",
    }


def _score(number):
    """No two alike, the baseline's the worst and that of `BEST` the best."""
    return 0.3 if number == 0 else 0.5 - 0.02 * abs(number - BEST) - 0.001 * number


def _train(journal, sweep, number, values, score, confirms=None):
    journal.append(TrialProposed(number=number, values=values, seed=number, confirms=confirms))
    journal.append(TrialStarted(number=number, attempt=1))
    curve = [score * (1 - math.exp(-epoch)) for epoch in range(1, EPOCHS + 1)]
    for epoch, value in enumerate(curve, start=1):
        metrics = {"val_macro_f1": value, "val_accuracy": value, "loss": 1 - value, "val_loss": 1.1 - value}
        journal.append(EpochReported(report=EpochReport(number, 1, epoch, metrics), go_on=True))
    spent = {"seconds": 20.0 + number, "training_seconds": 15.0 + number, "parameters": 1000 * values["filters_1"]}
    result = TrialResult(number, 1, TrialState.COMPLETED, f"all {EPOCHS} epochs", EPOCHS, metrics, EPOCHS, **spent)
    sweep.write_trial(number)
    journal.append(TrialEnded(result=result))


def _tested(prepared, skill):
    labels = np.load(prepared.held_out.labels)
    logits = np.random.default_rng(1).normal(size=(len(labels), 10)) + skill * np.eye(10)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return build_report(labels, probabilities, prepared.class_names, "held out", temperature=1.0).to_dict()


class _KeptPackage(ModelPackage):
    """Was kept, so TensorFlow does not have to make it."""

    def write(self, folder, run_id, model_id, location):
        return PACKAGE


def _register(journal, sweep):
    record, name = journal.record, sweep.experiment
    winner = record.trials[WINNER]
    log_and_register(
        _KeptPackage(
            model_file=PACKAGE / "MLmodel",
            class_names=(),
            image_shape=(),
            input_example=np.zeros((0, 1, 1, 3), np.uint8),
            metadata={"sweep_id": SWEEP},
        ),
        run_id=winner.run_id,
        registered_name=name,
        tags={},
        description=write_card(record, sweep.prepared, winner),
        tracking_uri=record.tracking_uri,
    )
    journal.append(ModelRegistered(number=WINNER, name=name, version=1))
