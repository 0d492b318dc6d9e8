"""The files that data can be in, and the sections of a sweep file that say how tables and FITS files are read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from galaxy_exp.config.section import Section

__all__ = ["ARRAY_SUFFIXES", "HDF5_SUFFIXES", "TABLE_SUFFIXES", "FitsConfig", "TableConfig"]

HDF5_SUFFIXES = (".h5", ".hdf5")
ARRAY_SUFFIXES = (*HDF5_SUFFIXES, ".npz")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".csv.gz", ".tsv.gz")
"""Endings, in lower case, of the files that hold a whole data set."""


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
