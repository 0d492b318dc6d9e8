"""Orders from the command line to a real sweep in another process, which is killed and resumed."""

import os
import shutil
import signal
import subprocess

import pytest
from tiny_disks import fill_disk, tiny_disk
from written_records import started

from galaxy_exp import tell_sweep
from galaxy_exp.errors import BadInputError, OrderRefusedError
from galaxy_exp.journal.journal import Journal
from galaxy_exp.records import TrialState

from .test_faults import wait_for

pytestmark = pytest.mark.slow

LONG = ("--epochs", "10000", "--scheduler", "none", "--max-trials", "20", "-q")


def journal(project):
    folders = project.sweep_folders()
    path = folders[-1] / "journal.jsonl" if folders else None
    return path.read_text() if path is not None and path.exists() else ""


def reports(project, number):
    return journal(project).count(f'"event":"epoch_reported","report":{{"number":{number},')


def waiting(project):
    return list((project.sweep_folders()[-1] / "orders").glob("*.json"))


@pytest.fixture(scope="module")
def begin(project_in, empty_store, tmp_path_factory):
    """A function that starts a sweep, which runs trial 0; returns its project and its process."""
    processes = []

    def start():
        project = project_in(tmp_path_factory.mktemp("orders"))
        shutil.copy(empty_store, project.path / "mlflow.db")
        processes.append(process := project.start("sweep", "sweep.yaml", *LONG))
        wait_for(lambda: reports(project, 0) > 1, process)
        return project, process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def sweeps():
    """What `begin` returned for `running`; the last one is used while it runs."""
    return []


@pytest.fixture
def running(begin, sweeps):
    """A project with a sweep, and its process; tests share it, but for one that kills it."""
    if not sweeps or sweeps[-1][1].poll() is not None:
        sweeps.append(begin())
    return sweeps[-1]


def max_trials(project):
    """The number of trials that the sweep may have by now."""
    return project.record().config.search.max_trials


def test_orders_are_answered_carried_out_and_outlive_a_kill(begin):
    project, process = begin()

    def tell(*order, exit_code=0):
        return project.call("tell", "latest", *order, exit_code=exit_code)

    unknown = tell("try", "unts=5", exit_code=2)
    assert 'error: try.unts: unknown hyperparameter; did you mean "units"' in unknown.stderr
    impossible = tell("try", "units=many", exit_code=2)
    assert "error: try.units: 'many' was found; expected a whole number" in impossible.stderr
    tried = tell("try", "units=5", "learning_rate=0.02")
    assert tried.stdout == "trial 1 tries units=5, learning_rate=0.02\n"
    again = tell("try", "units=5", "learning_rate=0.02", exit_code=1)
    assert again.stderr.endswith("refused: trial 1 has these values already\n")
    assert (again.stdout, "Traceback" in again.stderr) == ("", False)
    assert "trial 0 ends after epoch " in tell("stop", "0").stdout
    wait_for(lambda: reports(project, 1) > 1, process)
    assert project.record().trials[0].state is TrialState.STOPPED
    assert "refused: trial 0 has ended: stopped, stopped after epoch" in tell("stop", "0", exit_code=1).stderr
    assert tell("workers", "2").stdout.startswith("2 workers from now on, ")
    wait_for(lambda: reports(project, 2) > 1, process)
    assert tell("limits", "--max-trials", "4", "--max-hours", "900").stdout == (
        "search.max_trials: was 20, is 4 now; search.max_hours: was none, is 900.0 now\n"
    )
    assert "trial 2 is paused after epoch " in tell("pause", "2").stdout
    wait_for(lambda: reports(project, 3) > 1, process)

    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    dead = tell("limits", "--max-trials", "9", exit_code=1)
    sweep = project.sweep_folders()[-1].name
    assert dead.stderr == (
        f"error: no process works on sweep {sweep}, so none can take the order; galaxy-exp resume {sweep} "
        "--max-trials 9 continues it with that\n"
    )
    assert waiting(project) == []

    begun = journal(project).count('"event":"trial_started"')
    resumed = project.start("resume")
    wait_for(lambda: journal(project).count('"event":"trial_started"') == begun + 2, resumed)
    finish = tell("finish")
    assert finish.stdout.startswith("no further trial begins; 2 running ones end after the current epoch, then ")
    assert resumed.wait(120) == 0
    resumed.communicate()
    record = project.record()
    assert record.ended.succeeded
    assert record.why_search_ended == "ordered to finish"
    assert [trial.state for trial in record.trials.values()] == [TrialState.STOPPED] * 4
    assert [trial.predetermined for trial in record.trials.values()] == [True, True, False, False]
    assert (record.trials[1].values["units"], record.execution.workers) == (5, 2)
    shown = project.call("show").stdout
    assert "stop 0 refused: trial 0 has ended" in shown
    assert "finish: no further trial begins" in shown
    assert "is finished (ordered to finish)" in tell("finish", exit_code=1).stderr
    assert not (project.sweep_folders()[-1] / "orders").exists()


