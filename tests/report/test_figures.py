from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

import galaxy_exp.report
from galaxy_exp.evaluation.confidence import measure_calibration
from galaxy_exp.evaluation.metrics import confusion_record, per_class_table, per_class_text
from galaxy_exp.report.canvas import (
    MOST_SHAPES,
    TRAIN,
    draw_lines,
    draw_panel,
    draw_points,
    name_class,
    new_axes,
    plain_text,
)
from galaxy_exp.report.classification import draw_reliability, plot_confusion
from galaxy_exp.report.galleries import Mistake, find_mistakes, plot_mistakes_gallery
from galaxy_exp.report.learning_curves import collect_curves, plot_learning_curves

LONG_NAMES = [f"Disk, Face-on, {kind} Spiral of the $kind$ {kind}" for kind in "ABCDEFGHIJ"]


def _is_png(path: Path) -> bool:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return image.format == "PNG" and pixels.min() < 100 and pixels.max() == 255


def _history(n_epochs: int) -> list[dict[str, float]]:
    return [
        {"loss": 1 / epoch, "val_loss": 1.1 / epoch, "accuracy": 1 - 0.5 / epoch, "val_accuracy": 1 - 0.6 / epoch}
        for epoch in range(1, n_epochs + 1)
    ]


class TestLearningCurves:
    def test_panels_without_values_are_left_out(self) -> None:
        curves = collect_curves(_history(3))
        assert [curve.metric for curve in curves] == ["loss", "accuracy"]
        assert curves[0].validation == [1.1, 0.55, 1.1 / 3]

    def test_an_epoch_that_lacks_a_metric_is_a_gap(self) -> None:
        (curve,) = collect_curves([{"loss": 1.0}, {}, {"loss": 0.5}])
        assert np.array_equal(curve.train, [1.0, np.nan, 0.5], equal_nan=True)
        assert curve.validation == []

    def test_is_described_in_words(self) -> None:
        loss, accuracy = collect_curves(_history(2))
        assert loss.describe(2) == (
            "Loss (nats) over 2 epochs, training from 1.000 to 0.500, validation from 1.100 to 0.550; "
            "the best epoch is 2."
        )
        assert accuracy.describe(0).endswith("validation from 0.400 to 0.700.")

    @pytest.mark.parametrize(("n_epochs", "best"), [(20, 14), (1, 1), (200, 200), (3, 0), (0, 0)])
    def test_draws_any_number_of_epochs(self, tmp_path: Path, n_epochs: int, best: int) -> None:
        path = plot_learning_curves(
            _history(n_epochs), "val_accuracy", best, tmp_path / "new" / "curves.png", "Trial 3"
        )
        assert _is_png(path)

    def test_a_diverged_trial_can_be_drawn(self, tmp_path: Path) -> None:
        history = [{"loss": 1.0, "val_loss": 2.0}, {"loss": np.inf, "val_loss": np.nan}]
        assert _is_png(plot_learning_curves(history, "val_loss", 1, tmp_path / "curves.png"))


class TestConfusion:
    def test_record_is_json_with_the_margins(self) -> None:
        record = json.loads(json.dumps(confusion_record(np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]]), ["a", "b", "c"])))
        assert record["counts"] == [[8, 2, 0], [1, 9, 0], [0, 0, 0]]
        assert record["row_share"] == [[0.8, 0.2, 0], [0.1, 0.9, 0], [0, 0, 0]]
        assert record["completeness"] == [0.8, 0.9, None]
        assert record["purity"] == [pytest.approx(8 / 9), pytest.approx(9 / 11), None]
        assert (record["n_images"], record["accuracy"]) == (20, 0.85)

    @pytest.mark.parametrize("n_classes", [2, 5, 10])
    def test_draws_any_number_of_classes(self, tmp_path: Path, n_classes: int) -> None:
        matrix = np.random.default_rng(0).integers(0, 2000, (n_classes, n_classes))
        assert _is_png(plot_confusion(matrix, LONG_NAMES[:n_classes], tmp_path / "confusion.png", "Validation"))

    def test_an_empty_matrix_can_be_drawn(self, tmp_path: Path) -> None:
        assert _is_png(plot_confusion(np.zeros((3, 3), np.int64), ["a", "b", "c"], tmp_path / "confusion.png"))


class TestMistakes:
    labels = np.array([0, 1, 1, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8], [0.95, 0.05]], np.float32)

    def test_most_confident_first_ties_in_order(self) -> None:
        found = find_mistakes(self.labels, self.probabilities)
        assert [mistake.index for mistake in found] == [4, 1, 3]
        assert found[0] == Mistake(4, 1, 0, pytest.approx(0.95))
        assert len(find_mistakes(self.labels, self.probabilities, n=2)) == 2

    @pytest.mark.parametrize("shape", [(69, 69), (256, 256), (40, 90)])
    def test_draws_images_of_any_shape(self, tmp_path: Path, shape: tuple[int, int]) -> None:
        images = np.random.default_rng(0).integers(0, 256, (5, *shape, 3), dtype=np.uint8)
        path = tmp_path / "mistakes.png"
        assert _is_png(plot_mistakes_gallery(images, self.labels, self.probabilities, LONG_NAMES[:2], path))

    def test_no_mistakes_is_a_figure_too(self, tmp_path: Path) -> None:
        path, images = tmp_path / "mistakes.png", np.zeros((5, 8, 8, 3), np.uint8)
        right = self.probabilities.argmax(axis=1)
        assert _is_png(plot_mistakes_gallery(images, right, self.probabilities, ["a", "b"], path))

    def test_reads_only_what_it_draws(self, tmp_path: Path) -> None:
        images = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (5, 8, 8, 3))
        path = tmp_path / "mistakes.png"
        assert _is_png(plot_mistakes_gallery(images, self.labels, self.probabilities, ["a", "b"], path, n=1))


