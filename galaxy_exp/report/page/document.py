"""The whole page."""

from __future__ import annotations

from importlib.resources import files

from galaxy_exp.report.page.html import Html, code, element, escape, join, paragraph
from galaxy_exp.report.page.material import Material, SweepState
from galaxy_exp.report.page.sections_asked import asked_section
from galaxy_exp.report.page.sections_found import found_section
from galaxy_exp.report.page.sections_paper import paper_section
from galaxy_exp.report.page.sections_reproduce import reproduce_section
from galaxy_exp.report.page.sections_search import search_section
from galaxy_exp.report.page.sections_spent import spent_section
from galaxy_exp.report.page.sections_tested import tested_section
from galaxy_exp.report.page.words import count, describe_data, metric_name, of_images, score, signed
from galaxy_exp.wording import iso_time

__all__ = ["build_page"]

_SECTIONS = (
    ("found", "What was found", found_section),
    ("tested", "How the winner classifies", tested_section),
    ("asked", "What was asked", asked_section),
    ("searched", "How the search went", search_section),
    ("spent", "What it cost", spent_section),
    ("reproduce", "How to reproduce it", reproduce_section),
    ("paper", "For a paper", paper_section),
)


def build_page(material: Material) -> str:
    """The page as text: HTML that is well-formed XML too, without scripts and without anything from elsewhere."""
    title = f"Sweep {material.record.sweep_id}"
    sections = [_section(name, heading, make(material)) for name, heading, make in _SECTIONS]
    main = element("main", _summary(material), *sections, id="content")
    body = element(
        "body",
        element("a", "Skip to the content", href="#content", class_="skip"),
        _header(material, title),
        _contents(),
        main,
        _footer(material),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title}{' (SIMULATED galaxies)' if material.data.simulated else ''}"),
        element("style", Html(files(__package__).joinpath("page.css").read_text(encoding="utf-8"))),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _section(name: str, heading: str, content: Html) -> Html:
    return element(
        "section", element("h2", heading, id=f"{name}-title"), content, id=name, aria_labelledby=f"{name}-title"
    )


def _header(material: Material, title: str) -> Html:
    record = material.record
    started = iso_time(record.started.time)
    banners = []
    if material.data.simulated:
        text = (
            "SIMULATED galaxies: the images are computed, not observed. No figure here says anything about real ones."
        )
        banners.append(paragraph(element("strong", text), class_="banner simulated"))
    if material.state is not SweepState.FINISHED:
        banners.append(paragraph(element("strong", _state_text(material)), class_="banner state"))
    facts = " · ".join(filter(None, [describe_data(material), f"started {started}", str(material.state)]))
    return element("header", element("h1", title), paragraph(facts, class_="under"), *banners)


def _state_text(material: Material) -> Html:
    record = material.record
    ended = sum(trial.result is not None for trial in record.searched)
    trials = f"{ended} of at most {count(record.config.search.max_trials, 'trial')} have ended"
    if material.state is SweepState.FAILED:
        reason = record.ended.reason if record.ended else ""
        again = [" Once the cause is mended, it goes on with ", code(f"galaxy-exp resume {record.sweep_id}"), "."]
        return join([f"This sweep FAILED: {reason}. {trials}.", *again])
    return join(
        [
            f"This sweep is NOT FINISHED (running, interrupted or killed): {trials}, and what stands here is "
            "provisional. Once interrupted, it goes on with ",
            code(f"galaxy-exp resume {record.sweep_id}"),
            ".",
        ]
    )


def _contents() -> Html:
    links = [element("li", element("a", heading, href=f"#{name}")) for name, heading, _ in _SECTIONS]
    return element("nav", element("ol", *links), aria_label="Contents")


def _summary(material: Material) -> Html:
    tiles = [element("div", element("dt", name), element("dd", value)) for name, value in _key_figures(material)]
    told = element("div", *(paragraph(sentence) for sentence in _sentences(material)), class_="lede")
    return element("section", told, element("dl", *tiles, class_="key"), aria_label="Summary")


def _sentences(material: Material) -> list[object]:
    record, leader = material.record, material.leader
    notes: list[object] = [f"Not shown: {reason}" for reason in material.missing]
    name = metric_name(record.objective.name)
    if leader is None:
        return [_question(material), "No trial has a model yet, so there is no result.", *notes]
    test, gain = material.test, material.gain("macro_f1")
    if test is None:
        value = score(leader.objective_value(record.objective))
        best = f"The best trial so far is {leader.number}, with a validation {name} of {value}."
        return [_question(material), best, *notes]
    images = f"{test['n_images']:,} sealed {of_images(material)}"
    reached = (
        f"On {images} that no trial ever saw, the winner, {material.tested_name}, reaches a macro-F1 of "
        f"{score(test['macro_f1'])} and an accuracy of {score(test['accuracy'])}."
    )
    if leader is material.baseline:
        reached += " It is the baseline itself: nothing that was searched did better on the validation images."
    return [_question(material), reached, *([_gain_sentence(material)] if gain else []), *notes]


def _question(material: Material) -> str:
    """What was asked, in a sentence."""
    record, data = material.record, material.data
    known = sum(sum(classes.values()) for classes in data.counts.values())
    images = f"{count(known, 'image')} of {of_images(material)} in {len(data.class_names)} classes" if known else ""
    source = "" if data.simulated else f" ({describe_data(material)})"
    on = f", on {images}{source}" if images else ""
    model = record.config.hypermodel
    return f"Asked: which {model} has the best validation {metric_name(record.objective.name)}{on}?"


def _gain_sentence(material: Material) -> str:
    gain = material.gain("macro_f1")
    if gain is None:
        return ""
    interval = f"(95% interval {signed(gain.low)} to {signed(gain.high)})"
    if not gain.is_clear:
        return f"The difference in macro-F1 from the baseline, {signed(gain.difference)} {interval}, may be chance."
    word = "more" if gain.difference > 0 else "LESS"
    return f"That is {abs(gain.difference):.3f} {word} macro-F1 than the baseline {interval}."


def _key_figures(material: Material) -> list[tuple[str, object]]:
    record, test = material.record, material.test
    found: list[tuple[str, object]] = []
    if test is not None:
        found += [
            ("macro-F1, sealed test", score(test["macro_f1"])),
            ("accuracy, sealed test", score(test["accuracy"])),
        ]
    gain = material.gain("macro_f1")
    if gain is not None:
        chance = "" if gain.is_clear else ", may be chance"
        found.append((f"gain in macro-F1 over the baseline{chance}", signed(gain.difference)))
    elif material.leader is not None and test is None:
        value = score(material.leader.objective_value(record.objective))
        found.append((f"best validation {metric_name(record.objective.name)}", value))
    hours = sum(trial.result.seconds for trial in record.trials.values() if trial.result) / 3600
    return [*found, ("trials of the search", f"{len(record.searched):,}"), ("epochs", f"{record.epochs:,}"),
            ("hours of training", f"{hours:.2f}")]  # fmt: skip


def _footer(material: Material) -> Html:
    version = material.software.get("galaxy-exp", "")
    made = iso_time(material.record.updated_at)
    text = f"Made by galaxy-exp {version} from the sweep's journal, as it stood on {made}."
    return element("footer", paragraph(escape(text)))
