from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import galaxy_exp.registry

HEAVY = {"mlflow", "keras", "tensorflow", "pandas", "matplotlib"}


def test_modules_import_nothing_heavy() -> None:
    """All but the file that MLflow copies: the command line imports them for its help texts."""
    names = [f"galaxy_exp.registry.{module.name}" for module in pkgutil.iter_modules(galaxy_exp.registry.__path__)]
    names.remove("galaxy_exp.registry.pyfunc_model")
    code = (
        f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\nprint({HEAVY} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()"


def test_all_names_exist() -> None:
    for module in pkgutil.iter_modules(galaxy_exp.registry.__path__):
        if module.name != "pyfunc_model":
            loaded = importlib.import_module(f"galaxy_exp.registry.{module.name}")
            assert all(hasattr(loaded, name) for name in loaded.__all__), module.name