def test_ctrl_c_withdraws_an_order_that_is_not_taken(running):
    project, process = running
    before = project.record().orders
    os.kill(process.pid, signal.SIGSTOP)
    telling = project.start("tell", "latest", "finish")
    wait_for(lambda: waiting(project), telling)
    telling.send_signal(signal.SIGINT)
    stdout, stderr = telling.communicate(timeout=60)
    sweep = project.sweep_folders()[-1].name
    assert (telling.returncode, stdout, stderr) == (
        130,
        "",
        f"withdrawn: sweep {sweep} did not take the order finish\n",
    )
    assert waiting(project) == []
    os.kill(process.pid, signal.SIGCONT)
    seen = journal(project).count('"event":"epoch_reported"')
    wait_for(lambda: journal(project).count('"event":"epoch_reported"') > seen + 2, process)
    assert project.record().orders == before


def test_two_orders_at_a_time_are_both_answered(running):
    project, _ = running
    was = max_trials(project)
    telling = [project.start("tell", "latest", "limits", "--max-trials", number) for number in ("30", "40")]
    answers = [process.communicate(timeout=60)[0] for process in telling]
    assert all(process.returncode == 0 for process in telling)
    assert sorted(answers) in (
        [f"search.max_trials: was {was}, is 30 now\n", "search.max_trials: was 30, is 40 now\n"],
        [f"search.max_trials: was {was}, is 40 now\n", "search.max_trials: was 40, is 30 now\n"],
    )


def test_python_gives_the_same_orders(running, monkeypatch):
    project, _ = running
    monkeypatch.chdir(project.path)
    was = max_trials(project)
    assert tell_sweep("latest", limits={"max_trials": 7}) == f"search.max_trials: was {was}, is 7 now"
    assert tell_sweep(stop=0).startswith("trial 0 ends after epoch ")
    with pytest.raises(OrderRefusedError, match="refused: there is no trial 55 yet"):
        tell_sweep(pause=55)
    with pytest.raises(BadInputError, match="expected one order to the sweep, found stop and workers"):
        tell_sweep(stop=0, workers=2)
    with pytest.raises(BadInputError, match=r"limits.limits: .*max_trails: unknown limit; did you mean"):
        tell_sweep(limits={"max_trails": 7})


def test_an_order_whose_driver_is_killed_meanwhile_is_not_left_behind(running):
    project, process = running
    os.kill(process.pid, signal.SIGSTOP)
    telling = project.start("tell", "latest", "stop", "0")
    wait_for(lambda: waiting(project), telling)
    os.kill(process.pid, signal.SIGKILL)
    stdout, stderr = telling.communicate(timeout=60)
    assert (telling.returncode, stdout) == (1, "")
    assert stderr.splitlines()[-1].startswith("error: no process works on sweep ")
    assert waiting(project) == []


def test_a_mistyped_order_is_one_clear_line(project):
    for arguments, message in (
        (("stop", "7"), "SWEEP comes first, as in: galaxy-exp tell latest stop 7"),
        (("latest", "limits"), "no limit is stated; expected one of the options, as in --max-trials 60"),
        (("latest", "limits", "--max-hours", "long"), "'long' is neither a number nor none"),
        (("latest", "limits", "--max-hours", "nan"), "'nan' is neither a number nor none"),
        (("latest", "try", "units"), "units: expected NAME=VALUE, as in learning_rate=0.001"),
        (("latest", "try", "units=3", "units=4"), "a hyperparameter has two values; expected each NAME once"),
        (("latest", "stop", "7"), "no sweeps here yet"),
    ):
        done = project.call("tell", *arguments, exit_code=2)
        assert message in done.stderr
        assert done.stdout == ""


def test_an_order_on_a_full_disk_names_the_folder(tmp_path, monkeypatch):
    with tiny_disk(tmp_path / "disk", megabytes=1) as disk:
        monkeypatch.setenv("GALAXY_EXP_HOME", str(disk))
        sweep = disk / "sweeps" / "s-1"
        with Journal.create(sweep, started({})):
            fill_disk(disk / "full")
            with pytest.raises(OSError, match="No space left on device") as caught:
                tell_sweep(finish=True)
    assert caught.value.filename.startswith(str(sweep / "orders"))


def test_help_of_each_order_has_what_it_does(project):
    for order in ("stop", "pause", "try", "limits", "workers", "finish"):
        done = subprocess.run(
            project.command("tell", "latest", order, "--help"), env=project.environment, capture_output=True, text=True
        )
        assert done.stdout.startswith(f"Usage: python -m galaxy_exp tell SWEEP {order} ")
