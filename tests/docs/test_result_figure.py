"""The figure of the README comes out of a finished sweep's own files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "docs" / "result_figure.py"


@pytest.fixture(scope="module")
def figure() -> ModuleType:
    spec = importlib.util.spec_from_file_location("result_figure", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_are_scores_with_intervals_and_then_the_classes(figure: ModuleType) -> None:
    labels = np.repeat([0, 1], [40, 20])
    predicted = np.where(np.arange(60) % 10 == 0, 1 - labels, labels)  # one in ten is wrong
    rows = figure.score_rows(labels, np.eye(2, dtype=np.float32)[predicted], ["smooth", "spiral"])
    assert [row[0] for row in rows] == ["accuracy", "macro-F1", "balanced accuracy", "smooth (40)", "spiral (20)"]
    assert rows[0][1] == rows[3][1] == pytest.approx(0.9)
    assert all(low < value < high for _, value, low, high in rows)


@pytest.mark.slow
def test_figure_of_a_finished_sweep(figure: ModuleType, finished, tmp_path: Path) -> None:
    path = tmp_path / "result.png"
    code = figure.main([str(finished.sweep_folders()[-1]), "-o", str(path)])
    if finished.record().winner == 0:
        assert (code, path.exists()) == (2, False)
    else:
        assert code == 0
        assert path.read_bytes().startswith(b"\x89PNG")


def test_sweep_without_a_tested_winner_is_told(
    figure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Unfinished:
        winner = None

    monkeypatch.setattr(figure, "read_record", lambda folder: Unfinished())
    assert figure.main([str(tmp_path)]) == 2
    assert "no held-out test" in capsys.readouterr().err
