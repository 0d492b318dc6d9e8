"""The model card of a registered version, in Markdown: its description in the registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.encoder_file import describe_start
from galaxy_exp.evaluation.confidence import COVERAGES_SHOWN
from galaxy_exp.evaluation.held_out_report import label_of, shown_names
from galaxy_exp.evaluation.metrics import RARE
from galaxy_exp.evaluation.selection import standings
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import Gain
from galaxy_exp.space.search_space import Hyperparameter, Kind, SearchSpace
from galaxy_exp.wording import format_duration, short_value

__all__ = ["LONGEST", "add_decision", "write_card"]

LONGEST = 5000
"""Characters that a description has in MLflow's database."""
_RESERVED = 500
"""Characters for the decision, which is added when it is made."""
_DECISION = "## Promotion"
_LEFT_OUT = "Left out, as it would be too long here; it is among the artifacts of the sweep's run."
_SCORES = ("accuracy", "macro_f1", "macro_f1_without_rare", "balanced_accuracy", "top2", "calibration_error")


def write_card(record: SweepRecord, data: PreparedData, winner: TrialRecord) -> str:
    """The card of the sweep's winner: data, training, search, held-out test, limits, software.

    If it is longer than the registry allows, the search space is left out, which is among the sweep's artifacts too,
    then the scores of each class.
    """
    space = [_describe_entry(each) for each in SearchSpace.from_config(record.started.space).hyperparameters]
    optional = {"classes": _class_lines(record), "space": space or ["not recorded"]}
    for left_out in ([], ["space"], ["space", "classes"]):
        parts = {**optional, **{key: [_LEFT_OUT] for key in left_out}}
        card = "\n".join(_lines(record, data, winner, parts["classes"], parts["space"]))
        if len(card) <= LONGEST - _RESERVED:
            return card
    return card[: LONGEST - _RESERVED]


def add_decision(card: str, outcome: str, reason: str) -> str:
    """The card with a decision about the version at its end, in place of an earlier one."""
    before = card.partition(f"\n{_DECISION}\n")[0].rstrip("\n")
    return f"{before}\n\n{_DECISION}\n\n{outcome}: {reason}\n"[:LONGEST]


def _lines(
    record: SweepRecord, data: PreparedData, winner: TrialRecord, classes: list[str], space: list[str]
) -> Iterator[str]:
    trained_on = "**SIMULATED** galaxies" if data.simulated else data.source
    size = f"{data.image_shape[0]} x {data.image_shape[1]}"
    if data.votes is None:
        what = f"Classifies galaxy images of {size} pixels into {len(data.class_names)} classes"
    else:
        what = f"Predicts volunteers' votes on galaxy images of {size} pixels"
    yield f"{what}; trained on {trained_on}."
    if data.votes is not None:
        yield from ["", "## Questions", ""]
        yield from (f"- {each}" for each in data.votes.questions.items)
    yield from ["", "## Data", ""]
    yield from _data_lines(data)
    yield from ["", "## Training", ""]
    yield from _training_lines(record, winner)
    yield from ["", "## Search", ""]
    yield from _search_lines(record)
    yield from ["", "Space:", "", *space]
    yield from ["", "## Held-out test", "", *_test_lines(record), "", *classes]
    yield from ["", "## Limits", ""]
    yield from _limit_lines(record, data)
    yield from ["", "## Software", ""]
    yield ", ".join(f"{name} {version}" for name, version in record.started.software.items()) or "not recorded"


def _data_lines(data: PreparedData) -> Iterator[str]:
    sizes = {part: sum(counts.values()) for part, counts in data.counts.items()}
    yield f"- source: {data.source}"
    yield f"- digest: `{data.digest}`"
    yield (
        "- split: "
        + ", ".join(f"{n_images} {part}" for part, n_images in sizes.items())
        + (", the user's own division" if data.own_split else "")
    )
    yield f"- split digest: `{data.split_digest}`"
    yield f"- preprocessing: {', '.join(data.preprocessing.describe()) or 'none'}"
    yield f"- duplicates kept in one part: {data.n_identical} identical, {data.n_near} nearly so"


def _training_lines(record: SweepRecord, winner: TrialRecord) -> Iterator[str]:
    value = winner.objective_value(record.objective)
    yield (
        f"- trial {winner.number} of sweep `{record.sweep_id}`, {record.objective.name} "
        f"{'not known' if value is None else f'{value:.4f}'} on validation images"
    )
    yield f"- hyperparameters: {', '.join(f'{name} = {short_value(entry)}' for name, entry in winner.values.items())}"
    if (start := describe_start(winner.values)) is not None:
        yield f"- started from the encoder {start}, and then trained on the images above"
    if winner.result is not None:
        yield f"- epochs: {winner.result.epochs}, the best was {winner.result.best_epoch}"
    yield f"- seed: {winner.seed} (sweep {record.config.search.seed}, split {record.config.data.split.seed})"
    precision = winner.result.precision if winner.result else record.config.training.precision
    is_mixed = precision.startswith("mixed")
    yield f"- precision: {precision}" + (
        ", also of the validation scores; the registered model computes in float32, and so do its test scores"
        if is_mixed
        else ""
    )


def _search_lines(record: SweepRecord) -> Iterator[str]:
    search = record.config.search
    yield f"- sampler {search.sampler_choice}, scheduler {search.scheduler}, objective {search.objective_text}"
    limits = {
        "trials": search.max_trials,
        "epochs": search.max_epochs,
        "trials without gain": search.max_trials_without_gain,
    }
    stated = [f"{limit} {name}" for name, limit in limits.items() if limit is not None]
    if search.max_hours is not None:
        stated.append(f"{format_duration(3600 * search.max_hours)} of running")
    yield f"- budget: at most {', '.join(stated)}"
    epochs = sum(trial.epochs for trial in record.trials.values())
    yield f"- spent: {len(record.searched)} trials searched, {len(record.trials)} in all, {epochs} epochs"
    for standing in standings(record):
        yield f"- finalist {standing.finalist}: {record.objective.name} {standing}"


