"""A notebook in a real kernel of Jupyter: the table while the sweep runs, and the result as a page."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

CELLS = (
    "import galaxy_exp",
    "result = galaxy_exp.run_sweep('sweep.yaml', overrides=['search.max_trials=2'])",
    "result",
    "galaxy_exp.open_sweep().trials[['trial', 'state', 'val_macro_f1']]",
)


@pytest.mark.slow
def test_a_notebook_runs_a_sweep_and_shows_it(project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install 'galaxy-exp[dev]'")
    nbformat = pytest.importorskip("nbformat")
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "GALAXY_EXP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "a.ipynb"))  # as Jupyter's server sets it
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = write_kernel(tmp_path, monkeypatch)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [cell.outputs for cell in notebook.cells]

    assert outputs[0] == []
    assert [each.output_type for each in outputs[1]] == ["display_data"], outputs[1]
    (table,) = outputs[1]  # replaced in place, and no line beside it
    assert table.output_type == "display_data"
    assert "2 of 2 trials, best" in table.data["text/html"]
    assert "SIMULATED" in table.data["text/html"]
    assert table.data["text/html"].count("<tr>") == 3
    assert "<html" not in table.data["text/plain"]

    (page,) = outputs[2]
    assert page.output_type == "execute_result"
    assert "tiny-" in page.data["text/html"]
    assert len(page.data["text/plain"].splitlines()) <= 12

    (frame,) = outputs[3]
    assert frame.data["text/html"].count("<tr") == 3


def write_kernel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A kernel of this interpreter, wherever Jupyter's own are; returns its entry in a notebook."""
    kernel = folder / "jupyter" / "kernels" / "here"
    kernel.mkdir(parents=True)
    command = f'["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
    (kernel / "kernel.json").write_text(f'{{"argv": {command}, "display_name": "here", "language": "python"}}')
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
    return {"name": "here", "display_name": "here", "language": "python"}
