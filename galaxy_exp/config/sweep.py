"""The sweep file as a validated, frozen record; the only home of default values."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from galaxy_exp.config.data_formats import ARRAY_SUFFIXES, TABLE_SUFFIXES, FitsConfig, TableConfig
from galaxy_exp.config.section import Section
from galaxy_exp.records import BUILT_IN_HYPERMODEL, BUILT_IN_MODEL, Constraint, Direction, Objective
from galaxy_exp.search_methods import PRUNERS, SAMPLERS, one_of_names
from galaxy_exp.wording import did_you_mean, nearest

__all__ = [
    "COSTS",
    "MIN_SIDE",
    "MOST_WORKERS",
    "OBJECTIVES",
    "DataConfig",
    "ExecutionConfig",
    "FitsConfig",
    "RangeSpace",
    "RegistryConfig",
    "SearchConfig",
    "SimulatedConfig",
    "SpaceEntry",
    "SplitConfig",
    "SweepConfig",
    "TableConfig",
    "TrackingConfig",
    "TrainingConfig",
    "ValuesSpace",
]

OBJECTIVES: dict[str, Direction] = {
    "val_macro_f1": "max",
    "val_accuracy": "max",
    "val_balanced_accuracy": "max",
    "val_loss": "min",
}
"""The objectives every hypermodel reports, with their direction."""

COSTS: dict[str, str] = {
    "parameters": "weights of the network",
    "flops": "floating point operations for one image forward",
    "seconds_per_image": "wall time for one image when predicting",
}
"""What a network may cost: for `search.constraints`, and for further objectives."""

MIN_SIDE = 8
"""The smallest side in pixels that still makes an image of a galaxy."""

MOST_WORKERS = 10_000

Scalar = StrictBool | StrictInt | StrictFloat | StrictStr


def _finite(value: Any) -> Any:
    """Refuses nan and inf, which JSON and so the journal cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"holds {value}; expected finite numbers")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _finite(each)
    return value


Options = Annotated[dict[str, Any], AfterValidator(_finite)]
"""Keyword arguments of a class that is not ours."""


class SplitConfig(Section):
    """How the images are divided into training, validation and the sealed test part."""

    validation: float = Field(0.15, gt=0, lt=1, description="share of the images, per class")
    test: float = Field(0.15, gt=0, lt=1, description="share of the images, per class, sealed until the choice is made")
    seed: int = Field(7, ge=0, description="which images go where; the same seed gives the same split")
    column: str | None = Field(
        "split",
        min_length=1,
        description="a split of your own, used instead of the shares when the data has it: a column of the table, or a "
        "data set of the HDF5 or .npz file, with train, validation or test for each image; none: not used",
    )
    duplicates: Literal["near", "identical"] = Field(
        "near", description="what never lies in two parts: near duplicates too, or only identical images"
    )

    @model_validator(mode="after")
    def _leaves_training_images(self) -> SplitConfig:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation + test is {self.validation + self.test:g}, which leaves nothing to train on; "
                "expected a sum below 1"
            )
        return self


class SimulatedConfig(Section):
    """The simulated galaxies, used when `data.source` is `simulated`."""

    n_images: int = Field(1500, ge=60, le=1_000_000, description="how many images to make")
    image_size: int = Field(69, ge=24, le=512, description="side of an image in pixels")
    seed: int = Field(0, ge=0, description="which galaxies; the same seed gives the same images everywhere")
    class_proportions: Literal["galaxy10", "equal"] = Field(
        "galaxy10", description="class sizes as in Galaxy10 SDSS (rare classes kept splittable) or all equal"
    )
    label_noise: float = Field(
        0.0, ge=0, le=0.5, description="share of labels that are wrong, as volunteers err: a class that looks alike"
    )


BUILT_IN_SOURCES = ("galaxy10-sdss", "galaxy10-decals", "simulated")


