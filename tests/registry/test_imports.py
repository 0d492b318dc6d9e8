from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

from galaxy_exp import evaluation, registry

HEAVY = {"mlflow", "keras", "tensorflow", "pandas", "matplotlib", "sklearn", "scipy"}
MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (evaluation, registry)
    for module in pkgutil.iter_modules(package.__path__)
]


def test_importing_is_cheap() -> None:
    code = f"import sys\nimport {', '.join(MODULES)}\nprint({HEAVY} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith(".pyfunc_model")])  # has no __all__
def test_all_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    assert [listed for listed in module.__all__ if not hasattr(module, listed)] == []
