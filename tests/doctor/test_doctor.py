"""`galaxy-exp doctor` on folders where something is wrong: it reports, repairs when asked, and is then content."""

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from journaled_sweeps import FINISH, SWEEP, trial_events
from mlflow import MlflowClient
from mlflow_databases import old_database

from galaxy_exp.cli.main import run_command
from galaxy_exp.config import SweepConfig
from galaxy_exp.config.reading import SweepFile
from galaxy_exp.doctor.sweep_files import examine_journal
from galaxy_exp.journal.events import FinalistsChosen, ModelRegistered, SweepResumed, WinnerChosen
from galaxy_exp.registry import version_tags
from galaxy_exp.tracking import names

pytestmark = pytest.mark.slow

IN_ORDER = (0, [])


def test_an_empty_folder_is_one_line_and_stays_empty(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GALAXY_EXP_HOME", raising=False)
    for option in ("--fix", "--repair", "--mend"):  # the others are names of earlier releases
        assert run_command(["doctor", option]) == 0
        assert capsys.readouterr().out.startswith("no sweeps here yet")
    assert list(tmp_path.iterdir()) == []


def test_a_healthy_folder_is_one_line(ward, capsys):
    ward.finish()
    before = ward.journal_file.read_bytes()
    assert run_command(["doctor"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("all in order (1 sweep)\n", "")
    assert ward.journal_file.read_bytes() == before


class TestRuns:
    def test_of_a_killed_driver_are_closed_until_the_sweep_goes_on(self, ward, doctor):
        ward.play(*trial_events(0), *trial_events(1, ends=False))
        problem = "2 runs are RUNNING in MLflow, and no driver runs the sweep"
        assert doctor() == (1, [(problem, "open")])
        assert ward.statuses() == ["FINISHED", "RUNNING", "RUNNING"]
        assert doctor("--fix") == (0, [(problem, "repaired")])
        assert ward.statuses() == ["FINISHED", "KILLED", "KILLED"]
        closed = [run for run in ward.runs().values() if run.info.status == "KILLED"]
        assert all("no driver runs the sweep" in run.data.tags[names.CLOSED] for run in closed)
        assert doctor() == IN_ORDER

        ward.play(SweepResumed(), *trial_events(1, attempt=2)[1:], *FINISH, closed="FINISHED")
        assert ward.statuses() == ["FINISHED"] * 3
        assert not any(names.CLOSED in run.data.tags for run in ward.runs().values())
        assert doctor() == IN_ORDER

    def test_of_a_live_driver_are_left_alone(self, ward, capsys):
        with ward.begin() as journal:
            projection = ward.projection(journal)
            for event in trial_events(0, ends=False):
                projection.on_event(journal.append(event), journal.record)
            assert run_command(["doctor", "--fix"]) == 0
        assert capsys.readouterr().out == "all in order (1 sweep, 1 of them running and left alone)\n"
        assert ward.statuses() == ["RUNNING", "RUNNING"]

    def test_that_mlflow_lacks_are_written(self, ward, doctor):
        ward.play(*trial_events(0))
        ward.play(*trial_events(1), *FINISH, tracked=False)
        problem = "MLflow lacks trial 1 and the end of the sweep"
        assert doctor() == (1, [(problem, "open")])
        assert doctor("--mend") == (0, [(problem, "repaired")])
        assert ward.statuses() == ["FINISHED"] * 3
        history = ward.client.get_metric_history(ward.record().trials[1].run_id, "val_macro_f1")
        assert [point.value for point in history] == [1.1, 1.2]

    def test_that_were_deleted_are_restored(self, ward, doctor):
        ward.finish()
        run_id = ward.record().trials[0].run_id
        ward.client.delete_run(run_id)
        assert doctor("--fix") == (0, [("MLflow lacks trial 0", "repaired")])
        assert run_id in ward.runs()
        assert len(ward.client.get_metric_history(run_id, "val_macro_f1")) == 2

    def test_of_an_experiment_that_was_renamed_are_found_and_go_on_there(self, ward, doctor):
        ward.play(*trial_events(0))
        first = ward.experiment
        ward.client.rename_experiment(ward.record().experiment_id, f"{first}, renamed")
        assert doctor("--fix")[1] == [("1 run is RUNNING in MLflow, and no driver runs the sweep", "repaired")]
        assert doctor(SWEEP) == IN_ORDER
        ward.play(SweepResumed(), *trial_events(1), *FINISH, closed="FINISHED")
        assert doctor() == IN_ORDER
        assert ward.client.get_experiment_by_name(first) is None
        ward.experiment = f"{first}, renamed"
        assert ward.statuses() == ["FINISHED"] * 3
        ward.client.delete_experiment(ward.record().experiment_id)
        assert doctor("--fix")[0] == 0
        assert ward.statuses() == ["FINISHED"] * 3

    def test_the_sweep_s_own_is_restored_with_its_trials(self, ward, doctor):
        ward.finish()
        parent, trial = ward.record().parent_run_id, ward.record().trials[0].run_id
        ward.client.delete_run(parent)
        code, _ = doctor("--fix")
        assert code == 0
        assert ward.record().parent_run_id == parent
        assert ward.client.get_run(trial).data.tags["mlflow.parentRunId"] == parent
        assert doctor() == IN_ORDER

    def test_there_twice_go_to_the_bin(self, ward, doctor):
        ward.finish()
        first = ward.client.get_run(ward.record().trials[1].run_id)
        double = ward.client.create_run(first.info.experiment_id, tags=first.data.tags)
        ward.client.set_terminated(double.info.run_id)
        problem = "MLflow has more than one run of trial 1"
        assert doctor("--fix") == (0, [(problem, "repaired")])
        assert double.info.run_id not in ward.runs()
        assert doctor() == IN_ORDER

    def test_that_no_journal_knows_are_told_and_kept(self, ward, doctor):
        ward.finish()
        parent = ward.client.get_run(ward.record().parent_run_id)
        tags = parent.data.tags | {names.SWEEP_ID: "of-somebody-else"}
        ward.client.create_run(parent.info.experiment_id, tags=tags)
        code, rows = doctor("--fix")
        assert code == 0
        assert [state for _, state in rows] == ["harmless"]
        assert "no journal here contains its 1 runs" in rows[0][0]
        assert len(ward.runs()) == 4

    def test_in_a_database_that_is_gone_are_missed_and_it_is_not_created(self, ward, doctor, tmp_path):
        gone = f"sqlite:///{tmp_path / 'gone.db'}"
        ward.play(*trial_events(0), *trial_events(1), tracked=False, tracking_uri=gone)
        assert doctor() == (1, [("MLflow lacks all 2 trials and the sweep's own run", "open")])
        assert not (tmp_path / "gone.db").exists()

    def test_of_a_project_that_was_moved_are_not_written_in_its_former_place(self, ward, doctor, tmp_path, capsys):
        ward.finish()
        former = tmp_path / "former"
        moved = ward.journal_file.read_text().replace(ward.uri, f"sqlite:///{former / 'mlflow.db'}")
        moved = moved.replace(str(ward.prepared.folder), str(former / ".galaxy_exp" / "data" / "digests"))
        ward.journal_file.write_text(moved)
        code, rows = doctor("--fix")
        assert (code, rows[0]) == (1, ("MLflow lacks all 2 trials and the end of the sweep", "open"))
        assert run_command(["sync"]) == 2
        said = capsys.readouterr().err
        assert (
            f"put a link in its former place, as MLflow has whole paths of its files: ln -s NEW_FOLDER {former}\n"
            in said
        )
        assert not former.exists()

    def test_in_a_database_that_was_deleted_are_written_again(self, ward, new_store, tmp_path):
        ward.finish()
        lost = {trial.run_id for trial in ward.record().trials.values()}
        ward.client = MlflowClient(new_store())
        ward.client.create_experiment(ward.experiment, artifact_location=(tmp_path / "again").as_uri())
        with ward.begin() as journal:
            ward.projection(journal).close_sweep("FINISHED")
        record = ward.record()
        assert set(ward.runs()) == {record.parent_run_id, *(trial.run_id for trial in record.trials.values())}
        assert ward.statuses() == ["FINISHED"] * 3
        assert not lost & set(ward.runs())

    def test_on_a_server_that_is_down_are_one_line(self, ward, doctor, monkeypatch):
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            uri = f"http://me:hunter2@127.0.0.1:{probe.getsockname()[1]}"
        ward.play(*trial_events(0), tracked=False, tracking_uri=uri)
        code, rows = doctor("--fix")
        assert code == 1
        assert [state for _, state in rows] == ["open"]
        assert rows[0][0].startswith("cannot be compared with the journals of 1 sweeps: MLflow store http://***@")
        assert "hunter2" not in rows[0][0]

    def test_on_a_server_whose_password_is_in_the_sweep_file_are_asked_for(self, ward, doctor, monkeypatch, tmp_path):
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            server = f"127.0.0.1:{probe.getsockname()[1]}"
        file = tmp_path / "sweep.yaml"
        file.write_text(f"tracking: {{uri: 'http://me:hunter2@{server}'}}\n")
        hidden = f"http://***@{server}"
        config = SweepConfig.model_validate({"tracking": {"uri": hidden}}).model_dump(mode="json")
        sweep_file = SweepFile(path=str(file))
        ward.play(*trial_events(0), tracked=False, tracking_uri=hidden, config=config, sweep_file=sweep_file)
        _, rows = doctor()
        assert rows[0][0].startswith(f"cannot be compared with the journals of 1 sweeps: MLflow store {hidden}")
        assert "password" not in rows[0][0]

    def test_in_a_database_that_mlflow_would_migrate_are_left_alone_without_fix(self, ward, doctor, tmp_path, capsys):
        uri = old_database(tmp_path / "old.db")
        before = (tmp_path / "old.db").read_bytes()
        ward.play(*trial_events(0), *FINISH[:1], tracked=False, tracking_uri=uri)
        code, rows = doctor()
        assert (code, [state for _, state in rows]) == (1, ["open"])
        assert "will migrate its database" in rows[0][0]
        assert (tmp_path / "old.db").read_bytes() == before
        assert run_command(["doctor", "--fix"]) == 0
        assert capsys.readouterr().err.startswith("note: MLflow ")
        assert doctor() == IN_ORDER


class TestVersions:
    @pytest.fixture
    def version(self, ward):
        ward.client.create_registered_model(ward.experiment)
        return ward.client.create_model_version(ward.experiment, "file:///nowhere", tags={version_tags.SWEEP_ID: SWEEP})

    def test_registered_by_a_driver_that_died_before_it_could_say_so(self, ward, doctor, version):
        chosen = FinalistsChosen(numbers=[], reason="done"), WinnerChosen(number=0)
        ward.play(*trial_events(0), *chosen, closed="KILLED")
        code, rows = doctor("--fix")
        assert code == 0
        assert rows == [(f"{ward.experiment} version 1 is registered, and the journal does not know of it", "repaired")]
        assert ward.record().registered.version == 1
        assert ward.record().registered.number == 0

    def test_deleted_from_the_registry_are_told(self, ward, doctor, version):
        registered = ModelRegistered(number=0, name=ward.experiment, version=1)
        ward.play(*trial_events(0), FINISH[0], WinnerChosen(number=0), registered, FINISH[2], closed="FINISHED")
        assert doctor() == IN_ORDER
        ward.client.delete_model_version(ward.experiment, "1")
        assert doctor() == (0, [(f"{ward.experiment} version 1 is no longer in the registry", "harmless")])


class TestFiles:
    def test_a_torn_last_line_is_cut_off(self, ward, doctor):
        ward.finish()
        whole = ward.journal_file.read_bytes()
        ward.journal_file.write_bytes(whole + b'{"event": "swe')
        problem = "journal.jsonl: the last line was cut off while it was written"
        assert doctor() == (0, [(problem, "harmless")])
        assert doctor("--fix") == (0, [(problem, "repaired")])
        assert ward.journal_file.read_bytes() == whole
        assert doctor() == IN_ORDER

    def test_a_journal_that_went_on_since_it_was_looked_at_keeps_what_came(self, ward):
        ward.play(*trial_events(0), tracked=False)
        ward.journal_file.write_bytes(ward.journal_file.read_bytes() + b'{"event": "swe')
        (finding,) = examine_journal(ward.folder)
        ward.play(SweepResumed(), *trial_events(1), tracked=False)
        whole = ward.journal_file.read_bytes()
        finding.repair()
        assert ward.journal_file.read_bytes() == whole
        assert [path.name for path in ward.folder.path.glob("journal*")] == ["journal.jsonl"]

    def test_a_damaged_journal_is_cut_before_the_damage_and_kept(self, ward, doctor):
        ward.play(*trial_events(0), *trial_events(1), tracked=False)
        lines = ward.journal_file.read_bytes().splitlines(keepends=True)
        damaged = b"".join([*lines[:8], b"\x00" * 20 + b"\n", *lines[9:]])
        ward.journal_file.write_bytes(damaged)
        (problem, state), *rest = doctor()[1]
        assert (problem.split(":")[1], state, rest) == ("9", "open", [])
        assert "damaged, 2 lines after it" in problem
        assert (problem, "repaired") in doctor("--fix")[1]
        assert (ward.folder.path / "journal.jsonl.damaged").read_bytes() == damaged
        assert [trial.epochs for trial in ward.record().trials.values()] == [2, 0]
        assert doctor() == IN_ORDER

    def test_a_journal_with_a_line_that_comes_twice_is_cut_before_it(self, ward, doctor):
        ward.play(*trial_events(0), *trial_events(1), tracked=False)
        lines = ward.journal_file.read_bytes().splitlines(keepends=True)
        ended = next(place for place, line in enumerate(lines) if b'"trial_ended"' in line)
        ward.journal_file.write_bytes(b"".join([*lines[: ended + 1], *lines[ended:]]))
        (problem, state), *rest = doctor()[1]
        assert (problem.split(":")[1], state, rest) == (str(ended + 2), "open", [])
        assert "trial_ended names trial 0, which had ended before" in problem
        assert (problem, "repaired") in doctor("--fix")[1]
        assert doctor() == IN_ORDER

    def test_a_journal_whose_beginning_is_damaged_is_left_to_the_user(self, ward, doctor):
        ward.play(*trial_events(0), tracked=False)
        ward.journal_file.write_bytes(b"x" + ward.journal_file.read_bytes())
        ((problem, state),) = doctor("--fix")[1]
        assert "so the sweep cannot be read" in problem
        assert state == "open"

    def test_a_journal_that_cannot_be_locked_is_told(self, ward, doctor, monkeypatch):
        ward.play(*trial_events(0), tracked=False)

        def refuse(descriptor, kind):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", refuse)  # as on a file system without locks
        problem = f"{ward.journal_file}: cannot be locked: {os.strerror(errno.ENOLCK)}"
        assert doctor() == (1, [(problem, "open")])

    def test_a_folder_whose_sweep_never_began_goes_when_it_is_old(self, ward, doctor):
        folder = ward.project.new_sweep("early").path
        assert doctor("--fix") == IN_ORDER
        os.utime(folder, (0, 0))
        assert doctor("--fix") == (0, [("the sweep was ended before its first trial", "repaired")])
        assert not folder.exists()

    def test_what_a_sweep_that_never_began_left_is_told_and_kept(self, ward, doctor):
        folder = ward.project.new_sweep("early").path
        for name in ("hypermodel.pkl", "journal.jsonl"):
            (folder / name).touch()
        os.utime(folder, (0, 0))
        problem = "the sweep has not begun, and its folder holds hypermodel.pkl, journal.jsonl"
        assert doctor("--fix") == (0, [(problem, "harmless")])
        assert len(list(folder.iterdir())) == 2

    def test_trials_without_a_journal_are_left_to_the_user(self, ward, doctor):
        ward.play(*trial_events(0), tracked=False)
        ward.journal_file.unlink()
        os.utime(ward.folder.path, (0, 0))
        assert doctor("--fix") == (1, [("the journal is gone, and trials are there", "open")])

    def test_the_model_that_is_to_be_registered_is_missed(self, ward, doctor):
        ward.play(*trial_events(0), closed="KILLED")
        model = ward.folder.trial(0) / "model.keras"
        model.unlink()
        (ward.folder.trial(0) / "model_graph").mkdir()  # resuming needs the file too
        problem = f"{model}: the model of the best trial is gone"
        assert doctor("--fix") == (1, [(problem, "open")])

    def test_the_model_of_a_finalist_is_missed_once_all_of_them_are_trained_again(self, ward, doctor):
        named = {"tracking": {"experiment": ward.experiment}, "registry": {"finalists": 1, "seeds": 2}}
        config = SweepConfig.model_validate(named).model_dump(mode="json")
        first, second = [
            [events[0].model_copy(update={"retrains": 0}), *events[1:]] for events in map(trial_events, (1, 2))
        ]
        ward.play(*trial_events(0), FinalistsChosen(numbers=[0], reason="done"), *first, closed="KILLED", config=config)
        for number in (0, 1):
            (ward.folder.trial(number) / "model.keras").unlink()
        assert doctor() == IN_ORDER
        ward.play(SweepResumed(), *second, closed="KILLED")
        assert doctor() == IN_ORDER
        model = ward.folder.trial(2) / "model.keras"
        model.unlink()
        assert doctor() == (1, [(f"{model}: the model of the best trial is gone", "open")])

    def test_checkpoints_that_no_trial_can_continue_from_go(self, ward, doctor):
        ward.play(*trial_events(0), *trial_events(1, ends=False), closed="KILLED")
        folder = ward.folder.checkpoints
        folder.mkdir()
        for name in ("0000-1-00002.npz", "0001-1-00002.npz"):
            with zipfile.ZipFile(folder / name, "w") as archive:
                archive.writestr("x", b"y")
        assert doctor() == (0, [])
        shutil.copy(folder / "0001-1-00002.npz", folder / "0001-1-00003.npz")  # more epochs than were reported
        (folder / f".{'0' * 32}.0001-1-00003.npz").touch()
        (folder / "0001-1-00002.npz").write_bytes((folder / "0001-1-00002.npz").read_bytes()[:-9])
        problem = f"{folder}: no trial can continue from 3 files, .{'0' * 32}.0001-1-00003.npz to 0001-1-00003.npz"
        assert doctor() == (0, [(problem, "harmless")])
        assert doctor("--fix") == (0, [(problem, "repaired")])
        assert [path.name for path in folder.iterdir()] == ["0000-1-00002.npz"]

    def test_checkpoints_of_a_finished_sweep_go(self, ward, doctor):
        ward.finish()
        ward.folder.checkpoints.mkdir()
        (ward.folder.checkpoints / "0000-1-00002.npz").touch()
        assert doctor("--fix")[1][0][1] == "repaired"
        assert list(ward.folder.checkpoints.iterdir()) == []

    def test_what_lost_attempts_left_goes(self, ward, doctor):
        ward.finish()
        for attempt in (1, 2):
            ward.folder.attempt(0, attempt).mkdir()
        problem = f"{ward.folder.path / 'trials'}: files of 2 attempts whose workers were lost"
        assert doctor() == (0, [(problem, "harmless")])
        assert doctor("--fix") == (0, [(problem, "repaired")])
        assert (ward.folder.attempts(), ward.folder.trial(0).is_dir()) == ([], True)

    def test_the_certificate_of_a_dead_driver_goes(self, ward, doctor):
        ward.finish()
        left = ward.project.worker_log(SWEEP).with_suffix(".tls")
        left.mkdir(parents=True)
        problem = f"{left}: the certificate of a dead driver"
        assert doctor("--fix") == (0, [(problem, "repaired")])
        assert not left.exists()

    @pytest.mark.parametrize("held", [[], ["hypermodel.pkl"], ["trials"]], ids=["empty", "model", "trials"])
    def test_the_certificate_of_a_driver_that_died_while_it_prepared_goes_when_it_is_old(self, ward, doctor, held):
        folder = ward.project.new_sweep("early")
        left = ward.project.worker_log(folder.sweep_id).with_suffix(".tls")
        left.mkdir(parents=True)
        for name in held:
            (folder.path / name).mkdir()
        doctor("--fix")
        assert left.exists()
        os.utime(folder.path, (0, 0))
        _, rows = doctor("--fix")
        assert (f"{left}: the certificate of a dead driver", "repaired") in rows
        assert not left.exists()

    def test_prepared_images_that_are_gone_are_told(self, ward, doctor, tmp_path):
        ward.finish()
        elsewhere = tmp_path / "elsewhere"
        shutil.copytree(ward.prepared.folder, elsewhere)
        text = ward.journal_file.read_text()
        ward.journal_file.write_text(text.replace(str(ward.prepared.folder), str(elsewhere)))
        assert doctor() == IN_ORDER
        shutil.rmtree(elsewhere)
        code, rows = doctor()
        assert (code, rows[0][1]) == (0, "harmless")
        assert rows[0][0].startswith("the prepared images are gone or damaged")

    def test_prepared_images_of_a_project_that_was_moved_are_found(self, ward, doctor, tmp_path):
        ward.finish()
        folder = ward.prepared.folder
        shutil.copytree(folder, ward.project.data_cache / folder.name)
        text = ward.journal_file.read_text()
        ward.journal_file.write_text(text.replace(str(folder), str(tmp_path / "former" / folder.name)))
        assert doctor() == IN_ORDER


def test_a_worker_of_a_dead_driver_is_ended(ward, doctor):
    ward.finish()
    log = ward.project.worker_log(SWEEP)
    log.parent.mkdir(parents=True)
    with log.open("ab") as file:
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=file, process_group=0)
    try:
        with ward.begin():
            assert doctor("--fix") == IN_ORDER  # a driver is there
        problem = f"process {worker.pid} is a worker whose driver is gone"
        assert doctor() == (1, [(problem, "open")])
        assert doctor("--fix") == (0, [(problem, "repaired")])
    finally:
        worker.kill()
        worker.wait()


def test_a_worker_of_a_sweep_that_is_beginning_is_left_alone(ward, doctor, tmp_path):
    log = ward.project.worker_log(ward.project.new_sweep("early").sweep_id)
    log.parent.mkdir(parents=True)
    driver = tmp_path / "galaxy-exp"  # as pip installs it: the process is called by its name, not python
    worker = f"[{sys.executable!r}, '-c', 'import time; print(1, flush=True); time.sleep(600)']"
    driver.write_text(
        f"#!{Path(sys.executable).resolve()}\n"
        "import subprocess, sys\n"
        f"worker = subprocess.Popen({worker}, stdout=open({str(log)!r}, 'ab'))\n"
        "sys.stdin.read()\n"
        "worker.kill()\n"
    )
    driver.chmod(0o755)
    with subprocess.Popen([driver], stdin=subprocess.PIPE) as process:
        while not log.exists() or not log.stat().st_size:
            assert process.poll() is None
            time.sleep(0.05)
        assert doctor("--fix") == IN_ORDER
        assert process.poll() is None
