"""How the winner classifies: confusion, completeness and purity, calibration, and its most confident mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from galaxy_exp.evaluation.confidence import COVERAGES_SHOWN, Calibration
from galaxy_exp.evaluation.metrics import METRIC_LABELS, RARE
from galaxy_exp.report.page.cells import gain_cell
from galaxy_exp.report.page.html import Html, element, figure, join, paragraph, table
from galaxy_exp.report.page.material import Gain, Material, Picture
from galaxy_exp.report.page.result_charts import draw_calibration, draw_coverage
from galaxy_exp.report.page.words import METRIC_NAMES, UNKNOWN, count, metric_name, of_images, score

__all__ = ["tested_section"]

_SCORES = ("accuracy", "top2", "balanced_accuracy", "macro_f1", "macro_f1_without_rare")
_DEEP = 0.7
"""Share of a row above which the text of a cell changes its colour: there both have a contrast of 4.5, or all but."""


def tested_section(material: Material) -> Html:
    """Of the winner on the sealed test; the mistakes are shown on validation images."""
    report = material.test
    parts: list[Html | None] = []
    if report is None:
        parts.append(paragraph("No model has met the sealed test images yet."))
    else:
        parts += [
            element("h3", "Scores with their intervals", id="scores"),
            _scores(material, report),
            element("h3", "Confusion matrix", id="confusion"),
            _confusion(report, of_images(material)),
            element("h3", "Class by class", id="classes"),
            _per_class(material, report),
        ]
    if material.calibration is not None:
        parts += [element("h3", "Calibration", id="calibration"), _calibration(material.calibration, report)]
    if report is not None and report.get("coverage"):
        parts += [element("h3", "Accuracy against coverage", id="coverage"), _coverage(material, report)]
    if material.n_mistakes is not None:
        parts += [element("h3", "Most confident mistakes", id="mistakes"), *_mistakes(material)]
    return join(parts)


def _scores(material: Material, report: dict[str, Any]) -> Html:
    """What an older journal does not have is left out."""
    baseline, intervals = material.baseline_test, report.get("intervals", {})
    rows = []
    for name in _SCORES:
        if report.get(name) is not None:
            row = [METRIC_LABELS[name], score(report[name]), *([_interval(intervals.get(name))] if intervals else [])]
            rows.append(row + ([score(baseline.get(name))] if baseline else []))
    header = ["score", "winner", *(["95% interval"] if intervals else []), *(["baseline"] if baseline else [])]
    caption = f"On {report['n_images']:,} sealed {of_images(material)}"
    caption += "; intervals of the bootstrap over images" if intervals else ""
    told = paragraph(
        "Top-2 accuracy is the share of images whose class is among the two most probable. Macro-F1 and balanced "
        "accuracy give every class the same weight, however few images it has."
    )
    return join([told, table(caption, header, rows), _compared(material, report)])


def _compared(material: Material, report: dict[str, Any]) -> Html | None:
    """The registered model against itself without an option, such as the mean over flips and turns."""
    if not report.get("compared"):
        return None
    rows = []
    for other in report["compared"]:
        for name in METRIC_NAMES:
            gain = Gain.of_difference(name, *other["differences"][name])
            rows.append([other["name"], metric_name(name), score(report[name]), score(other[name]), gain_cell(gain)])
    header = ["compared with", "score", "as registered", "that one", "gain, 95% interval"]
    caption = f"On the same {report['n_images']:,} {of_images(material)}, paired bootstrap"
    members = ", ".join(map(str, report.get("members", [])))
    means = [
        f"the networks of trials {members}" if members else "",
        "the flips and quarter turns of an image" if report.get("tta") else "",
    ]
    over = " and ".join(filter(None, means))
    told = paragraph(f"The registered model gives the mean of the probabilities over {over}.") if over else None
    return join([told, table(caption, header, rows, text=(0, 1))])


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{score(ends[0])} to {score(ends[1])}"


def _confusion(report: dict[str, Any], images: str) -> Html:
    names, counts = report["class_names"], report["confusion"]
    rows = []
    for name, row in zip(names, counts, strict=True):
        total = sum(row)
        rows.append([name, *(_share_cell(number, total, at == name) for at, number in zip(names, row, strict=True))])
    caption = f"Rows are true classes, columns predicted ones: share of the row, and {images}"
    return table(caption, ["true ↓ predicted →", *names], rows, class_="confusion")


def _share_cell(number: int, total: int, is_right: bool) -> Html:
    share = number / total if total else 0.0
    class_ = "share deep" if share > _DEEP else "share"
    percent = "" if not number else "<1%" if share < 0.005 else f"{share:.0%}"
    shown = [element("b", percent), element("small", f"{number:,}")] if number else [element("small", "0")]
    return element("td", *shown, class_=f"{class_} right" if is_right else class_, style=f"--share:{share:.3f}")


def _per_class(material: Material, report: dict[str, Any]) -> Html:
    baseline = {entry["class"]: entry for entry in (material.baseline_test or {}).get("per_class", [])}
    rows = []
    for entry in report["per_class"]:
        ratios = [_bar_cell(entry[name], entry.get(f"{name}_interval")) for name in ("completeness", "purity", "f1")]
        other = baseline.get(entry["class"])
        rows.append([entry["class"], f"{entry['images']:,}", *ratios, *([score(other["f1"])] if other else [])])
    header = ["class", "galaxies", "completeness", "purity", "F1", *(["F1 of the baseline"] if baseline else [])]
    few = [entry["class"] for entry in report["per_class"] if entry["images"] < RARE]
    note = None
    if few:
        where = "every class" if len(few) == len(report["per_class"]) else "; ".join(few)
        text = f"Fewer than {RARE} sealed {of_images(material)} in {where}: "
        text += "read these rows, and every average over classes, with that in mind."
        note = paragraph(text, class_="note")
    told = paragraph(
        "Completeness (recall) is the share of a class that is found; purity (precision) is the share of what is "
        "called so that is right."
    )
    caption = f"The winner on {report['n_images']:,} sealed {of_images(material)}"
    caption += ", with 95% intervals" if "f1_interval" in report["per_class"][0] else ""
    return join([told, table(caption, header, rows, class_="bars"), note])


def _bar_cell(value: float | None, ends: Sequence[float] | None) -> Html:
    if value is None:
        return element("td", UNKNOWN, class_="number")
    small = element("small", _interval(ends)) if ends is not None else None
    return element("td", element("span", score(value)), small, class_="number bar", style=f"--share:{value:.3f}")


def _calibration(found: Calibration, report: Mapping[str, Any] | None) -> Html:
    text = (
        f"Expected calibration error {score(found.error)}: on average over the sealed images, the probability of the "
        "predicted class and the share that is right differ by so much (ten bins). The mean probability is "
        f"{score(found.mean_confidence)}, and {score(found.accuracy)} are right: {_leaning(found)}."
    )
    caption = "On the dashed line, probabilities mean what they say; larger dots stand for more images."
    before = figure(draw_calibration(found), caption, label="Calibration")
    temperature, scaled = (report or {}).get("temperature"), (report or {}).get("calibrated")
    if report is None or temperature is None or scaled is None:
        return join([paragraph(text), before])
    after = Calibration.from_dict(scaled)
    told = (
        f"Divided by a temperature of {temperature:.3f}, which was fitted on the validation images, the logits give "
        f"the same classes with other probabilities: the error becomes {score(after.error)}, and the cross-entropy "
        f"{score(scaled['loss'])} in place of {score(report['loss'])} nats. The registered model gives the "
        "probabilities of the network unless it is asked for calibrated ones."
    )
    pair = [before, figure(draw_calibration(after), f"At temperature {temperature:.3f}.", label="Calibrated")]
    return join([paragraph(text), paragraph(told), element("div", *pair, class_="pair")])


def _coverage(material: Material, report: Mapping[str, Any]) -> Html:
    rows = [
        [f"{row['coverage']:.0%}", f"{row['n_images']:,}", score(row["confidence"]), score(row["accuracy"]),
         _interval(row["interval"])]
        for row in report["coverage"] if row["coverage"] in COVERAGES_SHOWN
    ]  # fmt: skip
    told = paragraph(
        "Whoever leaves the least certain images to a person keeps the others: so accurate is the winner on those of "
        "which it is most sure, by the probability of the predicted class."
    )
    header = ["images kept", "galaxies", "least probability", "accuracy", "95% interval"]
    caption = f"Sealed {of_images(material)}, the most confident first"
    shown = figure(draw_coverage(report["coverage"]), "Shaded: 95% intervals (Wilson).", label="Accuracy and coverage")
    return join([told, table(caption, header, rows), shown])


def _leaning(found: Calibration) -> str:
    """Whether confidence and accuracy differ by more than two standard errors of the accuracy, and which way."""
    n_images = sum(each.n_images for each in found.bins)
    error = math.sqrt(max(found.accuracy * (1 - found.accuracy), 1e-12) / n_images)
    if abs(found.mean_confidence - found.accuracy) <= 2 * error:
        return "on the whole, that may be chance"
    sure = "too sure of itself" if found.mean_confidence > found.accuracy else "not sure enough of itself"
    return f"on the whole, the model is {sure}"


def _mistakes(material: Material) -> Sequence[Html]:
    n_wrong = material.n_mistakes or 0
    if not material.mistakes:
        return [paragraph("There are none on the validation images.")]
    text = (
        f"{count(len(material.mistakes), 'mistake')} of {n_wrong:,} on the validation images, the most confident "
        "first. The sealed images are not shown, so that nobody chooses a model by looking at them."
    )
    shown = [element("li", _picture(each)) for each in material.mistakes]
    return [paragraph(text), element("ul", *shown, class_="gallery")]


def _picture(each: Picture) -> Html:
    says = f"{each.probability:.0%} {each.predicted}"
    alt = f"A galaxy of class {each.true}, taken for {each.predicted} with probability {each.probability:.0%}"
    image = element("img", src=each.uri, alt=alt, width=each.width, height=each.height)
    caption = element("figcaption", each.true, element("span", f"→ {says}", class_="wrong"))
    return element("figure", image, caption, aria_label=f"{each.true} taken for {each.predicted}")
