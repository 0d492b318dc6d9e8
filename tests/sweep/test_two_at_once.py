"""Two sweeps in one folder at the same time, and two drivers on one sweep."""

import pytest

from galaxy_exp.journal.journal import read_record
from galaxy_exp.tracking import names

from .test_faults import wait_for

pytestmark = pytest.mark.slow


def test_two_sweeps_in_one_folder_do_not_mix_and_a_second_driver_is_refused(project):
    drivers = {
        name: project.start(
            "sweep", "sweep.yaml", "-q", "--name", name, "--max-trials", "2", "--seed", seed,
            "--set", f"tracking.experiment={name}", "--set", f"registry.model={name}",
        )
        for name, seed in (("one", "1"), ("two", "2"))
    }  # fmt: skip
    wait_for(lambda: list(project.path.glob(".galaxy_exp/sweeps/one-*/journal.jsonl")), drivers["one"])
    refused = project.call("resume", "one", exit_code=2).stderr
    assert refused.count("\n") == 1
    assert "another galaxy-exp process" in refused
    for driver in drivers.values():
        _, log = driver.communicate(timeout=200)
        assert driver.returncode == 0, log

    client = project.client()
    records = {folder.name.split("-")[0]: read_record(folder) for folder in project.sweep_folders()}
    assert records["one"].trials[1].values != records["two"].trials[1].values
    for name, record in records.items():
        assert list(record.trials) == [0, 1]
        runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
        assert {run.data.tags[names.SWEEP_ID] for run in runs} == {record.sweep_id}
        assert sorted(run.data.tags.get(names.TRIAL, "sweep") for run in runs) == ["0", "1", "sweep"]
        assert len(client.search_model_versions(f"name='{name}'")) == 1
    assert project.call("doctor").stdout == "all in order (2 sweeps)\n"
