"""The projection is killed after each of its calls to a real store, and MLflow fails in every way it can."""

from dataclasses import replace

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from galaxy_exp.config import SweepConfig
from galaxy_exp.config.sweep import TrackingConfig
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import (
    EpochReported,
    SweepStarted,
    TrialEnded,
    TrialProjected,
    TrialProposed,
    TrialStarted,
    WorkerLost,
)
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.replay import apply_event
from galaxy_exp.records import EpochReport, TrialResult, TrialState
from galaxy_exp.sweep_report import refresh_report
from galaxy_exp.tracking import names
from galaxy_exp.tracking.projection import MlflowProjection

pytestmark = pytest.mark.slow


class Killed(BaseException):
    """Stands for kill -9: nothing after it is done."""


class FragileClient:
    """A real client whose n-th call is its last, or whose calls fail with a given exception."""

    def __init__(self, client, die_after=None):
        self.client = client
        self.left = die_after
        self.error = None
        self.asked = self.calls = 0

    def __getattr__(self, name):
        method = getattr(self.client, name)

        def call(*args, **kwargs):
            self.asked += 1
            if self.error is not None:
                raise self.error
            result = method(*args, **kwargs)
            self.calls += 1
            if self.left is not None and self.calls >= self.left:
                raise Killed
            return result

        return call


def report(number, attempt, epoch):
    return EpochReport(number, attempt, epoch, {"val_macro_f1": number + attempt / 10 + epoch / 100})


def result(number, attempt):
    best = {"val_macro_f1": 0.5}
    return TrialResult(
        number, attempt, TrialState.COMPLETED, "done", 2, best, 2, parameters=10, precision="float32", backend="b"
    )


SCRIPT = [
    TrialProposed(number=0, values={"units": 3, "a[b]": 1, "seed": "mine"}, seed=7),
    TrialStarted(number=0, attempt=1),
    EpochReported(report=report(0, 1, 1), go_on=True),
    WorkerLost(number=0, attempt=1, reason="killed"),
    TrialStarted(number=0, attempt=2),
    EpochReported(report=report(0, 2, 1), go_on=True),
    EpochReported(report=report(0, 2, 2), go_on=True),
    TrialEnded(result=result(0, 2)),
    TrialProposed(number=1, values={"units": 4}, seed=8),
    TrialStarted(number=1, attempt=1),
    EpochReported(report=report(1, 1, 1), go_on=True),
    EpochReported(report=report(1, 1, 2), go_on=True),
    TrialEnded(result=result(1, 1)),
]

PAUSED = TrialResult(0, 1, TrialState.STOPPED, "paused after epoch 2 of 3", 2, {"val_macro_f1": 0.12}, 2, 5.0,
                     parameters=10, precision="float32", backend="b")  # fmt: skip
CONTINUED = [
    TrialProposed(number=0, values={"units": 3}, seed=7),
    TrialStarted(number=0, attempt=1),
    EpochReported(report=report(0, 1, 1), go_on=True),
    EpochReported(report=report(0, 1, 2), go_on=False, paused=True),
    TrialEnded(result=PAUSED),
    TrialProposed(number=1, values={"units": 4}, seed=8),
    TrialStarted(number=1, attempt=1),
    EpochReported(report=report(1, 1, 1), go_on=True),
    WorkerLost(number=1, attempt=1, reason="killed"),
    TrialStarted(number=1, attempt=2, from_epoch=1),
    EpochReported(report=report(1, 2, 2), go_on=True),
    TrialEnded(result=result(1, 2)),
    TrialStarted(number=0, attempt=2, from_epoch=2),
    EpochReported(report=report(0, 2, 3), go_on=True),
    TrialEnded(result=replace(result(0, 2), epochs=3, best_epoch=3)),
]
"""Trial 0 is paused and continues; trial 1 loses its worker and continues. No epoch is repeated."""

