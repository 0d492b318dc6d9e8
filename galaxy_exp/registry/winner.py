"""From the winner to a tested, registered and possibly promoted version; every step can be repeated.

The winner was chosen on validation data alone. Only then is the held-out test set opened, for the winner and for the
baseline, and the journal records it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.errors import ModelError, SweepFailedError
from galaxy_exp.evaluation.held_out_report import TestReport, shown_names
from galaxy_exp.evaluation.metrics import METRICS
from galaxy_exp.evaluation.resampling import paired_bootstrap
from galaxy_exp.evaluation.vote_comparison import compare_votes
from galaxy_exp.folders import SweepFolder, graph_of, write_atomically
from galaxy_exp.journal.events import ModelRegistered, PromotionDecided, SealedTestOpened
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.registry import held_out, version_tags
from galaxy_exp.registry.champion import apply_promotion, decide_against_champion, read_decision
from galaxy_exp.registry.model_card import write_card
from galaxy_exp.registry.networks import Variant, evaluate_model, write_ensemble
from galaxy_exp.registry.packaging import ModelPackage, log_and_register
from galaxy_exp.tracking.addresses import uri_option
from galaxy_exp.tracking.store import tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["open_held_out_test", "promote_winner", "register_winner"]


def open_held_out_test(journal: Journal, folder: SweepFolder, data: PreparedData) -> None:
    """Tests the winner, and the baseline if it has a model, on the held-out test set; once per model and sweep.

    The opening is on record before the images are read.

    Raises:
        ModelError: the winner's model file is gone; says what to do.
        JournalError: the ledger of test openings is damaged.
        JournalWriteError: the ledger cannot be written.
    """
    record = journal.record
    winner = _winner(record)
    numbers = [winner.number]
    if winner.number not in record.test_reports:
        _require_model(record, folder, winner)
    if record.has_baseline and record.trials[0].state.has_model and folder.model(0).is_file():
        numbers.append(0)
    untested = [number for number in dict.fromkeys(numbers) if number not in record.test_reports]
    if not untested:
        return
    test_set = held_out.digests_of_test_set(data)
    opening = held_out.record_opening(folder.project, test_set, record.sweep_id)
    (test_images,) = test_set - {held_out.digest_test_set(data)}
    for number in untested:
        is_winner = number == winner.number
        if is_winner:
            report, probabilities = _test_winner(record, folder, data)
        else:
            report, probabilities = _test(record, folder.model(number), data)
        write_atomically(_probabilities_file(folder, number), partial(np.save, arr=probabilities), sole_writer=True)
        journal.append(
            SealedTestOpened(
                number=number,
                report=report.to_dict(),
                opening=opening,
                test_images=test_images,
                gains={} if is_winner else _differences(record, folder, winner, probabilities, data),
            )
        )


def _differences(
    record: SweepRecord, folder: SweepFolder, winner: TrialRecord, baseline: NDArray[np.float32], data: PreparedData
) -> dict[str, tuple[float, float, float]]:
    """By metric, the winner's value minus that of the baseline, which is tested after it, with the interval's ends."""
    test = _read_predictions(record, folder, winner.number, data)
    if test.votes is not None:
        return compare_votes(test.votes, test.probabilities, baseline, test.agreement)
    return {metric: paired_bootstrap(test.labels, test.probabilities, baseline, metric) for metric in METRICS}


def register_winner(journal: Journal, folder: SweepFolder, data: PreparedData, client: MlflowClient) -> None:
    """Registers the winner's model as a new version, with its test metrics as tags.

    Raises:
        ModelError: the winner's model file is gone; says what to do.
        TrackingError: MLflow refused or could not be reached.
    """
    record = journal.record
    if record.registered is not None:
        return
    winner = _winner(record)
    report = TestReport.from_dict(record.test_reports[winner.number])
    if winner.run_id is None:
        remedy = f"galaxy-exp sync {record.sweep_id}"
        raise SweepFailedError(f"trial {winner.number} has no MLflow run; create it with: {remedy}")
    _require_model(record, folder, winner)
    predictions = _read_predictions(record, folder, winner.number, data)
    with tracking_errors(record.tracking_uri):
        held_out.log_held_out_predictions(client, winner.run_id, predictions)
        for tag, value in _test_set_tags(record, report).items():
            client.set_tag(winner.run_id, tag, value)
    version = log_and_register(
        ModelPackage(
            model_file=_tested_file(folder, winner.number, data, report),
            class_names=data.class_names,
            image_shape=data.image_shape,
            input_example=np.load(data.files.validation_images, mmap_mode="r")[:1],
            metadata={
                "sweep_id": record.sweep_id,
                "trial": winner.number,
                "data_digest": data.digest,
                "split_digest": data.split_digest,
                "simulated": data.simulated,
                "temperature": report.temperature,
                "members": report.members,
            },
            preprocessing=data.preprocessing.to_dict(),
            tta=report.tta,
            questions=data.votes.questions if data.votes is not None else None,
        ),
        run_id=winner.run_id,
        registered_name=record.config.model_name,
        tags=_version_tags(record, data, report),
        description=write_card(record, data, winner),
        tracking_uri=record.tracking_uri,
    )
    journal.append(ModelRegistered(number=winner.number, name=version.name, version=version.version))


def promote_winner(journal: Journal, folder: SweepFolder, client: MlflowClient) -> None:
    """Decides whether the new version becomes champion, and moves the aliases.

    A decision that was carried out by a call that was then killed is kept, with its reason.

    Raises:
        JournalError: the ledger of test openings is damaged.
        TrackingError: MLflow refused or could not be reached.
    """
    record = journal.record
    if record.registered is None or record.promotion is not None:
        return
    name, version = record.registered.name, record.registered.version
    with tracking_errors(record.tracking_uri):
        decision = read_decision(client, name, version)
        if decision is None:
            opening, option = _count_openings(record, folder, client), uri_option(client.tracking_uri)
            decision, _ = decide_against_champion(client, name, version, lambda *_: opening, option)
        apply_promotion(client, name, version, decision)
    journal.append(
        PromotionDecided(
            name=name,
            version=version,
            promoted=decision.promote,
            reason=decision.reason,
            opening=decision.opening or 0,
        )
    )


def _count_openings(record: SweepRecord, folder: SweepFolder, client: MlflowClient) -> int:
    """The sweeps that opened the same test set so far, in the project or the MLflow store, this one included.

    It is counted when the decision is made. Sweeps that open the set before any of them decides count the same number.
    The k-th to decide counts at least k, so that all levels together are at most `resampling.TOTAL_LEVEL`.
    """
    in_project = held_out.find_openers(folder.project, record.test_set)
    return len({record.sweep_id} | in_project | held_out.find_openers_in_store(client, record.test_set))


def _test_winner(
    record: SweepRecord, folder: SweepFolder, data: PreparedData
) -> tuple[TestReport, NDArray[np.float32]]:
    """Tests the model that will be registered, and compares it with itself without each option."""
    winner, tta = _winner(record), record.config.registry.tta
    deployed = folder.model(winner.number)
    members = _members(record, folder, winner)
    files = [folder.model(member) for member in members]
    variants = []
    if members and not any(graph_of(file).is_dir() for file in files):
        variants.append(Variant(f"trial {winner.number} alone", [deployed], tta))
        deployed = _ensemble_file(folder, winner.number)
        write_ensemble(files, data.image_shape, deployed)
    elif members:
        named = f"trials {', '.join(map(str, members))}"
        variants.append(Variant(f"the mean of {named}, not registered for their own layers", files, tta))
        members = []
    if tta:
        variants.append(Variant("without the mean over flips and turns", [deployed]))
    report, probabilities = _test(record, deployed, data, tta, variants)
    return replace(report, members=members), probabilities


def _test(
    record: SweepRecord, model_file: Path, data: PreparedData, tta: bool = False, variants: Sequence[Variant] = ()
) -> tuple[TestReport, NDArray[np.float32]]:
    return evaluate_model(
        model_file,
        data.held_out.images,
        data.held_out.labels,
        data.class_names,
        held_out.digest_test_set(data),
        validation=(data.files.validation_images, data.files.validation_labels),
        tta=tta,
        variants=variants,
        votes=held_out.load_held_out_votes(data),
        agreement=record.config.data.votes.agreement,
    )


def _members(record: SweepRecord, folder: SweepFolder, winner: TrialRecord) -> list[int]:
    """The trials with a model of the winner's configuration, if their mean is to be registered; none or several."""
    if not record.config.registry.ensemble or winner.retrains is None:
        return []
    numbers = [trial.number for trial in record.retrainings(winner.retrains)]
    found = [number for number in numbers if folder.model(number).is_file()]
    return found if len(found) > 1 else []


