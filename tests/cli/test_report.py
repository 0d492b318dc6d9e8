"""`galaxy-exp report` of a real sweep, and of one that runs."""

import signal
import subprocess
import sys

import requests
from written_records import started

from galaxy_exp.folders import ProjectFolder
from galaxy_exp.journal.events import TrialProposed
from galaxy_exp.journal.journal import Journal
from galaxy_exp.report_server import REFRESH_SECONDS, _Page


def test_the_page_has_the_held_out_test_and_is_in_mlflow_too(finished, tmp_path):
    path = tmp_path / "page.html"
    done = finished.call("report", "-o", str(path))
    assert done.stdout == f"{path}\n"
    page, record = path.read_text(), finished.record()
    assert "SIMULATED galaxies" in page
    assert f"{record.test_reports[record.winner]['macro_f1']:.3f}" in page
    assert "Expected calibration error" in page
    assert 'src="data:image/jpeg;base64,' in page
    client = finished.client()
    assert "report.html" in [each.path for each in client.list_artifacts(record.parent_run_id)]
    logged = (finished.sweep_folders()[-1] / "artifacts" / "report.html").read_text()
    assert "INTERRUPTED" not in logged


def test_another_kind_of_file_is_refused(finished, tmp_path):
    done = finished.call("report", "-o", str(tmp_path / "page.pdf"), exit_code=2)
    assert "page.pdf: expected a name ending in .html" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_page_of_a_running_sweep_is_served_until_ctrl_c(tmp_path):
    folder = ProjectFolder(tmp_path / ".galaxy_exp").sweep("s-1")
    with Journal.create(folder.path, started()) as journal:
        command = [sys.executable, "-m", "galaxy_exp", "report", "--watch"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            address = process.stdout.readline().strip()
            journal.append(TrialProposed(number=0, values={"units": 1}, seed=1))
            page = requests.get(address, timeout=60).text
            assert "This sweep is RUNNING: 0 of 20 trials" in page
            assert '<meta http-equiv="refresh" content="60"/>' in page
            assert requests.get(address, headers={"Host": "elsewhere.example"}, timeout=60).status_code == 404
            assert requests.get(f"{address}journal.jsonl", timeout=60).status_code == 404
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0
    assert rest[0] == ""
    assert rest[1].count("\n") == 1
    assert "Ctrl-C ends it" in rest[1]


def test_the_page_is_drawn_at_most_once_a_minute(tmp_path):
    now = [0.0]
    folder = ProjectFolder(tmp_path).sweep("s-1")
    with Journal.create(folder.path, started()) as journal:
        page = _Page(folder, lambda: now[0])
        first = page.read()
        journal.append(TrialProposed(number=0, values={"units": 1}, seed=1))
        now[0] = REFRESH_SECONDS - 1
        assert page.read() is first
        now[0] = REFRESH_SECONDS
        second = page.read()
        assert second != first
        now[0] *= 2
        assert page.read() is second  # nothing has happened since
        assert b"running" in second
    now[0] *= 2
    assert b"interrupted" in page.read()  # a killed driver writes nothing
