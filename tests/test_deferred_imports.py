"""What Keras imports for rare features alone is imported when it is used, and works then."""

from __future__ import annotations

import subprocess
import sys

import pytest

from galaxy_exp.deferred_imports import deferred_imports


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_scikit_learn_and_matplotlib_are_not_imported_with_keras() -> None:
    code = "import sys\nfrom galaxy_exp.deferred_imports import import_keras\nimport_keras()\n"
    assert run(code + "print({'sklearn', 'matplotlib', 'keras.wrappers'} & set(sys.modules))") == "set()"


@pytest.mark.parametrize(
    "use",
    [
        "import keras\nprint(keras.wrappers.SKLearnClassifier.__name__)",
        "from keras.wrappers import SKLearnClassifier\nprint(SKLearnClassifier.__name__)",
        "import sklearn.metrics, matplotlib.pyplot\nprint(matplotlib.pyplot.Figure and 'SKLearnClassifier')",
        "import keras.src.visualization.plot_image_gallery as g\nprint(g.plt.figure and 'SKLearnClassifier')",
        "from keras_tuner.src.tuners import bayesian\nprint(bayesian.sklearn.gaussian_process.kernels.Matern(nu=2.5)"
        " and bayesian.sklearn.exceptions.ConvergenceWarning and 'SKLearnClassifier')",
    ],
)
def test_they_are_imported_when_they_are_used(use: str) -> None:
    assert run(f"from galaxy_exp.deferred_imports import import_keras\nimport_keras()\n{use}") == "SKLearnClassifier"


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
