"""The `data.votes` section of a sweep file: the questions that volunteers answered, and where their votes are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, StrictStr, field_validator, model_validator

from galaxy_exp.config.plain_yaml import dump_flow
from galaxy_exp.config.section import Section
from galaxy_exp.records import AGREEMENT
from galaxy_exp.wording import did_you_mean

if TYPE_CHECKING:
    from galaxy_exp.questions import Question

__all__ = ["QuestionConfig", "VotesConfig", "check_tree", "votes_yaml"]


def check_tree(questions: Sequence[QuestionConfig | Question]) -> None:
    """Refuses questions that cannot be asked.

    Raises:
        ValueError: a name that is empty, has a dot or exists twice; a question with fewer than two answers; one that
            follows an answer that no earlier question has.
    """
    earlier: list[str] = []
    names = [each.name for each in questions]
    for each in questions:
        _check_names(each.name, names.count(each.name) > 1, f"question {each.name!r}")
        for answer in each.answers:
            _check_names(answer, list(each.answers).count(answer) > 1, f"question {each.name!r}: answer {answer!r}")
        if len(each.answers) < 2:
            found = f"answers {list(each.answers)}"
            raise ValueError(f"question {each.name!r} has {found}; expected at least two")
        if each.after is not None and each.after not in earlier:
            expected = "question.answer of an earlier question" if earlier else "no after, as it is the first question"
            hint = f"; {did_you_mean(each.after, earlier)}" if earlier else ""
            raise ValueError(f"question {each.name!r} is after {each.after!r}; expected {expected}{hint}")
        earlier += [f"{each.name}.{answer}" for answer in each.answers]


def _check_names(name: str, is_repeated: bool, where: str) -> None:
    if is_repeated:
        raise ValueError(f"{where} exists twice; expected different names")
    if not name.strip() or "." in name:
        raise ValueError(f"{where}: expected a name that is not empty and has no dot")


class QuestionConfig(Section):
    """A question, its answers, and who gets to it."""

    name: str = Field(description="name of the question")
    answers: tuple[StrictStr, ...] = Field(description="at least two answers; those of the first question are classes")
    after: str | None = Field(
        None,
        description="the answer that leads to this question, as question.answer; left out: every galaxy gets it",
    )
    columns: str | tuple[StrictStr, ...] | None = Field(
        None, description="as `columns` of `data.votes`, for this question alone; or a list with a column per answer"
    )
    total: str | None = Field(None, min_length=1, description="as `total` of `data.votes`, for this question alone")

    @field_validator("name", "answers", "after", mode="before")
    @classmethod
    def _numbers_are_names(cls, value: Any) -> Any:
        """Answers such as 1 and 2, the numbers of arms, need no quotes."""
        found = list(value) if isinstance(value, list | tuple) else [value]
        for each in found:
            if isinstance(each, bool):
                raise ValueError(f"found {str(each).lower()}; expected text, so in quotes")
        texts = tuple(str(each) if isinstance(each, int) else each for each in found)
        return texts if isinstance(value, list | tuple) else texts[0]

    @model_validator(mode="after")
    def _one_column_per_answer(self) -> QuestionConfig:
        if isinstance(self.columns, tuple) and len(self.columns) != len(self.answers):
            raise ValueError(
                f"columns names {len(self.columns)} columns for {len(self.answers)} answers; expected one per answer, "
                "in the same order"
            )
        if isinstance(self.columns, str) and "{answer}" not in self.columns:
            raise ValueError(f"columns is {self.columns!r}; expected a pattern with {{answer}}, or a list of columns")
        return self


class VotesConfig(Section):
    """Votes of volunteers, such as Galaxy Zoo's, in place of labels.

    A sweep has votes if `questions` is stated; a user-defined source, data from Python and simulated galaxies have
    questions of their own. See [how-to-votes.md](how-to-votes.md).
    """

    questions: tuple[QuestionConfig, ...] = Field(
        (),
        description="the questions; one, or a tree in which an answer leads to a later question. A galaxy counts for a "
        "question in proportion to the volunteers who were asked it",
    )
    kind: Literal["counts", "fractions"] = Field(
        "counts",
        description="numbers of votes, or fractions of the volunteers who got to the question; fractions with `total` "
        "become counts",
    )
    columns: str = Field(
        "{question}_{answer}",
        min_length=1,
        description="the column of an answer in a table: a pattern with {answer}, {question} if there are several, and "
        "* for any text without _, as in {question}_a*_{answer}_count",
    )
    total: str | None = Field(
        None,
        min_length=1,
        description="column with the number of votes on a question, as in {question}_total-votes; of an HDF5 or .npz "
        "file, a data set (n,) or (n, questions)",
    )
    dataset: str = Field(
        "votes",
        min_length=1,
        description="data set of an HDF5 or .npz file with the votes, (n, answers of all questions)",
    )
    missing: Literal["refuse", "drop"] = Field(
        "refuse", description="images without votes on the first question: an error, or left out and listed"
    )
    tolerance: float = Field(
        0.02,
        ge=0,
        le=1,
        description="largest deviation from 1 of the sum of the fractions of a question; fractions are then divided by "
        "their sum",
    )
    agreement: float = Field(
        AGREEMENT,
        gt=0,
        le=1,
        description="share of the votes on the first question for one answer from which volunteers agree; accuracy and "
        "macro-F1 are of these galaxies",
    )

    @model_validator(mode="after")
    def _possible(self) -> VotesConfig:
        check_tree(self.questions)
        if "{answer}" not in self.columns:
            raise ValueError(f"columns is {self.columns!r}; expected a pattern with {{answer}}")
        shared = [each for each in self.questions if each.columns is None]
        if len(shared) > 1 and "{question}" not in self.columns:
            raise ValueError(
                f"columns is {self.columns!r} for {len(shared)} questions; expected a pattern with {{question}}"
            )
        if self.kind == "counts" and (self.total or any(each.total for each in self.questions)):
            raise ValueError("total is of no use with counts; expected kind: fractions, or no total")
        return self


def votes_yaml(config: VotesConfig, indent: int = 2) -> str:
    """The `votes:` block of a sweep file, below `data:`: keys that differ from their default, one question a line."""
    defaults, pad = VotesConfig(), " " * indent
    lines = [f"{pad}votes:"]
    for name in VotesConfig.model_fields:
        value = getattr(config, name)
        if name != "questions" and value != getattr(defaults, name):
            lines.append(f"{pad}  {name}: {dump_flow(value)}")
    if config.questions:
        lines.append(f"{pad}  questions:")
        records = [each.model_dump(exclude_none=True, mode="json") for each in config.questions]
        lines += [f"{pad}    - {dump_flow(each)}" for each in records]
    return "\n".join(lines) + "\n"
