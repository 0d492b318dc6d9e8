"""`data.votes` of the sweep file: what is possible, what is refused, and how it is written."""

from __future__ import annotations

from typing import Any

import pytest

from galaxy_exp.config.plain_yaml import parse_yaml
from galaxy_exp.config.reading import as_journaled, dump_sweep, parse_sweep
from galaxy_exp.config.votes_section import VotesConfig, votes_yaml
from galaxy_exp.errors import ConfigError

TREE: list[dict[str, Any]] = [
    {"name": "shape", "answers": ["smooth", "featured"]},
    {"name": "arms", "answers": [1, 2], "after": "shape.featured", "columns": ["one", "two"]},
]


def read(data: dict[str, Any]) -> Any:
    return parse_sweep({"data": data}).data


def test_a_sweep_on_labels_is_journaled_as_in_earlier_releases() -> None:
    data = as_journaled(parse_sweep({}))["data"]
    assert "votes" not in data
    assert "volunteers" not in data["simulated"]
    assert "votes" not in dump_sweep(parse_sweep({}))


@pytest.mark.parametrize(
    "data",
    [
        {"votes": {"questions": TREE, "missing": "drop"}},
        {"votes": {"agreement": 0.9}},
        {"simulated": {"volunteers": 20}},
        {"simulated": {"volunteers": [10, 60]}},
    ],
)
def test_votes_come_back_from_the_journal(data: dict[str, Any]) -> None:
    config = parse_sweep({"data": data})
    assert parse_sweep(as_journaled(config)) == config
    assert as_journaled(config)["data"] != as_journaled(parse_sweep({}))["data"]


def test_numbers_may_be_answers() -> None:
    assert read({"votes": {"questions": TREE}}).votes.questions[1].answers == ("1", "2")


@pytest.mark.parametrize(("stated", "votes"), [(20, (20, 20)), ([10, 60], (10, 60)), ([7], (7, 7)), (None, (0, 0))])
def test_number_of_volunteers(stated: Any, votes: tuple[int, int]) -> None:
    assert read({"simulated": {"volunteers": stated}}).simulated.n_votes == votes


def test_volunteers_have_a_model_of_their_own() -> None:
    assert parse_sweep({"name": "a", "data": {"simulated": {"volunteers": 20}}}).model_name == "a"
    assert parse_sweep({"name": "a"}).model_name == "galaxy10-cnn"


@pytest.mark.parametrize(
    "config",
    [
        VotesConfig(),
        VotesConfig.model_validate({"questions": TREE, "kind": "fractions", "total": "{question}_total"}),
        VotesConfig.model_validate({"questions": [{"name": "a b: #", "answers": ["yes", "no", "0"]}]}),
    ],
)
def test_what_is_written_is_read_back(config: VotesConfig) -> None:
    text = votes_yaml(config)
    assert VotesConfig.model_validate(parse_yaml(f"data:\n{text}", "x")["data"]["votes"] or {}) == config


def ask(*questions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"votes": {"questions": list(questions), **more}}


A = {"name": "a", "answers": ["b", "c"]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ask({"name": "a", "answers": ["b"]}), r"data\.votes: question 'a' has answers \['b'\]; expected at least two"),
        (ask({"name": "a", "answers": ["b", "b"]}), "question 'a': answer 'b' exists twice; expected different names"),
        (ask({"name": "a", "answers": ["b", "c.d"]}), "answer 'c.d': expected a name that is not empty and has no dot"),
        (ask({"name": "a", "answers": ["b", True]}), r"questions\.0\.answers: found true; expected text, so in quotes"),
        (ask({"name": "a"}), r"data\.votes\.questions\.0\.answers: missing"),
        (ask({**A, "aftr": "x"}), r"data\.votes\.questions\.0\.aftr: unknown key; did you mean \"after\"\?"),
        (ask({**A, "after": "a.b"}), "question 'a' is after 'a.b'; expected no after, as it is the first question"),
        (ask(A, {**A, "name": "d", "after": "a.bb"}), r"'d' is after 'a\.bb'; expected question\.answer of an earlier"),
        (ask(A, A), "question 'a' exists twice"),
        (ask({**A, "columns": ["b"]}), "columns names 1 columns for 2 answers; expected one per answer"),
        (ask({**A, "columns": "b"}), r"columns is 'b'; expected a pattern with \{answer\}, or a list"),
        (ask(A, columns="b"), r"columns is 'b'; expected a pattern with \{answer\}"),
        (ask(A, {**A, "name": "d"}, columns="{answer}"), r"for 2 questions; expected a pattern with \{question\}"),
        (ask(A, total="n"), "total is of no use with counts; expected kind: fractions, or no total"),
        (ask(A, agreement=0), r"data\.votes\.agreement: found 0; expected a value greater than 0"),
        ({**ask(A), "class_names": ["x", "y"]}, "class_names: with votes, classes are the answers"),
        ({"simulated": {"volunteers": 20}, "class_names": ["x", "y"]}, "class_names: with votes, classes are"),
        ({"simulated": {"volunteers": [60, 10]}}, r"volunteers is \[60, 10\]; expected a number from 1 to 1000, or"),
        ({"simulated": {"volunteers": 0}}, "volunteers is 0; expected a number from 1 to 1000"),
        ({"simulated": {"volunteers": 9, "label_noise": 0.1}}, "label_noise is of no use with volunteers"),
    ],
)
def test_mistakes(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(data)
    assert len(caught.value.problems) == 1
