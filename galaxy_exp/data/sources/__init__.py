"""Data sources, chosen by `data.source` of the sweep file.

A new named source is a function from `DataConfig` to `ImageDataset` and one line in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from galaxy_exp.config.data_section import ARRAY_SUFFIXES, TABLE_SUFFIXES, DataConfig
from galaxy_exp.data.dataset import ImageDataset, build_dataset, preprocess_dataset
from galaxy_exp.data.image_arrays import Preprocessing
from galaxy_exp.data.listing import refuse_address
from galaxy_exp.data.simulated import CLASS_NAMES, simulate_with_truth
from galaxy_exp.data.sources.array_file import load_array_file
from galaxy_exp.data.sources.array_keys import is_array_file
from galaxy_exp.data.sources.galaxy10 import GALAXY10, astronn_cache_folder, load_galaxy10
from galaxy_exp.data.sources.image_folder import load_image_folder
from galaxy_exp.data.sources.image_table import load_table
from galaxy_exp.data.sources.user_source import is_dotted_path, load_user_source
from galaxy_exp.data.table_file import is_table
from galaxy_exp.data.votes import questions_of
from galaxy_exp.errors import DataError, access_errors
from galaxy_exp.wording import did_you_mean

__all__ = ["SOURCES", "check_source", "list_sources", "load_dataset"]


def _load_simulated(config: DataConfig) -> ImageDataset:
    galaxies = simulate_with_truth(config.simulated)
    names = config.class_names or CLASS_NAMES
    return build_dataset(
        galaxies.images, galaxies.labels, names, source="simulated", simulated=True, votes=galaxies.votes
    )


SOURCES: dict[str, Callable[[DataConfig], ImageDataset]] = {
    "simulated": _load_simulated,
    **{name: partial(load_galaxy10, name) for name in GALAXY10},
}
"""Sources with a name; other sources are paths or classes."""
_ENDINGS = ", ".join((*ARRAY_SUFFIXES, *TABLE_SUFFIXES))


def load_dataset(config: DataConfig, base: Path | None = None) -> ImageDataset:
    """Loads `config.source` and preprocesses its images as `config` says.

    The source is one of `SOURCES`, an HDF5 or .npz file, a folder of classes, a table, or a user-defined class (see
    `user_source.DataSource`).

    Args:
        config: the `data` section of a sweep file.
        base: folder that a relative path starts at; by default the current folder.

    Raises:
        DataError: the source does not exist (with the nearest name, if any), is damaged, or cannot be read.
        FetchError: Galaxy10 is not in the cache and cannot be downloaded.
    """
    with access_errors(config.source):
        dataset = _load_source(config, base or Path())
        _check_has_votes(dataset, config)
        return preprocess_dataset(dataset, Preprocessing.from_config(config))


def _check_has_votes(dataset: ImageDataset, config: DataConfig) -> None:
    """Refuses keys on votes or labels that the source ignored."""
    stated = questions_of(config.votes)
    if config.has_stated_votes and (dataset.votes is None or dataset.votes.questions != stated):
        volunteers = "; for simulated galaxies: data.simulated.volunteers" if config.source == "simulated" else ""
        own = "no votes" if dataset.votes is None else "votes with questions of their own"
        raise DataError(
            f"{dataset.source}: has {own}, and data.votes.questions is stated; expected a table, an HDF5 or .npz file, "
            f"or a user-defined source of images and votes{volunteers}"
        )
    if dataset.votes is not None and config.class_names is not None:
        raise DataError(f"{dataset.source}: has votes, so its classes are answers; expected no data.class_names")


def check_source(config: DataConfig) -> None:
    """Refuses a source whose path does not exist, without reading anything.

    Raises:
        DataError: as `load_dataset`; or there are options, and the source takes none.
    """
    is_path = config.source not in SOURCES and not is_dotted_path(config.source)
    if config.options and (is_path or config.source in SOURCES):
        raise DataError(
            f"data.options: {config.source} takes none; they are for a class of your own (data.source: "
            "package.module:Class)"
        )
    with access_errors(config.source):
        if is_path and not config.source_path.exists():
            _load_source(config, Path())


def _load_source(config: DataConfig, base: Path) -> ImageDataset:
    if config.source in SOURCES:
        return SOURCES[config.source](config)
    path = base / config.source_path
    if not path.exists():
        refuse_address(config.source)
    if path.is_dir():
        return load_image_folder(path, config)
    if is_array_file(path):
        return load_array_file(path, config)
    if is_table(path) and path.is_file():
        return load_table(path, config, base)
    if is_dotted_path(config.source):
        return load_user_source(config)
    raise DataError(_describe_unknown(config.source, path))


def _describe_unknown(source: str, path: Path) -> str:
    if path.is_file():
        found = f"data.source: {path} ends in {path.suffix or 'nothing'!r}"
        return f"{found}; expected {_ENDINGS}, or a folder (astropy.table writes a FITS table or VOTable as .csv)"
    return (
        f"data.source: {source!r} is neither a source nor a file or folder here ({path.absolute()}); "
        f"{did_you_mean(source.lower(), list(SOURCES))}, a path to a file ({_ENDINGS}), a folder "
        "with one subfolder per class, or package.module:Class"
    )


_FORMATS = {
    f"FILE{', '.join(ARRAY_SUFFIXES)}": "Galaxy10's layout: images uint8 (n, height, width, 3), and ans or labels, "
    "numbers or names, or votes",
    "FOLDER": "one subfolder per class, of pictures or FITS files; or such subfolders in train, val and test",
    f"TABLE{', '.join(TABLE_SUFFIXES)}": "columns file and label, or votes; files relative to the table, or ids with "
    "data.file_suffix",
    "package.module:Class": "a user-defined class with a method load()",
}

_GALAXY10 = {"galaxy10-sdss": "21,785 images of 69x69 pixels", "galaxy10-decals": "17,736 images of 256x256 pixels"}


def list_sources() -> list[dict[str, str]]:
    """One row per named source or kind of file: `source`, `what`, `where`."""
    return [
        {"source": "simulated", "what": f"simulated galaxies in {len(CLASS_NAMES)} classes", "where": "computed"},
        *(_galaxy10_row(name) for name in GALAXY10),
        *({"source": name, "what": what, "where": "yours"} for name, what in _FORMATS.items()),
    ]


def _galaxy10_row(name: str) -> dict[str, str]:
    path = astronn_cache_folder() / GALAXY10[name].name
    where = str(path) if path.is_file() else f"not fetched: galaxy-exp data fetch {name}"
    return {"source": name, "what": f"{_GALAXY10[name]} in 10 classes, {GALAXY10[name].size}", "where": where}
