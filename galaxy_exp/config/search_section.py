"""The `search` section of a sweep file: sampler, scheduler, objectives, constraints and the end of the search."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, StrictStr, ValidationInfo, field_validator, model_validator

from galaxy_exp.config.section import Options, Section
from galaxy_exp.records import Constraint, Direction, Objective
from galaxy_exp.search_methods import SAMPLERS, SCHEDULERS, one_of_names, scheduler_of_pruner
from galaxy_exp.wording import did_you_mean, nearest, parse_number

__all__ = ["COSTS", "OBJECTIVES", "OBJECTIVES_OF_VOTES", "OBJECTIVE_OF_VOTES", "SearchConfig"]

OBJECTIVES: dict[str, Direction] = {
    "val_macro_f1": "max",
    "val_accuracy": "max",
    "val_balanced_accuracy": "max",
    "val_loss": "min",
}
"""Objectives that every hypermodel reports, with their direction."""

OBJECTIVES_OF_VOTES: dict[str, Direction] = dict.fromkeys(("val_deviance", "val_nll", "val_rmse", "val_brier"), "min")
"""Objectives that every hypermodel reports on volunteers' votes, beside `OBJECTIVES`; `val_nll` for counts alone."""

OBJECTIVE_OF_VOTES = "val_deviance"
"""The default on volunteers' votes."""

COSTS: dict[str, str] = {
    "parameters": "weights of the network",
    "flops": "floating point operations of a forward pass of one image",
    "seconds_per_image": "wall time of a prediction for one image",
}
"""Costs of a network, for `search.constraints` and for further objectives."""


_DIRECTIONS = OBJECTIVES | OBJECTIVES_OF_VOTES


