"""`galaxy-exp report` of a real sweep."""


def test_the_page_tells_of_the_sealed_test_and_is_in_mlflow_too(finished, tmp_path):
    path = tmp_path / "page.html"
    done = finished.run("report", "-o", str(path))
    assert done.stdout == f"{path}\n"
    page, record = path.read_text(), finished.record()
    assert "SIMULATED galaxies" in page
    assert f"{record.test_reports[record.winner]['macro_f1']:.3f}" in page
    assert "Expected calibration error" in page
    assert 'src="data:image/jpeg;base64,' in page
    client = finished.client()
    assert "report.html" in [each.path for each in client.list_artifacts(record.parent_run_id)]
    logged = (finished.sweep_folders()[-1] / "artifacts" / "report.html").read_text()
    assert "NOT FINISHED" not in logged


def test_another_kind_of_file_is_refused(finished, tmp_path):
    done = finished.run("report", "-o", str(tmp_path / "page.pdf"), exit_code=2)
    assert "page.pdf: expected a name ending in .html" in done.stderr
    assert list(tmp_path.iterdir()) == []
