"""The `data` section of a sweep file: the source of the images, their files, and their split."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StrictStr,
    field_validator,
    model_serializer,
    model_validator,
)

from galaxy_exp.config.section import Options, Section
from galaxy_exp.config.votes_section import VotesConfig

__all__ = [
    "ARRAY_SUFFIXES",
    "BUILT_IN_SOURCES",
    "HDF5_SUFFIXES",
    "MIN_SIDE",
    "TABLE_SUFFIXES",
    "DataConfig",
    "FitsConfig",
    "SimulatedConfig",
    "SplitConfig",
    "TableConfig",
]

HDF5_SUFFIXES = (".h5", ".hdf5")
ARRAY_SUFFIXES = (*HDF5_SUFFIXES, ".npz")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".csv.gz", ".tsv.gz")
"""Lower-case endings of files that contain a whole data set."""

BUILT_IN_SOURCES = ("galaxy10-sdss", "galaxy10-decals", "simulated")

MIN_SIDE = 8
"""Smallest side of an image in pixels."""

_DEFAULT_BANDS = (2, 1, 0)
"""Planes that become red, green and blue if `bands` is left out."""


class TableConfig(Section):
    """The columns of a table, used when `data.source` is one.

    If a column does not exist under its default name, the names that catalogues of Galaxy Zoo and Zoobot use are tried.
    """

    file_column: str = Field(
        "file",
        min_length=1,
        description="column with the image files, or with ids that become file names with `file_suffix`",
    )
    label_column: str = Field(
        "label", min_length=1, description="column with the classes: whole numbers from `first_label`, or names"
    )
    id_column: str | None = Field(
        None,
        min_length=1,
        description="column that `predict` and `evaluate` copy to their output; left out: id_str, objid, iauname or a "
        "similar one, else the column with the files",
    )


class FitsConfig(Section):
    """How pixel values of FITS files are scaled to 0 to 255.

    With x = (value - black) / (white - black), clipped to 0..1, `linear` gives x, `sqrt` its square root, and `asinh`
    f(x) = asinh(softening x) / asinh(softening). `lupton` multiplies the three bands by f(i) / i, where i is their
    mean, and divides by the largest band if that exceeds 1, so bright pixels keep their colour.
    """

    stretch: Literal["asinh", "linear", "sqrt", "lupton"] = Field(
        "asinh", description="see above; lupton as in Lupton et al. 2004, PASP 116, 133"
    )
    softening: float = Field(10.0, gt=0, le=1e6, description="asinh, lupton: a larger value shows fainter parts")
    black: float | None = Field(
        None, description="pixel value that becomes 0; left out: black_percentile of all bands of the image"
    )
    white: float | None = Field(
        None, description="pixel value that becomes 255; left out: white_percentile of all bands of the image"
    )
    black_percentile: float = Field(1.0, ge=0, lt=100, description="percentile of the pixels of each image")
    white_percentile: float = Field(99.8, gt=0, le=100, description="percentile of the pixels of each image")
    bands: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None,
        description="planes that become red, green and blue, or the one that becomes grey, counted from 0, as in "
        "[2, 1, 0]; left out: three planes are ordered from blue to red, one is grey, other numbers are an error",
    )
    nan: Literal["refuse", 0, "median"] = Field(
        "refuse",
        description="what NaN and infinite pixels become: an error, the pixel value 0, or the median of their plane",
    )
    hdu: Annotated[int, Field(ge=0)] | tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None,
        description="number of the HDU with the image, or of the three that become red, green and blue, as in "
        "[3, 2, 1]; left out: the first HDU that has one",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_release(cls, content: Any) -> Any:
        """Earlier releases wrote no `nan`, and the default of `bands` as numbers."""
        if isinstance(content, dict) and set(content) == set(cls.model_fields) - {"nan"}:
            is_default = content["bands"] in (_DEFAULT_BANDS, list(_DEFAULT_BANDS))
            return {**content, "bands": None} if is_default else content
        return content

    @field_validator("bands", mode="before")
    @classmethod
    def _one_band(cls, bands: Any) -> Any:
        return (bands,) if type(bands) is int else bands

    @model_validator(mode="after")
    def _ordered(self) -> FitsConfig:
        if self.black is not None and self.white is not None and not self.black < self.white:
            raise ValueError(f"black is {self.black:g} and white is {self.white:g}; expected black < white")
        if not self.black_percentile < self.white_percentile:
            raise ValueError(
                f"black_percentile is {self.black_percentile:g} and white_percentile {self.white_percentile:g}; "
                "expected black_percentile < white_percentile"
            )
        if self.bands is not None and len(self.bands) not in (1, 3):
            raise ValueError(f"bands is {list(self.bands)}; expected three planes or one")
        if isinstance(self.hdu, tuple) and (len(self.hdu) != 3 or self.bands is not None):
            raise ValueError(f"hdu is {list(self.hdu)}; expected one HDU, or three and no bands")
        return self

    def record(self) -> dict[str, Any]:
        """All keys as JSON types; in the form of earlier releases if they could express it."""
        content = self.model_dump(mode="json")
        if self.nan == "refuse" and self.bands != _DEFAULT_BANDS:
            del content["nan"]
            content["bands"] = content["bands"] or list(_DEFAULT_BANDS)
        return content


class SplitConfig(Section):
    """How the images are split into training, validation and the held-out test set."""

    validation: float = Field(0.15, gt=0, lt=1, description="fraction of the images of each class")
    test: float = Field(
        0.15, gt=0, lt=1, description="fraction of the images of each class; opened once, after the winner is chosen"
    )
    seed: int = Field(7, ge=0, description="the same seed gives the same split")
    column: str | None = Field(
        "split",
        min_length=1,
        description="a user-defined split, used instead of the fractions if the data has it: a column of the table, or "
        "a data set of the HDF5 or .npz file, with train, validation or test for each image; null: not used",
    )
    duplicates: Literal["near", "identical"] = Field(
        "near", description="images that stay in the same set: near duplicates too, or only identical ones"
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

    n_images: int = Field(1500, ge=60, le=1_000_000, description="number of images")
    image_size: int = Field(69, ge=24, le=512, description="side of an image in pixels")
    seed: int = Field(0, ge=0, description="the same seed gives the same images on every machine")
    class_proportions: Literal["galaxy10", "equal"] = Field(
        "galaxy10",
        description="class sizes as in Galaxy10 SDSS, with enough images of rare classes to split, or all equal",
    )
    label_noise: float = Field(
        0.0, ge=0, le=0.5, description="fraction of wrong labels; the wrong class is one that looks similar"
    )
    volunteers: int | tuple[int, ...] | None = Field(
        None,
        description="number of simulated volunteers who vote on each image, or [fewest, most]; left out: images have "
        "labels",
    )

    @model_validator(mode="after")
    def _possible_volunteers(self) -> SimulatedConfig:
        stated = (self.volunteers,) if isinstance(self.volunteers, int) else self.volunteers
        if stated is None:
            return self
        if len(stated) not in (1, 2) or list(stated) != sorted(stated) or not 1 <= min(stated) <= max(stated) <= 1000:
            found = self.volunteers if isinstance(self.volunteers, int) else list(stated)
            raise ValueError(f"volunteers is {found}; expected a number from 1 to 1000, or [fewest, most]")
        if self.label_noise:
            raise ValueError("label_noise is of no use with volunteers, who disagree; expected label_noise: 0")
        return self

    @property
    def n_votes(self) -> tuple[int, int]:
        """The fewest and the most volunteers of an image; zeros without volunteers."""
        stated = self.volunteers if isinstance(self.volunteers, tuple) else (self.volunteers or 0,)
        return min(stated), max(stated)

    @model_serializer(mode="wrap")
    def _without_volunteers(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As in earlier releases if there are none, so that journals of a sweep on labels stay the same."""
        content: dict[str, Any] = dump(self)
        if self.volunteers is None:
            content.pop("volunteers", None)
        return content


