"""Data sources: one file a source, chosen by `data.source` of the sweep file.

A new named source is one new file here and one line in `SOURCES`; a function that takes the `DataConfig` and returns an
`ImageDataset`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from galaxy_exp.config.data_section import ARRAY_SUFFIXES, TABLE_SUFFIXES, DataConfig
from galaxy_exp.data.array_file import is_array_file
from galaxy_exp.data.dataset import ImageDataset, preprocess_dataset
from galaxy_exp.data.preprocessing import Preprocessing
from galaxy_exp.data.reasons import access_errors
from galaxy_exp.data.sources.array_source import load_array_file
from galaxy_exp.data.sources.galaxy10 import load_galaxy10
from galaxy_exp.data.sources.image_folder import load_image_folder
from galaxy_exp.data.sources.own_source import is_dotted_path, load_own_source
from galaxy_exp.data.sources.simulated import load_simulated
from galaxy_exp.data.sources.table import load_table
from galaxy_exp.data.table_file import is_table
from galaxy_exp.errors import DataError
from galaxy_exp.wording import did_you_mean

__all__ = ["SOURCES", "check_source", "load_dataset"]

SOURCES: dict[str, Callable[[DataConfig], ImageDataset]] = {
    "simulated": lambda config: load_simulated(config.simulated, config.class_names),
    "galaxy10-sdss": lambda config: load_galaxy10("galaxy10-sdss", config),
    "galaxy10-decals": lambda config: load_galaxy10("galaxy10-decals", config),
}
"""The sources that have a name; anything else is a path."""
_ENDINGS = ", ".join((*ARRAY_SUFFIXES, *TABLE_SUFFIXES))


def load_dataset(config: DataConfig, base: Path | None = None) -> ImageDataset:
    """Loads what `config.source` names, and does to the images what `config` asks for.

    That is one of `SOURCES`, an HDF5 or .npz file, a folder of classes, a table, or a class by dotted path (see
    `own_source.DataSource`).

    Args:
        config: the `data` section of a sweep file.
        base: where a relative path starts; by default the current folder.

    Raises:
        DataError: the source does not exist (with the nearest name, if one is near), is damaged, or may not be read.
        FetchError: Galaxy10 is not in the cache and cannot be downloaded.
    """
    with access_errors(config.source):
        return preprocess_dataset(_load_source(config, base or Path()), Preprocessing.from_config(config))


def check_source(config: DataConfig) -> None:
    """Refuses a path where there is nothing, without reading anything.

    Raises:
        DataError: as `load_dataset`.
    """
    is_path = config.source not in SOURCES and not is_dotted_path(config.source)
    with access_errors(config.source):
        if is_path and not Path(config.source).expanduser().exists():
            _load_source(config, Path())


def _load_source(config: DataConfig, base: Path) -> ImageDataset:
    if config.source in SOURCES:
        return SOURCES[config.source](config)
    path = base / Path(config.source).expanduser()
    if path.is_dir():
        return load_image_folder(path, config)
    if is_array_file(path):
        return load_array_file(path, config)
    if is_table(path) and path.is_file():
        return load_table(path, config, base)
    if is_dotted_path(config.source):
        return load_own_source(config)
    raise DataError(_describe_unknown(config.source, path))


def _describe_unknown(source: str, path: Path) -> str:
    if path.is_file():
        return f"data.source: {path} ends in {path.suffix or 'nothing'!r}; expected {_ENDINGS}, or a folder"
    return (
        f"data.source: {source!r} is neither a source nor a file or folder here ({path.absolute()}); "
        f"{did_you_mean(source.lower(), list(SOURCES))}, a path to a file ({_ENDINGS}), a folder "
        "with one subfolder per class, or package.module:Class"
    )
