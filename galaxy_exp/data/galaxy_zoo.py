"""Recognises the columns of Galaxy Zoo's catalogues, and knows their trees of questions.

Names as in Galaxy Zoo 2 (Willett et al. 2013, arXiv:1308.3496), such as `t01_smooth_or_features_a01_smooth_count`, and
as in Galaxy Zoo DECaLS and DESI (Walmsley et al. 2022, arXiv:2102.08414), such as `smooth-or-featured_smooth_fraction`
beside `smooth-or-featured_total-votes`. Names with the campaign, such as `smooth-or-featured-dr5_smooth`, are those of
the galaxy-datasets package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from galaxy_exp.config.votes_section import VotesConfig

__all__ = ["recognise_questions"]

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
    content = {"questions": questions, "kind": kind, "columns": columns, "missing": "drop"}
    return VotesConfig.model_validate({**content, **({"total": total} if total else {})})
