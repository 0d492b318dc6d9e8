"""Finds votes in the columns of a table, or in the data sets of an HDF5 or .npz file, and reads them.

The columns of Galaxy Zoo's catalogues are recognised, and their trees of questions known. Names are as in Galaxy Zoo 2
(Willett et al. 2013, arXiv:1308.3496), such as `t01_smooth_or_features_a01_smooth_count`, and as in Galaxy Zoo DECaLS
and DESI (Walmsley et al. 2022, arXiv:2102.08414), such as `smooth-or-featured_smooth_fraction` beside
`smooth-or-featured_total-votes`. Names with the campaign, such as `smooth-or-featured-dr5_smooth`, are those of the
galaxy-datasets package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from galaxy_exp.config.votes_section import VotesConfig
from galaxy_exp.data.class_labels import MISSING_TEXTS
from galaxy_exp.data.table_file import Table
from galaxy_exp.data.votes import ReadVotes, Values, VotesAt, questions_of, read_votes
from galaxy_exp.errors import DataError
from galaxy_exp.wording import did_you_mean, nearest, parse_number

__all__ = ["find_total_columns", "find_vote_columns", "read_vote_arrays", "read_vote_cells", "recognise_questions"]


def find_vote_columns(table: Table, config: VotesConfig) -> list[str]:
    """The column of each answer, in the order of `Questions.answers`.

    Raises:
        DataError: an answer has no column, or several.
    """
    found: list[str] = []
    for question in config.questions:
        for place, answer in enumerate(question.answers):
            what = f"of the answer {answer!r} to {question.name!r}"
            if isinstance(question.columns, tuple):
                found.append(_find(table, question.columns[place], "data.votes.questions", what))
            else:
                pattern, key = _stated(question.columns, config.columns, "columns")
                found.append(_find(table, pattern, key, what, question=question.name, answer=answer))
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{table.path}: {twice!r} is the column of two answers (data.votes); expected one for each")
    return found


def find_total_columns(table: Table, config: VotesConfig) -> list[str]:
    """The column with the number of votes on each question; empty if none is stated.

    Raises:
        DataError: a question has no such column, or the same as another.
    """
    found: list[str] = []
    for question in config.questions:
        if question.total or config.total:
            pattern, key = _stated(question.total, config.total or "", "total")
            what = f"of the number of votes on {question.name!r}"
            found.append(_find(table, pattern, key, what, question=question.name))
    if found and len(set(found)) < len(config.questions):
        raise DataError(
            f"{table.path}: found {found} for the totals of {len(config.questions)} questions; expected a column for "
            "each: a pattern with {question} in data.votes.total"
        )
    return found


def _stated(own: str | None, shared: str, name: str) -> tuple[str, str]:
    """The pattern of a question, and the key that states it."""
    return (own, f"data.votes.questions: {name}") if own else (shared, f"data.votes.{name}")


def _find(table: Table, pattern: str, key: str, what: str, **values: str) -> str:
    """The one column that matches a pattern."""
    wanted = pattern
    for name, value in values.items():
        wanted = wanted.replace(f"{{{name}}}", value)
    if wanted in table.names:
        return wanted
    expression = "[^_]*".join(map(re.escape, wanted.split("*")))
    found = [name for name in table.names if re.fullmatch(expression, name)] if "*" in wanted else []
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{table.path}: {wanted!r} ({key}), the column {what}, may be any of {found}; expected one")
    close = nearest(wanted.replace("*", ""), table.names)
    known = f'did you mean "{close}"?' if close else did_you_mean(wanted, table.names[:30])
    raise DataError(f"{table.path}: has no column {wanted!r} ({key}), {what}; {known}")


def read_vote_cells(
    cells: Mapping[str, Sequence[str]], answers: Sequence[str], totals: Sequence[str], config: VotesConfig, source: str
) -> ReadVotes:
    """Reads the votes in the cells of a table, by column; `answers` and `totals` are the names of columns.

    Raises:
        DataError: as `read_votes`; also for a cell that is no number.
    """
    at = VotesAt(source, answers, totals, "row")
    values = np.stack([_parse_cells(cells[name], name, at) for name in answers], axis=1)
    counted = np.stack([_parse_cells(cells[name], name, at) for name in totals], axis=1) if totals else None
    return read_votes(values, counted, config, at)


def _parse_cells(cells: Sequence[str], name: str, at: VotesAt) -> Values:
    """The numbers of a column, float64 (n,), with NaN for empty cells."""
    numbers = np.empty(len(cells))
    for row, cell in enumerate(cells):
        number = parse_number("nan" if cell.lower() in MISSING_TEXTS else cell)
        if number is None:
            raise DataError(f"{at.place(row)}: {name!r} is {cell!r}; expected a number of votes or a fraction")
        numbers[row] = number
    return numbers


def read_vote_arrays(values: Any, totals: Any, n_images: int, config: VotesConfig, source: str) -> ReadVotes:
    """Reads the votes on `n_images` in arrays.

    Args:
        values: numbers (n, n_answers), perhaps masked; (n, 2) for one question of two answers, and so on.
        totals: numbers (n, n_questions), or (n,) for a single question; None without totals.

    Raises:
        DataError: the shape or type is wrong; else as `read_votes`.
    """
    questions = questions_of(config)
    names = [f"{config.dataset}: {answer}" for answer in questions.answers]
    found = _as_numbers(values, config.dataset, source)
    expected = (n_images, questions.n_answers)
    if found.shape != expected:
        listed = ", ".join(questions.answers[:12]) + (", ..." if len(questions.answers) > 12 else "")
        raise DataError(
            f"{source}: {config.dataset!r} has shape {found.shape}; expected {expected}, images and answers ({listed})"
        )
    if totals is None:
        return read_votes(found, None, config, VotesAt(source, names))
    counted = _as_numbers(totals, str(config.total), source)
    counted = counted[:, None] if counted.ndim == 1 else counted
    if counted.shape != (n_images, len(questions)):
        expected = (n_images, len(questions))
        raise DataError(f"{source}: {config.total!r} has shape {counted.shape}; expected {expected}, one per question")
    total_names = [f"{config.total}: {question.name}" for question in config.questions]
    return read_votes(found, counted, config, VotesAt(source, names, total_names))


def _as_numbers(values: Any, name: str, source: str) -> Values:
    """An array of numbers as float64, with NaN for masked entries."""
    array: np.ma.MaskedArray[Any, Any] = np.ma.asarray(values)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{source}: {name!r} is of type {array.dtype}; expected numbers, the votes")
    return np.asarray(np.ma.filled(array.astype(np.float64), np.nan))


_AFTER_IN_GZ2: dict[str, tuple[str, ...]] = {
    "t01_smooth_or_features": (),
    "t02_edgeon": ("t01_smooth_or_features.features_or_disk",),
    "t03_bar": ("t02_edgeon.no",),
    "t04_spiral": ("t02_edgeon.no",),
    "t05_bulge_prominence": ("t02_edgeon.no",),
    "t06_odd": (),
    "t07_rounded": ("t01_smooth_or_features.smooth",),
    "t08_odd_feature": ("t06_odd.yes",),
    "t09_bulge_shape": ("t02_edgeon.yes",),
    "t10_arms_winding": ("t04_spiral.spiral",),
    "t11_arms_number": ("t04_spiral.spiral",),
}
"""The answer that leads to each task. Everybody but who saw a star is asked t06, after different tasks."""

_FACE_ON = ("disk-edge-on.no",)
_AFTER_IN_DECALS: dict[str, tuple[str, ...]] = {
    "smooth-or-featured": (),
    "problem": ("smooth-or-featured.problem",),
    "artifact": ("problem.artifact",),
    "how-rounded": ("smooth-or-featured.smooth",),
    "clumpy-appearance": ("smooth-or-featured.features",),
    "clump-count": ("clumpy-appearance.yes",),
    "galaxy-symmetrical": ("clumpy-appearance.yes",),
    "clumps-embedded-larger-object": ("clumpy-appearance.yes",),
    "disk-edge-on": ("clumpy-appearance.no", "smooth-or-featured.featured-or-disk", "smooth-or-featured.features"),
    "clumps": _FACE_ON,
    "has-spiral-arms": _FACE_ON,
    "bar": _FACE_ON,
    "bulge-size": _FACE_ON,
    "edge-on-bulge": ("disk-edge-on.yes",),
    "bulge-shape": ("disk-edge-on.yes",),
    "spiral-winding": ("has-spiral-arms.yes",),
    "spiral-arm-count": ("has-spiral-arms.yes",),
    "merging": (),
    "something-odd": (),
}
"""As `_AFTER_IN_GZ2`, with the first answer that a catalogue has where catalogues differ.