class DataConfig(Section):
    """The source of the images, their preprocessing and their split."""

    source: str = Field(
        "simulated",
        min_length=1,
        description=f"{', '.join(BUILT_IN_SOURCES)}, a file in Galaxy10's layout ({', '.join(ARRAY_SUFFIXES)}), "
        f"a folder with one subfolder per class, a table of files (or ids) and labels ({', '.join(TABLE_SUFFIXES)}), "
        "or package.module:Class, a user-defined source; a relative path starts at the current folder",
    )
    options: Options = Field(
        default_factory=dict, description="keyword arguments of the class when source is package.module:Class"
    )
    class_names: tuple[StrictStr, ...] | None = Field(
        None, description="one name per class, in label order; overrides names in or beside the file"
    )
    first_label: int = Field(
        0, ge=0, le=1, description="number of the first class where labels are numbers: 0, or 1 if they start at 1"
    )
    image_folder: str | None = Field(
        None,
        min_length=1,
        description="folder of a table's image files, which may be in its subfolders and not outside; relative to the "
        "current folder, else to the table; left out: the table's folder",
    )
    file_suffix: str | None = Field(
        None, min_length=1, description="text that is appended to an id in a table to get the file name, such as .jpg"
    )
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="unreadable image files in a folder or table: stop, or skip and list them"
    )
    crop: int | None = Field(None, ge=MIN_SIDE, description="side in pixels of the centre crop; the first step")
    resize: int | None = Field(
        None,
        ge=MIN_SIDE,
        le=4096,
        description="side in pixels after resizing (bilinear, antialiased); other images than squares are cropped to "
        "their central square first",
    )
    greyscale: bool = Field(False, description="replace the three channels by their mean; the last step")
    split: SplitConfig = SplitConfig()
    table: TableConfig = TableConfig()
    fits: FitsConfig = FitsConfig()
    simulated: SimulatedConfig = SimulatedConfig()
    votes: VotesConfig = VotesConfig()

    @property
    def source_path(self) -> Path:
        """The source as a path, with `~` replaced; `~name` of an unknown user stays."""
        return Path(os.path.expanduser(self.source))  # noqa: PTH111  Path.expanduser raises for an unknown user

    @property
    def has_stated_votes(self) -> bool:
        """Whether these keys say where votes are; other data may bring votes of their own."""
        return bool(self.votes.questions)

    @property
    def has_counts(self) -> bool:
        """Whether these keys say that there are numbers of votes."""
        votes = self.votes
        has_totals = votes.total is not None or any(each.total is not None for each in votes.questions)
        return self._has_volunteers or (self.has_stated_votes and (votes.kind == "counts" or has_totals))

    @model_validator(mode="after")
    def _classes_are_answers(self) -> DataConfig:
        if self.class_names is not None and (self.has_stated_votes or self._has_volunteers):
            raise ValueError("class_names: with votes, classes are the answers to the first question; leave it out")
        return self

    @property
    def _has_volunteers(self) -> bool:
        return self.source == "simulated" and self.simulated.volunteers is not None

    @model_serializer(mode="wrap")
    def _without_votes(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As in earlier releases if nothing of votes is stated, so that journals of a sweep on labels stay the same."""
        content: dict[str, Any] = dump(self)
        if self.votes == VotesConfig():
            content.pop("votes", None)
        return content

    @field_validator("file_suffix")
    @classmethod
    def _with_dot(cls, suffix: str | None) -> str | None:
        """Makes .png of png; _cutout and s.jpg stay as they are."""
        return f".{suffix}" if suffix is not None and "." not in suffix and suffix[0].isalnum() else suffix

    @field_validator("class_names")
    @classmethod
    def _unique_class_names(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and len(set(names)) < len(names):
            raise ValueError("two classes have the same name; expected different names")
        return names
