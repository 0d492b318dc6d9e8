"""For a paper: a table and a paragraph on the method in LaTeX, and the sources that a sweep really used, as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from galaxy_exp.evaluation.conclusion import baseline_retrained, comparison_words
from galaxy_exp.evaluation.held_out_report import gain_over, label_of, shown_names
from galaxy_exp.records import BUILT_IN_HYPERMODEL
from galaxy_exp.report.material import Material
from galaxy_exp.report.words import METRIC_NAMES, count, metric_name, plain_value
from galaxy_exp.search_methods import SAMPLERS, SCHEDULERS, SearchMethod

__all__ = [
    "bibtex",
    "cited_data",
    "cited_methods",
    "cited_software",
    "latex_table",
    "methods_text",
    "read_references",
]

_DATA = {
    "galaxy10-sdss": ("galaxy10sdss", "abazajian2009", "lintott2008", "lintott2011", "willett2013"),
    "galaxy10-decals": ("galaxy10decals", "dey2019", "lintott2008", "lintott2011", "willett2013", "walmsley2022"),
}
_SOFTWARE = {
    "keras": ("Keras", "keras"),
    "tensorflow": ("TensorFlow", "abadi2016"),
    "jax": ("JAX", "jax"),
    "keras-tuner": ("KerasTuner", "kerastuner"),
    "mlflow": ("MLflow", "zaharia2018"),
    "dask": ("Dask", "rocklin2015"),
    "astropy": ("Astropy", "astropy2013", "astropy2018", "astropy2022"),
    "scipy": ("SciPy", "virtanen2020"),
    "numpy": ("NumPy", "harris2020"),
}
"""What a package is called, and its keys in references.bib."""
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def latex_table(material: Material) -> str:
    """Winner, baseline and gain on the held-out test set (needs booktabs); ValueError without a winner's report."""
    report, baseline = material.test, material.baseline_test
    if report is None:
        raise ValueError("the held-out test set has not been used")
    both = baseline is not None
    simulated = "SIMULATED " if material.data.simulated else ""
    caption = f"Scores on {report['n_images']} {simulated}galaxies held out from the search."
    if (votes := report.get("votes")) and votes["n_agreed"]:
        caption += f" The scores of classes are of the {votes['n_agreed']} whose votes agree."
    whose, word = comparison_words(material.record)
    caption += f" {word.capitalize()}s with 95\\% intervals of the paired bootstrap." if material.gains else ""
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", r"\label{tab:sweep}"]
    lines += [rf"\begin{{tabular}}{{l{'rrr' if both else 'r'}}}", r"\toprule"]
    other = whose.removeprefix("the ").capitalize()
    lines += [rf" & Winner & {other} & {word.capitalize()} \\" if both else r" & Winner \\", r"\midrule"]
    for name in METRIC_NAMES if not report.get("votes") else shown_names(report):
        label = label_of(name, report)
        cells = [_latex(label[:1].upper() + label[1:]), f"{report[name]:.3f}"]
        if baseline is not None and baseline.get(name) is not None:
            gain, known = material.gain(name), gain_over(name, report, baseline)
            difference = "" if known is None else f"${known:+.3f}$"
            interval = f" [${gain.low:+.3f}$, ${gain.high:+.3f}$]" if gain else ""
            cells += [f"{baseline[name]:.3f}", difference + interval]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def methods_text(material: Material) -> str:
    """A paragraph in LaTeX with `\\citep` of the keys in references.bib."""
    sentences = [_data_sentence(material), _search_sentence(material), _choice_sentence(material)]
    sentences += [_values_sentence(material), _software_sentence(material)]
    return " ".join(sentence for sentence in sentences if sentence)


def _data_sentence(material: Material) -> str:
    data = material.data
    counts = {part: sum(classes.values()) for part, classes in data.counts.items()}
    what = "SIMULATED galaxies (computed, not observed)" if data.simulated else "galaxies"
    cited = _cite(cited_data(material)) or ("" if data.simulated else " (add the source)")
    if not counts:
        return f"We classified images of {what}{cited}."
    images = f"{sum(counts.values()):,} images of {what}{cited}"
    did = f"We classified {images} into {len(data.class_names)} classes"
    if material.votes is not None:
        asked = count(len(material.votes.questions), "question")
        did = f"We predicted the votes of volunteers on {images}, who were asked {asked}"
    train, validation, test = (counts.get(part, 0) for part in ("train", "validation", "test"))
    return (
        f"{did}, with {train:,} for training, {validation:,} for validation and {test:,} held out for one test at the "
        "end."
    )


def _search_sentence(material: Material) -> str:
    record = material.record
    search, methods = record.config.search, cited_methods(material)
    sampler = _label(SAMPLERS, search.sampler_choice)
    if n_priors := len({each.name for each in material.space.with_prior}):
        sampler += f" with expert priors on {count(n_priors, 'hyperparameter')}"
    if search.cost == "seconds":
        sampler += ", its expected improvement divided by the square root of the seconds of an epoch"
    network = " of a convolutional network" if record.config.hypermodel == BUILT_IN_HYPERMODEL else ""
    text = (
        f"Hyperparameters{network} were searched in {count(len(record.searched), 'trial')} of up to "
        f"{record.config.training.epochs} epochs, proposed by {sampler}{_cite(methods.get('sampler', ()))}"
    )
    if search.scheduler != "none":
        scheduler = _label(SCHEDULERS, search.scheduler)
        text += f" and cut short by {scheduler}{_cite(methods.get('scheduler', ()))}"
    objectives = " and ".join(_latex(metric_name(each.name)) for each in search.objectives)
    return f"{text}, for the best {objectives} on the validation images."


