"""What every data source has to do, whatever its files are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pytest
from astropy.io import fits
from PIL import Image
from pyarrow import parquet

from galaxy_exp.config.data_section import DataConfig, SimulatedConfig, SplitConfig
from galaxy_exp.data import PreparedData, load_dataset, prepare_split
from galaxy_exp.data.sources.array_file import store_data
from galaxy_exp.data.sources.galaxy10 import GALAXY10, astronn_cache_folder
from galaxy_exp.data.split import PARTS
from galaxy_exp.errors import DataError

N_IMAGES = 24
N_CLASSES = 2
IMAGES = np.random.default_rng(3).integers(0, 256, (N_IMAGES, 12, 12, 3), dtype=np.uint8)
LABELS = np.arange(N_IMAGES) // (N_IMAGES // N_CLASSES)
SPLIT = [PARTS[index % 3] for index in range(N_IMAGES)]


class UserSource:
    """A user-defined source."""

    def load(self) -> dict[str, Any]:
        return {"images": IMAGES, "labels": LABELS, "class_names": ["a", "b"], "split": SPLIT}


def make_h5(folder: Path, **options: Any) -> DataConfig:
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("images", data=IMAGES, **options)
        file["ans"], file["split"] = LABELS, SPLIT
    return DataConfig(source=str(folder / "x.h5"))


def make_npz(folder: Path) -> DataConfig:
    np.savez(folder / "x.npz", images=IMAGES, labels=LABELS, split=SPLIT)
    return DataConfig(source=str(folder / "x.npz"))


def write_image(path: Path, index: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".fits":
        fits.writeto(path, np.moveaxis(IMAGES[index], -1, 0).astype(np.float32))
    else:
        Image.fromarray(IMAGES[index]).save(path)


def make_folder(folder: Path, ending: str) -> DataConfig:
    for index, (label, part) in enumerate(zip(LABELS, SPLIT, strict=True)):
        write_image(folder / "set" / part / "ab"[label] / f"{index:02d}{ending}", index)
    return DataConfig(source=str(folder / "set"))


def make_table(folder: Path, ending: str) -> DataConfig:
    rows = {"file": [f"{index}.png" for index in range(N_IMAGES)], "label": ["ab"[label] for label in LABELS]}
    for index, name in enumerate(rows["file"]):
        write_image(folder / name, index)
    table = pyarrow.table({**rows, "split": SPLIT})
    path = folder / f"x{ending}"
    if ending == ".parquet":
        parquet.write_table(table, path)
    else:
        path.write_text(
            "\n".join(
                ",".join(map(str, row)) for row in [table.column_names, *zip(*table.to_pydict().values(), strict=True)]
            )
        )
    return DataConfig(source=str(path))


def make_in_memory(folder: Path) -> DataConfig:
    return store_data((IMAGES, LABELS, ["a", "b"]), DataConfig(), folder)


def make_galaxy10(folder: Path) -> DataConfig:
    """As after a first sweep: the copy of what astroNN read is in its cache folder."""
    known = GALAXY10["galaxy10-sdss"]
    astronn_cache_folder().mkdir(parents=True)
    make_h5(folder)
    (folder / "x.h5").rename(astronn_cache_folder() / f"Galaxy10.{known.sha256[:12]}.read.h5")
    return DataConfig(source="galaxy10-sdss")


Make = Callable[[Path], DataConfig]

SOURCES: dict[str, Make] = {
    "hdf5": make_h5,
    "compressed hdf5": lambda folder: make_h5(folder, compression="gzip"),
    "npz": make_npz,
    "folder of pictures": lambda folder: make_folder(folder, ".png"),
    "folder of fits": lambda folder: make_folder(folder, ".fits"),
    "csv": lambda folder: make_table(folder, ".csv"),
    "parquet": lambda folder: make_table(folder, ".parquet"),
    "user-defined": lambda _: DataConfig(source=f"{__name__}:UserSource"),
    "in-memory": make_in_memory,
    "galaxy10": make_galaxy10,
    "simulated": lambda _: DataConfig(simulated=SimulatedConfig(n_images=60, image_size=24, class_proportions="equal")),
}
WITHOUT_SPLIT = {"in-memory", "simulated"}


@pytest.fixture(params=SOURCES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def config(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return SOURCES[name](tmp_path)


def test_images_and_labels_are_of_one_form(config: DataConfig) -> None:
    dataset = load_dataset(config)
    assert dataset.images.dtype == np.uint8
    assert dataset.images.shape == (len(dataset), *dataset.image_shape)
    assert dataset.labels.dtype == np.int64
    assert set(dataset.labels.tolist()) == set(range(dataset.n_classes))
    assert len(dataset.class_names) == dataset.n_classes
    assert dataset.source == config.source
    assert dataset.simulated == (config.source == "simulated")


def test_every_image_has_its_label(name: str, config: DataConfig) -> None:
    if name in ("simulated", "folder of fits"):  # other pixels, by their nature
        assert sum(load_dataset(config).counts.values()) == len(load_dataset(config))
        return
    dataset = load_dataset(config)
    labels = {image.tobytes(): label for image, label in zip(IMAGES, LABELS.tolist(), strict=True)}
    assert [labels[image.tobytes()] for image in dataset.images] == dataset.labels.tolist()


def test_loading_again_gives_the_same(config: DataConfig) -> None:
    assert load_dataset(config).digest == load_dataset(config).digest


def test_images_are_preprocessed_and_that_is_recorded(config: DataConfig) -> None:
    dataset = load_dataset(config.model_copy(update={"crop": 10, "resize": 9, "greyscale": True}))
    assert dataset.image_shape == (9, 9, 3)
    assert (dataset.images == dataset.images[..., :1]).all()
    steps = dataset.preprocessing
    assert (steps.crop, steps.resize, steps.greyscale) == (10, 9, True)
    assert dataset.digest != load_dataset(config).digest


def test_a_crop_larger_than_the_images_is_one_line(config: DataConfig) -> None:
    with pytest.raises(DataError, match=r"expected at least 500x500 \(data.crop\)") as caught:
        load_dataset(config.model_copy(update={"crop": 500}))
    assert "\n" not in str(caught.value)


def test_configured_names_replace_others(config: DataConfig) -> None:
    n_classes = load_dataset(config).n_classes
    names = tuple(f"class of {label}" for label in "abcdefghij"[:n_classes])
    if config.source.endswith((".csv", ".parquet")):  # labels are names there
        names = ("b", "a")
    assert load_dataset(config.model_copy(update={"class_names": names})).class_names == names


def test_a_user_defined_split_is_read_unless_it_is_switched_off(name: str, config: DataConfig) -> None:
    dataset = load_dataset(config)
    assert (dataset.own_split is None) == (name in WITHOUT_SPLIT)
    if dataset.own_split is not None:
        assert [PARTS[part] for part in sorted(dataset.own_split)] == sorted(SPLIT, key=PARTS.index)
    if name != "user-defined":  # its class decides
        assert load_dataset(config.model_copy(update={"split": SplitConfig(column=None)})).own_split is None


def test_it_is_prepared_for_workers(config: DataConfig, tmp_path: Path) -> None:
    dataset = load_dataset(config)
    prepared = prepare_split(dataset, config.split, tmp_path / "cache")
    assert PreparedData.load(prepared.folder) == prepared
    assert prepared.digest == dataset.digest
    assert sum(sum(counts.values()) for counts in prepared.counts.values()) == len(dataset)