class DataConfig(Section):
    """Where the images come from and how they are split."""

    source: str = Field(
        "simulated",
        min_length=1,
        description=f"{', '.join(BUILT_IN_SOURCES)}, a file in Galaxy10's layout ({', '.join(ARRAY_SUFFIXES)}), "
        f"a folder with one subfolder per class, a table of files (or ids) and labels ({', '.join(TABLE_SUFFIXES)}), "
        "or package.module:Class, a source of your own; a relative path starts at the current folder",
    )
    options: Options = Field(
        default_factory=dict, description="keyword arguments of the class when source is package.module:Class"
    )
    class_names: tuple[StrictStr, ...] | None = Field(
        None, description="one name per class, in label order; overrides names found in or beside the file"
    )
    first_label: int = Field(
        0, ge=0, le=1, description="number of the first class where labels are numbers: 0, or 1 if they start at 1"
    )
    image_folder: str | None = Field(
        None,
        min_length=1,
        description="folder of a table's image files, in it or its subfolders, which absolute paths may not leave; "
        "relative to the current folder, else to the table; left out: the table's folder",
    )
    file_suffix: str | None = Field(
        None, min_length=1, description="what makes a file's name of an id in a table, such as .jpg"
    )
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="an unreadable image file in a folder or table: stop, or leave it out and list it"
    )
    crop: int | None = Field(
        None, ge=MIN_SIDE, description="side in pixels of the square that is cut from the centre of each image, first"
    )
    resize: int | None = Field(
        None,
        ge=MIN_SIDE,
        le=4096,
        description="side in pixels that images are brought to (bilinear, antialiased), after a centre crop to a "
        "square",
    )
    greyscale: bool = Field(False, description="replace the three channels by their mean, last")
    split: SplitConfig = SplitConfig()
    table: TableConfig = TableConfig()
    fits: FitsConfig = FitsConfig()
    simulated: SimulatedConfig = SimulatedConfig()

    @field_validator("file_suffix")
    @classmethod
    def _with_dot(cls, suffix: str | None) -> str | None:
        """png is .png; _cutout and s.jpg stay as they are."""
        return f".{suffix}" if suffix is not None and "." not in suffix and suffix[0].isalnum() else suffix

    @field_validator("class_names")
    @classmethod
    def _unique_class_names(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and len(set(names)) < len(names):
            raise ValueError("two classes have the same name; expected different names")
        return names


class ValuesSpace(Section):
    """A hyperparameter that takes one of the listed values."""

    values: tuple[Scalar, ...] = Field(min_length=1)

    @field_validator("values")
    @classmethod
    def _one_kind_without_repeats(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(map(repr, values))) < len(values):
            raise ValueError("a value is listed twice; expected different values")
        kinds = {type(value) for value in values}
        if kinds not in ({str}, {bool}, {int}, {float}, {int, float}):
            raise ValueError("expected values of one kind: all numbers, all text, or all true/false")
        return values


class RangeSpace(Section):
    """A hyperparameter that takes a number from min to max, both included."""

    min: StrictInt | StrictFloat
    max: StrictInt | StrictFloat
    step: StrictInt | StrictFloat | None = Field(None, gt=0)
    scale: Literal["linear", "log"] | None = Field(None, description="left out: as in the hypermodel")

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
        if self.step is not None and self.step > self.max - self.min:
            raise ValueError(f"step is {self.step:g}; expected at most max - min = {self.max - self.min:g}")
        return self


SpaceEntry = ValuesSpace | RangeSpace | Scalar


def _kind_of_entry(entry: Any) -> str | None:
    """Chooses the variant by its keys, so that a mistake is reported against the variant that was meant."""
    if isinstance(entry, ValuesSpace):
        return "values"
    if isinstance(entry, RangeSpace):
        return "range"
    if isinstance(entry, dict):
        return "values" if "values" in entry else "range"
    return "scalar" if isinstance(entry, str | bool | int | float) else None


_TaggedSpaceEntry = Annotated[
    Annotated[ValuesSpace, Tag("values")] | Annotated[RangeSpace, Tag("range")] | Annotated[Scalar, Tag("scalar")],
    Discriminator(
        _kind_of_entry,
        custom_error_type="space_entry",
        custom_error_message="expected a plain value, {values: [...]} or {min: ..., max: ...}",
    ),
]
SPACE_ENTRY_TAGS = ("values", "range", "scalar")
"""What pydantic inserts into the location of a mistake in a space entry; not part of the file."""


class TrainingConfig(Section):
    """How one trial is trained."""

    epochs: int = Field(20, ge=1, le=10_000, description="epochs of a trial that is not stopped early")
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "auto",
        description="auto: mixed_bfloat16 where the processor or GPU of the first trial computes it natively, else "
        "float32; the same for all trials of a sweep",
    )
    deterministic: bool = Field(False, description="refuse operations whose result depends on thread timing; slower")
    jit_compile: bool = Field(False, description="compile with XLA; much slower on CPU, often faster on GPU")