def _tested_file(folder: SweepFolder, number: int, data: PreparedData, report: TestReport) -> Path:
    """The file that was tested; an ensemble that was deleted since is made again."""
    if not report.members:
        return folder.model(number)
    file = _ensemble_file(folder, number)
    if not file.is_file():
        write_ensemble([folder.model(member) for member in report.members], data.image_shape, file)
    return file


def _ensemble_file(folder: SweepFolder, number: int) -> Path:
    return folder.trial(number) / "ensemble.keras"


def _require_model(record: SweepRecord, folder: SweepFolder, winner: TrialRecord) -> None:
    file = folder.model(winner.number)
    if not file.is_file():
        raise ModelError(
            f"{file}: the model of trial {winner.number}, the best of sweep {record.sweep_id}, is gone; "
            f"put the file back, then: galaxy-exp resume {record.sweep_id}; if there is no copy, run the sweep again"
        )


def _read_predictions(
    record: SweepRecord, folder: SweepFolder, number: int, data: PreparedData
) -> held_out.HeldOutPredictions:
    file = _probabilities_file(folder, number)
    try:
        probabilities = np.load(file)
    except (OSError, ValueError, EOFError):
        raise ModelError(
            f"{file}: what trial {number} predicted for the held-out test set is gone or damaged; put the file back, "
            f"then: galaxy-exp resume {folder.path.name}; if there is no copy, run the sweep again"
        ) from None
    images, labels = np.load(data.held_out.images, mmap_mode="r"), np.load(data.held_out.labels)
    return held_out.HeldOutPredictions(
        held_out.digest_test_set(data),
        labels,
        probabilities,
        held_out.digest_each_image(images, labels),
        held_out.load_held_out_votes(data),
        record.config.data.votes.agreement,
    )


def _probabilities_file(folder: SweepFolder, number: int) -> Path:
    return folder.trial(number) / "test_probabilities.npy"


def _winner(record: SweepRecord) -> TrialRecord:
    if record.winning_trial is None:
        raise ValueError("no winner was chosen yet")
    return record.winning_trial


def _version_tags(record: SweepRecord, data: PreparedData, report: TestReport) -> dict[str, str]:
    names = () if report.votes is None else shown_names(report.to_dict())
    scores = {"n_images": report.n_images, **report.metrics} | {name: getattr(report, name) for name in names}
    return {
        version_tags.DATA_SOURCE: data.source,
        version_tags.SIMULATED: str(data.simulated).lower(),
        version_tags.OBJECTIVE: record.objective.name,
        **_test_set_tags(record, report),
        **version_tags.build_test_tags(scores),
    }


def _test_set_tags(record: SweepRecord, report: TestReport) -> dict[str, str]:
    """By which later sweeps find that this one opened the test set; a test of an older release has the first alone."""
    images = record.test_set - {report.digest}
    tags = {version_tags.SWEEP_ID: record.sweep_id, version_tags.TEST_DIGEST: report.digest}
    return tags | dict.fromkeys([version_tags.TEST_IMAGES] if images else [], "".join(images))
