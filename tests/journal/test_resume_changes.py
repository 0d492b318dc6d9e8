"""What may change when a sweep is resumed, and what each change is answered with."""

import pytest
from written_records import started

from galaxy_exp.config import parse_sweep
from galaxy_exp.config.differences import Change, differences
from galaxy_exp.config.reading import FlagValue, read_sweep
from galaxy_exp.errors import ConfigError, JournalError, UnusableStoreError
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.journal.events import (
    FinalistsChosen,
    ModelRegistered,
    ParentRunCreated,
    SweepResumed,
    TrialEnded,
    TrialProjected,
    TrialProposed,
    TrialRunCreated,
    TrialStarted,
    WinnerChosen,
    WorkersChosen,
)
from galaxy_exp.journal.journal import Journal, read_record
from galaxy_exp.journal.resume_changes import find_change
from galaxy_exp.preparation import find_unfinished, prepare_resume
from galaxy_exp.records import TrialResult, TrialState

SWEEP = "name: s\nspace: {units: {min: 2, max: 8}}\nsearch: {max_trials: 5, seed: 3}\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)
    return path


@pytest.fixture
def journal(file, tmp_path):
    """The journal of a sweep from that file and `--max-epochs 40`."""
    config, source = read_sweep(file, flags=[FlagValue("--max-epochs", "search.max_epochs", 40)])
    first = started(config=config.model_dump(mode="json"), sweep_file=source)
    with Journal.create(tmp_path / "s-1", first) as journal:
        yield journal


def changes_of(event):
    return [(change.key, change.then, change.now) for change in event.changes]


class TestDifferences:
    def test_are_one_for_each_key_and_one_for_each_hyperparameter(self):
        then = parse_sweep({"space": {"a": 1, "b": {"values": [1, 2]}}, "search": {"constraints": {"flops": "<= 9"}}})
        now = parse_sweep({"space": {"b": {"min": 1, "max": 2}}, "training": {"epochs": 3}})
        assert differences(then, now) == [
            Change("space.a", 1, None),
            Change("space.b", {"values": [1, 2]}, {"min": 1, "max": 2, "step": None, "scale": None}),
            Change("training.epochs", 20, 3),
            Change("search.constraints.flops", "<= 9", None),
        ]

    def test_a_long_value_is_cut(self):
        assert len(str(Change("search.enqueue", None, [{"units": 3}] * 99))) < 200


class TestAFileThatIsAsItWas:
    def test_changes_nothing(self, journal):
        assert find_change(journal.record) is None

    def test_nor_does_one_with_another_comment(self, journal, file):
        file.write_text(f"# mine\n{SWEEP}")
        assert find_change(journal.record) is None

    def test_nor_one_that_is_gone_which_is_told(self, journal, file):
        file.unlink()
        said = []
        assert find_change(journal.record, say=said.append) is None
        assert said == [f"note: {file}: No such file or directory; the sweep continues as recorded"]

    def test_that_states_no_objective_keeps_that_of_votes(self, file, tmp_path):
        config, source = read_sweep(file)
        config = config.model_copy(update={"search": config.search.fitted_to(has_votes=True, are_counts=True)})
        first = started(config=config.model_dump(mode="json"), sweep_file=source)
        with Journal.create(tmp_path / "s-3", first) as journal:
            assert find_change(journal.record) is None
            file.write_text(f"# mine\n{SWEEP}")
            assert find_change(journal.record) is None
            file.write_text(SWEEP.replace("seed: 3", "seed: 3, objective: val_macro_f1"))
            with pytest.raises(ConfigError, match=r"search\.objective: was val_deviance, is val_macro_f1 now"):
                find_change(journal.record)


