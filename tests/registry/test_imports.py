from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

HEAVY = {"mlflow", "keras", "tensorflow", "pandas", "matplotlib"}
MODULES = [
    f"galaxy_exp.registry.{name}"
    for name in (
        "bootstrap",
        "catalogue",
        "champion",
        "evaluation",
        "packaging",
        "prediction",
        "promotion",
        "sealed_predictions",
        "version_tags",
    )
]


def test_importing_is_cheap() -> None:
    code = f"import sys\nimport {', '.join(MODULES)}\nprint({HEAVY} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", MODULES)
def test_all_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    assert [listed for listed in module.__all__ if not hasattr(module, listed)] == []