class SearchConfig(Section):
    """How the next hyperparameters are chosen, when a trial is stopped early, and when the search ends."""

    sampler: str = Field(
        "auto",
        min_length=1,
        description=f"auto (gp for one objective, tpe for several), {one_of_names(SAMPLERS)}; or "
        "package.module:Class, a keras_tuner.Oracle or an Optuna sampler",
    )
    sampler_options: Options = Field(
        default_factory=dict, description="keyword arguments of the class when sampler is package.module:Class"
    )
    scheduler: str = Field(
        "promote",
        min_length=1,
        description=f"which trials get further epochs: {one_of_names(SCHEDULERS)}; or package.module:Class. "
        "Not the Dask scheduler",
    )
    objective: StrictStr | tuple[StrictStr, ...] = Field(
        "val_macro_f1",
        description="val_macro_f1, val_accuracy, val_balanced_accuracy or val_loss; or a list that begins with one of "
        "these and continues with others or -parameters, -flops, -seconds_per_image (- means that less is better); "
        "with votes also val_deviance (the default then), val_rmse, val_brier and, for counts, val_nll",
    )
    constraints: dict[str, StrictStr] = Field(
        default_factory=dict,
        description='bounds such as {parameters: "<= 1e6"}, on parameters, flops or seconds_per_image',
    )
    cost: Literal["epochs", "seconds"] = Field(
        "epochs",
        description="seconds: gp begins with cheap networks and divides the expected improvement by the square root of "
        "the seconds of an epoch, as measured in this sweep; two runs of a seed then differ",
    )
    seed: int = Field(1, ge=0, description="determines proposals, weights and shuffling")
    baseline: bool = Field(
        True, description="trial 0 is the hypermodel with its default values and is never stopped early"
    )
    enqueue: tuple[Options, ...] = Field(
        (), description="configurations to try first, after the baseline; what is left out takes its default"
    )
    warm_start: StrictStr | tuple[StrictStr, ...] | None = Field(
        None,
        description="an earlier sweep, or a list of some, whose trials the sampler uses too: its id, or the beginning "
        "of it for the newest such sweep",
    )
    executions: int = Field(
        1, ge=1, le=100, description="trials of each proposed configuration, each with another seed"
    )
    first_rung: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="the first epoch at which trials are compared; auto: 2, and with promote and asha 1 if the first "
        "ten trials are ranked alike after one epoch and after two",
    )
    reduction_factor: int = Field(
        3, ge=2, description="asha, hyperband and their -stop variants: one in this many trials continues at each rung"
    )
    patience: int = Field(5, ge=1, description="patience: epochs without improvement after which a trial ends")
    max_trials: int = Field(
        20,
        ge=1,
        le=1_000_000,
        description="trials of the search, including the baseline and excluding retrained finalists",
    )
    max_epochs: int | None = Field(None, ge=1, description="epochs of all trials of the search together")
    max_hours: float | None = Field(
        None, gt=0, description="hours of the search, without the time between a stop and a resume"
    )
    max_trials_without_gain: int | None = Field(
        None, ge=1, description="the search ends after this many trials in a row without a new best one"
    )
    min_expected_gain: float | None = Field(
        None,
        gt=0,
        description="the search ends when ten more trials are expected to improve the objective by less than this; "
        "checked once 20 proposed trials have ended without being paused",
    )
    max_failures: int = Field(3, ge=1, description="the sweep ends after this many failed trials in a row")

    @model_validator(mode="before")
    @classmethod
    def _former_key(cls, section: Any) -> Any:
        if not isinstance(section, dict) or "pruner" not in section:
            return section
        if "scheduler" in section:
            raise ValueError("scheduler and pruner, its former name, are both set; expected scheduler alone")
        others = {name: value for name, value in section.items() if name != "pruner"}
        return others | {"scheduler": scheduler_of_pruner(section["pruner"])}

    @field_validator("sampler", "scheduler")
    @classmethod
    def _known_or_dotted(cls, name: str, info: ValidationInfo) -> str:
        known = ["auto", *SAMPLERS] if info.field_name == "sampler" else list(SCHEDULERS)
        if name not in known and not re.search(r"[.:]", name):
            raise ValueError(
                f'unknown {info.field_name} "{name}"; {did_you_mean(name, known)}, or package.module:Class'
            )
        return name

    @field_validator("first_rung", mode="before")
    @classmethod
    def _epoch_or_auto(cls, epoch: Any) -> Any:
        is_whole = isinstance(epoch, int | float) and not isinstance(epoch, bool) and float(epoch).is_integer()
        if epoch != "auto" and not (is_whole and epoch >= 1):
            raise ValueError(f"found {epoch!r}; expected a whole number from 1 up, or auto")
        return epoch if epoch == "auto" else int(epoch)

    @field_validator("enqueue")
    @classmethod
    def _plain_values(cls, enqueue: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for position, configuration in enumerate(enqueue):
            for name, value in configuration.items():
                if not isinstance(value, bool | int | float | str):
                    raise ValueError(f"{position}: {name} is {value!r}; expected a number, text, or true/false")
        return enqueue

    @field_validator("warm_start", mode="before")
    @classmethod
    def _different_sweeps(cls, warm_start: Any) -> Any:
        names = _listed(warm_start)
        if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
            raise ValueError(f"found {warm_start!r}; expected the id of a sweep, or a list of different ones")
        return warm_start

    @field_validator("objective")
    @classmethod
    def _known_objectives(cls, objective: str | tuple[str, ...]) -> str | tuple[str, ...]:
        names = (objective,) if isinstance(objective, str) else objective
        if not names:
            raise ValueError("the list is empty; expected at least one objective")
        for position, name in enumerate(names):
            known = [*_DIRECTIONS, *(f"-{cost}" for cost in COSTS)] if position else list(_DIRECTIONS)
            if name not in known:
                raise ValueError(f"found {name!r}; expected {_one_of(name, known)}")
        if len(set(names)) < len(names):
            raise ValueError("an objective is listed twice; expected different ones")
        return objective

    @field_validator("constraints")
    @classmethod
    def _readable_constraints(cls, constraints: dict[str, str]) -> dict[str, str]:
        for name, text in constraints.items():
            if name not in COSTS:
                raise ValueError(f"unknown quantity {name!r}; expected {_one_of(name, list(COSTS))}")
            _parse_constraint(name, text)
        return constraints

    @property
    def sampler_choice(self) -> str:
        """The name of the sampler, with `auto` resolved."""
        if self.sampler != "auto":
            return self.sampler
        return "gp" if len(self.objectives) == 1 else "tpe"

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives; trials are stopped, ranked and promoted by the first."""
        names = (self.objective,) if isinstance(self.objective, str) else self.objective
        return tuple(Objective(name.removeprefix("-"), _DIRECTIONS.get(name, "min")) for name in names)

    @property
    def objective_record(self) -> Objective:
        return self.objectives[0]

    def fitted_to(self, *, has_votes: bool, are_counts: bool) -> SearchConfig:
        """The section for such data: on votes, counts or fractions, `OBJECTIVE_OF_VOTES` if no objective is stated.

        Raises:
            ValueError: an objective that makes no sense there; one line.
        """
        if has_votes and "objective" not in self.model_fields_set:
            return self.model_copy(update={"objective": OBJECTIVE_OF_VOTES})
        unfit, why = set(OBJECTIVES_OF_VOTES), "the data has labels, not votes"
        if has_votes and are_counts:
            unfit, why = {"val_loss"}, "networks for counts have different losses, which cannot be compared"
        elif has_votes:
            unfit, why = {"val_nll"}, "the votes are fractions, not counts"
        wrong = [each.name for each in self.objectives if each.name in unfit]
        if wrong:
            fit = [name for name in (_DIRECTIONS if has_votes else OBJECTIVES) if name not in unfit]
            raise ValueError(f"search.objective: found {wrong[0]}, but {why}; expected one of {', '.join(fit)}")
        return self

    @property
    def warm_starts(self) -> tuple[str, ...]:
        """The earlier sweeps whose trials the sampler uses too."""
        return _listed(self.warm_start)

    @property
    def objective_text(self) -> str:
        """The objectives as the sweep file names them."""
        return self.objective if isinstance(self.objective, str) else ", ".join(self.objective)

    @property
    def constraint_records(self) -> tuple[Constraint, ...]:
        return tuple(_parse_constraint(name, text) for name, text in self.constraints.items())


def _listed(found: Any) -> tuple[Any, ...]:
    """A single value as a tuple of one, None as an empty tuple."""
    return tuple(found) if isinstance(found, list | tuple) else () if found is None else (found,)


_CONSTRAINT = re.compile(r"\s*(<=|>=)\s*([0-9.eE+-]+)\s*")


def _parse_constraint(name: str, text: str) -> Constraint:
    matched = _CONSTRAINT.fullmatch(text)
    limit = parse_number(matched[2]) if matched else None
    if matched is None or limit is None or not math.isfinite(limit):
        raise ValueError(f'{name}: found {text!r}; expected "<= NUMBER" or ">= NUMBER"')
    return Constraint(name, "<=" if matched[1] == "<=" else ">=", limit)


def _one_of(found: str, known: list[str]) -> str:
    close = nearest(found, known)
    hint = f'; did you mean "{close}"?' if close else ""
    return f"one of {', '.join(known)}{hint}"