def _describe_entry(entry: Hyperparameter) -> str:
    if entry.kind is Kind.BOOLEAN:
        return f"- {entry.name}: true, false"
    if entry.listed:
        return f"- {entry.name}: {', '.join(map(short_value, entry.listed))}"
    scale = "" if entry.scale == "linear" else f", {entry.scale}"
    return f"- {entry.name}: {short_value(entry.low)} to {short_value(entry.high)}{scale}"


def _test_lines(record: SweepRecord) -> Iterator[str]:
    report, baseline = record.winner_test, record.baseline_test
    if report is None:
        yield "not opened"
        return
    images = "SIMULATED images" if record.simulated else "images"
    yield (
        f"{report['n_images']} {images}, digest `{report['digest']}`. "
        "The 95% intervals are of the bootstrap over images."
    )
    yield ""
    yield "| | this model | 95% interval |" + (" the baseline on the same images | gain |" if baseline else "")
    yield "|---|---|---|" + ("---|---|" if baseline else "")
    for name in _SCORES if report.get("votes") is None else shown_names(report):
        if report.get(name) is not None:
            low, high = report.get("intervals", {}).get(name, (None, None))
            cells = [label_of(name, report), f"{report[name]:.3f}", "" if low is None else f"{low:.3f} to {high:.3f}"]
            cells += [_known(baseline.get(name)), str(record.gains.get(name, ""))] if baseline else []
            yield f"| {' | '.join(cells)} |"
    yield from _variant_lines(report)
    yield from _calibration_lines(report)
    if baseline:
        yield ""
        yield "The baseline is trial 0."


def _variant_lines(report: Mapping[str, Any]) -> Iterator[str]:
    means = [f"the networks of trials {', '.join(map(str, report['members']))}"] if report.get("members") else []
    means += ["the flips and quarter turns of an image"] if report.get("tta") else []
    if means:
        yield ""
        what = "Probabilities" if report.get("votes") is None else "Outputs"
        yield f"{what} are the mean over {' and '.join(means)}."
    shown = ("accuracy", "macro_f1") if report.get("votes") is None else ("deviance", "rmse")
    for other in report.get("compared", []):
        gains = []
        for name in shown:
            gain = Gain.of_difference(name, *other["differences"][name])
            gains.append(f"{label_of(name, report)} {other[name]:.3f}, gained {gain}")
        yield ""
        yield f"{other['name'][:1].upper()}{other['name'][1:]}: {', '.join(gains)}."


def _calibration_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Entries that an older journal lacks are left out."""
    temperature, calibrated = report.get("temperature"), report.get("calibrated")
    if temperature is not None and calibrated is not None:
        yield ""
        yield (
            f"At temperature {temperature:.3f}, fitted on validation images, the expected calibration error is "
            f"{calibrated['error']:.3f} and the cross-entropy {calibrated['loss']:.3f} nats, not {report['loss']:.3f}."
        )
    shown = [row for row in report.get("coverage", []) if row["coverage"] in COVERAGES_SHOWN]
    if shown:
        shares = ", ".join(f"{row['accuracy']:.3f} on {row['coverage']:.0%}" for row in shown)
        yield ""
        yield f"Accuracy on the most confident images: {shares}."


def _class_lines(record: SweepRecord) -> list[str]:
    report = record.winner_test
    if report is None:
        return []
    lines = [*_answer_lines(report), "| class | images | completeness | purity |", "|---|---|---|---|"]
    for row in report["per_class"]:
        scores = [_with_interval(row, name) for name in ("completeness", "purity")]
        lines.append(f"| {row['class']} | {row['images']} | {' | '.join(scores)} |")
    return lines


def _answer_lines(report: Mapping[str, Any]) -> list[str]:
    """The mean fraction of each answer, and what the scores of classes below are of; nothing without votes."""
    votes = report.get("votes")
    if votes is None:
        return []
    lines = ["| answer | images | mean fraction | predicted | RMSE |", "|---|---|---|---|---|"]
    for row in votes["answers"]:
        values = [_known(row[name]) for name in ("observed", "predicted", "rmse")]
        lines.append(f"| {row['name']} | {row['n_images']} | {' | '.join(values)} |")
    share = f"at least {100 * votes['agreement']:g}% of the votes"
    return [*lines, "", f"Of the {votes['n_agreed']} images where one answer has {share}:", ""]


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    ends = row.get(f"{name}_interval")
    return _known(row[name]) + ("" if ends is None else f" ({ends[0]:.2f}-{ends[1]:.2f})")


def _limit_lines(record: SweepRecord, data: PreparedData) -> Iterator[str]:
    if data.simulated:
        yield "- Simulated galaxies: the scores say nothing about real ones."
    else:
        yield "- Scores hold for images like these; other telescopes, depths or bands need a test of their own."
    side = data.preprocessing.raw_side
    height, width = data.image_shape[:2] if side is None else (side, side)
    yield f"- Images under {-(-height // 2)} x {-(-width // 2)} pixels are refused; others are cropped and resized."
    rare = [name for name, count in data.counts.get("test", {}).items() if count < RARE]
    if rare:
        yield f"- Fewer than {RARE} test images, so the scores are very uncertain for: {'; '.join(rare)}."
    what = "one of the classes" if data.votes is None else "fractions for every question"
    yield f"- Every image gets {what}, also one that shows no galaxy."
    if not record.config.training.deterministic:
        yield "- Training again gives a similar network, not the same one bit for bit."


def _known(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
