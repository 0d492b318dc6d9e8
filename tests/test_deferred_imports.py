"""What Keras imports for rare features alone is imported when it is used, and works then."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from galaxy_exp.deferred_imports import deferred_imports, hidden_modules, without_garbage_collection

RARE = {"sklearn", "matplotlib", "keras.wrappers", "scipy.optimize", "jax"}


def run(code: str, **environment: str) -> str:
    command, variables = [sys.executable, "-c", code], os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, check=True, env=variables).stdout.strip()


def test_what_few_networks_need_is_not_imported_with_keras() -> None:
    code = "import sys\nfrom galaxy_exp.deferred_imports import import_keras\nimport_keras()\n"
    assert run(code + f"print({RARE} & set(sys.modules))", KERAS_BACKEND="tensorflow") == "set()"


def test_jax_is_hidden_from_this_thread_alone_and_not_if_keras_trains_with_it(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    code = "from galaxy_exp.deferred_imports import import_keras\nimport_keras()\nimport jax, keras\n"
    code += "print(keras.backend.backend(), jax.jit(lambda x: x)(1))"
    assert run(code, KERAS_BACKEND="tensorflow") == "tensorflow 1"
    assert run(code, KERAS_BACKEND="", KERAS_HOME=str(tmp_path)) == "jax 1"


def test_a_hidden_module_is_found_by_other_threads_and_after_the_context() -> None:
    sys.modules.pop("colorsys", None)
    with hidden_modules(["colorsys", "json"]):
        import json

        assert json.loads("1") == 1
        with pytest.raises(ModuleNotFoundError, match="No module named 'colorsys'"):
            __import__("colorsys")
        with ThreadPoolExecutor(1) as other:
            assert other.submit(__import__, "colorsys").result().__name__ == "colorsys"
        del sys.modules["colorsys"]
    assert __import__("colorsys").__name__ == "colorsys"


USES = [
    "import keras\nprint(keras.wrappers.SKLearnClassifier.__name__)",
    "from keras.wrappers import SKLearnClassifier\nprint(SKLearnClassifier.__name__)",
    "import sklearn.metrics, matplotlib.pyplot\nprint(matplotlib.pyplot.Figure and 'SKLearnClassifier')",
    "import keras.src.visualization.plot_image_gallery as g\nprint(g.plt.figure and 'SKLearnClassifier')",
    "from keras_tuner.src.tuners import bayesian\nprint(bayesian.sklearn.gaussian_process.kernels.Matern(nu=2.5)"
    " and bayesian.sklearn.exceptions.ConvergenceWarning and 'SKLearnClassifier')",
    "from keras_tuner.src.tuners import bayesian\nprint(bayesian.scipy.optimize.minimize and 'SKLearnClassifier')",
]
FORKS = """
import os, sys
from galaxy_exp.deferred_imports import import_keras
import_keras()
for use in sys.argv[1:]:
    if (child := os.fork()) == 0:
        exec(use)
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, use
"""
"""Imports Keras, and runs each argument in a fork of its own, in which nothing was used before."""


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """What each use prints."""
    done = subprocess.run([sys.executable, "-c", FORKS, *USES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(zip(USES, done.stdout.split(), strict=True))


@pytest.mark.parametrize("use", USES)
def test_they_are_imported_when_they_are_used(use: str, printed: dict[str, str]) -> None:
    assert printed[use] == "SKLearnClassifier"


def test_what_is_not_installed_is_an_import_error_and_what_is_imported_already_stays() -> None:
    import json

    with deferred_imports(["json", "no_such_package", "no_such_package.part"]):
        import json as again

        assert again is json
        with pytest.raises(ImportError):
            __import__("no_such_package.part")
    assert sys.modules["json"] is json
    assert "no_such_package" not in sys.modules


def test_after_the_context_a_new_import_gives_the_module_itself() -> None:
    sys.modules.pop("colorsys", None)
    with deferred_imports(["colorsys"]):
        import colorsys as deferred
    import colorsys

    assert sys.modules["colorsys"] is colorsys is not deferred
    assert deferred.rgb_to_hsv is colorsys.rgb_to_hsv


def test_a_use_within_the_context_imports_the_whole_package() -> None:
    for name in ("wsgiref", "wsgiref.util"):
        sys.modules.pop(name, None)
    with deferred_imports(["wsgiref", "wsgiref.util"]):
        import wsgiref.util

        assert wsgiref.util.FileWrapper.__name__ == "FileWrapper"
        from wsgiref import util

        assert sys.modules["wsgiref.util"] is util


@pytest.mark.parametrize(
    ("use", "after"),
    [
        ("from sklearn.metrics import f1_score; found.append(f1_score([0, 1], [0, 1]))", "sklearn.pipeline.Pipeline"),
        ("import matplotlib.figure; found.append(matplotlib.figure.Figure and 1.0)", "matplotlib.pyplot.figure"),
        (
            "import sklearn.utils; found.append(sklearn.utils is sys.modules['sklearn.utils'] and 1.0)",
            "sklearn.utils.Bunch",
        ),
        ("import sklearn.utils.validation; found.append(sklearn.utils.check_X_y and 1.0)", "sklearn.utils.check_X_y"),
        ("import sklearn.pipeline; found.append(sklearn.pipeline.Pipeline and 1.0)", "sklearn.pipeline.Pipeline"),
    ],
)
def test_another_thread_may_import_the_package_or_a_part_meanwhile(use: str, after: str) -> None:
    code = (
        "import sys, threading\nfrom galaxy_exp.deferred_imports import deferred_imports\nfound = []\n"
        f"def work():\n    {use}\n"
        "with deferred_imports(['sklearn', 'sklearn.pipeline', 'matplotlib', 'matplotlib.pyplot']):\n"
        "    import sklearn.pipeline, matplotlib.pyplot\n"
        "    thread = threading.Thread(target=work)\n    thread.start()\n    thread.join()\n"
        f"assert {after}\nimport sklearn.pipeline, matplotlib.pyplot\nassert {after}\nprint(found[0])"
    )
    assert run(code) == "1.0"


def test_garbage_is_collected_again_after_the_context_unless_the_caller_had_stopped_it() -> None:
    with without_garbage_collection():
        with without_garbage_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