Beside the questions of DECaLS there are Galaxy Zoo 2's in the names of DECaLS (`bulge-shape`, `something-odd`), those
about clumps of Hubble (Willett et al. 2017, arXiv:1610.03068) and CANDELS (Simmons et al. 2017, arXiv:1610.03070), and
those of Cosmic Dawn and JWST (`problem`, `artifact`, `clumps`). Everybody but who saw an artifact is asked about
merging.
"""

_GZ2_COLUMN = re.compile(r"(t\d\d_[a-z_]+?)_(a\d\d)_(.+?)_(count|fraction|weighted_fraction|debiased)")
_CAMPAIGN = r"-(?:dr\d+|gz2|gzd\d*|desi|hubble|candels|ukidss|cd|jwst|euclid)"
_DECALS_COLUMN = re.compile(rf"([a-z-]+?)({_CAMPAIGN})?_([a-z0-9-]+)(_\w+)?")

_TOLERANCE_OF_DEBIASED = 0.3

_Answers = dict[str, list[str]]
"""The answers of each question, in the order of the columns."""


def recognise_questions(columns: Sequence[str]) -> VotesConfig | None:
    """The `data.votes` section for a table with these columns; None if they are not Galaxy Zoo's.

    Counts are preferred, then fractions with totals, fractions, weighted and debiased fractions. Of several campaigns
    in one table, the one with the most columns is taken. Images without votes are left out, as all catalogues have
    some.
    """
    return _recognise_gz2(columns) or _recognise_decals(columns)


def _recognise_gz2(columns: Sequence[str]) -> VotesConfig | None:
    found = [match for name in columns if (match := _GZ2_COLUMN.fullmatch(name))]
    for ending in ("count", "fraction", "weighted_fraction", "debiased"):
        answers: _Answers = {}
        for match in found:
            if match[4] == ending:
                answers.setdefault(match[1], []).append(match[3])
        kind: Literal["counts", "fractions"] = "counts" if ending == "count" else "fractions"
        votes = _build(answers, _AFTER_IN_GZ2, kind, f"{{question}}_a*_{{answer}}_{ending}")
        if votes is not None:
            return votes
    return None


def _recognise_decals(columns: Sequence[str]) -> VotesConfig | None:
    by_campaign: dict[str, dict[str, _Answers]] = {}
    totals: set[str] = set()
    for name in columns:
        match = _DECALS_COLUMN.fullmatch(name)
        if match is None or match[1] not in _AFTER_IN_DECALS:
            continue
        question, campaign, ending = f"{match[1]}{match[2] or ''}", match[2] or "", match[4] or ""
        if match[3] == "total-votes":
            totals.add(question)
        else:
            endings = by_campaign.setdefault(campaign, {})
            endings.setdefault(ending, {}).setdefault(question, []).append(match[3])
    for campaign, endings in sorted(by_campaign.items(), key=lambda item: -_count(item[1].values())):
        after = {
            f"{name}{campaign}": tuple(each.replace(".", f"{campaign}.") for each in leads)
            for name, leads in _AFTER_IN_DECALS.items()
        }
        for ending in ("", "_fraction", "_debiased"):
            answers = endings.get(ending, {})
            has_totals = bool(ending) and set(answers) <= totals
            total = "{question}_total-votes" if has_totals else None
            kind: Literal["counts", "fractions"] = "fractions" if ending else "counts"
            votes = _build(answers, after, kind, f"{{question}}_{{answer}}{ending}", total)
            if votes is not None:
                return votes
    return None


def _count(answers: Iterable[_Answers]) -> int:
    return sum(len(each) for by_question in answers for each in by_question.values())


def _build(
    answers: _Answers,
    after: Mapping[str, tuple[str, ...]],
    kind: Literal["counts", "fractions"],
    columns: str,
    total: str | None = None,
) -> VotesConfig | None:
    """The section, with questions in the order of the tree; None without the first question.

    A question whose way there is not among the columns is left out.
    """
    questions: list[dict[str, Any]] = []
    known: set[str] = set()
    for name, leads in after.items():
        found = [answer for answer in leads if answer in known]
        if len(answers.get(name, ())) > 1 and (found or not leads):
            questions.append({"name": name, "answers": answers[name], "after": found[0] if found else None})
            known |= {f"{name}.{answer}" for answer in answers[name]}
    if not questions or questions[0]["name"] != next(iter(after)):
        return None
    content: dict[str, Any] = {"questions": questions, "kind": kind, "columns": columns, "missing": "drop"}
    if total:
        content["total"] = total
    if "debiased" in columns:  # they do not sum to 1
        content["tolerance"] = _TOLERANCE_OF_DEBIASED
    return VotesConfig.model_validate(content)