class TestBudgetsAndWorkers:
    def test_take_effect_and_are_remembered(self, journal, file, tmp_path):
        file.write_text(SWEEP.replace("max_trials: 5", "max_trials: 50"))
        said = []
        event = find_change(journal.record, flags=[FlagValue("--workers", "execution.workers", 2)], say=said.append)
        assert changes_of(event) == [("search.max_trials", 5, 50), ("execution.workers", None, 2)]
        assert said == [
            f"{file}: search.max_trials: was 5, is 50 now",
            "--workers: execution.workers: was none, is 2 now",
        ]
        journal.append(event)
        record = read_record(tmp_path / "s-1")
        assert (record.config.search.max_trials, record.config.search.max_epochs) == (50, 40)
        assert record.config.execution.workers == 2
        assert record.config_at_start.search.max_trials == 5
        assert find_change(record) is None

    def test_what_was_set_at_the_start_still_counts_over_the_file(self, journal, file):
        file.write_text(SWEEP.replace("max_trials: 5", "max_epochs: 9, max_trials: 6"))
        assert changes_of(find_change(journal.record)) == [("search.max_trials", 5, 6)]

    def test_another_file_can_be_named(self, journal, tmp_path):
        other = tmp_path / "other.yaml"
        other.write_text(SWEEP.replace("max_trials: 5", "max_trials: 6"))
        event = find_change(journal.record, file=other)
        assert changes_of(event) == [("search.max_trials", 5, 6)]
        assert event.sweep_file.path == str(other)

    def test_a_sweep_without_a_file_is_changed_by_options(self, tmp_path):
        with Journal.create(tmp_path / "s-2", started()) as journal:
            event = find_change(journal.record, overrides=["search.max_hours=2"])
            assert changes_of(event) == [("search.max_hours", None, 2.0)]

    def test_the_time_before_a_change_is_no_time_of_work(self, tmp_path):
        with Journal.create(tmp_path / "s-2", started(), clock=iter([100.0, 500.0, 501.0]).__next__) as journal:
            journal.append(find_change(journal.record, overrides=["search.max_hours=2"]))
            journal.append(SweepResumed())
            assert journal.record.active_seconds == 0


class TestWorkersThatWereMeasured:
    """A sweep from a file that says `workers: auto`, which came to 2."""

    @pytest.fixture
    def measured(self, file, tmp_path):
        file.write_text(f"{SWEEP}execution: {{workers: auto}}\n")
        config, source = read_sweep(file)
        with Journal.create(tmp_path / "s-2", started(config=config.model_dump(mode="json"), sweep_file=source)) as j:
            assert j.record.execution.workers == "auto"
            j.append(WorkersChosen(workers=2, why="2 of 1 thread each"))
            yield j

    def test_stay_as_many_with_another_budget(self, measured, file, tmp_path):
        file.write_text(file.read_text().replace("max_trials: 5", "max_trials: 6"))
        event = find_change(measured.record, flags=[FlagValue("--workers", "execution.workers", "auto")])
        assert changes_of(event) == [("search.max_trials", 5, 6)]
        measured.append(event)
        assert measured.record.execution.workers == read_record(tmp_path / "s-2").execution.workers == 2

    def test_give_way_to_another_number_and_are_measured_anew_after_it(self, measured):
        for number in (4, "auto"):
            event = find_change(measured.record, flags=[FlagValue("--workers", "execution.workers", number)])
            measured.append(event)
            assert measured.record.execution.workers == number
        assert measured.record.workers_chosen is None


class TestWhatTrialsDependOn:
    def test_is_refused_with_then_and_now(self, journal, file):
        file.write_text(SWEEP.replace("seed: 3", "seed: 4").replace("max: 8", "max: 9"))
        with pytest.raises(ConfigError) as refused:
            find_change(journal.record)
        unit = '{"min": 2, "max": %d, "step": null, "scale": null}'
        first, second, why = refused.value.problems
        assert first == f"{file}: space.units: was {unit % 8}, is {unit % 9} now"
        assert second == f"{file}: search.seed: was 3, is 4 now"
        assert why.startswith("sweep s-1 cannot continue with these changes: its trials had other settings")
        assert why.endswith("galaxy-exp resume s-1 --as-recorded")

    def test_is_refused_in_an_option_by_its_name(self, journal):
        with pytest.raises(ConfigError, match=r"^--set search.seed: search.seed: was 3, is 2 now\n") as refused:
            find_change(journal.record, overrides=["search.seed=2"])
        assert "--as-recorded" not in str(refused.value)

    def test_is_left_aside_on_request(self, journal, file):
        file.write_text(SWEEP.replace("seed: 3", "seed: 4"))
        assert find_change(journal.record, as_recorded=True) is None

    def test_a_mistake_in_the_file_is_told_as_always(self, journal, file):
        file.write_text(SWEEP.replace("max_trials: 5", "max_trails: 6"))
        with pytest.raises(ConfigError, match=r'search.max_trails: unknown key; did you mean "max_trials"'):
            find_change(journal.record)


