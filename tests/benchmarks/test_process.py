import sys

import pytest

from benchmarks.command_line import describe_machine, format_machine, parse_flags
from benchmarks.process import CommandFailed, parse_busy_ticks, parse_proportional_mb, run_command

ALLOCATE = "import time; block = bytearray(80 * 2**20); block[::4096] = b'x' * (len(block) // 4096); time.sleep(0.8)"


def test_time_and_memory_of_a_command_and_its_child(tmp_path):
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ALLOCATE!r}], check=True)"
    usage = run_command([sys.executable, "-c", code], tmp_path, tmp_path / "log")
    assert usage.wall_seconds > 0.8
    assert usage.peak_process_mb > 80  # no upper bound: Linux counts this process, forked, as the child's beginning
    assert usage.cpu_seconds > 0
    if sys.platform == "linux":
        assert usage.peak_total_mb is not None
        assert usage.peak_total_mb > 80


def test_runs_in_the_folder_and_keeps_the_output(tmp_path):
    run_command([sys.executable, "-c", "import os; print(os.getcwd())"], tmp_path, tmp_path / "log")
    assert (tmp_path / "log").read_text().strip() == str(tmp_path)


def test_stores_of_the_user_are_not_touched(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere")
    run_command([sys.executable, "-c", "import os; print(*os.environ)"], tmp_path, tmp_path / "log")
    assert "MLFLOW_TRACKING_URI" not in (tmp_path / "log").read_text()


def test_failure_shows_the_end_of_the_output(tmp_path):
    with pytest.raises(CommandFailed, match=r"exit code 1 from(?s:.*)no luck"):
        run_command([sys.executable, "-c", "raise SystemExit('no luck')"], tmp_path, tmp_path / "log")


def test_proportional_memory():
    assert parse_proportional_mb("Rss:  4096 kB\nPss:  2048 kB\nPss_Anon: 1 kB\n") == 2.0
    assert parse_proportional_mb("") == 0.0


def test_busy_time_leaves_out_waiting():
    assert parse_busy_ticks("cpu 1 2 4 1000 1000 8 16 1000 0 0\ncpu0 9 9 9 9 9 9 9\n") == 31


def test_flags_are_whole_words():
    assert parse_flags("model name: x\nflags : fpu avx2 avx512_bf16x amx_bf16\n") == ["avx2", "amx_bf16"]
    assert parse_flags("") == []


def test_machine_is_described():
    machine = describe_machine()
    assert machine["cores"] >= 1
    assert machine["packages"]["keras-tuner"].startswith("1.4")
    assert f"machine: {machine['cores']} cores (" in format_machine(machine)
    assert f", keras-tuner {machine['packages']['keras-tuner']}, " in format_machine(machine)