REPEATED = [
    *CONTINUED[:-1],
    WorkerLost(number=0, attempt=2, reason="killed"),
    TrialStarted(number=0, attempt=3, from_epoch=2),
    EpochReported(report=report(0, 3, 3), go_on=True),
    WorkerLost(number=0, attempt=3, reason="killed"),
    TrialStarted(number=0, attempt=4, from_epoch=3),
    *(EpochReported(report=report(0, 4, epoch), go_on=True) for epoch in (1, 2, 3)),
    TrialEnded(result=replace(result(0, 4), epochs=3, best_epoch=3)),
]
"""As before, but attempt 2 of trial 0 left no checkpoint of its epoch, and attempt 4 could not read its own."""


@pytest.fixture(scope="module")
def client(new_store):
    return MlflowClient(new_store())


@pytest.fixture
def begin(tmp_path, prepared, client, request):
    """Starts a sweep's journal of its own experiment; returns (journal, make projection, warnings).

    Figures are drawn where the test says so, as they take longer than all the rest.
    """
    figures = getattr(request, "param", False)
    config = SweepConfig(tracking=TrackingConfig(experiment=request.node.name, figures=figures))
    client.create_experiment(request.node.name, artifact_location=(tmp_path / "artifacts").as_uri())
    started = SweepStarted(
        sweep_id=f"s-{abs(hash(request.node.name))}",
        config=config.model_dump(mode="json"),
        space={},
        baseline={},
        data_folder=str(prepared.folder),
        data_digest=prepared.digest,
        split_digest=prepared.split_digest,
        tracking_uri="sqlite:///mlflow.db",
        software={},
    )
    folder = SweepFolder(tmp_path / "sweep")
    journal = Journal.create(folder.path, started)
    for number in (0, 1):
        folder.trial(number).mkdir(parents=True)
        n_images = len(np.load(prepared.files.validation_labels))
        np.save(folder.trial(number) / "validation_probabilities.npy", np.full((n_images, 10), 0.1, np.float32))
    warnings = []
    now = [0.0]

    def make(fragile, **options):
        return MlflowProjection(
            lambda: fragile, journal, folder, prepared, warnings.append, clock=lambda: now[0], **options
        )

    vars(make).update(folder=folder, now=now)
    return journal, make, warnings


with_figures = pytest.mark.parametrize("begin", [True], indirect=True, ids=["figures"])


def play(journal, projection, script=SCRIPT):
    for event in script:
        projection.on_event(journal.append(event), journal.record)


def assert_in_order(client, journal, experiment, values=None):
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    runs = client.search_runs([experiment_id], run_view_type=ViewType.ACTIVE_ONLY)
    kinds = sorted(run.data.tags[names.KIND] for run in runs)
    assert kinds == ["sweep", "trial", "trial"]
    for trial in journal.record.trials.values():
        (run,) = [run for run in runs if run.data.tags.get(names.TRIAL) == str(trial.number)]
        assert run.info.run_id == trial.run_id
        assert run.info.status == "FINISHED"
        assert run.data.tags[names.ATTEMPT] == str(trial.attempt)
        assert run.data.params["units"] == str(trial.values["units"])
        assert run.data.params["precision"] == "float32"
        assert len(run.inputs.dataset_inputs) == 1
        history = client.get_metric_history(run.info.run_id, "val_macro_f1")
        assert [point.value for point in history] == trial.curve("val_macro_f1")
        expected = {"confusion_matrix.json", "history.csv"}
        if journal.record.config.tracking.figures:
            expected.add("confusion_matrix.png")
        assert {file.path for file in client.list_artifacts(run.info.run_id)} >= expected


@with_figures
def test_without_faults_all_is_in_order(begin, client, request):
    journal, make, warnings = begin
    fragile = FragileClient(client)
    play(journal, make(fragile))
    assert warnings == []
    assert_in_order(client, journal, request.node.name)
    run = client.get_run(journal.record.trials[0].run_id)
    assert run.data.params["a_b_"] == "1"
    assert (run.data.params["seed"], run.data.params["galaxy_exp.seed"]) == ("mine", "7")
    assert fragile.calls < 80


