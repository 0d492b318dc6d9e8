"""Dependencies point one way: the table of docs/architecture.md, held against the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from benchmarks.process import own_environment

ROOT = Path(__file__).parents[2]

PACKAGE = ROOT / "galaxy_exp"

GROUND = {
    "errors",
    "records",
    "seeding",
    "search_methods",
    "deferred_imports",
    "quiet",
    "environment",
    "redaction",
    "wording",
    "interrupts",
    "layout",
    "questions",
}
BASE = GROUND | {"folders", "checkpoint_file", "encoder_file", "config", "space"}
MAY_IMPORT: dict[str, set[str]] = {
    **{part: set() for part in GROUND},
    "quiet": {"deferred_imports", "errors"},
    "layout": {"wording"},
    "records": {"questions"},
    "folders": {"errors"},
    "checkpoint_file": {"errors", "records", "folders"},
    "encoder_file": {"errors", "folders"},
    "config": {"errors", "records", "redaction", "wording", "interrupts", "search_methods"},
    "space": {"errors", "records", "wording", "config"},
    "data": BASE,
    "hypermodel": BASE,
    "encoders": BASE | {"hypermodel"},
    "search": BASE,
    "journal": BASE,
    "evaluation": BASE | {"journal"},
    "report": BASE | {"evaluation"},
    "training": BASE | {"hypermodel", "evaluation"},
    "execution": BASE | {"hypermodel", "search", "journal", "training"},
    "tracking": BASE | {"journal", "data", "evaluation", "report"},
    "registry": BASE | {"journal", "data", "evaluation", "tracking"},
    "trial_rows": BASE | {"journal", "evaluation"},
    "sweep_rows": BASE | {"journal", "evaluation", "tracking"},
    "starters": BASE | {"data"},
    "display": BASE | {"journal", "evaluation", "tracking", "trial_rows", "sweep_rows"},
    "sweep_images": BASE | {"journal", "data"},
    "doctor": BASE | {"journal", "data", "evaluation", "tracking", "registry", "sweep_images"},
    "check": BASE | {"data", "hypermodel", "search", "journal", "training", "execution", "preparation", "sweep_images"},
}
"""By part of the package. `sweep` and `cli` may import all of these."""
TOP = {
    "sweep",
    "result",
    "pretraining",
    "preparation",
    "sweep_report",
    "report_server",
    "reproduce",
    "tell",
    "cli",
    "__init__",
    "__main__",
}

OWNERS = {
    "mlflow": {"tracking", "registry"},
    "keras": {
        "encoders",
        "hypermodel",
        "training",
        "search",
        "check",
        "registry.networks",
        "registry.pyfunc_model",
        "registry.classifier",
        "registry.export",
    },
    "keras_tuner": {"hypermodel", "training", "search", "check", "deferred_imports"},
    "tensorflow": {"hypermodel", "training", "quiet"},
    "jax": {"hypermodel.on_device", "hypermodel.scoring"},
    "sklearn": {"evaluation"},
    "optuna": {"search", "report"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "yaml": {"config"},
    "pydantic": {"config", "journal"},
    "h5py": {"data"},
    "astropy": {"data"},
    "pyarrow": {"data", "registry.prediction"},
    "cloudpickle": {"hypermodel"},
    "dask": {"execution.clusters", "execution.dask_engine", "execution.dask_protocol"},
    "distributed": {"execution.clusters", "execution.dask_engine", "execution.dask_protocol"},
    "dask_jobqueue": {"execution.clusters"},
    "psutil": {"tracking", "execution", "doctor"},
    "click": {"cli"},
    "rich": {"cli", "data.fetch", "display"},
    "fcntl": {"folders"},
}
"""The only parts or modules that import a library."""


@dataclass(frozen=True)
class Import:
    importer: str
    """Module within the package, such as `data.split`."""
    target: str
    """As written, such as `galaxy_exp.errors` or `keras`."""
    for_types: bool
    """Under `if TYPE_CHECKING`."""
    on_import: bool
    """At the top of the module, not inside a function."""


def read_imports() -> Iterator[Import]:
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE).with_suffix("")
        importer = ".".join(relative.parts).removesuffix(".__init__")
        yield from _imports_of(ast.parse(path.read_text(encoding="utf-8")), importer, for_types=False, on_import=True)


def _imports_of(node: ast.AST, importer: str, *, for_types: bool, on_import: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(importer, alias.name, for_types, on_import)
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{importer}: relative import"
        for alias in node.names:
            yield Import(importer, _imported_module(node.module or "", alias.name), for_types, on_import)
    for_types = for_types or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    on_import = on_import and not isinstance(node, ast.FunctionDef)
    for child in ast.iter_child_nodes(node):
        yield from _imports_of(child, importer, for_types=for_types, on_import=on_import)


def _imported_module(module: str, name: str) -> str:
    """`from galaxy_exp.registry import winner` imports the module `winner`, other names their module."""
    folder = ROOT.joinpath(*module.split("."))
    is_module = (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()
    return f"{module}.{name}" if module.startswith("galaxy_exp") and is_module else module


IMPORTS = list(read_imports())
INTERNAL = [found for found in IMPORTS if found.target.startswith("galaxy_exp.")]


def part_of(module: str) -> str:
    return module.split(".")[0]


def within(module: str, places: set[str]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def inner(target: str) -> str:
    return target.removeprefix("galaxy_exp.")


def test_every_part_has_its_place() -> None:
    parts = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    parts |= {path.stem for path in PACKAGE.glob("*.py")}
    assert parts - set(MAY_IMPORT) - TOP == set(), "give the new part a line in MAY_IMPORT and in docs/architecture.md"


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_part_imports_only_what_it_may_know(part: str) -> None:
    allowed = MAY_IMPORT[part] | {part}
    found = [each for each in INTERNAL if part_of(each.importer) == part and not each.for_types]
    assert [each for each in found if not within(inner(each.target), allowed)] == []


def test_nobody_imports_the_command_line() -> None:
    guilty = [each for each in INTERNAL if part_of(inner(each.target)) == "cli" and part_of(each.importer) != "cli"]
    assert [each.importer for each in guilty if each.importer != "__main__"] == []


def test_modules_do_not_import_each_other_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for each in INTERNAL:
        if not each.for_types and each.importer != "__init__":
            graph.setdefault(each.importer, set()).add(inner(each.target))
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_library_is_imported_by_its_owners_only(library: str) -> None:
    users = {each.importer for each in IMPORTS if each.target.split(".")[0] == library and not each.for_types}
    assert {user for user in users if not within(user, OWNERS[library])} == set()


def test_heavy_libraries_are_not_imported_with_the_package_or_the_command_line() -> None:
    light = {
        "__init__",
        "__main__",
        "sweep",
        "quiet",
        "deferred_imports",
        "environment",
        "errors",
        "records",
        "seeding",
        "folders",
    }
    light |= {"evaluation.metrics", "preparation", "sweep_images", "execution.engine"}
    light |= {"execution.loop", "execution.worker", "execution.worker_pool", "execution.trials"}
    light |= {"tracking.sweep_tracking"}
    heavy = {
        "tensorflow",
        "keras",
        "keras_tuner",
        "mlflow",
        "optuna",
        "matplotlib",
        "h5py",
        "sklearn",
        "astroNN",
        "distributed",
    }
    guilty = [
        (each.importer, each.target)
        for each in IMPORTS
        if (each.importer in light or part_of(each.importer) == "cli")
        and each.on_import
        and not each.for_types
        and each.target.split(".")[0] in heavy
    ]
    assert guilty == []


@pytest.mark.parametrize(
    "code",
    [
        "from galaxy_exp.cli.main import run_command; run_command(['--help'])",
        "from galaxy_exp.cli.main import run_command; run_command(['sweep', '--help'])",
        "from galaxy_exp.cli.main import run_command; run_command(['predict', '--help'])",
        "import galaxy_exp; dir(galaxy_exp)",
    ],
)
def test_help_imports_nothing_heavy(code: str) -> None:
    heavy = {"tensorflow", "mlflow", "keras", "keras_tuner", "pydantic", "optuna", "pandas", "distributed"}
    script = f"{code}\nimport sys\nprint(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep", str(ROOT / "sweeps" / "gz2.yaml"), "--data", "nowhere.h5"],
        ["check", str(ROOT / "sweeps" / "gz2.yaml"), "--data", "nowhere"],
        ["check", str(ROOT / "sweeps" / "quickstart.yaml"), "--set", "space.learning_rat=0.1"],
        ["sweep", str(ROOT / "sweeps" / "quickstart.yaml"), "--set", "space.dropout_1=2"],
        ["predict", str(ROOT / "docs" / "result.png")],
        ["evaluate", "nowhere.npz"],
        ["models", "export", "galaxy10-cnn", "-o", "x.onnx"],
        ["models", "list"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_told_before_anything_heavy_is_imported(arguments: list[str], tmp_path: Path) -> None:
    script = (
        f"from galaxy_exp.cli.main import main\nimport sys\nsys.argv[1:] = {arguments}\n"
        "try:\n    main()\nfinally:\n    print(sorted({'tensorflow', 'mlflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=own_environment()
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_public_name_exists_in_its_module(path: Path) -> None:
    tree = ast.parse(path.read_text())
    listed = [node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    names = [element for node in listed for element in ast.literal_eval(node.value)]
    looked_up = any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)
    defined = {name for node in tree.body for name in _defined_by(node)}
    assert looked_up or set(names) <= defined


def _defined_by(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name for alias in node.names]
        case ast.Assign():
            return [each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)]
        case ast.AnnAssign():
            return [ast.unparse(node.target)]
        case _:
            return []
