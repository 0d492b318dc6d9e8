"""What is run of the commands in README and docs.

Every command has a fate, and `pytest --collect-only -q tests/docs/test_run_commands.py -k fate` lists them all:

- run: as it stands, here, in a folder that has the files which the pages speak of: first the tutorial from its first
  command to its last, on its own sweep file with less of everything, then those of the other pages. Only names of
  sweeps and versions are replaced by what is there.
- begun: a sweep or a check up to its first network: file, options, data, space and split are examined on real files
  as before any sweep, and nothing is trained.
- run by another test, which is named.
- parsed: by `test_commands.py` alone, as are all the others; the reason is in `PARSED`.
- in running text: parsed; it leaves out arguments, or names a command that is run in another form.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import h5py
import pytest
from click.testing import CliRunner, Result
from doc_commands import FOUND, ROOT, Line, fenced, parse
from PIL import Image

from galaxy_exp.cli.main import cli
from galaxy_exp.cli.options import read_shortcuts
from galaxy_exp.config import load_sweep
from galaxy_exp.config.data_section import SimulatedConfig
from galaxy_exp.data.simulated import CLASS_NAMES, simulate_galaxies
from galaxy_exp.folders import ProjectFolder

QUICK_FILE = {
    "n_images: 1200, image_size: 69": "n_images: 150, image_size: 24",
    "n_blocks: {values: [3, 4]}": "n_blocks: 3",
    "filters_1: {values: [16, 32]}": "filters_1: {values: [4, 8]}",
    "filters_2: {values: [32, 64]}": "filters_2: 8",
    "epochs: 8": "epochs: 2",
    "max_trials: 6": "max_trials: 3",
    "first_rung: 4": "first_rung: 1",
    "tracking: {experiment: galaxy10}": "tracking: {experiment: galaxy10, figures: false}",
    "finalists: 2, seeds: 2": "finalists: 1, seeds: 1",
}
"""The tutorial's sweep file without network, on less."""
QUICK = {"--max-trials 40": "--max-trials 2", "check galaxy10.yaml": "check galaxy10.yaml --no-timing"}
"""What is shortened in its commands: 40 trials, and the timing of networks, which tests/cli/test_check.py runs."""

OTHERS = (
    "galaxy-exp show --format json",
    "galaxy-exp report",
    "galaxy-exp trials gz2 --format csv",
    "galaxy-exp report gz2-20261122 -o gz2.html",
    "galaxy-exp report gz2-20261122 -o gz2.html --open",
    "galaxy-exp models show galaxy10-cnn",
    "galaxy-exp models promote galaxy10-cnn 2 --force --reason 'tested on the new field'",
    "galaxy-exp models export galaxy10-cnn/3 -o galaxies_saved_model",
    "galaxy-exp data list",
    "galaxy-exp data info galaxies.h5",
    "galaxy-exp data info folder/ --set data.on_error=skip",
    "galaxy-exp data preview galaxies.h5 -o preview.png",
    "galaxy-exp predict some.png folder/ file.h5 -o out.csv",
    "galaxy-exp predict galaxies/ -o classes.csv",
    "galaxy-exp predict galaxies/ extra.h5 -o classes.parquet",
    "galaxy-exp predict - -o classes.csv",
    "galaxy-exp predict IMAGES... -o out.csv",
    "galaxy-exp predict unlabelled/ --model survey -o classes.csv",
    "galaxy-exp predict unlabelled/ --model galaxies -o classes.csv",
    "galaxy-exp evaluate labelled.h5",
    "galaxy-exp evaluate galaxies.h5",
    "galaxy-exp doctor",
    "galaxy-exp doctor --fix",
    "galaxy-exp sync",
)
"""Run after the tutorial, in this order."""
NAMES = {
    "gz2-20261122": "galaxy10",
    "trials gz2": "trials galaxy10",
    "galaxy10-cnn/3": "galaxy10-cnn/1",
    "--model survey": "--model galaxy10-cnn",
    "--model galaxies": "--model galaxy10-cnn",
    "IMAGES...": "some.png --restart",
}
"""What the pages speak of, and what there is."""

BEGUN = re.compile(
    r"galaxy-exp (sweep|check) (sweeps/(gz2|pretrained|quickstart|votes)|sweep)\.yaml\b(?!.*galaxy10-sdss)"
)