@pytest.mark.parametrize("calls", range(1, 60, 4))
def test_killed_after_any_call_the_next_process_mends_it(begin, client, request, calls):
    journal, make, warnings = begin
    projection = make(FragileClient(client, die_after=calls))
    for event in SCRIPT:
        written = journal.append(event)
        try:
            projection.on_event(written, journal.record)
        except Killed:
            projection = make(FragileClient(client))  # a new process on the same journal
    make(FragileClient(client)).catch_up()
    assert warnings == []
    assert_in_order(client, journal, request.node.name)


class TestContinuedTrials:
    def test_a_trial_keeps_its_run_as_long_as_no_epoch_is_repeated(self, begin, client, request):
        journal, make, warnings = begin
        projection = make(client)
        play(journal, projection, CONTINUED[:5])
        run_id = journal.record.trials[0].run_id
        run = client.get_run(run_id)
        assert (run.info.status, run.info.run_name) == ("FINISHED", "trial 000 (baseline, stopped)")
        assert run.data.tags[names.REASON] == "paused after epoch 2 of 3"
        play(journal, projection, CONTINUED[5:13])
        run = client.get_run(run_id)
        assert (run.info.status, run.info.run_name) == ("RUNNING", "trial 000 (baseline)")
        assert (run.data.tags[names.STATE], run.data.tags[names.REASON]) == ("running", "continues after epoch 2")
        assert "paused" not in run.data.tags[names.NOTE]
        play(journal, projection, CONTINUED[13:])
        assert warnings == []
        assert_in_order(client, journal, request.node.name)
        run = client.get_run(journal.record.trials[0].run_id)
        assert (run.info.run_id, run.info.run_name) == (run_id, "trial 000 (baseline)")
        assert (run.data.tags[names.REASON], run.data.tags[names.EPOCHS]) == ("done", "3")
        assert (run.data.metrics["best_val_macro_f1"], run.data.metrics["best_epoch"]) == (0.5, 3)
        assert client.search_runs([run.info.experiment_id], run_view_type=ViewType.DELETED_ONLY) == []

    def test_a_run_with_epochs_that_do_not_count_is_replaced(self, begin, client, request):
        journal, make, warnings = begin
        play(journal, make(client), REPEATED)
        assert warnings == []
        assert_in_order(client, journal, request.node.name)
        assert [report.attempt for report in journal.record.trials[0].reports] == [4, 4, 4]

    @pytest.mark.parametrize("script", [CONTINUED, REPEATED], ids=["continued", "repeated"])
    def test_a_store_that_missed_it_all_gets_the_same(self, begin, client, request, script):
        journal, make, warnings = begin
        for event in script:
            journal.append(event)
        make(client).catch_up()
        assert warnings == []
        assert_in_order(client, journal, request.node.name)

    @pytest.mark.parametrize("calls", range(1, 70, 3))
    def test_killed_after_any_call_the_next_process_repairs_it(self, begin, client, request, calls):
        journal, make, warnings = begin
        projection = make(FragileClient(client, die_after=calls))
        for event in REPEATED:
            written = journal.append(event)
            try:
                projection.on_event(written, journal.record)
            except Killed:
                projection = make(FragileClient(client))
        make(FragileClient(client)).catch_up()
        assert warnings == []
        assert_in_order(client, journal, request.node.name)

    def test_a_run_that_was_deleted_or_closed_meanwhile_is_as_it_should_be(self, begin, client, request):
        journal, make, _ = begin
        projection = make(client)
        play(journal, projection, CONTINUED[:12])
        run_id = journal.record.trials[0].run_id
        client.set_tag(run_id, names.CLOSED, "closed by galaxy-exp doctor")
        client.delete_run(run_id)
        play(journal, projection, CONTINUED[12:])
        assert_in_order(client, journal, request.node.name)
        assert names.CLOSED not in client.get_run(run_id).data.tags

    def test_an_end_that_was_written_too_late_does_not_count_for_the_trial_that_has_continued(self, begin):
        journal, _, _ = begin
        for event in CONTINUED[:-1]:
            journal.append(event)
        journal.append(TrialProjected(number=0, attempt=1))
        journal.append(CONTINUED[-1])
        assert not journal.record.trials[0].projected
        journal.append(TrialProjected(number=0, attempt=1))
        assert not journal.record.trials[0].projected
        journal.append(TrialProjected(number=0, attempt=2))
        assert journal.record.trials[0].projected


