"""The sweep file as a validated, frozen record, with all default values."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from galaxy_exp.config.data_section import ARRAY_SUFFIXES, BUILT_IN_SOURCES, TABLE_SUFFIXES, DataConfig
from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.config.section import Options, Section
from galaxy_exp.records import BUILT_IN_HYPERMODEL, BUILT_IN_MODEL

__all__ = [
    "MOST_WORKERS",
    "ExecutionConfig",
    "PriorConfig",
    "PriorSpace",
    "RangeSpace",
    "RegistryConfig",
    "SpaceEntry",
    "SweepConfig",
    "TrackingConfig",
    "TrainingConfig",
    "ValuesSpace",
    "name_of_source",
]

MOST_WORKERS = 10_000


def _one_value(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"found {value!r}; expected a number, text, or true/false")
    return value


Scalar = Annotated[StrictBool | StrictInt | StrictFloat | StrictStr, BeforeValidator(_one_value)]


class PriorConfig(Section):
    """Where an expert expects the best value of a hyperparameter."""

    centre: Scalar
    confidence: float = Field(0.7, ge=0, lt=1)


class PriorSpace(Section):
    """A hyperparameter whose values are as the hypermodel declares them."""

    prior: PriorConfig


class _SpaceSection(Section):
    """Values of a hyperparameter, and maybe a prior on them; one that is left out is not written either."""

    prior: PriorConfig | None = None

    @model_serializer(mode="wrap")
    def _without_empty_prior(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {key: value for key, value in written.items() if key != "prior" or value is not None}


class ValuesSpace(_SpaceSection):
    """A hyperparameter that takes one of the listed values."""

    values: tuple[Scalar, ...]

    @field_validator("values")
    @classmethod
    def _one_kind_without_repeats(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values:
            raise ValueError("found []; expected at least 1")
        kinds = {type(value) for value in values}
        if kinds not in ({str}, {bool}, {int}, {float}, {int, float}):
            raise ValueError("expected values of one kind: all numbers, all text, or all true/false")
        if len(set(values)) < len(values):
            raise ValueError("a value is listed twice; expected different values")
        return values


class RangeSpace(_SpaceSection):
    """A hyperparameter that takes a number from min to max, both included."""

    min: StrictInt | StrictFloat
    max: StrictInt | StrictFloat
    step: StrictInt | StrictFloat | None = Field(None, gt=0)
    scale: Literal["linear", "log"] | None = Field(None, description="left out: that of the hypermodel")

    @model_validator(mode="after")
    def _ordered(self) -> RangeSpace:
        if not (math.isfinite(self.min) and math.isfinite(self.max)):
            raise ValueError("expected finite numbers for min and max")
        if not self.min < self.max:
            raise ValueError(
                f"min is {self.min:g} and max is {self.max:g}; expected min < max (a plain value fixes it)"
            )
        if self.scale == "log" and self.min <= 0:
            raise ValueError(f"min is {self.min:g}; expected above 0 with scale: log")
        if self.scale == "log" and self.step is not None:
            raise ValueError("step and scale: log exclude each other")
        if self.step is not None and self.step > (self.max - self.min) * (1 + 1e-9):  # 0.3 - 0.1 is less than 0.2
            raise ValueError(f"step is {self.step:g}; expected at most max - min = {self.max - self.min:g}")
        return self


SpaceEntry = ValuesSpace | RangeSpace | PriorSpace | Scalar


def _kind_of_entry(entry: Any) -> str | None:
    """Chooses the variant by its keys, so that a mistake is reported for the variant that was meant."""
    kinds: dict[type, str] = {ValuesSpace: "values", RangeSpace: "range", PriorSpace: "prior"}
    if type(entry) in kinds:
        return kinds[type(entry)]
    if isinstance(entry, dict):
        # then the values stay the hypermodel's; a scale or a step belongs to a range, which may lack its ends
        is_only_a_prior = "prior" in entry and not {"min", "max", "step", "scale"} & entry.keys()
        return "values" if "values" in entry else "prior" if is_only_a_prior else "range"
    return "scalar" if isinstance(entry, str | bool | int | float) else None


_TaggedSpaceEntry = Annotated[
    Annotated[ValuesSpace, Tag("values")]
    | Annotated[RangeSpace, Tag("range")]
    | Annotated[PriorSpace, Tag("prior")]
    | Annotated[Scalar, Tag("scalar")],
    Discriminator(
        _kind_of_entry,
        custom_error_type="space_entry",
        custom_error_message="expected a plain value, {values: [...]}, {min: ..., max: ...} or {prior: ...}",
    ),
]
SPACE_ENTRY_TAGS = ("values", "range", "prior", "scalar")
"""Tags that pydantic adds to the location of a mistake in a space entry; they are not keys of the file."""


class TrainingConfig(Section):
    """How one trial is trained."""

    epochs: int = Field(20, ge=1, le=10_000, description="epochs of a trial that is not stopped early")
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "auto",
        description="auto: mixed_bfloat16 if the processor or GPU of the first trial computes it natively, else "
        "float32; the same for all trials of a sweep",
    )
    deterministic: bool = Field(False, description="refuse operations whose result depends on thread timing; slower")
    jit_compile: bool = Field(False, description="compile with XLA; much slower on CPU, often faster on GPU")


class ExecutionConfig(Section):
    """On which machines and in how many processes trials run."""

    engine: Literal["local", "inline", "dask"] | None = Field(
        None,
        description="local: worker processes on this machine; inline: the same with one worker; dask: a cluster, or, "
        "without one, the same as local; left out: local, or dask if a scheduler or a cluster is named",
    )
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] | Literal["auto"] | None = Field(
        None,
        description="worker processes; left out: one for each GPU of this machine, else one; all workers of a running "
        "cluster; auto: as many as train fastest together on this machine, measured before the first trial",
    )
    threads: int | None = Field(
        None, ge=1, description="threads of each worker on this machine; left out: its cores, divided by the workers"
    )
    workers_per_gpu: int = Field(1, ge=1, le=64, description="worker processes that share a GPU of this machine")
    scheduler: str | None = Field(
        None,
        pattern=r"^(tcp|tls)://\S+:\d{1,5}$",
        description="a running Dask scheduler, tcp://HOST:PORT or tls://HOST:PORT; not `search.scheduler`",
    )
    scheduler_file: str | None = Field(
        None,
        min_length=1,
        description="the same, by the file that dask scheduler --scheduler-file wrote",
    )
    cluster: Literal["slurm"] | None = Field(
        None, description="slurm: workers are started as batch jobs (pip install 'galaxy-exp[slurm]')"
    )
    cluster_options: Options = Field(
        default_factory=dict,
        description="arguments of dask_jobqueue.SLURMCluster, such as cores, memory and walltime; security: "
        "false turns TLS off",
    )
    first_epoch_minutes: float = Field(
        10,
        gt=0,
        description="minimum time for a trial's first epoch, including imports and compiling, before its worker counts "
        "as hung",
    )
    checkpoint_minutes: float = Field(
        0,
        ge=0,
        description="minimum time between two checkpoints of a trial, from which it continues if its worker or the "
        "driver is lost; 0: one after each epoch, or fewer so that they take at most 2 % of the time",
    )
    checkpoint_gib: float = Field(
        10,
        ge=0,
        description="GiB that the checkpoints of a sweep may take; beyond that, those of the least promising trials "
        "are deleted; 0: no checkpoints, a lost trial begins with its first epoch, and trials are stopped instead of "
        "paused",
    )
    max_memory_growth: float = Field(
        0.5,
        gt=0,
        description="a worker that grew by more GiB than this since its first trial is replaced before the next one",
    )

    @property
    def is_local(self) -> bool:
        """Whether trials run on this machine, and not on a cluster."""
        return self.scheduler is None and self.scheduler_file is None and self.cluster is None

    @property
    def has_checkpoints(self) -> bool:
        """Whether trials write checkpoints."""
        return self.checkpoint_gib > 0

    @field_validator("workers", mode="before")
    @classmethod
    def _number_or_auto(cls, workers: Any) -> Any:
        if isinstance(workers, float) and workers.is_integer():
            workers = int(workers)
        is_number = isinstance(workers, int) and not isinstance(workers, bool) and 1 <= workers <= MOST_WORKERS
        if not is_number and workers not in (None, "auto"):
            raise ValueError(f"found {workers!r}; expected a whole number from 1 to {MOST_WORKERS:,}, or auto")
        return workers

    @model_validator(mode="after")
    def _one_place(self) -> ExecutionConfig:
        places = [key for key in ("scheduler", "scheduler_file", "cluster") if getattr(self, key) is not None]
        if len(places) > 1:
            raise ValueError(f"{' and '.join(places)} exclude each other")
        if self.workers == "auto" and places:
            raise ValueError(f"workers: auto measures this machine, but {places[0]} uses others; expected a number")
        if self.engine in ("inline", "local") and places:
            raise ValueError(f"engine: {self.engine} means this machine; {places[0]} needs engine: dask")
        if self.engine == "inline" and self.workers not in (None, 1):
            found = f"workers: {self.workers}"
            raise ValueError(f"engine: inline has one worker process on this machine; {found} needs engine: local")
        if self.cluster is not None and self.workers is None:
            raise ValueError("cluster needs workers: how many are started")
        if self.cluster_options and self.cluster is None:
            raise ValueError("cluster_options are for a cluster, and there is none; expected cluster: slurm as well")
        return self


_UNNAMED = "sweep"
_LONGEST_NAME = 64
"""Longest name of the data in the name of an experiment or model, in characters."""
_DEFAULT_NAME = (
    f"the sweep's name; if `name` is left out too, {_UNNAMED} and the data's name, as in {_UNNAMED}-galaxies"
)


class TrackingConfig(Section):
    """Where MLflow stores the runs, and what they contain."""

    experiment: str | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="MLflow experiment; left out: MLFLOW_EXPERIMENT_NAME, else galaxy10 for galaxy-cnn on Galaxy10 or "
        f"simulated galaxies with labels, else {_DEFAULT_NAME}",
    )
    uri: str | None = Field(
        None, description="MLflow tracking URI; left out: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db"
    )
    figures: bool = Field(
        True,
        description="whether figures are logged for each trial, which takes the driver about half a second; tables are "
        "always logged",
    )
    keep_models: int = Field(3, ge=1, description="number of the best trials whose models are kept as artifacts")


class RegistryConfig(Section):
    """How finalists are retrained, and how the winner is registered."""

    model: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9 ._-]+$",
        max_length=256,
        description="registered model name: letters, digits, . _ - and space, with a letter or digit; left out: "
        f"galaxy10-cnn for galaxy-cnn on Galaxy10 or simulated galaxies with labels, else {_DEFAULT_NAME}",
    )
    finalists: int = Field(
        3, ge=0, le=100, description="number of best configurations that are trained again before one wins; 0: none"
    )
    seeds: int = Field(
        3, ge=1, le=100, description="number of times that each finalist is trained again, each with another seed"
    )
    tta: bool = Field(
        False,
        description="test-time augmentation: the winner's probabilities are the mean over an image's flips and quarter "
        "turns, in the held-out test and in the registered model",
    )
    ensemble: bool = Field(
        False,
        description="the winner's probabilities are the mean over the `seeds` trainings of its configuration, in the "
        "held-out test and in the registered model; the models of all finalists are kept. With fewer than two "
        "trainings the winner is a single network",
    )

    @field_validator("model")
    @classmethod
    def _has_a_letter(cls, model: str | None) -> str | None:
        if model is not None and not re.search("[A-Za-z0-9]", model):  # MLflow refuses names such as ..
            raise ValueError(f"found {model!r}; expected a name with a letter or digit")
        return model


class SweepConfig(Section):
    """A sweep file with every default filled in."""

    name: str = Field(_UNNAMED, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="letters, digits, . _ -")
    data: DataConfig = DataConfig()
    hypermodel: str = Field(
        BUILT_IN_HYPERMODEL,
        min_length=1,
        description=f"{BUILT_IN_HYPERMODEL}, or package.module:ClassName of a keras_tuner.HyperModel",
    )
    space: dict[str, _TaggedSpaceEntry] = Field(
        default_factory=dict, description="narrows, widens or fixes hyperparameters by name"
    )
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()
    execution: ExecutionConfig = ExecutionConfig()
    tracking: TrackingConfig = TrackingConfig()
    registry: RegistryConfig = RegistryConfig()

    @property
    def experiment_name(self) -> str:
        """The MLflow experiment: as configured, else by `is_built_in`."""
        return self.tracking.experiment or ("galaxy10" if self.is_built_in else self._default_name)

    @property
    def model_name(self) -> str:
        """The registered model: as configured, else by `is_built_in`."""
        return self.registry.model or (BUILT_IN_MODEL if self.is_built_in else self._default_name)

    @property
    def is_built_in(self) -> bool:
        """Whether network and data are those of this package; by default, other sweeps do not share a champion."""
        has_labels = self.data.simulated.volunteers is None or self.data.source != "simulated"
        return self.hypermodel == BUILT_IN_HYPERMODEL and self.data.source in BUILT_IN_SOURCES and has_labels

    @property
    def _default_name(self) -> str:
        """The sweep's name; for an unnamed sweep, with the name of its data."""
        data = name_of_source(self.data.source) if self.name == _UNNAMED else ""
        return f"{self.name}-{data}" if data else self.name

    def named(self, experiment: str | None = None, model: str | None = None) -> SweepConfig:
        """A copy with the names of experiment and model: the configured ones, else these, else the defaults."""
        tracking = {"experiment": self.tracking.experiment or experiment or self.experiment_name}
        registry = {"model": self.registry.model or model or self.model_name}
        return self.model_copy(
            update={
                "tracking": self.tracking.model_copy(update=tracking),
                "registry": self.registry.model_copy(update=registry),
            }
        )


def name_of_source(source: str) -> str:
    """`galaxies` for /x/galaxies.h5, galaxies/ and package.module:galaxies; letters, digits, . _ and - only."""
    name = Path(os.path.abspath(source)).name.rpartition(":")[2]  # noqa: PTH100  Path.absolute keeps ..
    ending = next((each for each in (*ARRAY_SUFFIXES, *TABLE_SUFFIXES) if name.lower().endswith(each)), "")
    ascii_name = name.removesuffix(name[len(name) - len(ending) :]).encode("punycode").decode()  # as for domains
    return re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_name).strip("-.")[:_LONGEST_NAME]