class TestEpochs:
    def test_may_be_raised(self, journal):
        event = find_change(journal.record, flags=[FlagValue("--epochs", "training.epochs", 80)])
        assert changes_of(event) == [("training.epochs", 20, 80)]

    def test_cannot_be_lowered(self, journal):
        with pytest.raises(ConfigError, match=r"^--epochs: training.epochs: was 20, is 2 now; .* only be raised$"):
            find_change(journal.record, flags=[FlagValue("--epochs", "training.epochs", 2)])

    def test_cannot_change_where_the_sampler_chose_them(self, journal):
        journal.append(TrialProposed(number=0, values={"tuner/epochs": 3}, seed=1))
        with pytest.raises(ConfigError, match=r"was 20, is 80 now; search.sampler .* chose the epochs of each trial"):
            find_change(journal.record, overrides=["training.epochs=80"])

    def test_reopen_a_search_until_a_finalist_is_trained_again(self, journal):
        journal.append(TrialProposed(number=0, values={}, seed=1))
        journal.append(FinalistsChosen(numbers=[0], reason="max_trials reached"))
        assert find_change(journal.record, overrides=["training.epochs=80"]).reopens_search
        journal.append(TrialProposed(number=1, values={}, seed=1, confirms=0))
        with pytest.raises(ConfigError, match=r"its finalists are being trained again, so training.epochs cannot"):
            find_change(journal.record, overrides=["training.epochs=80"])


class TestASearchThatIsOver:
    @pytest.fixture
    def over(self, journal):
        journal.append(TrialProposed(number=0, values={}, seed=1))
        journal.append(FinalistsChosen(numbers=[0], reason="max_trials reached"))
        return journal

    def test_goes_on_while_no_finalist_was_trained_again(self, over):
        event = find_change(over.record, overrides=["search.max_trials=6"])
        over.append(event)
        assert event.reopens_search
        assert over.record.finalists is None

    def test_does_not_once_finalists_are_trained(self, over):
        over.append(TrialProposed(number=1, values={}, seed=1, confirms=0))
        with pytest.raises(ConfigError, match=r"its finalists are being trained again, so search.max_trials cannot"):
            find_change(over.record, overrides=["search.max_trials=6"])
        assert not find_change(over.record, overrides=["execution.threads=1"]).reopens_search

    def test_does_not_once_the_winner_is_chosen(self, over):
        over.append(WinnerChosen(number=0))
        with pytest.raises(ConfigError, match=r"held-out test set is opened once.*--set search.warm_start=s-1"):
            find_change(over.record, overrides=["search.max_trials=6"])