class SearchConfig(Section):
    """How the next hyperparameters are chosen, when a trial is stopped, and when the sweep has seen enough."""

    sampler: str = Field(
        "auto",
        min_length=1,
        description=f"auto (gp for one objective, tpe for several), {one_of_names(SAMPLERS)}; or "
        "package.module:Class, a keras_tuner.Oracle or an Optuna sampler",
    )
    sampler_options: Options = Field(
        default_factory=dict, description="keyword arguments of the class when sampler is package.module:Class"
    )
    pruner: str = Field("asha", min_length=1, description=f"{one_of_names(PRUNERS)}; or package.module:Class")
    objective: StrictStr | tuple[StrictStr, ...] = Field(
        "val_macro_f1",
        description="val_macro_f1, val_accuracy, val_balanced_accuracy or val_loss; or a list that begins with one of "
        "these, whose further members may also be -parameters, -flops or -seconds_per_image (- means: the less, the "
        "better)",
    )
    constraints: dict[str, StrictStr] = Field(
        default_factory=dict,
        description='bounds such as {parameters: "<= 1e6"}, on parameters, flops or seconds_per_image',
    )
    seed: int = Field(1, ge=0, description="proposals, weights and shuffling follow from it")
    baseline: bool = Field(True, description="trial 0 is the hypermodel with its default values, never stopped early")
    enqueue: tuple[Options, ...] = Field(
        (), description="configurations to try first, after the baseline; what one leaves out takes its default"
    )
    warm_start: StrictStr | tuple[StrictStr, ...] | None = Field(
        None,
        description="an earlier sweep whose trials are evidence, or a list of some: its id, or the newest whose id "
        "begins so",
    )
    executions: int = Field(
        1, ge=1, le=100, description="trials of each proposed configuration, each with its own seed"
    )
    first_rung: int = Field(
        2,
        ge=1,
        description="asha, hyperband: the first epoch at which trials are compared; median: the first that counts",
    )
    reduction_factor: int = Field(3, ge=2, description="asha, hyperband: one in so many goes on from each rung")
    patience: int = Field(5, ge=1, description="patience: epochs without gain after which a trial ends")
    max_trials: int = Field(
        20,
        ge=1,
        le=1_000_000,
        description="trials of the search, the baseline included; those of finalists come on top",
    )
    max_epochs: int | None = Field(None, ge=1, description="epochs in all trials of the search together")
    max_hours: float | None = Field(
        None, gt=0, description="hours of the search, time between stop and resume left out"
    )
    max_trials_without_gain: int | None = Field(
        None, ge=1, description="trials in a row that do not improve the best before the sweep ends"
    )
    min_expected_gain: float | None = Field(
        None,
        gt=0,
        description="the sweep ends when ten more trials are expected to improve the objective by less; judged from 20 "
        "trials on",
    )
    max_failures: int = Field(3, ge=1, description="failed trials in a row that end the sweep")

    @field_validator("sampler", "pruner")
    @classmethod
    def _known_or_dotted(cls, name: str, info: ValidationInfo) -> str:
        known = ["auto", *SAMPLERS] if info.field_name == "sampler" else list(PRUNERS)
        if name not in known and not re.search(r"[.:]", name):
            raise ValueError(
                f'unknown {info.field_name} "{name}"; {did_you_mean(name, known)}, or package.module:Class'
            )
        return name

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
            known = [*OBJECTIVES, *(f"-{cost}" for cost in COSTS)] if position else list(OBJECTIVES)
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
        """What `sampler` comes to."""
        if self.sampler != "auto":
            return self.sampler
        return "gp" if len(self.objectives) == 1 else "tpe"

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives; the first is the one that trials are stopped, ranked and promoted by."""
        names = (self.objective,) if isinstance(self.objective, str) else self.objective
        return tuple(Objective(name.removeprefix("-"), OBJECTIVES.get(name, "min")) for name in names)

    @property
    def objective_record(self) -> Objective:
        return self.objectives[0]

    @property
    def warm_starts(self) -> tuple[str, ...]:
        """The earlier sweeps whose trials are evidence."""
        return _listed(self.warm_start)

    @property
    def objective_text(self) -> str:
        """The objectives as the sweep file names them."""
        return self.objective if isinstance(self.objective, str) else ", ".join(self.objective)

    @property
    def constraint_records(self) -> tuple[Constraint, ...]:
        return tuple(_parse_constraint(name, text) for name, text in self.constraints.items())


def _listed(found: Any) -> tuple[Any, ...]:
    """One as several, none as no one."""
    return tuple(found) if isinstance(found, list | tuple) else () if found is None else (found,)


_CONSTRAINT = re.compile(r"\s*(<=|>=)\s*([0-9.eE+-]+)\s*")


def _parse_constraint(name: str, text: str) -> Constraint:
    matched = _CONSTRAINT.fullmatch(text)
    try:
        limit = float(matched[2]) if matched else math.nan
    except ValueError:
        limit = math.nan
    if matched is None or not math.isfinite(limit):
        raise ValueError(f'{name}: found {text!r}; expected "<= NUMBER" or ">= NUMBER"')
    return Constraint(name, "<=" if matched[1] == "<=" else ">=", limit)


def _one_of(found: str, known: list[str]) -> str:
    close = nearest(found, known)
    hint = f'; did you mean "{close}"?' if close else ""
    return f"one of {', '.join(known)}{hint}"


class ExecutionConfig(Section):
    """Where trials run."""

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
        description="a running Dask scheduler, tcp://HOST:PORT or tls://HOST:PORT",
    )
    scheduler_file: str | None = Field(
        None, min_length=1, description="the same, by the file that dask scheduler --scheduler-file wrote"
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
        description="what a trial's first epoch may always take, imports and compiling included, before its worker is "
        "taken for hung",
    )
    max_memory_growth: float = Field(
        0.5,
        gt=0,
        description="GiB that a worker may grow by after its first trial before it is replaced, between two trials",
    )

    @property
    def is_local(self) -> bool:
        """Whether trials run on this machine, and not on a cluster."""
        return self.scheduler is None and self.scheduler_file is None and self.cluster is None

    @field_validator("workers", mode="before")
    @classmethod
    def _number_or_auto(cls, workers: Any) -> Any:
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
            raise ValueError(f"workers: auto measures this machine, and {places[0]} means others; expected a number")
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
"""Characters of the data's name in that of an experiment or model."""
_OWN_NAME = f"the sweep's name; where `name` is left out too, {_UNNAMED} and the data's name, as in {_UNNAMED}-galaxies"


