"""A sweep as a Python object, finished or not: its trials, scores and models. Everything comes from its folder."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy_exp.errors import ModelError, SweepFailedError
from galaxy_exp.evaluation.conclusion import (
    answer,
    best_configuration,
    compare_with_baseline,
    compared_metric,
    score_with_interval,
    simulated,
    summary_lines,
)
from galaxy_exp.evaluation.held_out_report import gain_over, headline_names, label_of, shown_names
from galaxy_exp.evaluation.metrics import METRICS
from galaxy_exp.folders import ProjectFolder, SweepFolder, graph_of
from galaxy_exp.journal.journal import read_with_state
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.layout import terminal_width, wrap
from galaxy_exp.quiet import BACKEND_ENVIRONMENT, import_keras_quietly
from galaxy_exp.records import HyperparameterValue, SweepState
from galaxy_exp.sweep_rows import LIST_COLUMNS, sweep_row
from galaxy_exp.trial_rows import flat_columns, flat_rows, hyperparameter_columns, leaderboard_text, ordered_trials
from galaxy_exp.wording import count, flatten_text, format_duration, shorten

if TYPE_CHECKING:
    import keras_tuner
    import pandas as pd

    from galaxy_exp.registry.classifier import GalaxyClassifier

__all__ = ["SweepResult", "list_sweeps", "open_sweep"]

_SHOWN = 5
"""Trials in the table of a notebook."""
_WHOLE = ("trial", "epochs", "best_epoch", "parameters", "flops", "retrains", "attempt", "from_epoch", "seed")
"""Columns of whole numbers, some of which a trial may lack."""
_LONGEST = 110
"""Characters of a line of `repr`."""


@dataclass(frozen=True, slots=True, repr=False)
class SweepResult:
    """A sweep: `run_sweep` returns it, and `open_sweep` in another process.

    It shows the sweep as it was then; of one that still runs, `open_sweep` gives a newer one. What is not there yet, as
    the test of a sweep that has no winner, is None; `winner`, `load_model` and `get_best_models` raise an error.
    """

    record: SweepRecord
    """All that the journal has."""
    folder: Path
    """The sweep's folder, with the files of its trials."""
    state: SweepState = SweepState.FINISHED
    """`finished`, `failed`, `running`, or `interrupted` (`resume_sweep` continues it)."""

    @property
    def sweep_id(self) -> str:
        """The id, for `open_sweep`, `resume_sweep` and the commands."""
        return self.record.sweep_id

    def _how_to_get_there(self) -> str:
        """What to do about something that is not there yet."""
        if self.state is SweepState.RUNNING:
            return f'it still runs; open it again when it has ended: open_sweep("{self.sweep_id}")'
        return f"galaxy-exp resume {self.sweep_id} continues it"

    # trials

    @property
    def trials(self) -> pd.DataFrame:
        """A row for each trial, the best first and those that train finalists again last.

        A column for each hyperparameter and each metric of the best epoch, besides `trial` (the number), `state`,
        `epochs`, `seconds` and others; NaN, NA or None where a trial does not have it; whole numbers are Int64.
        The names are those of `galaxy-exp trials --format csv`.
        """
        import pandas as pd

        rows = flat_rows(ordered_trials(self.record), self.record)
        table = pd.DataFrame(rows, columns=flat_columns(self.record))
        numbers = dict.fromkeys(_WHOLE, "Int64") | {each.name: "float64" for each in self.record.objectives}
        for name in hyperparameter_columns(self.record).values():
            values = [row[name] for row in rows if row[name] is not None]
            if values and all(type(value) is int for value in values):
                numbers[name] = "Int64"
        return table.astype(numbers)

    @property
    def curves(self) -> pd.DataFrame:
        """A row for each epoch of each trial, with the columns `trial`, `epoch` and one for each metric."""
        import pandas as pd

        trials = list(self.record.trials.values())
        rows = [{"trial": trial.number, **report.row()} for trial in trials for report in trial.reports]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["trial", "epoch"])

    @property
    def best_trial(self) -> TrialRecord | None:
        """The trial of the search whose configuration won; before that, the best so far; None without a score."""
        return best_configuration(self.record)

    @property
    def best_hyperparameters(self) -> dict[str, HyperparameterValue] | None:
        """The values of `best_trial`, by name."""
        best = self.best_trial
        return None if best is None else dict(best.values)

    @property
    def winner(self) -> TrialRecord:
        """The trial whose model was chosen: that of `best_trial`, or one that trained its configuration again.

        Raises:
            SweepFailedError: none is chosen yet.
        """
        winner = self.record.winning_trial
        if winner is None:
            raise SweepFailedError(f"sweep {self.sweep_id} has no winner yet; {self._how_to_get_there()}")
        return winner

    @property
    def importance(self) -> pd.Series | None:
        """The share of each hyperparameter in what distinguishes the best trials (PED-ANOVA), the largest first.

        They sum to 1. None with fewer than 8 trials that can be compared, or if nothing varied.
        """
        import pandas as pd

        from galaxy_exp.report.importance import measure_importances

        shares = measure_importances(self.record).shares
        return pd.Series(shares, name="importance").rename_axis("hyperparameter") if shares else None

    # result

    @property
    def test(self) -> pd.DataFrame | None:
        """The winner on the held-out test set; None before it was opened.

        A row for each of `accuracy`, `macro_f1`, `balanced_accuracy` and `loss` (nats), with the columns `score`; `low`
        and `high`, the ends of its 95% interval; `baseline`, the baseline's score; `gain` over it, positive if better
        also for `loss`; `gain_low`, `gain_high`; and `may_be_chance`, whether the interval of the gain includes zero.
        NaN or NA where there is no baseline or, in sweeps of earlier releases, no interval. If the baseline's
        configuration won with another seed, `gain` is the difference of the two seeds.

        Of a sweep on votes, a row for each score of votes, of which less is better but for `count_coverage`, then for
        each score of the winning answer where votes agree.
        """
        import pandas as pd

        tested = self.record.winner_test
        if tested is None:
            return None
        names = shown_names(tested) if tested.get("votes") else METRICS
        rows = {name: self._test_row(name, tested) for name in names}
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")
        return table.astype({name: "boolean" if name == "may_be_chance" else "float64" for name in table})

    def _test_row(self, name: str, tested: Mapping[str, Any]) -> dict[str, Any]:
        low, high = tested.get("intervals", {}).get(name) or (None, None)
        gain, baseline = self.record.gains.get(name), self.record.baseline_test
        row = {"score": tested[name], "low": low, "high": high, "baseline": baseline and baseline[name]}
        if gain is None:
            row["gain"] = gain_over(name, tested, baseline)
            return row | dict.fromkeys(("gain_low", "gain_high", "may_be_chance"))
        gains = {"gain": gain.difference, "gain_low": gain.low, "gain_high": gain.high}
        return row | gains | {"may_be_chance": not gain.is_clear}

    @property
    def comparison(self) -> str | None:
        """Whether the winner is better than the baseline, in one sentence; None before the held-out test."""
        return compare_with_baseline(self.record) or None

    @property
    def model_uri(self) -> str | None:
        """`models:/NAME/VERSION`, for `galaxy_exp.load_model`; None if no model is registered yet."""
        registered = self.record.registered
        return f"models:/{registered.name}/{registered.version}" if registered else None

    def load_model(self, *, calibrated: bool = False) -> GalaxyClassifier:
        """The registered model of this sweep, whatever the champion is now; see `galaxy_exp.load_model`.

        Args:
            calibrated: whether its probabilities are those at its temperature.

        Raises:
            ModelError: none is registered yet, or it was deleted.
            TrackingError: MLflow's store cannot be read.
        """
        from galaxy_exp.registry.classifier import load_model

        if self.model_uri is None:
            raise ModelError(
                f"sweep {self.sweep_id} has not registered a model yet; {self._how_to_get_there()}; "
                "get_best_models() loads the best networks so far"
            )
        return load_model(self.model_uri, tracking_uri=self.record.tracking_uri, calibrated=calibrated)

    def report(self, path: Path | str | None = None) -> Path:
        """Writes the report page, one HTML file that needs no network, and returns its path.

        Args:
            path: a file, or a folder, in which the file has the sweep's id with .html; None: the current folder.
        """
        from galaxy_exp.sweep_report import write_report

        target = Path(path or ".")
        if target.is_dir():
            target /= f"{self.sweep_id}.html"
        return write_report(self.record, SweepFolder(self.folder), target)

    def summary(self) -> None:
        """Prints what the sweep found: the best configuration, its scores, and whether it beats the baseline."""
        print(f"{self.sweep_id}, {self.state}")
        for line in summary_lines(self.record):
            print("\n".join(wrap(line, terminal_width(), "  ")))

    # the names of KerasTuner

    def results_summary(self, num_trials: int = 10) -> None:
        """Prints a table of the best trials, at most `num_trials`, as KerasTuner's tuners do."""
        print(leaderboard_text(self.record, terminal_width(), limit=num_trials))

    def get_best_hyperparameters(self, num_trials: int = 1) -> list[keras_tuner.HyperParameters]:
        """The values of the best configurations, at most `num_trials`, the best first, as KerasTuner's tuners do."""
        with BACKEND_ENVIRONMENT:
            import_keras_quietly()
            from galaxy_exp.hypermodel.discovery import to_kerastuner
            from galaxy_exp.space.search_space import SearchSpace

            space = SearchSpace.from_config(self.record.started.space)
            return [to_kerastuner(space, trial.values) for trial in self._ranked()[:num_trials]]

    def get_best_models(self, num_models: int = 1) -> list[Any]:
        """The trained Keras models of the best configurations, the winner's first.

        They take uint8 images (n, height, width, 3) and give probabilities (n, n_classes). Only the models of the best
        `tracking.keep_models` trials are kept, so there may be fewer. They are single networks: if the registered
        model is an ensemble, `load_model` loads it.

        Args:
            num_models: how many at most; 0: an empty list.

        Raises:
            ModelError: none is kept, or one cannot be read.
        """
        from galaxy_exp.registry.networks import read_network
        from galaxy_exp.sweep_images import find_prepared

        if num_models < 1:
            return []
        folder, trials = SweepFolder(self.folder), self._ranked()
        if self.record.winning_trial is not None:  # a retraining of the first
            trials[:1] = [self.record.winning_trial]
        files = [folder.model(trial.number) for trial in trials]
        kept = [file for file in files if file.is_file() or graph_of(file).is_dir()][:num_models]
        if not kept:
            raise ModelError(f"{self.folder}: has no model; models are kept when trials end, the best of them only")
        data = find_prepared(self.record, folder)
        if data is None and any(graph_of(file).is_dir() for file in kept):
            raise ModelError(f"{self.record.started.data_folder}: the images are gone, whose size a stored graph needs")
        with BACKEND_ENVIRONMENT:
            import_keras_quietly()
            return [read_network(file, data.image_shape if data is not None else ()) for file in kept]

    def _ranked(self) -> list[TrialRecord]:
        """The trials of the search with a score, the best configuration first."""
        best, others = best_configuration(self.record), self.record.leaderboard()
        return [] if best is None else [best, *(trial for trial in others if trial is not best)]

    # how it is shown

    def __repr__(self) -> str:
        facts = self._facts()
        width = max(map(len, facts), default=0)
        lines = [f"  {name:<{width}}  {value}" for name, value in facts.items()]
        return "\n".join([f"SweepResult of {self.sweep_id}", *(shorten(line, _LONGEST) for line in lines)])

    def _repr_html_(self) -> str:
        """For notebooks: the same with a table of the best trials."""
        facts = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._facts().items()
        )
        values = [trial.values for trial in self.record.searched]
        names = dict.fromkeys(name for each in values for name in each)
        varied = [name for name in names if len({str(each.get(name)) for each in values}) > 1]
        of_trials, objectives = hyperparameter_columns(self.record), [each.name for each in self.record.objectives]
        shown = ["trial", "state", *objectives, "epochs", *(of_trials[name] for name in varied)]
        trials = self.trials.head(_SHOWN).dropna(axis="columns", how="all")
        columns = [name for name in shown if name in trials]
        table = trials[columns].to_html(index=False, escape=True, border=0) if columns else ""
        return f"<div><b>{html.escape(self.sweep_id)}</b><table>{facts}</table>{table}</div>"

    def _facts(self) -> dict[str, str]:
        """What `repr` shows, by what it is; at most nine lines."""
        record, tested = self.record, self.record.winner_test
        n_done = sum(trial.result is not None for trial in record.searched)
        took = format_duration(record.updated_at - record.started.time)
        done = f"{n_done} of {record.config.search.max_trials}, {count(record.epochs, 'epoch')} in {took}"
        facts = {"state": self.state, "trials": done} | answer(record)
        if tested is not None:
            names = dict.fromkeys((compared_metric(record), *headline_names(tested)))
            scores = [f"{label_of(name, tested)} {score_with_interval(name, tested)}" for name in [*names][:2]]
            facts[f"{simulated(record)}test"] = "; ".join(scores)
            facts["comparison"] = compare_with_baseline(record)
        if record.ended is not None and not record.ended.succeeded:
            facts["failed"] = record.ended.reason
        if self.model_uri is not None:
            facts["model"] = self.model_uri
        facts["more"] = "trials, curves, test, best_hyperparameters, summary(), load_model(), report()"
        return {name: flatten_text(value) for name, value in facts.items() if value}


def open_sweep(reference: str | None = None) -> SweepResult:
    """A sweep of this folder's project, also one that another process is running, or that failed or was interrupted.

    Args:
        reference: the id or the beginning of one; None: the newest sweep.

    Raises:
        BadInputError: there is no such sweep.
        JournalError: its journal cannot be read.
    """
    folder = ProjectFolder.default().find_sweep(reference)
    record, state = read_with_state(folder.path)
    return SweepResult(record, folder.path, state)


def list_sweeps() -> pd.DataFrame:
    """A row for each sweep of this folder's project, the newest last, with the columns of `galaxy-exp list`.

    `state` is `running`, `interrupted`, `finished`, `failed`, or `unreadable` if its journal cannot be read, with the
    `reason`; `started` is in UTC.
    """
    import pandas as pd

    rows = [sweep_row(folder) for folder in ProjectFolder.default().sweeps()]
    table = pd.DataFrame(rows, columns=LIST_COLUMNS)
    whole = dict.fromkeys(("trials", "max_trials", "best_trial", "winner"), "Int64")
    return table.astype(whole | {"best": "float64"}).assign(started=pd.to_datetime(table["started"], utc=True))