def test_names_that_were_left_out_stay_as_they_were_recorded(journal, file, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    file.write_text(SWEEP.replace("max_trials: 5", "max_trials: 6"))
    assert changes_of(find_change(journal.record)) == [("search.max_trials", 5, 6)]


class TestASweepOfAnOlderRelease:
    """Its journal has the defaults of then: `pruner: asha` and `first_rung: 2`."""

    @pytest.fixture
    def old(self, file, tmp_path):
        config, source = read_sweep(file)
        content = config.model_dump(mode="json")
        del content["search"]["scheduler"]
        content["search"] |= {"pruner": "asha", "first_rung": 2}
        with Journal.create(tmp_path / "s-2", started(config=content, sweep_file=source)) as journal:
            yield journal

    def test_keeps_its_scheduler_where_the_file_states_none(self, old, file):
        file.write_text(SWEEP.replace("max_trials: 5", "max_trials: 6"))
        event = find_change(old.record)
        assert changes_of(event) == [("search.max_trials", 5, 6)]
        old.append(event)
        assert (old.record.config.search.scheduler, old.record.config.search.first_rung) == ("asha-stop", 2)
        assert find_change(old.record) is None

    def test_or_the_same_by_its_former_name(self, old, file):
        file.write_text(SWEEP.replace("max_trials: 5", "max_trials: 6, pruner: asha"))
        assert changes_of(find_change(old.record)) == [("search.max_trials", 5, 6)]

    @pytest.mark.parametrize("stated", ["scheduler: promote", "pruner: median", "first_rung: auto"])
    def test_another_one_is_refused(self, old, file, stated):
        file.write_text(SWEEP.replace("max_trials: 5", f"max_trials: 6, {stated}"))
        with pytest.raises(ConfigError, match=r"search.(scheduler: was asha-stop|first_rung: was 2), is"):
            find_change(old.record)


def test_another_store_has_nothing_of_the_sweep_yet(journal, tmp_path):
    journal.append(TrialProposed(number=0, values={}, seed=1))
    journal.append(ParentRunCreated(run_id="p"))
    journal.append(TrialRunCreated(number=0, run_id="r"))
    journal.append(TrialProjected(number=0))
    journal.append(ModelRegistered(number=0, name="m", version=1))
    change = find_change(journal.record, overrides=["tracking.uri=postgresql://me:hunter22@db/x"])
    assert "hunter22" not in change.model_dump_json()
    journal.append(change)
    assert journal.record.parent_run_id == "p", "the same store, under another name"
    journal.append(change.model_copy(update={"tracking_uri": "sqlite:////new.db"}))
    for record in (journal.record, read_record(tmp_path / "s-1")):
        trial = record.trials[0]
        assert (record.tracking_uri, record.parent_run_id, record.registered) == ("sqlite:////new.db", None, None)
        assert (trial.run_id, trial.run_attempt, trial.projected) == (None, 0, False)


def test_a_sweep_that_another_process_runs_is_named_where_none_can_be_resumed(tmp_path):
    project = ProjectFolder(tmp_path)
    folder = project.path / "sweeps" / "s-1"
    folder.parent.mkdir(parents=True)
    with (
        Journal.create(folder, started()),
        pytest.raises(JournalError, match="no unfinished sweep here; another process runs s-1; galaxy-exp list"),
    ):
        find_unfinished(project)
    assert find_unfinished(project).sweep_id == "s-1"


class TestBackend:
    @pytest.fixture
    def resume(self, journal, monkeypatch, tmp_path):
        """A function: resumes a sweep whose trial was trained with a backend, in an environment that states another."""
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        monkeypatch.setattr(
            "galaxy_exp.tracking.sweep_tracking.check_recorded_store", lambda record, change, say: change
        )

        def resume(trained, stated):
            monkeypatch.setenv("KERAS_BACKEND", stated)
            result = TrialResult(0, 1, TrialState.COMPLETED, "all", backend=trained)
            journal.append(TrialProposed(number=0, values={"units": 2}, seed=1))
            journal.append(TrialStarted(number=0, attempt=1))
            journal.append(TrialEnded(result=result))
            return prepare_resume(journal.record, None, (), (), False, lambda _: None)

        return resume

    def test_another_one_is_refused(self, resume):
        expected = (
            "KERAS_BACKEND: found jax; the trials of sweep s-1 were trained with tensorflow, and others could not be "
            "compared with them; expected: KERAS_BACKEND=tensorflow galaxy-exp resume s-1"
        )
        with pytest.raises(ConfigError) as refused:
            resume("tensorflow", "jax")
        assert str(refused.value) == expected

    @pytest.mark.parametrize(("trained", "stated"), [("jax", "jax"), ("", "jax"), ("tensorflow", "")])
    def test_the_same_one_and_one_that_is_not_known_continue(self, resume, trained, stated):
        assert resume(trained, stated) is None

    def test_a_winner_can_be_tested_with_either(self, journal, resume):
        resume("tensorflow", "tensorflow")
        journal.append(FinalistsChosen(numbers=[0], reason="max_trials reached"))
        journal.append(WinnerChosen(number=0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KERAS_BACKEND", "jax")
            assert prepare_resume(journal.record, None, (), (), False, lambda _: None) is None


class TestMovedProject:
    @pytest.fixture
    def record(self, tmp_path):
        """Of a sweep whose runs are in a store of another folder."""
        first = started(tracking_uri=f"sqlite:///{tmp_path / 'before' / 'mlflow.db'}")
        with Journal.create(tmp_path / "s-1", first) as journal:
            journal.append(ParentRunCreated(run_id="1"))
            yield journal.record

    def resume(self, record, *overrides):
        return prepare_resume(record, None, overrides, (), False, lambda _: None)

    def test_is_refused_and_nothing_is_made_where_it_was(self, record, tmp_path):
        expected = (
            r"before/mlflow.db: its folder is gone; if the project was moved, move it back, .*; or take another store: "
            r"galaxy-exp resume s-1 --set tracking.uri=sqlite:///mlflow.db$"
        )
        with pytest.raises(UnusableStoreError, match=expected):
            self.resume(record)
        assert not (tmp_path / "before").exists()

    def test_takes_another_store(self, record, tmp_path):
        uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
        assert self.resume(record, f"tracking.uri={uri}").tracking_uri == uri

    def test_a_database_alone_may_be_gone(self, record, tmp_path):
        (tmp_path / "before").mkdir()
        assert self.resume(record) is None
