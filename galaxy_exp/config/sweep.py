"""The sweep file as a validated, frozen record; the only home of default values."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    field_validator,
    model_validator,
)

from galaxy_exp.config.data_formats import FitsConfig, TableConfig
from galaxy_exp.config.section import Section
from galaxy_exp.records import Direction, Objective

__all__ = [
    "MIN_SIDE",
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

MIN_SIDE = 8
"""The smallest side in pixels that still makes an image of a galaxy."""

Scalar = StrictBool | StrictInt | StrictFloat | StrictStr


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


class DataConfig(Section):
    """Where the images come from and how they are split."""

    source: str = Field(
        "simulated",
        min_length=1,
        description="galaxy10-sdss, galaxy10-decals, simulated, a .h5 or .npz file in Galaxy10's layout, "
        "a folder with one subfolder per class, a .csv or .parquet table of files and labels, or package.module:Class, "
        "a source of your own; a relative path starts at the current folder",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the class when source is package.module:Class"
    )
    class_names: tuple[StrictStr, ...] | None = Field(
        None, description="one name per class, in label order; overrides names found in or beside the file"
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
        "auto", description="auto: mixed_bfloat16 where the processor or GPU computes it natively, else float32"
    )
    deterministic: bool = Field(False, description="refuse operations whose result depends on thread timing; slower")
    jit_compile: bool = Field(False, description="compile with XLA; much slower on CPU, often faster on GPU")


class SearchConfig(Section):
    """How the next hyperparameters are chosen and when a trial is stopped."""

    sampler: str = Field("tpe", description="tpe or random")
    pruner: str = Field("asha", description="asha or none")
    objective: Literal["val_macro_f1", "val_accuracy", "val_balanced_accuracy", "val_loss"] = "val_macro_f1"
    max_trials: int = Field(20, ge=1, le=1_000_000, description="trials in all, the baseline included")
    seed: int = Field(1, ge=0, description="proposals, weights and shuffling follow from it")
    baseline: bool = Field(True, description="trial 0 is the hypermodel with its default values, never stopped early")
    first_rung: int = Field(2, ge=1, description="asha: the first epoch at which trials are compared")
    reduction_factor: int = Field(3, ge=2, description="asha: one in so many goes on from each rung")
    max_failures: int = Field(3, ge=1, description="failed trials in a row that end the sweep")

    @property
    def objective_record(self) -> Objective:
        return Objective(self.objective, OBJECTIVES[self.objective])


class ExecutionConfig(Section):
    """Where trials run."""

    engine: Literal["inline"] = Field("inline", description="inline: one worker process beside the driver")
    workers: Literal[1] = Field(1, description="worker processes; the inline engine has one")


class TrackingConfig(Section):
    """Where MLflow keeps the runs."""

    experiment: str = Field("galaxy10", min_length=1, description="MLflow experiment")
    uri: str | None = Field(
        None, description="MLflow tracking URI; left out: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db"
    )
    keep_models: int = Field(3, ge=1, description="how many of the best trials keep their model as an artifact")


class RegistryConfig(Section):
    """Under which name the winner is registered."""

    model: str = Field(
        "galaxy10-cnn",
        pattern=r"^[A-Za-z0-9 ._-]+$",
        description="registered model name: letters, digits, . _ - and space",
    )


class SweepConfig(Section):
    """One sweep: what a sweep file says, with every default filled in."""

    name: str = Field("sweep", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="letters, digits, . _ -")
    data: DataConfig = DataConfig()
    hypermodel: str = Field(
        "galaxy-cnn", min_length=1, description="galaxy-cnn, or package.module:ClassName of a keras_tuner.HyperModel"
    )
    space: dict[str, _TaggedSpaceEntry] = Field(
        default_factory=dict, description="narrows, widens or fixes hyperparameters by name"
    )
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()
    execution: ExecutionConfig = ExecutionConfig()
    tracking: TrackingConfig = TrackingConfig()
    registry: RegistryConfig = RegistryConfig()
