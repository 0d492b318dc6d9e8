"""A disk that fills up under a real sweep: one clear line, nothing lost, and it goes on once there is space."""

import pytest
from tiny_disks import fill_disk, tiny_disk

from .test_faults import assert_nothing_lost_or_doubled, journal_has, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("with_store")]


@pytest.mark.parametrize("full", ["journal", "trials", "test"])
def test_a_sweep_stops_on_a_full_disk_and_goes_on_when_there_is_space(project, finished, tmp_path, full):
    with tiny_disk(tmp_path / "tiny", megabytes=16) as disk:
        if full == "journal":
            (tmp_path / ".galaxy_exp").symlink_to(disk)
        ended = []

        def fill():
            if full != "journal":
                wait_for(project.sweep_folders)
                (project.sweep_folders()[0] / "trials").symlink_to(disk)
            wait_for(journal_has(project, *(("winner_chosen", 1) if full == "test" else ("trial_ended", 2))))
            ended.extend(project.record().end_order[:2])
            fill_disk(disk / "filler")

        log = project.call_while(fill, "sweep", "sweep.yaml", "-q", exit_code=1).stderr
        assert "Traceback" not in log
        errors = [line for line in log.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert "no space left" in errors[0].lower()
        assert errors[0].endswith(f"galaxy-exp resume {project.record().sweep_id}")
        assert project.record().end_order[:2] == ended
        assert all(trial.state != "failed" for trial in project.record().trials.values())

        (disk / "filler").unlink()
        project.call("resume", "-q")
        assert_nothing_lost_or_doubled(project, finished)