ELSEWHERE = {
    "galaxy-exp encoders pretrain -o wide.keras --images 50000 --set space.filters_1=64": (
        "tests/sweep/test_pretraining.py"
    ),
    "galaxy-exp init": "tests/cli/test_init.py",
    "galaxy-exp init --data FILE": "tests/cli/test_init.py",
    "galaxy-exp init --data galaxies.h5": "tests/cli/test_init.py",
    "galaxy-exp init --data galaxies.h5 -o galaxies.yaml": "tests/cli/test_init.py",
    "galaxy-exp init --data catalogue.csv --image-folder stamps --file-suffix .jpg": "tests/cli/test_init.py",
    "galaxy-exp init --from pretrained --data galaxies.h5": "tests/cli/test_init.py",
    "galaxy-exp data fetch galaxy10-sdss": "tests/data/test_fetch.py",
    "galaxy-exp evaluate folder_of_classes/ --map Edge-on=edge_on --format json -o evaluation/": (
        "tests/registry/test_labelled.py"
    ),
    "galaxy-exp evaluate labelled/ --map Edge-on=edge_on --format json -o evaluation/": (
        "tests/registry/test_labelled.py"
    ),
    "galaxy-exp predict catalogue.csv --image-folder stamps --file-suffix .jpg -o classes.csv": (
        "tests/registry/test_table_predictions.py"
    ),
    "galaxy-exp predict gz2.csv --image-folder images_gz2 --file-suffix .jpg --model survey -o classes.csv": (
        "tests/registry/test_table_predictions.py"
    ),
    "galaxy-exp models export galaxy10-cnn -o galaxies.onnx": "tests/registry/test_export.py",
    "galaxy-exp predict some.png --model galaxies.onnx": "tests/registry/test_exported.py",
    "galaxy-exp encoders convert finetuned.ckpt -o mine.keras --scaling unit --prefix encoder --image-size 128": (
        "tests/cli/test_convert.py"
    ),
    "galaxy-exp encoders convert pytorch_model.bin -o zoobot.keras --scaling unit": "tests/cli/test_convert.py",
    "galaxy-exp models promote galaxy10-cnn 2": "tests/cli/test_stores.py",
    "galaxy-exp reproduce 3": "tests/sweep/test_reproduce.py",
    "galaxy-exp reproduce gz2-20261122-101500/3": "tests/sweep/test_reproduce.py",
    "galaxy-exp resume": "tests/sweep/test_chaos.py",
    "galaxy-exp init --data catalogue.csv --image-folder cutouts --file-suffix .png": "tests/cli/test_init.py",
    "galaxy-exp predict cutouts/ --model galaxy-votes -o predictions.parquet": "tests/sweep/test_votes_to_model.py",
    "galaxy-exp report --watch --open": "tests/cli/test_report.py",
    "galaxy-exp ui": "tests/cli/test_stores.py",
    "galaxy-exp ui --open": "tests/cli/test_stores.py",
    "galaxy-exp ui gz2 --port 5001": "tests/cli/test_stores.py",
    "mlflow models serve -m models:/galaxy10-cnn@champion --env-manager local --host 127.0.0.1 --port 5001": (
        "tests/registry/test_packaging.py"
    ),
    "python docs/result_figure.py .galaxy_exp/sweeps/ID -o result.png": "tests/docs/test_result_figure.py",
}
PARSED = {
    r"galaxy-exp resume .*": "needs an interrupted sweep; tests/journal/test_resume_changes.py has what may change",
    r"galaxy-exp tell .*": "needs a running sweep; tests/sweep/test_orders.py gives every order to one",
    r"mlflow (server|db) .*": "needs PostgreSQL and S3",
    r"mlflow ui": "as galaxy-exp ui",
    r"python (benchmarks/.*|-m benchmarks.*)": "takes minutes to hours; tests/benchmarks runs its functions on less",
}


def tutorial() -> list[str]:
    """Its commands, in the order in which it gives them, but for those that have a test elsewhere."""
    lines = [line for block in fenced("tutorial.md", "") for line in block.splitlines()]
    commands = [line.split("  #")[0].split(" > ")[0].strip() for line in lines if line.startswith("galaxy-exp ")]
    return [command for command in commands if command not in ELSEWHERE]


def fate(line: Line) -> str:
    """What becomes of a command, in a word or two."""
    if line.text in {shlex.join(shlex.split(each)) for each in [*tutorial(), *OTHERS]}:
        return "run"
    if BEGUN.match(line.text):
        return "begun"
    if line.text in ELSEWHERE:
        return f"run by {ELSEWHERE[line.text]}"
    if any(re.fullmatch(pattern, line.text) for pattern in PARSED):
        return "parsed"
    return "in running text" if not line.whole else "none"


