"""The sections of a sweep file that say how tables and FITS files are read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from galaxy_exp.config.section import Section

__all__ = ["FitsConfig", "TableConfig"]


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
    bands: tuple[int, int, int] = Field(
        (2, 1, 0), description="which plane becomes red, green, blue; the default takes planes from blue to red"
    )
    hdu: int | None = Field(None, ge=0, description="which HDU holds the image; left out: the first with one")

    @model_validator(mode="after")
    def _ordered(self) -> FitsConfig:
        if self.black is not None and self.white is not None and not self.black < self.white:
            raise ValueError(f"black is {self.black:g} and white is {self.white:g}; expected black < white")
        if not self.black_percentile < self.white_percentile:
            raise ValueError(
                f"black_percentile is {self.black_percentile:g} and white_percentile {self.white_percentile:g}; "
                "expected black_percentile < white_percentile"
            )
        if not all(0 <= band <= 2 for band in self.bands):
            raise ValueError(f"bands is {list(self.bands)}; expected planes 0, 1, 2")
        return self
