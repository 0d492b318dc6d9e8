"""What was asked: data, classes, split, space and budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from galaxy_exp.report.page.html import Html, code, definitions, element, join, paragraph, table
from galaxy_exp.report.page.material import Material
from galaxy_exp.report.page.words import count, metric_name, plain_value
from galaxy_exp.search_methods import PRUNERS, SAMPLERS, SearchMethod
from galaxy_exp.space.search_space import Hyperparameter, Kind, SearchSpace

__all__ = ["asked_section"]

_SCALES = {"log": ", logarithmic", "reverse_log": ", logarithmic from the upper end"}

_PARTS = {"train": "training", "validation": "validation", "test": "sealed test"}


def asked_section(material: Material) -> Html:
    """Data, search and the space that was searched."""
    return join(
        [
            element("h3", "Data", id="data"),
            element("div", _data_facts(material), _class_table(material), class_="pair"),
            element("h3", "Search", id="search"),
            _search_facts(material),
            element("h3", "Space", id="space"),
            _space_table(material),
        ]
    )


def _data_facts(material: Material) -> Html:
    data, config = material.data, material.record.config.data
    source: object = code(data.source)
    if data.simulated:
        source = element("strong", "SIMULATED galaxies: computed, not observed", class_="alert")
    height, width, *_ = data.image_shape or (0, 0)
    known = sum(sum(classes.values()) for classes in data.counts.values())
    duplicates = f"{data.n_identical:,} identical, {data.n_near:,} near" if known else ""
    kept = ", each kept with its like in one part" if data.n_identical + data.n_near and not data.own_split else ""
    split = config.split
    shares = f"{split.validation:.0%} for validation, {split.test:.0%} sealed, class by class, seed {split.seed}"
    return definitions(
        [
            ("Source", source),
            ("Images", f"{known:,} of {width} x {height} pixels, three channels" if known else ""),
            ("Preparation", ", ".join(data.preprocessing) if known else ""),
            ("Split", "the data's own" if data.own_split else shares),
            ("Duplicates", duplicates + kept if known else ""),
            ("Left out", f"{count(data.n_skipped, 'unreadable file')}" if data.n_skipped else ""),
        ]
    )


def _class_table(material: Material) -> Html | None:
    counts = material.data.counts
    if not counts:
        return None
    parts = [part for part in _PARTS if part in counts]
    rows = []
    for name in material.data.class_names:
        each = [counts[part].get(name, 0) for part in parts]
        rows.append([name, *(f"{number:,}" for number in [*each, sum(each)])])
    sums = [sum(counts[part].values()) for part in parts]
    rows.append(["all classes", *(f"{number:,}" for number in [*sums, sum(sums)])])
    header = ["class", *(_PARTS[part] for part in parts), "in all"]
    return table("Galaxies by class and part", header, rows, class_="totals")


def _search_facts(material: Material) -> Html:
    config = material.record.config
    search, registry = config.search, config.registry
    better = {"max": "the more, the better", "min": "the less, the better"}
    objectives = "; ".join(f"{metric_name(each.name)} ({better[each.direction]})" for each in search.objectives)
    again = f"the best {registry.finalists} are trained again, {count(registry.seeds, 'time')} each, before one wins"
    return definitions(
        [
            ("Model", code(config.hypermodel)),
            ("Objective", f"{objectives}, on the validation images"),
            ("Constraints", ", ".join(map(str, search.constraint_records))),
            ("Proposals by", _named(search.sampler_choice, SAMPLERS)),
            ("Early stopping by", _named(search.pruner, PRUNERS)),
            ("Epochs of a trial", config.training.epochs),
            ("Budget", "; ".join(_limits(material))),
            ("Given beforehand", _settled(material)),
            ("Finalists", again if registry.finalists else "none: the best trial of the search wins"),
            ("Seed", search.seed),
        ]
    )


def _named(choice: str, methods: Mapping[str, SearchMethod]) -> Html:
    label = methods[choice].label if choice in methods else ""
    return join([code(choice), f" ({label})" if label else None])


def _limits(material: Material) -> Iterator[str]:
    search = material.record.config.search
    yield f"at most {count(search.max_trials, 'trial')}"
    if search.max_epochs is not None:
        yield f"{search.max_epochs:,} epochs in all"
    if search.max_hours is not None:
        yield f"{search.max_hours:g} hours"
    if search.max_trials_without_gain is not None:
        yield f"{search.max_trials_without_gain} trials in a row without gain"
    if search.min_expected_gain is not None:
        yield f"until ten more trials are expected to gain less than {search.min_expected_gain:g}"


def _settled(material: Material) -> str:
    record = material.record
    given = ["the baseline as trial 0"] * record.config.search.baseline
    given += [count(len(record.started.enqueued), "configuration")] * bool(record.started.enqueued)
    given += [
        f"{count(number, 'trial')} of {sweep_id or 'an earlier sweep'} as evidence"
        for sweep_id, number in Counter(known.sweep_id for known in record.started.evidence).items()
    ]
    return ", ".join(given)


def _space_table(material: Material) -> Html:
    started = material.record.started
    declared = SearchSpace.from_config(started.space).hyperparameters
    if not declared:
        return paragraph("The record does not tell the space.")
    fixed = {each.name: each.default for each in declared if each.kind is Kind.FIXED}
    rows = [
        [code(each.name), _domain(each), each.describe_conditions(plain_value), _baseline(material, each.name)]
        for each in declared
        if each.kind is not Kind.FIXED
    ]
    header = ["hyperparameter", "searched", "only if", "baseline"]
    shown = table("Hyperparameters that were searched", header, rows, text=range(4)) if rows else None
    texts = join((join([code(name), f" {plain_value(value)}"]) for name, value in fixed.items()), ", ")
    note = paragraph("Fixed for every trial but the baseline: ", texts, ".", class_="note") if fixed else None
    return join([shown, note])


def _baseline(material: Material, name: str) -> str:
    return plain_value(material.record.started.baseline.get(name))


def _domain(hyperparameter: Hyperparameter) -> str:
    if hyperparameter.kind is Kind.BOOLEAN:
        return "yes, no"
    return f"{hyperparameter.describe_values(plain_value)}{_SCALES.get(hyperparameter.scale, '')}"