@pytest.mark.parametrize("line", FOUND, ids=lambda line: f"{fate(line)}: {line}")
def test_every_command_has_a_fate(line: Line) -> None:
    told = fate(line)
    assert told != "none"
    if told.startswith("run by "):
        assert (ROOT / told.removeprefix("run by ")).exists()


def test_no_fate_is_that_of_a_command_that_is_gone() -> None:
    texts = {line.text for line in FOUND}
    assert {*(shlex.join(shlex.split(each)) for each in OTHERS), *ELSEWHERE} <= texts
    assert [pattern for pattern in PARSED if not any(re.fullmatch(pattern, text) for text in texts)] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder: sweep files, and images by the names that the pages give them."""
    path = tmp_path_factory.mktemp("pages")
    shutil.copytree(ROOT / "sweeps", path / "sweeps")
    shutil.copy(ROOT / "sweeps" / "quickstart.yaml", path / "sweep.yaml")
    sweep_file = fenced("tutorial.md", "yaml")[1]
    for shown, quick in QUICK_FILE.items():
        assert shown in sweep_file
        sweep_file = sweep_file.replace(shown, quick)
    (path / "galaxy10.yaml").write_text(sweep_file, encoding="utf-8")
    images, labels = simulate_galaxies(SimulatedConfig(n_images=120, image_size=32, seed=5, class_proportions="equal"))
    for name in ("galaxies", "gz2", "labelled", "extra", "file"):
        with h5py.File(path / f"{name}.h5", "w") as file:
            file["images"], file["ans"] = images, labels
            file.attrs["class_names"] = CLASS_NAMES
    for number, (image, label) in enumerate(zip(images[:60], labels[:60], strict=True)):
        place = path / "folder" / f"class {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    for name in ("galaxies", "unlabelled"):
        shutil.copytree(path / "folder" / "class 0", path / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("GALAXY_EXP_HOME", raising=False)
        patch.setattr(click, "launch", lambda *_: 0)
        yield path


def run(command: str, standard_input: str | None = None) -> Result:
    """Runs a command in this process and insists on success and on something to read."""
    done = CliRunner().invoke(cli, shlex.split(command)[1:], input=standard_input, catch_exceptions=False)
    assert done.exit_code == 0, f"{command}\n{done.output}"
    assert done.output.strip(), command
    return done


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, str]:
    """What the commands of the tutorial print on stdout, by command; its Python is run before them."""
    found = {}
    for command in tutorial():
        if command.startswith("galaxy-exp predict some.png"):
            exec(compile(fenced("tutorial.md", "python")[0], "tutorial.md", "exec"), {})
        shown = command
        for whole, quick in QUICK.items():
            shown = shown.replace(whole, quick)
        found[command] = run(shown).stdout
    return found


@pytest.mark.slow
def test_the_tutorial_runs_from_its_first_command_to_its_last(told: dict[str, str], folder: Path) -> None:
    assert len(told) >= 20
    assert "galaxy10-cnn" in told["galaxy-exp sweep galaxy10.yaml"]
    assert "champion" in told["galaxy-exp models list"]
    assert "against the evidence" in told["galaxy-exp models history galaxy10-cnn"]
    assert list(folder.glob("galaxy10-*.html"))


@pytest.mark.slow
def test_the_other_pages_commands_run(told: dict[str, str], folder: Path) -> None:
    assert told
    for command in OTHERS:
        shown = command
        for named, there in NAMES.items():
            shown = shown.replace(named, there)
        run(shown, standard_input="some.png\n" if " - " in shown else None)
    assert (folder / "gz2.html").stat().st_size > 50_000


@pytest.mark.slow
@pytest.mark.parametrize("text", sorted({line.text for line in FOUND if fate(line) == "begun"}))
def test_a_sweep_begins(text: str, folder: Path) -> None:
    from galaxy_exp.preparation import check_names, prepare_sweep

    given = parse(Line("", text, whole=True)).params
    others = ("file", "overrides", "quiet", "timing", "output_format")
    shortcuts = {name: value for name, value in given.items() if name not in others}
    config = load_sweep(given["file"], given["overrides"], read_shortcuts(shortcuts))
    check_names(config)
    assert prepare_sweep(config, ProjectFolder.default(), "begun", print).space["space"]
