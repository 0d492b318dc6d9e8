"""What `data.source` can be, for people."""

from __future__ import annotations

from galaxy_exp.config.data_section import ARRAY_SUFFIXES, TABLE_SUFFIXES
from galaxy_exp.data.simulated.classes import CLASS_NAMES
from galaxy_exp.data.sources.galaxy10 import GALAXY10, astronn_cache_folder

__all__ = ["list_sources"]

_FORMATS = {
    f"FILE{', '.join(ARRAY_SUFFIXES)}": "Galaxy10's layout: images uint8 (n, height, width, 3), and ans or labels, "
    "numbers or names",
    "FOLDER": "one subfolder per class, of pictures or FITS files; or such subfolders in train, val and test",
    f"TABLE{', '.join(TABLE_SUFFIXES)}": "columns file and label; files relative to the table, or ids with "
    "data.file_suffix",
    "package.module:Class": "a class of your own with a method load()",
}

_GALAXY10 = {"galaxy10-sdss": "21,785 images of 69x69 pixels", "galaxy10-decals": "17,736 images of 256x256 pixels"}


def list_sources() -> list[dict[str, str]]:
    """One row per named source or kind of file: `source`, `what`, `where`."""
    return [
        {"source": "simulated", "what": f"made-up galaxies in {len(CLASS_NAMES)} classes", "where": "computed"},
        *(_galaxy10_row(name) for name in GALAXY10),
        *({"source": name, "what": what, "where": "yours"} for name, what in _FORMATS.items()),
    ]


def _galaxy10_row(name: str) -> dict[str, str]:
    known = GALAXY10[name]
    path = astronn_cache_folder() / known.name
    where = str(path) if path.is_file() else f"not fetched: galaxy-exp data fetch {name}"
    what = f"{_GALAXY10[name]} in 10 classes, {known.size}"
    return {"source": name, "what": what, "where": where}
