import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import data
from benchmarks.big_sets import ALL_FILE, vary_image, write_all, write_big_set
from benchmarks.memory import parse_rollup, watch_memory

ROLLUP = """55d0-7ffc ---p 00000000 00:00 0 [rollup]
Rss:              204800 kB
Pss:              153600 kB
Anonymous:        102400 kB
"""
MEASURED = {
    "large_memory": {"image_bytes": 2**30, "anonymous_mb": 1600.0, "before_training_mb": 500.0, "mapped_mb": 900.0},
    "large_speed": {"ratio": 0.99},
    "large_share": {"batch_ms": 10.0, "share": 0.02},
    "small_share": {"batch_ms": 3.0, "share": 0.08},
    "small_memory": {"peak_rss_mb": 1000.0},
    "small_handwired": {"peak_rss_mb": 4000.0},
}


class TestMemory:
    def test_rollup_in_mebibytes(self):
        assert parse_rollup(ROLLUP) == (100.0, 200.0)

    def test_rollup_of_another_system(self):
        assert parse_rollup("") == (0, 0)

    def test_what_is_written_is_seen_and_what_is_mapped_is_not(self, tmp_path):
        file = tmp_path / "mapped.npy"
        np.save(file, np.ones(64 * 2**20, np.uint8))
        with watch_memory() as peak:
            if not peak_is_known():
                pytest.skip("no /proc/self/smaps_rollup here")
            before = wait_for_sample(peak).anonymous_mb
            mapped = np.load(file, mmap_mode="r")
            assert mapped.sum() == 64 * 2**20
            between = wait_for_sample(peak).anonymous_mb
            written = np.ones(100 * 2**20, np.uint8)
            after = wait_for_sample(peak).anonymous_mb
        assert between - before < 30
        assert after - between > 80
        assert len(written) == 100 * 2**20


def peak_is_known():
    return data.Path("/proc/self/smaps_rollup").is_file()


def wait_for_sample(peak):
    import time

    seen = peak.samples
    while peak.samples < seen + 2:
        time.sleep(0.01)
    return SimpleNamespace(anonymous_mb=peak.anonymous_mb)


class TestBigSets:
    def test_files_are_those_of_a_split(self, tmp_path):
        files = write_big_set(tmp_path, 100, 24, n_different=60, seed=1)
        images, labels = np.load(files.train_images, mmap_mode="r"), np.load(files.train_labels)
        assert (images.shape, images.dtype, labels.shape, labels.dtype) == ((85, 24, 24, 3), np.uint8, (85,), np.int64)
        assert np.load(files.validation_images).shape == (15, 24, 24, 3)
        assert len({image.tobytes() for image in images}) == 85

    def test_all_in_one_file(self, tmp_path):
        files = write_big_set(tmp_path, 60, 24, n_different=60, seed=1)
        whole = np.load(write_all(tmp_path, files))
        assert (tmp_path / ALL_FILE).is_file()
        assert (whole["images"].shape, whole["ans"].shape) == ((60, 24, 24, 3), (60,))
        assert np.bincount(whole["ans"]).tolist() == [6] * 10

    def test_variations_keep_the_light(self):
        rng = np.random.default_rng(0)
        image = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        varied = [vary_image(image, rng) for _ in range(20)]
        assert all(one.shape == image.shape and one.dtype == np.uint8 for one in varied)
        assert all(0.75 < one.mean() / image.mean() <= 1 for one in varied)
        assert len({one.tobytes() for one in varied}) == 20


class TestFigures:
    def test_goals(self):
        met = {figure.what: figure.met for figure in data.build_figures(MEASURED) if figure.goal is not None}
        assert met == {
            "worker's memory without mapped files, large set": False,
            "training speed from the memory map, relative to images in memory": True,
            "worker's peak memory, relative to the script's": True,
            "time to produce a batch, relative to a training step, large set": True,
            "time to produce a batch, relative to a training step, small set": False,
        }

    def test_only_what_was_measured(self):
        assert data.build_figures({}) == []
        assert len(data.build_figures({"small_share": MEASURED["small_share"]})) == 2

    def test_table_says_what_missed_its_goal(self):
        table = data.build_table([data.Figure("speed", 0.5, "", 0.9, at_least=True), data.Figure("size", 3.0, "MiB")])
        columns = [list(column.cells) for column in table.columns]
        assert columns == [["speed", "size"], [">= 0.90", ""], ["0.50", "3 MiB"], ["NO", ""]]


class TestMain:
    def test_quick_fills_in_only_what_was_not_given(self):
        parsed = data.parse_arguments(["--quick", "--images", "77"])
        assert (parsed.images, parsed.image_size, parsed.steps) == (77, 64, 3)
        assert data.parse_arguments([]).images == 17_736

    def test_too_small_a_disk_is_one_line(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(data.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**9))
        assert data.main(["--folder", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "1.0 GB free; expected" in error
        assert list(tmp_path.iterdir()) == []

    def test_worker_that_fails_is_reported_and_its_set_removed(self, tmp_path, monkeypatch, capsys):
        failed = SimpleNamespace(returncode=3, stdout="", stderr="out of memory")
        monkeypatch.setattr(data.subprocess, "run", lambda *arguments, **others: failed)
        sizes = ["--images", "60", "--image-size", "24", "--different", "60", "--folder", str(tmp_path)]
        assert data.main([*sizes, "--only", "large"]) == 1
        error = capsys.readouterr().err
        assert "exit code 3" in error
        assert "out of memory" in error
        assert list(tmp_path.iterdir()) == []

    def test_measures_each_set_and_leaves_nothing(self, tmp_path, monkeypatch, capsys):
        seen = []

        def run(what, files, network, sizes):
            assert (files / "train_images.npy").is_file()
            seen.append((what, files.name, network))
            return MEASURED[f"{files.name}_{what}"]

        monkeypatch.setattr(data, "_run", run)
        out = tmp_path / "out.json"
        made = tmp_path / "made"
        made.mkdir()
        sizes = ["--images", "80", "--image-size", "24", "--different", "60", "--small-images", "60"]
        assert data.main([*sizes, "--small-image-size", "24", "--folder", str(made), "--json", str(out)]) == 0
        assert seen == [
            ("memory", "large", "small"),
            ("speed", "large", "small"),
            ("share", "large", "small"),
            ("share", "small", "tutorial"),
            ("memory", "small", "tutorial"),
            ("handwired", "small", "tutorial"),
        ]
        assert list(made.iterdir()) == []
        assert {figure["what"]: figure["met"] for figure in json.loads(out.read_text())["figures"]}[
            "worker's peak memory, relative to the script's"
        ]
        assert "SIMULATED" in capsys.readouterr().out