class TrackingConfig(Section):
    """Where MLflow keeps the runs."""

    experiment: str | None = Field(
        None,
        min_length=1,
        description="MLflow experiment; left out: MLFLOW_EXPERIMENT_NAME, else galaxy10 for galaxy-cnn on Galaxy10 or "
        f"simulated galaxies, else {_OWN_NAME}",
    )
    uri: str | None = Field(
        None, description="MLflow tracking URI; left out: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db"
    )
    figures: bool = Field(
        True,
        description="whether each trial gets figures as artifacts, which take the driver about half a second; tables "
        "it gets in any case",
    )
    keep_models: int = Field(3, ge=1, description="how many of the best trials keep their model as an artifact")


class RegistryConfig(Section):
    """How the winner is confirmed, and under which name it is registered."""

    model: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9 ._-]+$",
        description="registered model name: letters, digits, . _ - and space; left out: galaxy10-cnn for galaxy-cnn on "
        f"Galaxy10 or simulated galaxies, else {_OWN_NAME}",
    )
    finalists: int = Field(
        3, ge=0, le=100, description="how many of the best configurations are trained again before one wins; 0: none"
    )
    seeds: int = Field(
        3, ge=1, le=100, description="how often each of them is trained again, with another seed each time"
    )
    tta: bool = Field(
        False,
        description="test-time augmentation: the winner's probabilities are the mean over an image's flips and quarter "
        "turns, in the sealed test and as registered",
    )
    ensemble: bool = Field(
        False,
        description="the winner gives the mean of the probabilities of its configuration's `seeds` trainings, in the "
        "sealed test and as registered; the models of all finalists are kept",
    )

    @model_validator(mode="after")
    def _has_several_to_average(self) -> RegistryConfig:
        if self.ensemble and (self.finalists < 1 or self.seeds < 2):
            raise ValueError(
                f"ensemble takes the mean over several seeds of a finalist, and finalists is {self.finalists}, seeds "
                f"{self.seeds}; expected finalists of at least 1 and seeds of at least 2"
            )
        return self