class TestPerClass:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.1, 0.9, 0], [0.3, 0.7, 0]])

    def test_table(self) -> None:
        table = per_class_table(self.labels, self.probabilities, ["a", "b", "none such"])
        assert table[0] == {"class": "a", "images": 2, "completeness": 0.5, "purity": 1.0, "f1": pytest.approx(2 / 3)}
        assert table[2] == {"class": "none such", "images": 0, "completeness": None, "purity": 0.0, "f1": None}

    def test_text_is_aligned(self) -> None:
        assert per_class_text(self.labels, self.probabilities, ["a", "b", "none such"]) == (
            "class      images  completeness  purity     f1\n"
            "a               2         0.500   1.000  0.667\n"
            "b               2         1.000   0.667  0.800\n"
            "none such       0             -   0.000      -\n"
        )


class TestSvg:
    def draw(self, n_points: int, name: str = "a", title: str = "trial") -> ElementTree.Element:
        def draw(axes: Axes) -> None:
            points = {f"{title} {number}": (number, number) for number in range(n_points)}
            draw_points(axes, points, color=TRAIN)
            draw_lines(axes, {name: [at, (1, 2)] for name, at in points.items()}, colors=TRAIN)
            axes.set_xlabel(plain_text(title))

        return ElementTree.fromstring(draw_panel(name, f"{n_points} <points>", new_axes(4, 3), draw))

    def test_is_a_picture_with_its_description_in_the_page_s_colours(self) -> None:
        root = self.draw(3)
        assert (root.tag, root.get("role"), root.get("aria-label")) == ("svg", "img", "3 <points>")
        styles = " ".join(each.get("style", "") for each in root.iter())
        assert "var(--blue)" in styles
        assert TRAIN.lower() not in styles

    @pytest.mark.parametrize("n_points", [1, 2, 30])
    def test_every_shape_has_its_title(self, n_points: int) -> None:
        titles = [each.text for each in self.draw(n_points).iter("title")]
        assert titles == 2 * [f"trial {number}" for number in range(n_points)]

    def test_very_many_shapes_are_an_image(self) -> None:
        root = self.draw(MOST_SHAPES + 1)
        assert not list(root.iter("title"))
        images = {each.get("href", "")[:22] for each in root.iter("image")}
        assert images == {"data:image/png;base64,"}
        assert len(list(root.iter("text"))) > 5

    def test_ids_of_two_figures_differ(self) -> None:
        first, second = ({each.get("id") for each in self.draw(30, name).iter()} - {None} for name in ("a", "b"))
        assert first
        assert not first & second

    def test_names_are_text_without_formulas_passwords_and_control_characters(self) -> None:
        root = self.draw(1, title="$x$ \x00 https://me:geheim@host/<b>")
        shown = "$x$ \ufffd https://***@host/<b>"
        assert shown in [each.text for each in root.iter("text")]
        assert {each.text for each in root.iter("title")} == {f"{shown} 0"}


def test_names_are_shortened_and_never_read_as_formulas() -> None:
    assert name_class("Disk, Face-on, Medium Spiral", 11, 4) == "Disk,\nFace-on,\nMedium\nSpiral"
    assert name_class("Disk, Face-on, Medium Spiral", 14, 1) == "Disk,…"
    assert name_class("a $b$", 20, 1) == r"a \$b\$"


def test_no_global_matplotlib_state() -> None:
    code = (
        "import sys, galaxy_exp.report\n"
        "assert not {'matplotlib', 'pandas', 'keras', 'mlflow', 'numpy'} & set(sys.modules)\n"
        "import galaxy_exp.report.learning_curves, galaxy_exp.report.page\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from pathlib import Path\n"
        "galaxy_exp.report.learning_curves.plot_learning_curves([{'loss': 1.0}], 'loss', 1, Path(sys.argv[1]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, "/dev/null"], check=True, timeout=60)


@pytest.mark.parametrize("name", [each.name for each in pkgutil.iter_modules(galaxy_exp.report.__path__)])
def test_all_names_exist(name: str) -> None:
    module = importlib.import_module(f"galaxy_exp.report.{name}")
    assert all(hasattr(module, each) for each in module.__all__)


def test_bins_of_a_reliability_diagram_that_read_alike_are_two_points() -> None:
    labels, probabilities = np.array([0, 0]), np.array([[0.499, 0.3, 0.201], [0.501, 0.3, 0.199]])
    found = measure_calibration(labels, probabilities)
    assert len(found.bins) == 2
    panel = draw_panel("reliability", "", new_axes(4, 3), draw_reliability, found)
    assert str(panel).count("probability 0.50, right 1.00") == 2
