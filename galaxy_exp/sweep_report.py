"""The report page of a sweep, put together from its journal and the files in its folder alone."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config import dump_sweep, parse_sweep
from galaxy_exp.environment import describe_software
from galaxy_exp.errors import first_line
from galaxy_exp.evaluation.confidence import measure_calibration
from galaxy_exp.evaluation.metrics import METRICS
from galaxy_exp.evaluation.resampling import paired_bootstrap
from galaxy_exp.evaluation.selection import standings
from galaxy_exp.execution.budget import TRIALS_AHEAD, TRIALS_TO_JUDGE_FROM, expected_gain
from galaxy_exp.folders import SweepFolder, write_atomically
from galaxy_exp.journal.journal import seems_running
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.questions import Votes
from galaxy_exp.records import Gain
from galaxy_exp.redaction import hide_password
from galaxy_exp.report.galleries import find_mistakes
from galaxy_exp.report.material import DataFacts, Finalist, Material, Picture, TrialsAhead, VoteMaterial
from galaxy_exp.sweep_images import find_prepared

if TYPE_CHECKING:
    from galaxy_exp.data.prepared import PreparedData

__all__ = ["collect_material", "make_page", "refresh_report", "write_report"]

_N_PICTURES = 18
_LARGEST_PICTURE = 160
"""Side in pixels; larger images are made smaller, so that the page stays small."""
_SECRET = re.compile(r"pass(word|wd|phrase)?$|secret|token|credential|api_?key|access_?key", re.IGNORECASE)


def write_report(record: SweepRecord, folder: SweepFolder, path: Path) -> Path:
    """Writes the page to `path`, making its folder; an older one is replaced as a whole."""
    text = make_page(record, folder)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path


def make_page(record: SweepRecord, folder: SweepFolder, refresh_seconds: int | None = None) -> str:
    """The page; a browser loads it again after `refresh_seconds`, if any, until the sweep has ended."""
    from galaxy_exp.report.page import build_page

    return build_page(collect_material(record, folder), refresh_seconds)


def refresh_report(record: SweepRecord, folder: SweepFolder, say: Callable[[str], None]) -> None:
    """Writes `report.html` among the sweep's artifacts, all of which go to MLflow; a failure is only reported."""
    try:
        write_report(record, folder, folder.path / "artifacts" / "report.html")
    except Exception as error:  # noqa: BLE001 - the sweep is done, whatever a user's metrics and names cause
        say(f"the report page cannot be made: {first_line(error)}")


def collect_material(record: SweepRecord, folder: SweepFolder) -> Material:
    """Everything the page shows; what lacks its files is left out, and named as missing."""
    missing: list[str] = []
    data = find_prepared(record, folder)
    if data is None and record.leaderboard():
        why = "since the prepared images are gone; galaxy-exp reproduce makes them again."
        missing.append(f"intervals, calibration and pictures, {why}")
    labels: NDArray[np.int64] | None = None
    probabilities: dict[int, NDArray[np.float32]] = {}
    if data is not None and record.test_reports:
        labels = np.load(data.held_out.labels, allow_pickle=False)
        probabilities = _test_probabilities(record, folder, missing)
    votes = None if data is None or data.votes is None else _vote_material(record, folder, data)
    pictures, n_wrong = ([], None) if data is None or votes is not None else _find_pictures(record, folder, data)
    if votes is not None:
        labels = None
    tested = None if record.winner is None else probabilities.get(record.winner)
    return Material(
        record=record,
        data=_data_facts(record, folder, data),
        sweep_file=dump_sweep(parse_sweep(_without_secrets(record.config.model_dump(mode="json")))),
        finalists=tuple(_finalists(record)),
        gains=tuple(_gains(record, labels, probabilities)),
        calibration=measure_calibration(labels, tested) if labels is not None and tested is not None else None,
        mistakes=pictures,
        votes=votes,
        n_mistakes=n_wrong,
        expected_gain=expected_gain(record),
        ahead=_trials_ahead(record),
        missing=tuple(missing),
        software=describe_software(),
        is_running=seems_running(folder.path),
    )


def _data_facts(record: SweepRecord, folder: SweepFolder, data: PreparedData | None) -> DataFacts:
    """From the prepared images or, if they are gone, from what was logged about them."""
    started = record.started
    facts = DataFacts(started.data_source, started.simulated, started.data_digest, started.split_digest)
    if data is None:
        return _logged_facts(facts, folder.path / "artifacts" / "data.json")
    return replace(
        facts,
        class_names=data.class_names,
        image_shape=data.image_shape,
        counts=data.counts,
        preprocessing=data.preprocessing.describe(),
        own_split=data.own_split,
        n_identical=data.n_identical,
        n_near=data.n_near,
        n_skipped=len(data.skipped),
    )


