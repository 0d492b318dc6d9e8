"""The `data` section of a sweep file: the source of the images, their files, and their split."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StrictStr, field_validator, model_validator

from galaxy_exp.config.section import Options, Section

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
"""Endings, in lower case, of the files that hold a whole data set."""

BUILT_IN_SOURCES = ("galaxy10-sdss", "galaxy10-decals", "simulated")

MIN_SIDE = 8
"""The smallest side in pixels that still makes an image of a galaxy."""

_DEFAULT_BANDS = (2, 1, 0)
"""Of a file of three planes, where `bands` is left out."""


class TableConfig(Section):
    """The columns of a table, used when `data.source` is one.

    If a column is not there under its default name, the names that catalogues of Galaxy Zoo and Zoobot use are tried.
    """

    file_column: str = Field(
        "file", min_length=1, description="column with the image files, or ids that `file_suffix` makes files of"
    )
    label_column: str = Field(
        "label", min_length=1, description="column with the classes: whole numbers from `first_label`, or names"
    )
    id_column: str | None = Field(
        None,
        min_length=1,
        description="column that `predict` and `evaluate` carry through; left out: id_str, objid, iauname or the like, "
        "else the column with the files",
    )


class FitsConfig(Section):
    """How pixel values of FITS files become 0 to 255.

    With x = (value - black) / (white - black), cut to 0..1, `linear` gives x, `sqrt` its square root, and `asinh`
    f(x) = asinh(softening x) / asinh(softening). `lupton` multiplies the three bands by f(i) / i, where i is their
    mean, and divides by the largest band where that exceeds 1: bright pixels keep their colour.
    """

    stretch: Literal["asinh", "linear", "sqrt", "lupton"] = Field(
        "asinh", description="see above; lupton as in Lupton et al. 2004, PASP 116, 133"
    )
    softening: float = Field(10.0, gt=0, le=1e6, description="asinh, lupton: larger shows fainter parts")
    black: float | None = Field(
        None, description="pixel value that becomes 0; left out: black_percentile of the image, its bands together"
    )
    white: float | None = Field(
        None, description="pixel value that becomes 255; left out: white_percentile of the image, its bands together"
    )
    black_percentile: float = Field(1.0, ge=0, lt=100, description="of the pixels of each image")
    white_percentile: float = Field(99.8, gt=0, le=100, description="of the pixels of each image")
    bands: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None,
        description="which planes become red, green, blue, or which one grey, counted from 0, as in [2, 1, 0]; left "
        "out: three planes run from blue to red, one is grey, and other numbers are refused",
    )
    nan: Literal["refuse", 0, "median"] = Field(
        "refuse",
        description="pixels that are NaN or infinite: an error, 0 (the pixel value), or the median of the others of "
        "their plane",
    )
    hdu: int | None = Field(None, ge=0, description="which HDU holds the image; left out: the first with one")

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_release(cls, content: Any) -> Any:
        """Records of earlier releases have all keys but `nan`, and in them the default of `bands` as numbers."""
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
        return self

    def record(self) -> dict[str, Any]:
        """All keys, as JSON has them; as earlier releases wrote them, where they could."""
        content = self.model_dump(mode="json")
        if self.nan == "refuse" and self.bands != _DEFAULT_BANDS:
            del content["nan"]
            content["bands"] = content["bands"] or list(_DEFAULT_BANDS)
        return content


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