def test_a_running_trial_has_its_best_value_so_far_to_sort_by(begin, client):
    journal, make, _ = begin
    projection = make(client)
    for event in SCRIPT[:2]:
        projection.on_event(journal.append(event), journal.record)
    for epoch, value in ((1, 0.3), (2, 0.5), (3, 0.4)):
        epoch_reported = EpochReported(report=EpochReport(0, 1, epoch, {"val_macro_f1": value}), go_on=True)
        projection.on_event(journal.append(epoch_reported), journal.record)
    run = client.get_run(journal.record.trials[0].run_id)
    assert next(iter(run.data.metrics.items())) == ("best_val_macro_f1", 0.5)
    assert {point.step for point in client.get_metric_history(run.info.run_id, "best_val_macro_f1")} == {0}


class AskingTwice(FragileClient):
    """The server makes a run and dies before it answers; the client asks again."""

    def create_run(self, *args, **kwargs):
        self.client.create_run(*args, **kwargs)
        return self.client.create_run(*args, **kwargs)


@with_figures
def test_runs_made_twice_are_there_once_when_all_is_caught_up(begin, client, request):
    journal, make, warnings = begin
    projection = make(AskingTwice(client))
    play(journal, projection)
    projection.catch_up()
    assert warnings == []
    assert_in_order(client, journal, request.node.name)


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("away", error_code=5),
        ConnectionError("refused"),
        ModuleNotFoundError("No module named 'boto3'"),
        RuntimeError("anything\nat all"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_outage_is_told_once_and_caught_up(begin, client, request, error):
    journal, make, warnings = begin
    fragile = FragileClient(client)
    projection = make(fragile)
    for number, event in enumerate(SCRIPT):
        fragile.error = error if number in range(3, 9) else None
        projection.on_event(journal.append(event), journal.record)
    assert len(warnings) == 1
    assert "the sweep continues" in warnings[0]
    assert "\n" not in warnings[0]
    make.now[0] += 3600
    projection.catch_up()
    assert_in_order(client, journal, request.node.name)


def test_a_dead_server_is_not_asked_at_every_event(begin, client):
    journal, make, _ = begin
    fragile = FragileClient(client)
    fragile.error = ConnectionError("refused")
    projection = make(fragile)
    for event in SCRIPT:
        projection.on_event(journal.append(event), journal.record)
    assert fragile.asked == 1


class RefusingClient(FragileClient):
    """A real client of a store that takes no metrics of one run."""

    refused = ""

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        if metrics and run_id == self.refused:
            raise MlflowException("too much", error_code=INVALID_PARAMETER_VALUE)
        self.client.log_batch(run_id, metrics, params, tags)


def test_a_refusal_is_no_outage_and_is_told_once(begin, client):
    journal, make, warnings = begin
    refusing = RefusingClient(client)
    projection = make(refusing)
    for event in SCRIPT:
        timed = journal.append(event)
        projection.on_event(timed, journal.record)
        refusing.refused = journal.record.trials[0].run_id
    assert warnings == ["MLflow refuses trial 0: MlflowException: too much"]
    assert [trial.projected for trial in journal.record.trials.values()] == [False, True]
    refusing.refused = ""
    projection.catch_up()
    assert all(trial.projected for trial in journal.record.trials.values())


def test_metrics_get_names_that_mlflow_takes(begin, client):
    journal, make, warnings = begin
    projection = make(client)
    odd = {"precision@0.5": 0.25, "val_precision@0.5": 0.5}
    for event in SCRIPT[:2]:
        projection.on_event(journal.append(event), journal.record)
    projection.on_event(journal.append(EpochReported(report=EpochReport(0, 1, 1, odd), go_on=True)), journal.record)
    ended = replace(result(0, 1), metrics=odd)
    projection.on_event(journal.append(TrialEnded(result=ended)), journal.record)
    metrics = client.get_run(journal.record.trials[0].run_id).data.metrics
    assert {name: metrics[name] for name in ("precision_0.5", "val_precision_0.5", "best_val_precision_0.5")} == {
        "precision_0.5": 0.25,
        "val_precision_0.5": 0.5,
        "best_val_precision_0.5": 0.5,
    }
    assert warnings == []


def test_events_that_come_after_a_catch_up_has_covered_them_are_not_written_again(begin, client):
    journal, make, _ = begin
    fragile = FragileClient(client)
    projection = make(fragile)
    first, *others = [journal.append(event) for event in SCRIPT]
    projection.on_event(first, journal.record)
    assert all(trial.projected for trial in journal.record.trials.values())
    calls = fragile.calls
    for event in others:
        projection.on_event(event, journal.record)
    assert fragile.calls == calls


def test_a_trial_without_its_files_is_told_and_does_not_hold_up_the_others(begin, client):
    journal, make, warnings = begin
    (make.folder.trial(0) / "validation_probabilities.npy").unlink()
    play(journal, make(FragileClient(client)))
    assert len(warnings) == 1
    assert "trial 0: its figures cannot be drawn" in warnings[0]
    assert all(trial.projected for trial in journal.record.trials.values())


def test_drawing_that_fails_holds_up_nothing(begin, client, monkeypatch):
    """As with `text.usetex` in a user's matplotlibrc, where LaTeX is not installed."""
    journal, make, warnings = begin

    def fail(*_):
        raise RuntimeError("Failed to process string with tex")

    monkeypatch.setattr("galaxy_exp.tracking.trial_runs.write_trial_artifacts", fail)
    play(journal, make(FragileClient(client)))
    assert "trial 0: its figures cannot be drawn: RuntimeError: Failed" in warnings[0]
    assert all(trial.projected for trial in journal.record.trials.values())


@with_figures
def test_a_sweep_whose_figures_cannot_be_drawn_is_told_and_closed(begin, client):
    journal, make, warnings = begin
    projection = make(FragileClient(client))
    play(journal, projection)
    (make.folder.path / "artifacts").mkdir(exist_ok=True)
    (make.folder.path / "artifacts" / "insight").write_text("in the way")
    projection.close_sweep("FINISHED")
    assert len(warnings) == 1
    assert "the figures of insight/ cannot be drawn" in warnings[0]
    assert client.get_run(journal.record.parent_run_id).info.status == "FINISHED"


def test_a_view_that_cannot_be_made_is_told_and_the_sweep_is_closed(begin, client, monkeypatch):
    def fail(record):
        raise ValueError("no axis has this value")

    monkeypatch.setattr("galaxy_exp.tracking.parent_run.save_view", fail)
    journal, make, warnings = begin
    projection = make(FragileClient(client))
    play(journal, projection)
    projection.close_sweep("FINISHED")
    assert set(warnings) == {"the view of the trials in the MLflow UI cannot be written: no axis has this value"}
    assert client.get_run(journal.record.parent_run_id).info.status == "FINISHED"


def test_a_view_that_mlflow_refuses_is_told_and_the_rest_is_written(begin, client, monkeypatch):
    def refuse(*_):
        raise MlflowException("too long", INVALID_PARAMETER_VALUE)

    monkeypatch.setattr(client, "set_experiment_tag", refuse)
    journal, make, warnings = begin
    projection = make(FragileClient(client))
    play(journal, projection)
    projection.close_sweep("FINISHED")
    assert set(warnings) == {"the view of the trials in the MLflow UI cannot be written: MlflowException: too long"}
    run = client.get_run(journal.record.parent_run_id)
    assert (run.info.status, run.data.tags[names.NOTE][:5]) == ("FINISHED", "Sweep")


def test_metrics_that_mlflow_cannot_tell_apart_are_told_once(begin, client):
    journal, make, warnings = begin
    projection = make(FragileClient(client))
    for number in (0, 1):
        ended = replace(result(number, 1), metrics={"val_macro_f1": 0.5, "val_f1[a]": 0.1, "val_f1(a)": 0.9})
        for event in (
            TrialProposed(number=number, values={"units": 3}, seed=7),
            TrialStarted(number=number, attempt=1),
            TrialEnded(result=ended),
        ):
            projection.on_event(journal.append(event), journal.record)
    (warning,) = warnings
    assert warning.startswith("MLflow shows the metrics 'val_f1[a]' and 'val_f1(a)' as one, 'val_f1_a_': ")


def test_runs_deleted_in_the_ui_are_made_anew_when_needed(begin, client, request):
    journal, make, _ = begin
    projection = make(FragileClient(client))
    for event in SCRIPT[:7]:
        projection.on_event(journal.append(event), journal.record)
    client.delete_experiment(client.get_experiment_by_name(request.node.name).experiment_id)
    second = make(FragileClient(client))
    for event in SCRIPT[7:]:
        second.on_event(journal.append(event), journal.record)
    assert_in_order(client, journal, request.node.name)


def test_a_trial_that_is_resumed_a_day_later_begins_then(begin, client):
    journal, make, _ = begin
    projection, day = make(client), 24 * 3600.0
    for event, hours in zip(SCRIPT[:8], (0, 0, 0, 24, 24, 24, 24, 24), strict=True):
        event = event.model_copy(update={"time": 1e9 + hours * 3600})
        apply_event(event, journal.record)
        projection.on_event(event, journal.record)
    info = client.get_run(journal.record.trials[0].run_id).info
    assert info.start_time == (1e9 + day) * 1000
    assert info.end_time - info.start_time == 0


@pytest.mark.parametrize("state", [TrialState.STOPPED, TrialState.INFEASIBLE])
def test_what_mlflow_shows_as_finished_but_did_not_complete_has_its_state_in_the_name(begin, client, state):
    journal, make, _ = begin
    projection = make(client)
    for event in [*SCRIPT[8:9], *SCRIPT[9:12]]:
        event = event.model_copy(update={"number": 0}) if hasattr(event, "number") else event
        if isinstance(event, EpochReported):
            event = event.model_copy(update={"report": replace(event.report, number=0)})
        projection.on_event(journal.append(event), journal.record)
    run_id = journal.record.trials[0].run_id
    assert client.get_run(run_id).info.run_name == "trial 000 (baseline)"
    ended = TrialEnded(result=replace(result(0, 1), state=state))
    projection.on_event(journal.append(ended), journal.record)
    assert client.get_run(run_id).info.run_name == f"trial 000 (baseline, {state})"


def test_the_run_of_a_running_sweep_is_brought_up_to_date_once_a_minute_at_most(begin, client):
    journal, make, warnings = begin
    done = []

    def write_report():
        refresh_report(journal.record, make.folder, warnings.append)
        done.append(len(journal.record.leaderboard()))

    projection = make(client, write_report=write_report)
    first_ends = SCRIPT.index(TrialEnded(result=result(0, 2))) + 1
    play(journal, projection, SCRIPT[:first_ends])
    assert done == []
    make.now[0] += 61
    play(journal, projection, SCRIPT[first_ends:])
    play(journal, projection, [TrialProposed(number=2, values={"units": 5}, seed=9), TrialStarted(number=2, attempt=1)])
    play(journal, projection, [TrialEnded(result=TrialResult(2, 1, TrialState.FAILED, "out of memory"))])
    assert done == [2]
    run = client.get_run(journal.record.parent_run_id)
    assert run.info.status == "RUNNING"
    assert run.data.metrics["sweep/trials_completed"] == 2
    assert {"report.html", "insight"} <= {each.path for each in client.list_artifacts(run.info.run_id)}
    assert warnings == []