def _logged_facts(facts: DataFacts, path: Path) -> DataFacts:
    try:
        logged = json.loads(path.read_text(encoding="utf-8"))
        counts = logged["counts"]
        names = tuple(dict.fromkeys(name for classes in counts.values() for name in classes))
        return replace(facts, class_names=names, image_shape=tuple(logged["image_shape"]), counts=counts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return facts  # the sweep was never logged, or by another release


def _finalists(record: SweepRecord) -> Iterator[Finalist]:
    for standing in standings(record):
        values = (trial.objective_value(record.objective) for trial in standing.trials)
        searched = record.trials[standing.finalist].objective_value(record.objective)
        known = tuple(value for value in values if value is not None)
        yield Finalist(standing.finalist, searched, known, standing.mean, standing.spread)


def _test_probabilities(record: SweepRecord, folder: SweepFolder, missing: list[str]) -> dict[int, NDArray[np.float32]]:
    """Outputs of each tested model on the held-out test set, by trial, if stored and of its report's shape."""
    found = {}
    for number, report in record.test_reports.items():
        if (outputs := _load_outputs(folder.trial(number) / "test_probabilities.npy")) is None:
            missing.append(f"what needs the held-out test's probabilities of trial {number}, which are gone.")
            continue
        votes = report.get("votes")
        if outputs.shape == (report["n_images"], len(votes["answers"] if votes else report["class_names"])):
            found[number] = outputs
    return found


def _load_outputs(path: Path) -> NDArray[np.float32] | None:
    """A trial's stored outputs, (n_images, n_outputs); None if they cannot be read."""
    try:
        outputs: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return outputs


def _gains(
    record: SweepRecord, labels: NDArray[np.int64] | None, probabilities: Mapping[int, NDArray[np.float32]]
) -> Iterator[Gain]:
    """As journaled; of a sweep that an earlier release tested, from the probabilities, if any."""
    yield from record.gains.values()
    winner = record.winner
    if winner is None or record.gains or record.baseline_test is None or labels is None:
        return
    if {winner, 0} <= set(probabilities):
        for metric in METRICS:
            yield Gain.of_difference(metric, *paired_bootstrap(labels, probabilities[winner], probabilities[0], metric))


def _trials_ahead(record: SweepRecord) -> TrialsAhead | None:
    ended = [record.trials[number] for number in record.end_order]
    proposed = [trial for trial in ended if trial.retrains is None and not trial.predetermined]
    latest = [trial for trial in proposed if trial.epochs][-TRIALS_TO_JUDGE_FROM:]
    n_scored = sum(trial.objective_value(record.objective) is not None for trial in proposed)
    if not latest or not n_scored:
        return None
    share = TRIALS_AHEAD / len(latest)
    seconds = sum(trial.seconds for trial in latest)
    epochs = round(share * sum(trial.epochs for trial in latest))
    return TrialsAhead(TRIALS_AHEAD, epochs, share * seconds / 3600, len(latest), n_scored)


def _find_pictures(record: SweepRecord, folder: SweepFolder, data: PreparedData) -> tuple[list[Picture], int | None]:
    """The most confident mistakes of the winner, or of the best trial so far, on the validation images; and how many.

    None and no picture without the probabilities.
    """
    labels, names = np.load(data.files.validation_labels, allow_pickle=False), data.class_names
    probabilities = _best_outputs(record, folder, (len(labels), len(names)))
    if probabilities is None:
        return [], None
    images = np.load(data.files.validation_images, mmap_mode="r", allow_pickle=False)
    pictures = [
        _to_picture(images[each.index], names[each.label], names[each.prediction], each.probability)
        for each in find_mistakes(labels, probabilities, _N_PICTURES)
    ]
    return pictures, int((probabilities.argmax(axis=1) != labels).sum())


def _best_outputs(record: SweepRecord, folder: SweepFolder, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Outputs of the winner, or the best trial so far, for the validation images; None without any of that shape."""
    best = record.winning_trial or next(iter(record.leaderboard(1)), None)
    outputs = None if best is None else _load_outputs(folder.trial(best.number) / "validation_probabilities.npy")
    return outputs if outputs is not None and outputs.shape == shape else None


def _vote_material(record: SweepRecord, folder: SweepFolder, data: PreparedData) -> VoteMaterial:
    """The questions, and the validation images whose votes the winner, or the best trial, predicts worst."""
    from galaxy_exp.report.votes import find_differences

    assert data.votes is not None
    votes = Votes(data.votes.questions, np.load(data.votes.validation, allow_pickle=False), data.votes.are_counts)
    outputs = _best_outputs(record, folder, votes.values.shape)
    if outputs is None:
        return VoteMaterial(votes.questions)
    images = np.load(data.files.validation_images, mmap_mode="r", allow_pickle=False)
    differing = [
        (
            _to_picture(images[each.index], each.answer, each.answer, each.predicted),
            f"{each.observed:.0%} {each.answer}",
            f"{each.predicted:.0%} predicted",
        )
        for each in find_differences(votes, outputs, _N_PICTURES)
    ]
    return VoteMaterial(votes.questions, differing)


def _to_picture(image: NDArray[np.uint8], true: str, predicted: str, probability: float) -> Picture:
    from PIL import Image

    drawn = Image.fromarray(np.ascontiguousarray(image))
    drawn.thumbnail((_LARGEST_PICTURE, _LARGEST_PICTURE))
    buffer = io.BytesIO()
    drawn.save(buffer, "JPEG", quality=88)
    uri = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return Picture(uri, drawn.width, drawn.height, true, predicted, probability)


def _without_secrets(content: Any, in_options: bool = False) -> Any:
    """Plain data in which passwords in addresses are `***`, and so are values of options that sound like a secret.

    Args:
        in_options: whether it is within `data.options`, `search.sampler_options` or `execution.cluster_options`, whose
            keys are those of a third-party class; elsewhere `token_mixer` is a hyperparameter.
    """
    if isinstance(content, dict):
        return {
            key: "***"
            if in_options and _SECRET.search(str(key)) and isinstance(value, str)
            else _without_secrets(value, in_options or str(key).endswith("options"))
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [_without_secrets(each, in_options) for each in content]
    return hide_password(content) if isinstance(content, str) else content
