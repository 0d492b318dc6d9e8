from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from galaxy_exp.cli.main import run_command
from galaxy_exp.config.data_section import FitsConfig
from galaxy_exp.errors import BadInputError
from galaxy_exp.registry.classifier import Predictions
from galaxy_exp.registry.packaging import ModelVersionRef
from galaxy_exp.registry.prediction import choose_stretch, columns_of, predict_to_rows

from .conftest import Store, coloured

COLUMNS = ["name", "label", "class_name", "probability", "p_red", "p_green", "p_blue, dim", "error"]


@dataclass(frozen=True)
class _Image:
    name: str
    image: np.ndarray | None
    error: str | None = None


class _Brightest:
    """Takes images of at least 8 x 8 pixels."""

    class_names = ("red", "green", "blue, dim")
    questions = None

    def refusal(self, image: np.ndarray) -> str | None:
        return None if len(image) >= 8 else "has 4 x 4 pixels; expected at least 8 x 8"

    def predict(self, images: Any) -> Predictions:
        probabilities = np.stack([image.mean(axis=(0, 1)) / image.mean() / 3 for image in images]).astype(np.float32)
        labels = probabilities.argmax(axis=1)
        return Predictions(labels, [self.class_names[label] for label in labels], probabilities)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    batches = [
        [_Image("a.png", coloured(0)), _Image("b.png", None, "not an image"), _Image("é,c.png", coloured(2))],
        [_Image("small.png", coloured(1, 4, 4))],
        [_Image("none.png", None)],
        [],
    ]
    return list(predict_to_rows(_Brightest(), batches))


def test_every_image_has_its_row_in_order(rows: list[dict[str, Any]]) -> None:
    assert [list(row) for row in rows] == [COLUMNS] * 5
    assert columns_of(_Brightest()) == COLUMNS
    assert [row["name"] for row in rows] == ["a.png", "b.png", "é,c.png", "small.png", "none.png"]
    assert [row["class_name"] for row in rows] == ["red", None, "blue, dim", None, None]
    assert [row["error"] for row in rows] == [
        None,
        "not an image",
        None,
        "image has 4 x 4 pixels; expected at least 8 x 8",
        "could not be read",
    ]
    assert rows[0]["probability"] == rows[0]["p_red"] == pytest.approx(220 / 260, abs=1e-6)


TRAINED = FitsConfig(stretch="sqrt", softening=3.0).model_dump(mode="json")


def test_stretch_is_that_of_the_training_with_what_is_stated_in_its_place() -> None:
    file = Path("x.fits")
    assert choose_stretch(TRAINED, {}, file, "m") == FitsConfig(stretch="sqrt", softening=3.0)
    assert choose_stretch(TRAINED, {"hdu": 2}, file, "m") == FitsConfig(stretch="sqrt", softening=3.0, hdu=2)
    assert choose_stretch(None, {"stretch": "linear"}, file, "m") == FitsConfig(stretch="linear")


def test_stretch_that_nobody_states() -> None:
    with pytest.raises(BadInputError, match=r"^add --set data\.fits\.stretch=asinh, .*: x\.fits is FITS, and m, "):
        choose_stretch(None, {"hdu": 2}, Path("x.fits"), "m")


def test_stretch_that_does_not_fit_the_model_s() -> None:
    with pytest.raises(BadInputError, match=r"^stretch for m: data\.fits: black_percentile is 99\.9 and white_perc"):
        choose_stretch(TRAINED, {"black_percentile": 99.9}, Path("x.fits"), "m")


def test_the_command_stretches_as_the_training_did(
    register: Callable[..., ModelVersionRef], store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three bands that differ only by a background, the brightest wins, whichever `bands` makes it."""
    trained = FitsConfig(stretch="linear", black=0.0, white=255.0, bands=(0, 1, 2))
    model = register("fits", preprocessing={"fits": trained.model_dump(mode="json")})
    planes = np.moveaxis(coloured(2), -1, 0).astype(float)
    fits.PrimaryHDU(planes).writeto(tmp_path / "x.fits")

    def predict(uri: str, *more: str) -> str:
        assert run_command(["predict", str(tmp_path), "--model", uri, "--uri", store.uri, *more]) == 0
        return next(csv.DictReader(io.StringIO(capsys.readouterr().out)))["class_name"]

    assert predict(model.uri) == "blue, cigar shaped"
    assert predict(model.uri, "--set", "data.fits.bands=[2,1,0]") == "red"
    eight_bit = register("eight-bit")
    assert predict(eight_bit.uri, "--set", "data.fits.stretch=linear", "--set", "data.fits.bands=[1,2,0]") == "green"
    assert run_command(["predict", str(tmp_path), "--model", eight_bit.uri, "--uri", store.uri]) == 2
    assert f"x.fits is FITS, and {eight_bit.uri}, which was not trained on FITS files" in capsys.readouterr().err
    planes[:, 0, 0] = np.nan
    fits.PrimaryHDU(planes).writeto(tmp_path / "x.fits", overwrite=True)
    filling = register("filling", preprocessing={"fits": trained.model_copy(update={"nan": "median"}).record()})
    assert predict(filling.uri) == predict(model.uri, "--set", "data.fits.nan=0") == "blue, cigar shaped"
    assert run_command(["predict", str(tmp_path), "--model", model.uri, "--uri", store.uri]) == 3
    assert "1 of 1 images could not be classified" in capsys.readouterr().err


def test_rows_come_a_batch_at_a_time() -> None:
    def batches() -> Iterator[list[_Image]]:
        yield [_Image("a", coloured(0))]
        raise RuntimeError("read too far")

    assert next(predict_to_rows(_Brightest(), batches()))["name"] == "a"
