"""A sweep as a Python object: finished, running, interrupted, failed and empty ones."""

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from written_records import started

import galaxy_exp
from galaxy_exp.config.differences import Change
from galaxy_exp.errors import BadInputError, ModelError, SweepFailedError
from galaxy_exp.evaluation.conclusion import compare_with_baseline
from galaxy_exp.evaluation.held_out_report import build_report
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.journal.events import (
    EpochReported,
    FinalistsChosen,
    ModelRegistered,
    SealedTestOpened,
    SweepChanged,
    SweepEnded,
    SweepResumed,
    TrialEnded,
    TrialProposed,
    TrialStarted,
    WinnerChosen,
)
from galaxy_exp.journal.journal import Journal
from galaxy_exp.records import EpochReport, TrialResult, TrialState

GAINS = {"accuracy": (0.2, 0.1, 0.3), "macro_f1": (0.18, 0.09, 0.28), "balanced_accuracy": (0.2, 0.1, 0.3)}
BASELINE = {"units": 8, "rate": 0.001, "state": "dry"}
VALUES = {0: BASELINE, 1: {"units": 16, "rate": 0.01, "state": "wet", "depth": 3}, 2: {"units": 32, "rate": 0.1}}
SPACE = {
    "space": [
        {"class_name": "Int", "config": {"name": "units", "min_value": 8, "max_value": 32, "default": 8}},
        {"class_name": "Float", "config": {"name": "rate", "min_value": 0.001, "max_value": 0.1, "sampling": "log"}},
    ],
    "values": {},
}


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """The open journal of a new sweep in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GALAXY_EXP_HOME", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    folder = ProjectFolder.default().sweep("s-1")
    begun = started(search={"max_trials": 3}, baseline=BASELINE, space=SPACE)
    with Journal.create(folder.path, begun) as journal:
        yield journal


def train(journal, number, value, confirms=None, state=TrialState.COMPLETED, paused=False):
    values = VALUES[number if confirms is None else confirms]
    journal.append(TrialProposed(number=number, values=values, seed=number, confirms=confirms))
    journal.append(TrialStarted(number=number, attempt=1))
    metrics = {"val_macro_f1": value, "val_loss": 1 - value, "rate": 0.5, "precision": 0.25}
    for epoch in (1, 2):
        report = EpochReport(number, 1, epoch, metrics)
        journal.append(EpochReported(report=report, go_on=not (paused and epoch == 2), paused=paused and epoch == 2))
    kept = metrics if state.has_model else {}
    journal.append(TrialEnded(result=TrialResult(number, 1, state, "because", 2, kept, 2, 30.0)))


def search(journal):
    train(journal, 0, 0.4)
    train(journal, 1, 0.5)
    train(journal, 2, 0.3, state=TrialState.STOPPED, paused=True)


def finish(journal, gains=GAINS):
    search(journal)
    journal.append(FinalistsChosen(numbers=[1], reason="max_trials reached"))
    train(journal, 3, 0.52, confirms=1)
    report = build_report(np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], ("disk", "round"), "digest").to_dict()
    journal.append(WinnerChosen(number=3))
    journal.append(SealedTestOpened(number=3, report=report))
    journal.append(SealedTestOpened(number=0, report=report | {"macro_f1": 0.4}, gains=gains))
    journal.append(ModelRegistered(number=3, name="galaxies", version=7))
    journal.append(SweepEnded(succeeded=True, reason="max_trials reached"))


def test_a_sweep_that_ends_after_it_was_opened_stays_as_it_was_then(journal):
    search(journal)
    result = galaxy_exp.open_sweep()
    journal.append(SweepEnded(succeeded=True, reason="done"))
    assert (result.state, galaxy_exp.open_sweep().state) == ("running", "finished")
    moved = (result.folder / "journal.jsonl").rename("elsewhere")
    assert "running" in repr(result)
    moved.rename(result.folder / "journal.jsonl")


def test_the_baseline_trained_again_is_no_improvement(journal, capsys):
    """Its gain over the baseline is that of another seed, however clear."""
    from galaxy_exp.cli.main import cli

    search(journal)
    journal.append(FinalistsChosen(numbers=[0], reason="max_trials reached"))
    train(journal, 3, 0.52, confirms=0)
    report = build_report(np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], ("disk", "round"), "digest").to_dict()
    journal.append(WinnerChosen(number=3))
    journal.append(SealedTestOpened(number=3, report=report))
    journal.append(SealedTestOpened(number=0, report=report, gains=GAINS))
    journal.append(SweepEnded(succeeded=True, reason="max_trials reached"))
    result = galaxy_exp.open_sweep()
    assert result.comparison.startswith("The baseline's configuration won, with another seed")
    assert "macro-F1 +0.180 (95% interval +0.090 to +0.280)" in result.comparison
    page = result.report().read_text()
    cli.main(["show"], standalone_mode=False)
    cli.main(["list"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "the baseline won" in shown
    claims = "better than the baseline|better by|, gain"
    assert not re.search(claims, page + shown + repr(result), re.IGNORECASE)
    assert "gain in macro-F1 over the baseline" not in page


def test_a_baseline_that_failed_is_named_where_a_comparison_would_be(journal):
    train(journal, 0, 0.4, state=TrialState.FAILED)
    train(journal, 1, 0.5)
    journal.append(FinalistsChosen(numbers=[1], reason="max_trials reached"))
    train(journal, 2, 0.52, confirms=1)
    report = build_report(np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], ("disk", "round"), "digest").to_dict()
    journal.append(WinnerChosen(number=2))
    journal.append(SealedTestOpened(number=2, report=report))
    journal.append(SweepEnded(succeeded=True, reason="max_trials reached"))
    result = galaxy_exp.open_sweep()
    assert result.comparison == "There is no baseline to compare with: trial 0 has no model (failed: because)."
    assert result.comparison in result.report().read_text()


def test_the_time_between_an_interruption_and_resume_is_not_among_that_of_a_sweep(tmp_path, monkeypatch, capsys):
    from galaxy_exp.cli.main import cli
    from galaxy_exp.cli.sweep import print_summary

    monkeypatch.chdir(tmp_path)
    folder = ProjectFolder.default().sweep("s-1").path
    with Journal.create(folder, started(baseline=BASELINE), clock=lambda: 1000.0) as journal:
        train(journal, 0, 0.4)
    with Journal.reopen(folder, clock=iter([90000.0, 90045.0]).__next__) as journal:
        journal.append(SweepResumed())
        journal.append(SweepEnded(succeeded=False, reason="3 trials in a row failed"))
    print_summary(galaxy_exp.open_sweep())
    cli.main(["show"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "30 s of training in 45 s" in printed
    assert re.search(r"^duration +45 s$", printed, re.MULTILINE)


def test_a_loss_is_lower_and_is_among_the_scores(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    begun = started(search={"max_trials": 3, "objective": "val_loss"}, baseline=BASELINE)
    with Journal.create(ProjectFolder.default().sweep("s-1").path, begun) as journal:
        finish(journal, {"loss": (-0.3, -0.4, -0.2)})
    result = galaxy_exp.open_sweep()
    assert result.comparison == (
        "Better than the baseline: cross-entropy (nats) lower by 0.300 (95% interval +0.200 to +0.400)."
    )
    result.summary()
    assert "  cross-entropy (nats) " in capsys.readouterr().out


class TestFinished:
    @pytest.fixture
    def result(self, journal):
        finish(journal)
        return galaxy_exp.open_sweep("s-1")

    def test_is_opened_by_id_by_its_beginning_or_as_the_newest(self, result):
        assert {galaxy_exp.open_sweep(name).sweep_id for name in ("s-1", "s", None)} == {"s-1"}
        with pytest.raises(BadInputError, match='no sweep is called "other"'):
            galaxy_exp.open_sweep("other")
        with pytest.raises(BadInputError, match="sweep 3: expected the id of one"):
            galaxy_exp.open_sweep(3)

    def test_has_a_row_a_trial_and_a_column_a_hyperparameter_and_metric(self, result):
        trials = result.trials.set_index("trial")
        assert list(trials.index) == [1, 0, 2, 3], "the best first, retrained finalists last"
        assert list(trials["state"]) == ["completed", "completed", "paused", "completed"]
        assert list(trials["val_macro_f1"]) == [0.5, 0.4, 0.3, 0.52]
        assert list(trials["units"]) == [16, 8, 32, 16]
        assert trials["depth"].isna().tolist() == [False, True, True, False]
        assert trials["params.state"].fillna("").to_list() == ["wet", "dry", "", "wet"], (
            "a column has that name already"
        )
        assert list(trials["rate"]) == [0.01, 0.001, 0.1, 0.01]
        assert set(trials["metrics.rate"]) == {0.5}
        assert set(trials["metrics.precision"]) == {0.25}, "precision is the dtype policy"

    def test_has_the_columns_of_the_csv(self, result, capsys):
        from galaxy_exp.cli.main import cli

        cli.main(["trials", "--format", "csv"], standalone_mode=False)
        header, *rows = capsys.readouterr().out.splitlines()
        assert header.split(",") == list(result.trials.columns)
        assert len(rows) == 4

    def test_a_notebook_shows_every_hyperparameter_that_varies(self, result):
        header = result._repr_html_().partition("<thead>")[2].partition("</thead>")[0]
        assert re.findall("<th>(.*?)</th>", header) == [
            "trial", "state", "val_macro_f1", "epochs", "units", "rate", "params.state", "depth",
        ]  # fmt: skip

    def test_whole_numbers_stay_whole(self, result):
        assert {str(result.trials[name].dtype) for name in ("trial", "retrains", "units", "depth")} == {"Int64"}

    def test_has_the_curves(self, result):
        curves = result.curves
        assert len(curves) == 8
        assert {"trial", "epoch", "val_macro_f1", "val_loss"} <= set(curves)

    def test_names_the_configuration_and_its_winner(self, result):
        assert (result.state, result.best_trial.number, result.winner.number) == ("finished", 1, 3)
        assert result.best_hyperparameters == VALUES[1]
        assert result.model_uri == "models:/galaxies/7"

    def test_has_scores_intervals_and_gains(self, result):
        test = result.test
        assert list(test.index) == ["accuracy", "macro_f1", "balanced_accuracy", "loss"]
        row = test.loc["macro_f1"]
        assert (row["baseline"], row["gain"], row["gain_low"], row["gain_high"]) == (0.4, 0.18, 0.09, 0.28)
        assert row["low"] <= row["score"] <= row["high"]
        assert not row["may_be_chance"]
        assert result.comparison == "Better than the baseline by 0.180 macro-F1 (95% interval +0.090 to +0.280)."

    def test_fits_ten_lines(self, result):
        lines = repr(result).splitlines()
        assert len(lines) <= 10
        assert max(map(len, lines)) <= 110
        assert "configuration of trial 1, retrained as 3" in repr(result)
        assert len(repr(result.record)) < 100
        assert len(repr(result.winner)) < 200

    def test_summary_is_the_answer(self, result, capsys):
        result.summary()
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "s-1, finished"
        assert "winner: configuration of trial 1, retrained as 3, val_macro_f1 0.5200 on validation images" in lines
        assert [line.split() for line in lines if "(baseline" in line] == [
            ["units", "16", "(baseline", "8)"],
            ["rate", "0.01", "(baseline", "0.001)"],
            ["state", "wet", "(baseline", "dry)"],
            ["depth", "3", "(baseline:", "not", "used)"],
        ]
        assert lines[-1] == result.comparison

    def test_kerastuner_names(self, result, capsys):
        result.results_summary(1)
        out = capsys.readouterr().out
        assert "and 3 more: galaxy-exp trials s-1" in out

    def test_nothing_is_important_in_three_trials(self, result):
        assert result.importance is None

    def test_writes_the_report(self, result, tmp_path):
        assert result.report().resolve() == tmp_path / "s-1.html"
        page = (tmp_path / "s-1.html").read_text()
        assert "Better than the baseline by 0.180" in page
        assert "configuration of trial 1, retrained as 3" in page
        assert (page.count(">paused<"), page.count(">stopped<")) == (1, 0)

    def test_the_report_may_go_into_a_folder(self, result, tmp_path):
        (tmp_path / "pages").mkdir()
        assert result.report("pages") == Path("pages/s-1.html")
        assert (tmp_path / "pages" / "s-1.html").is_file()

    def test_can_be_pickled_and_copied(self, result):
        for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
            assert again == result
            assert again.trials.equals(result.trials)

    def test_says_that_its_models_are_gone(self, result):
        with pytest.raises(ModelError, match="has no model"):
            result.get_best_models()
        assert result.get_best_models(0) == []

    def test_is_listed(self, result):
        (row,) = galaxy_exp.list_sweeps().to_dict("records")
        assert (row["sweep"], row["state"], row["winner"]) == ("s-1", "finished", 3)
        assert row["comparison"] == "better by 0.180"
        assert str(row["started"].tz) == "UTC"


class TestNotFinished:
    def test_a_running_one_shows_what_is_there(self, journal):
        search(journal)
        journal.append(TrialProposed(number=3, values=VALUES[1], seed=3))
        journal.append(TrialStarted(number=3, attempt=1))
        result = galaxy_exp.open_sweep()
        assert result.state == "running"
        assert list(result.trials["state"]) == ["completed", "completed", "paused", "running"]
        assert (result.best_trial.number, result.best_hyperparameters) == (1, VALUES[1])
        assert (result.test, result.comparison, result.model_uri) == (None, None, None)
        assert "best so far" in repr(result)
        with pytest.raises(SweepFailedError, match="has no winner yet"):
            _ = result.winner
        with pytest.raises(
            ModelError, match=r"has not registered a model yet; it still runs; open it again .* open_sweep\(\"s-1\"\)"
        ):
            result.load_model()

    def test_an_interrupted_one(self, journal, capsys):
        begun = started(sweep_id="s-2", baseline=BASELINE)
        with Journal.create(ProjectFolder.default().sweep("s-2").path, begun) as interrupted:
            train(interrupted, 0, 0.4)
            interrupted.append(TrialProposed(number=1, values=VALUES[1], seed=1))
        result = galaxy_exp.open_sweep("s-2")
        assert result.state == "interrupted"
        assert list(result.trials["state"]) == ["completed", "interrupted"]
        result.summary()
        assert "best so far: trial 0, the baseline, val_macro_f1 0.4000" in capsys.readouterr().out

    def test_a_failed_one(self, journal):
        train(journal, 0, 0.0, state=TrialState.FAILED)
        journal.append(SweepEnded(succeeded=False, reason="3 trials in a row failed"))
        result = galaxy_exp.open_sweep()
        assert result.state == "failed"
        assert (result.best_trial, result.best_hyperparameters) == (None, None)
        assert "3 trials in a row failed" in repr(result)
        assert "3 trials in a row failed" in result._repr_html_()

    def test_one_without_a_trial(self, journal, capsys):
        result = galaxy_exp.open_sweep()
        assert (len(result.trials), len(result.curves), result.importance) == (0, 0, None)
        assert "s-1" in repr(result) + result._repr_html_()
        result.summary()
        result.results_summary()
        assert "no trial has a model yet" in capsys.readouterr().out

    def test_no_sweep_at_all(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        sweeps = galaxy_exp.list_sweeps()
        assert len(sweeps) == 0
        assert {"sweep", "state", "started", "best", "winner"} <= set(sweeps)
        with pytest.raises(BadInputError, match="no sweeps here yet"):
            galaxy_exp.open_sweep()


class TestComparison:
    @pytest.mark.parametrize(
        ("gain", "sentence"),
        [
            ((0.02, -0.01, 0.05), "Not distinguishable from the baseline: macro-F1 +0.020 (95% interval -0.010"),
            ((-0.1, -0.2, -0.05), "WORSE than the baseline by 0.100 macro-F1 (95% interval -0.200 to -0.050)."),
        ],
    )
    def test_is_honest(self, journal, gain, sentence):
        finish(journal, GAINS | {"macro_f1": gain})
        assert galaxy_exp.open_sweep().comparison.startswith(sentence)

    def test_says_if_the_baseline_did_not_continue_when_epochs_were_raised(self, journal):
        config = journal.record.config.model_dump(mode="json")
        config["training"]["epochs"] = 40
        journal.append(SweepChanged(config=config, changes=[Change("training.epochs", 20, 40)]))
        finish(journal)
        n_epochs = journal.record.trials[0].epochs
        sentence = compare_with_baseline(journal.record)
        assert sentence.endswith(f" The baseline was trained for {n_epochs} of 40 epochs.")

    def test_is_the_same_everywhere(self, journal, capsys):
        from galaxy_exp.cli.main import cli
        from galaxy_exp.records import SweepState
        from galaxy_exp.sweep_rows import describe_sweep

        finish(journal)
        sentence = galaxy_exp.open_sweep().comparison
        cli.main(["show"], standalone_mode=False)
        shown = " ".join(capsys.readouterr().out.split())
        assert sentence in shown
        assert "configuration of trial 1, retrained as 3" in shown
        assert describe_sweep(journal.record, SweepState.FINISHED)["comparison"] == sentence


def test_html_has_names_as_text(journal):
    train(journal, 0, 0.4)
    values = {"units": "<script>alert(1)</script>", "rate": 1.0}
    journal.append(TrialProposed(number=1, values=values, seed=1))
    journal.append(TrialStarted(number=1, attempt=1))
    shown = galaxy_exp.open_sweep()._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_signatures_show_no_functions():
    import inspect

    for name in ("run_sweep", "resume_sweep", "tell_sweep", "open_sweep", "list_sweeps", "load_model"):
        assert not re.search(r"<function|<lambda>", str(inspect.signature(getattr(galaxy_exp, name)))), name


@pytest.mark.parametrize("verbose", [-1, 3, "loud", None])
def test_another_verbosity_is_refused_before_anything_is_read(verbose):
    with pytest.raises(BadInputError, match=r"verbose=.*: expected 0 \(silent\), 1 .* or 2"):
        galaxy_exp.run_sweep("nowhere.yaml", verbose=verbose)
    with pytest.raises(BadInputError, match="verbose="):
        galaxy_exp.resume_sweep(verbose=verbose)


@pytest.mark.parametrize("width", ["80", "100", "120", "200"])
def test_tables_fit_and_break_no_word(journal, capsys, monkeypatch, width):
    from galaxy_exp.cli.main import cli

    finish(journal)
    monkeypatch.setenv("COLUMNS", width)
    for command, words in (("trials", ["rate=0.01,", "val_macro_f1", "completed"]), ("list", ["s-1", "finished"])):
        cli.main([command], standalone_mode=False)
        output = capsys.readouterr().out
        assert max(map(len, output.splitlines())) <= int(width)
        assert set(words) <= set(output.split())


def test_say_and_verbose_0_replace_all_printing(journal, capsys):
    import logging

    from galaxy_exp.sweep import _show

    finish(journal)
    result, heard = galaxy_exp.open_sweep(), []

    def run(observers, say):
        assert not observers
        say("preparing")
        return result

    _show(1, (), heard.append, run)
    _show(0, (), None, lambda *given: (logging.getLogger("galaxy_exp.data").warning("skipped"), run(*given))[1])
    assert heard == ["preparing"]
    assert "".join(capsys.readouterr()) == ""


def test_a_version_is_no_alias():
    with pytest.raises(ModelError, match=r"alias=3: expected a name, such as champion; models:/NAME/3 is a version"):
        galaxy_exp.load_model("galaxies", 3)
