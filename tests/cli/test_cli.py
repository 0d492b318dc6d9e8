"""The command line as a user meets it: real processes, exit codes, stdout for results and stderr for the rest."""

import csv
import io
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from galaxy_exp.cli.main import COMMANDS, run_command

pytestmark = pytest.mark.slow


class TestHelp:
    @pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["models", "list"]], ids=" ".join)
    def test_every_command_explains_itself(self, project, command):
        done = project.run(*command, "--help")
        assert done.stdout.startswith("Usage: ")
        assert done.stderr == ""

    def test_help_imports_nothing_heavy(self, project):
        code = (
            "import sys\n"
            "from galaxy_exp.cli.main import cli\n"
            "cli.main(['--help'], standalone_mode=False)\n"
            "heavy = {'tensorflow', 'keras', 'mlflow', 'numpy', 'pandas', 'pydantic', 'optuna', 'rich'}\n"
            "sys.exit(' '.join(heavy & set(sys.modules)) or 0)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=project.environment)
        assert done.returncode == 0, done.stderr

    def test_the_version_is_the_package_s(self, project):
        from importlib.metadata import version

        assert version("galaxy-exp") in project.run("--version").stdout

    def test_a_mistyped_command_is_guessed(self, project):
        assert 'Did you mean "sweep"?' in project.run("sweeep", exit_code=2).stderr


class TestBadInput:
    """Exit code 2, one line a mistake on stderr, nothing on stdout, nothing left behind."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["sweep", "nowhere.yaml"], "nowhere.yaml: no such file"),
            (
                ["sweep", "sweep.yaml", "--set", "serach.seed=1"],
                '--set serach.seed: serach: unknown key; did you mean "search"',
            ),
            (
                ["sweep", "sweep.yaml", "--max-trials", "0"],
                "error: --max-trials: found 0; expected a value greater",
            ),
            (["sweep", "sweep.yaml", "--sampler", "tep"], '--sampler: unknown sampler "tep"; did you mean "tpe"'),
            (
                ["sweep", "sweep.yaml", "--scheduler", "asah"],
                '--scheduler: unknown scheduler "asah"; did you mean "asha"',
            ),
            (["sweep", "sweep.yaml", "--pruner", "asah"], '--pruner: unknown scheduler "asah"; did you mean "asha"'),
            (["sweep", "sweep.yaml", "--data", "nowhere.h5"], "nowhere.h5"),
            (["sweep", "sweep.yaml", "--data", "run #2/g.h5"], "run #2/g.h5"),
            (["sweep", "sweep.yaml", "--name", "a b"], "error: --name: found 'a b'; expected text matching"),
            (["show", "nothing"], "no sweeps here yet"),
            (["resume"], "no unfinished sweep here"),
            (["predict", "nowhere.png"], "nowhere.png"),
            (["predict", "sweep.yaml", "-o", "x.xlsx"], "--output x.xlsx: expected a name ending in one of .csv, "),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_is_one_line(self, project, arguments, message):
        done = project.run(*arguments, exit_code=2)
        self.is_one_line(project, done.stdout, done.stderr, message)

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("space.unts=3", "space.unts: unknown hyperparameter"),
            ("space.units=few", "space.units"),
            ("hypermodel=no_such_module:X", "hypermodel"),
            ("hypermodel=toys:Nothing", "hypermodel"),
            ("hypermodel=toys:NOT_A_HYPERMODEL", "hypermodel"),
        ],
    )
    def test_that_is_found_after_keras_is_imported_is_one_line(self, project, monkeypatch, capfd, setting, message):
        """In this process, which has imported it already."""
        monkeypatch.chdir(project.path)
        for name in ("GALAXY_EXP_HOME", "MLFLOW_TRACKING_URI"):
            monkeypatch.delenv(name, raising=False)
        assert run_command(["sweep", "sweep.yaml", "--set", setting]) == 2
        printed = capfd.readouterr()
        self.is_one_line(project, printed.out, printed.err, message)

    def is_one_line(self, project, stdout, stderr, message):
        assert message in stderr
        assert "Traceback" not in stderr
        assert stdout == ""
        assert len([line for line in stderr.splitlines() if line.startswith("error: ")]) == 1
        assert project.sweep_folders() == []

    def test_a_folder_without_images_is_told_before_a_model_is_looked_for(self, project):
        (project.path / "empty").mkdir()
        done = project.run("predict", "empty", exit_code=2)
        assert done.stderr.startswith("error: empty: holds no images; expected files ending in .png")
        assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)

    def test_without_a_registered_model_predict_says_how_to_make_one(self, project):
        Image.new("RGB", (24, 24)).save(project.path / "a.png")
        done = project.run("predict", "a.png", exit_code=2)
        assert "galaxy-exp sweep" in done.stderr
        assert not (project.path / "mlflow.db").exists()


class TestAfterASweep:
    def test_the_summary_is_on_stdout_and_progress_on_stderr(self, finished):
        output, log = finished.output.stdout, finished.output.stderr
        assert "objective is val_macro_f1" in output
        (shown,) = json.loads(finished.run("show", "--format", "json").stdout)
        retrains = {
            row["trial"]: row["retrains"] for row in json.loads(finished.run("trials", "--format", "json").stdout)
        }
        number, again = shown["winner"], retrains[shown["winner"]]
        baseline = ", the baseline" if 0 in (number, again) else ""
        name = f"trial {number}{baseline}"
        if again is not None:
            name = f"configuration of trial {again}{baseline}, retrained as {number}"
        assert f"winner: {name}, " in " ".join(output.split())
        assert "SIMULATED images the sweep never saw" in output
        assert "registered: tiny-model version 1 as champion" in output
        assert "galaxy-exp ui --open  " in output
        assert "galaxy-exp predict IMAGES... -o out.csv --model tiny-model  " in output
        assert "SIMULATED images in 10 classes" in log
        assert "trial 0 started: the baseline" in log
        assert "epoch 1: SIMULATED val_macro_f1" in log
        assert "creating the MLflow database" in log

    def test_nothing_foreign_is_printed(self, finished):
        for word in ("absl", "oneDNN", "WARNING", "Warning", "mlflow.store", "cuda"):
            assert word not in finished.output.stderr

    def test_trials_as_json_keep_the_contract(self, finished):
        rows = json.loads(finished.run("trials", "--format", "json").stdout)
        assert len(rows) == 5
        for row in rows:
            assert row.keys() >= {"number", "state", "objective", "params", "epochs", "seconds", "run_id"}
        objectives = [row["objective"] for row in rows]
        assert objectives == sorted(objectives, reverse=True)
        by_number = json.loads(finished.run("trials", "tiny", "--format", "json", "--no-sort").stdout)
        assert [row["number"] for row in by_number] == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("command", [["list"], ["show"], ["trials"], ["models", "list"]], ids=" ".join)
    def test_every_format_of_every_table(self, finished, command):
        table = finished.run(*command).stdout
        assert "tiny" in table
        rows = json.loads(finished.run(*command, "--format", "json").stdout)
        lines = list(csv.DictReader(io.StringIO(finished.run(*command, "--format", "csv").stdout)))
        assert len(rows) == len(lines) > 0
        nested = ["params", "metrics", "paused", "number", "objective", "confirms"] if command == ["trials"] else []
        assert list(rows[0]) == [*lines[0], *nested]

    def test_models_show_is_a_model_card(self, finished):
        card = finished.run("models", "show", "tiny-model").stdout
        assert card.startswith("# tiny-model version 1 (champion)")
        for heading in ("Data", "Training", "Search", "Held-out test", "Limits", "Software", "Promotion"):
            assert f"\n## {heading}\n" in card
        assert "promoted: first version: there was no champion" in card
        assert "## Champions so far" in card

    def test_models_list_keeps_the_contract(self, finished):
        (row,) = json.loads(finished.run("models", "list", "--format", "json").stdout)
        assert (row["name"], row["version"], row["aliases"]) == ("tiny-model", 1, ["champion"])
        assert row["test"].keys() >= {"accuracy", "macro_f1", "balanced_accuracy", "n_images"}

    @pytest.mark.parametrize(
        "command",
        ["trials", "trials --format csv", "trials --format json", "models list", "--help", "list 2>&1", "sync 2>&1"],
    )
    def test_a_reader_that_goes_away_is_no_error(self, finished, tmp_path, command):
        project = finished.copy_to(tmp_path) if command.startswith("sync") else finished
        # `true` is gone before the first line; `head -1` could still be there when all of a short table is written
        script = f"set -o pipefail; {sys.executable} -m galaxy_exp {command} | true"
        done = subprocess.run(
            ["bash", "-c", script], cwd=project.path, env=project.environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["models", "promote", "tiny-model", "9"], "error: tiny-model has no version 9; versions: 1"),
            (["models", "promote", "nothing", "1"], 'error: no version is registered as "nothing"'),
            (["models", "rollback", "nothing"], "error: nothing "),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_a_version_that_does_not_exist_is_one_line(self, finished, arguments, message):
        done = finished.run(*arguments, exit_code=2)
        (line,) = done.stderr.splitlines()
        assert line.startswith(message)
        assert done.stdout == ""

    def test_sync_finds_nothing_to_do(self, finished, tmp_path):
        assert "has all 5 finished trials" in finished.copy_to(tmp_path).call("sync").stderr


class TestPredict:
    """In this process; `test_predict.py` has processes that predict."""

    @pytest.fixture(scope="class")
    @classmethod
    def images(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("images")
        rng = np.random.default_rng(0)
        (folder / "some").mkdir()
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(folder / "fits.png")
        Image.fromarray(rng.integers(0, 256, (60, 40, 3), dtype=np.uint8)).save(folder / "some" / "big.png")
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / "some" / "small.png")
        (folder / "some" / "broken.png").write_bytes(b"not a picture")
        with h5py.File(folder / "many.h5", "w") as file:
            file["images"] = rng.integers(0, 256, (7, 24, 24, 3), dtype=np.uint8)
        return folder

    def test_files_folders_and_hdf5_in_one_table(self, finished, images, tmp_path):
        output = tmp_path / "out.csv"
        done = finished.call(
            "predict", str(images / "fits.png"), str(images / "some"), str(images / "many.h5"),
            "--model", "tiny-model", "-o", str(output), "--batch-size", "4", exit_code=3,
        )  # fmt: skip
        rows = list(csv.DictReader(output.open()))
        assert len(rows) == 1 + 3 + 7
        assert "wrote 11 rows" in done.stderr
        assert "2 of 11 images could not be classified" in done.stderr
        by_name = {row["name"].rsplit("/")[-1]: row for row in rows}
        assert by_name["broken.png"]["error"]
        assert "8" in by_name["small.png"]["error"]
        for name in ("fits.png", "big.png", "many.h5[6]"):
            row = by_name[name]
            probabilities = [float(value) for key, value in row.items() if key.startswith("p_")]
            assert len(probabilities) == 10
            assert sum(probabilities) == pytest.approx(1, abs=1e-4)
            assert float(row["probability"]) == pytest.approx(max(probabilities))
            assert row["class_name"]

    def test_a_folder_of_broken_images_is_a_table_of_reasons(self, finished, tmp_path):
        for name in ("a.png", "b.jpg"):
            (tmp_path / name).write_bytes(b"not a picture")
        done = finished.call("predict", str(tmp_path), "--model", "tiny-model", exit_code=3)
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert [row["name"] for row in rows] == [str(tmp_path / "a.png"), str(tmp_path / "b.jpg")]
        assert all("not a picture that can be read" in row["error"] and not row["class_name"] for row in rows)
        assert "wrote 2 rows\n" in done.stderr
        assert "2 of 2 images could not be classified" in done.stderr
        assert f"unusable: {tmp_path / 'b.jpg'}: not a picture" in done.stderr

    def test_only_the_stretch_and_the_table_can_be_set(self, project, tmp_path):
        done = project.run("predict", str(tmp_path), "--set", "training.epochs=3", exit_code=2)
        assert done.stderr.startswith(
            "error: --set training.epochs=3: expected data.fits.KEY=VALUE, or data.table.KEY=VALUE "
        )

    def test_json_and_stdout(self, finished, images, tmp_path):
        output = tmp_path / "out.json"
        finished.call("predict", str(images / "fits.png"), "--model", "tiny-model", "-o", str(output))
        (row,) = json.loads(output.read_text())
        assert row["error"] is None
        printed = finished.call("predict", str(images / "fits.png"), "--model", "tiny-model").stdout
        assert next(csv.DictReader(io.StringIO(printed)))["class_name"] == row["class_name"]


def test_an_unreadable_journal_is_listed_with_the_reason(project):
    folder = project.path / ".galaxy_exp" / "sweeps" / "torn"
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").write_text("")
    (row,) = json.loads(project.run("list", "--format", "json").stdout)
    assert row["sweep"] == "torn"
    assert row["state"] == "unreadable"
    assert "journal" in row["reason"]


def test_a_journal_with_a_configuration_of_another_release_does_not_hide_the_others(project, make_record):
    config = make_record().started.config
    for name, changes in (("old", {"gone": 1, "lost": 2}), ("good", {})):
        folder = project.path / ".galaxy_exp" / "sweeps" / name
        folder.mkdir(parents=True)
        started = make_record().started.model_copy(update={"sweep_id": name, "config": {**config, **changes}})
        (folder / "journal.jsonl").write_text(started.model_dump_json() + "\n")
    rows = {row["sweep"]: row for row in json.loads(project.run("list", "--format", "json").stdout)}
    assert rows["old"]["state"] == "unreadable"
    assert rows["old"]["reason"].startswith("journal of old: gone: unknown key")
    assert "lost" not in rows["old"]["reason"]
    assert rows["good"]["state"] == "interrupted"
