"""For a paper: a table, a paragraph on the method, and what to cite."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from galaxy_exp.records import BUILT_IN_HYPERMODEL, gain_in
from galaxy_exp.report.page.citations import bibtex, cited_data, cited_methods, cited_software
from galaxy_exp.report.page.html import Html, code, element, join, paragraph, preformatted
from galaxy_exp.report.page.material import Material
from galaxy_exp.report.page.words import METRIC_NAMES, count, metric_name, plain_value
from galaxy_exp.search_methods import PRUNERS, SAMPLERS, SearchMethod

__all__ = ["latex_table", "methods_text", "paper_section"]

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip
_TITLES = {
    "keras": "Keras", "tensorflow": "TensorFlow", "jax": "JAX", "keras-tuner": "KerasTuner", "mlflow": "MLflow",
    "dask": "Dask", "astropy": "Astropy", "scipy": "SciPy", "numpy": "NumPy",
}  # fmt: skip


def paper_section(material: Material) -> Html:
    """Texts to be copied; only what was really used is cited."""
    used = [*cited_software(material).values(), *cited_methods(material).values()]
    keys = [*cited_data(material), *(key for each in used for key in each)]
    own = not cited_data(material) and not material.data.simulated
    return join(
        [
            element("h3", "Methods", id="methods"),
            paragraph("In LaTeX; ", code("\\citep"), " is of natbib, the rules of the table are of booktabs."),
            preformatted(methods_text(material), "Methods paragraph"),
            paragraph("The images are your own: add the citation of their source and labels.") if own else None,
            *_tables(material),
            element("h3", "BibTeX", id="bibtex"),
            paragraph("Sources of data, software and methods that this sweep used."),
            preformatted(bibtex(keys), "BibTeX entries"),
        ]
    )


def _tables(material: Material) -> list[Html]:
    heading = element("h3", "LaTeX table", id="latex")
    if material.test is None:
        return [heading, paragraph("There is no table yet: the sealed test has not been opened.")]
    return [heading, preformatted(latex_table(material), "LaTeX table")]


def latex_table(material: Material) -> str:
    """Winner, baseline and gain on the sealed test (needs booktabs); without a winner's report, ValueError."""
    report, baseline = material.test, material.baseline_test
    if report is None:
        raise ValueError("the sealed test has not been opened")
    both = baseline is not None
    simulated = "SIMULATED " if material.data.simulated else ""
    caption = f"Scores on {report['n_images']} {simulated}galaxies held out from the search."
    caption += " Gains with 95\\% intervals of the paired bootstrap." if material.gains else ""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        r"\label{tab:sweep}",
        rf"\begin{{tabular}}{{l{'rrr' if both else 'r'}}}",
    ]
    lines += [r"\toprule", r" & Winner & Baseline & Gain \\" if both else r" & Winner \\", r"\midrule"]
    for name in METRIC_NAMES:
        cells = [_sentence(metric_name(name)), f"{report[name]:.3f}"]
        if baseline is not None:
            gain = material.gain(name)
            difference = f"${gain_in(name, report[name], baseline[name]):+.3f}$"
            interval = f" [${gain.low:+.3f}$, ${gain.high:+.3f}$]" if gain else ""
            cells += [f"{baseline[name]:.3f}", difference + interval]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def methods_text(material: Material) -> str:
    """A paragraph in LaTeX with `\\citep` of the keys in `citations`."""
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
    n_classes = len(data.class_names)
    return (
        f"We classified {sum(counts.values()):,} images of {what}{cited} into {n_classes} classes, with "
        f"{counts.get('train', 0):,} for training, {counts.get('validation', 0):,} for validation and "
        f"{counts.get('test', 0):,} sealed for one test at the end."
    )


def _search_sentence(material: Material) -> str:
    record = material.record
    search, methods = record.config.search, cited_methods(material)
    sampler = _label(SAMPLERS, search.sampler_choice)
    network = " of a convolutional network" if record.config.hypermodel == BUILT_IN_HYPERMODEL else ""
    text = (
        f"Hyperparameters{network} were searched in {count(len(record.searched), 'trial')} of up to "
        f"{record.config.training.epochs} epochs, proposed by {sampler}{_cite(methods.get('sampler', ()))}"
    )
    if search.pruner != "none":
        pruner = _label(PRUNERS, search.pruner)
        text += f" and cut short by {pruner}{_cite(methods.get('pruner', ()))}"
    objectives = " and ".join(_latex(metric_name(each.name)) for each in search.objectives)
    return f"{text}, for the best {objectives} on the validation images."


def _label(methods: Mapping[str, SearchMethod], name: str) -> str:
    return methods[name].label if name in methods else _latex(name)


def _choice_sentence(material: Material) -> str:
    report, methods = material.test, cited_methods(material)
    text = ""
    if material.finalists:
        again = len(material.finalists[0].values)
        best = (
            f"The best {len(material.finalists)} configurations were"
            if len(material.finalists) > 1
            else "The best configuration was"
        )
        text = f"{best} trained again {count(again, 'time')} with other seeds, and the best mean was chosen. "
    if report is None:
        return text + "The sealed images have not been opened yet."
    images = f"{report['n_images']:,} sealed {'SIMULATED ' if material.data.simulated else ''}images"
    scores = f"an accuracy of {report['accuracy']:.3f} and a macro-F1 of {report['macro_f1']:.3f}"
    text += f"On {images}, {_tested_words(report)} reaches {scores} (Table~\\ref{{tab:sweep}})"
    gain = material.gain("macro_f1")
    if gain:
        text += (
            f", a gain in macro-F1 of ${gain.difference:+.3f}$ over the baseline, the model with its default "
            f"hyperparameters (95\\% interval ${gain.low:+.3f}$ to ${gain.high:+.3f}$, paired "
            f"bootstrap{_cite(methods.get('bootstrap', ()))})"
        )
    calibration = material.calibration
    if calibration:
        text += f"; its expected calibration error{_cite(methods.get('calibration', ()))} is {calibration.error:.3f}"
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
    named = [f"{_TITLES[name]} {software.get(name, '')}".strip() + _cite(keys) for name, keys in cited]
    version = software.get("galaxy-exp", "")
    return f"The sweep was run with galaxy\\_exp {version}, on {', '.join(named[:-1])} and {named[-1]}."


def _cite(keys: Sequence[str]) -> str:
    return rf" \citep{{{', '.join(keys)}}}" if keys else ""


def _latex(text: str) -> str:
    return re.sub(r"[\\&%$#_{}~^<>]", lambda found: _LATEX[found[0]], text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