def _label(methods: Mapping[str, SearchMethod], name: str) -> str:
    return methods[name].label if name in methods else _latex(name)


def _choice_sentence(material: Material) -> str:
    report, methods = material.test, cited_methods(material)
    text = ""
    if material.finalists:
        n_finalists, again = len(material.finalists), count(len(material.finalists[0].values), "time")
        best = f"The best {n_finalists} configurations were" if n_finalists > 1 else "The best configuration was"
        text = f"{best} trained again {again} with other seeds, and the best mean was chosen. "
    if report is None:
        return text + "The held-out test set has not been used yet."
    images = f"{report['n_images']:,} held-out {'SIMULATED ' if material.data.simulated else ''}images"
    shown, label = "macro_f1", "macro-F1"
    scores = f"an accuracy of {report['accuracy']:.3f} and a macro-F1 of {report['macro_f1']:.3f}"
    if report.get("votes"):
        shown = label = "deviance"
        scores = f"a mean deviance of {report['deviance']:.3f} nats and an RMSE of fractions of {report['rmse']:.3f}"
    text += f"On {images}, {_tested_words(report)} reaches {scores} (Table~\\ref{{tab:sweep}})"
    if gain := material.gain(shown):
        baseline = "the baseline, the model with its default hyperparameters"
        if baseline_retrained(material.record):
            text += f"; it is {baseline}, with another seed, and differs from its first one by "
            text += f"${gain.difference:+.3f}$ in {label}"
        else:
            text += f", a gain in {label} of ${gain.difference:+.3f}$ over {baseline}"
        text += (
            f" (95\\% interval ${gain.low:+.3f}$ to ${gain.high:+.3f}$, paired "
            f"bootstrap{_cite(methods.get('bootstrap', ()))})"
        )
    if (found := material.calibration) is not None:
        text += f"; its expected calibration error{_cite(methods.get('calibration', ()))} is {found.error:.3f}"
    return text + "."


def _tested_words(report: Mapping[str, Any]) -> str:
    members = len(report.get("members", []))
    network = f"the mean of {members} networks of the chosen configuration" if members else "the chosen network"
    return f"{network}, averaged over the flips and quarter turns of each image," if report.get("tta") else network


def _values_sentence(material: Material) -> str:
    if material.winner is None or not material.winner.values:
        return ""
    values = (f"{_latex(name)} {_latex(plain_value(value))}" for name, value in material.winner.values.items())
    return f"The chosen hyperparameters are {', '.join(values)}."


def _software_sentence(material: Material) -> str:
    software = material.record.started.software
    cited = cited_software(material).items()
    named = [f"{_SOFTWARE[name][0]} {software.get(name, '')}".strip() + _cite(keys) for name, keys in cited]
    version = software.get("galaxy-exp", "")
    return f"The sweep was run with galaxy\\_exp {version}, on {', '.join(named[:-1])} and {named[-1]}."


def _cite(keys: Sequence[str]) -> str:
    return rf" \citep{{{', '.join(keys)}}}" if keys else ""


def _latex(text: str) -> str:
    return re.sub(r"[\\&%$#_{}~^<>]", lambda found: _LATEX[found[0]], text)


def cited_data(material: Material) -> tuple[str, ...]:
    """Keys for the images; none for user-defined data and for simulated images."""
    return () if material.data.simulated else _DATA.get(material.record.config.data.source, ())


def cited_software(material: Material) -> dict[str, tuple[str, ...]]:
    """Keys by package, as `describe_software` names it: what every sweep runs on, and what this one used besides."""
    record = material.record
    search, execution = record.config.search, record.execution
    sampler = SAMPLERS.get(search.sampler_choice)
    backends = {trial.result.backend for trial in list(record.trials.values()) if trial.result}
    used = {
        "keras": True,
        "tensorflow": "tensorflow" in backends,
        "jax": "jax" in backends,
        "keras-tuner": True,
        "mlflow": True,
        "dask": not execution.is_local,
        "astropy": any(step.startswith("FITS") for step in material.data.preprocessing),
        "scipy": sampler is not None and "scipy" in sampler.packages,
        "numpy": True,
    }
    return {package: _SOFTWARE[package][1:] for package, is_used in used.items() if is_used}


def cited_methods(material: Material) -> dict[str, tuple[str, ...]]:
    """Keys by what they were used for: "sampler", "scheduler", "bootstrap", "calibration"; none for what was not."""
    search = material.record.config.search
    priors: tuple[str, ...] = ()
    if material.space.with_prior:
        priors = ("mallik2023", "hvarfner2022") if search.sampler_choice == "gp" else ("mallik2023",)
    found = {
        "sampler": _citations(SAMPLERS, search.sampler_choice) + priors,
        "scheduler": _citations(SCHEDULERS, search.scheduler),
        "bootstrap": ("efron1993",) if material.gains else (),
        "calibration": ("guo2017",) if material.calibration else (),
    }
    return {use: keys for use, keys in found.items() if keys}


def _citations(methods: Mapping[str, SearchMethod], name: str) -> tuple[str, ...]:
    """None for a user-defined class."""
    return methods[name].citations if name in methods else ()


def bibtex(keys: Iterable[str]) -> str:
    """The entries, each once, in the order of first use."""
    return "\n\n".join(read_references()[key] for key in dict.fromkeys(keys))


@cache
def read_references() -> Mapping[str, str]:
    """BibTeX entries by key, with volumes, pages and identifiers as the publishers write them."""
    text = files("galaxy_exp.report").joinpath("references.bib").read_text(encoding="utf-8")
    entries = text.strip().split("\n\n")
    return {re.split(r"[{,]", entry)[1]: entry for entry in entries}