class SweepConfig(Section):
    """One sweep: what a sweep file says, with every default filled in."""

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
        return self.tracking.experiment or ("galaxy10" if self.is_built_in else self._own_name)

    @property
    def model_name(self) -> str:
        """The registered model: as configured, else by `is_built_in`."""
        return self.registry.model or (BUILT_IN_MODEL if self.is_built_in else self._own_name)

    @property
    def is_built_in(self) -> bool:
        """Whether the network and the data are this package's: other sweeps do not share a champion by default."""
        return self.hypermodel == BUILT_IN_HYPERMODEL and self.data.source in BUILT_IN_SOURCES

    @property
    def _own_name(self) -> str:
        """The sweep's name, or without one of its own what tells its data from those of other sweeps."""
        data = _name_of_source(self.data.source) if self.name == _UNNAMED else ""
        return f"{self.name}-{data}" if data else self.name

    def named(self, experiment: str | None = None, model: str | None = None) -> SweepConfig:
        """The same with names of experiment and model: as configured, else as given, else by default."""
        tracking = {"experiment": self.tracking.experiment or experiment or self.experiment_name}
        registry = {"model": self.registry.model or model or self.model_name}
        return self.model_copy(
            update={
                "tracking": self.tracking.model_copy(update=tracking),
                "registry": self.registry.model_copy(update=registry),
            }
        )


def _name_of_source(source: str) -> str:
    """`galaxies` for /x/galaxies.h5, galaxies/ and package.module:galaxies; letters, digits, . _ and - alone."""
    name = Path(os.path.abspath(source)).name.rpartition(":")[2]  # noqa: PTH100  Path.absolute keeps ..
    ending = next((each for each in (*ARRAY_SUFFIXES, *TABLE_SUFFIXES) if name.lower().endswith(each)), "")
    ascii_name = name.removesuffix(name[len(name) - len(ending) :]).encode("punycode").decode()  # as for domains
    return re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_name).strip("-.")[:_LONGEST_NAME]
