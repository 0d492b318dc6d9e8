import json

import pytest

from benchmarks import compare
from benchmarks.contenders import CONTENDERS
from benchmarks.process import CommandFailed

MACHINE = {"cores": 2, "processor_flags": ["avx2"], "load_before": 0.1, "system": "x", "python": "3", "packages": {}}


def _task(*arguments):
    return compare.build_task(compare.parse_arguments(arguments))


class TestTask:
    def test_defaults(self):
        task = _task()
        assert (task.data, task.trials, task.epochs, task.images, task.image_size) == ("simulated", 3, 3, 1200, 69)

    def test_quick_fills_in_only_what_was_not_given(self):
        task = _task("--quick", "--epochs", "7")
        assert (task.trials, task.epochs, task.image_size) == (2, 7, 32)

    def test_file_is_found_from_any_folder(self, tmp_path, monkeypatch):
        (tmp_path / "images.h5").touch()
        monkeypatch.chdir(tmp_path)
        assert _task("--data", "images.h5").data == str(tmp_path / "images.h5")

    def test_simulated_galaxies_are_called_so(self):
        assert "1200 SIMULATED galaxies" in compare.describe_task(_task(), MACHINE)

    def test_unknown_contender_is_refused(self, capsys):
        with pytest.raises(SystemExit):
            compare.parse_arguments(["--contenders", "nobody"])
        assert "invalid choice: 'nobody'" in capsys.readouterr().err


class TestMain:
    def test_runs_each_in_a_folder_of_its_own_and_writes_json(self, monkeypatch, tmp_path, capsys, by_hand, swept):
        folders = []
        fakes = {"handwired": by_hand, "galaxy-exp": swept}
        for name, measured in fakes.items():
            monkeypatch.setitem(CONTENDERS, name, lambda task, folder, one=measured: folders.append(folder) or one)
        arguments = ["--contenders", *fakes, "--json", str(tmp_path / "all.json"), "--keep", str(tmp_path / "kept")]
        assert compare.main(arguments) == 0
        assert folders == [tmp_path / "kept" / name for name in fakes]
        assert "galaxy_exp" in capsys.readouterr().out
        content = json.loads((tmp_path / "all.json").read_text())
        assert [one["name"] for one in content["contenders"]] == ["by hand", "galaxy_exp"]
        assert content["task"]["images"] == 1200

    def test_failed_contender_ends_it_with_its_output(self, monkeypatch, capsys):
        def fail(task, folder):
            raise CommandFailed("exit code 2 from: x\nthe reason")

        monkeypatch.setitem(CONTENDERS, "handwired", fail)
        assert compare.main(["--contenders", "handwired"]) == 1
        assert "the reason" in capsys.readouterr().err
