"""The story of a sweep: prepare, loop, choose, test once, register, promote."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy_exp.config import SweepConfig, load_sweep, parse_sweep
from galaxy_exp.config.differences import STORE, changes_workers
from galaxy_exp.config.reading import FlagValue, SweepFile, read_sweep
from galaxy_exp.environment import add_import_paths
from galaxy_exp.errors import (
    ConfigError,
    DataError,
    EngineError,
    JournalError,
    SweepFailedError,
    SweepInterrupted,
    TrackingError,
)
from galaxy_exp.execution.crew import Crew
from galaxy_exp.folders import ProjectFolder, SweepFolder
from galaxy_exp.interrupts import gentle_interrupts, signals_as_interrupts, signals_ignored
from galaxy_exp.journal.changes import find_change
from galaxy_exp.journal.events import Event, SweepChanged, SweepEnded, SweepResumed
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.preparation import check_names, prepare_sweep
from galaxy_exp.quiet import BACKEND_ENVIRONMENT, import_keras_quietly
from galaxy_exp.records import DATA_GONE, SplitFiles, TrialSpec
from galaxy_exp.redaction import remember_address
from galaxy_exp.seeding import derive_seed
from galaxy_exp.sweep_report import refresh_report

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from galaxy_exp.data.prepared import PreparedData
    from galaxy_exp.execution.loop import Observer
    from galaxy_exp.execution.sources import TrialSource
    from galaxy_exp.search.proposer import Proposer
    from galaxy_exp.search.pruners import Pruner
    from galaxy_exp.tracking.projection import MlflowProjection

__all__ = ["SweepResult", "resume_sweep", "run_sweep", "sync_sweep"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A finished sweep; everything in it can be read again from its journal."""

    record: SweepRecord
    folder: Path

    @property
    def sweep_id(self) -> str:
        return self.record.sweep_id

    @property
    def winner(self) -> TrialRecord:
        """The trial whose model was chosen.

        Raises:
            SweepFailedError: none is chosen yet.
        """
        winner = self.record.winning_trial
        if winner is None:
            raise SweepFailedError(
                f"sweep {self.sweep_id} has no winner yet; galaxy-exp resume {self.sweep_id} continues and chooses one"
            )
        return winner

    @property
    def model_uri(self) -> str | None:
        """`models:/NAME/VERSION`, for `galaxy_exp.load_model`."""
        registered = self.record.registered
        return f"models:/{registered.name}/{registered.version}" if registered else None


def run_sweep(
    sweep: SweepConfig | Mapping[str, Any] | Path | str,
    *,
    hypermodel: Any = None,
    data: Any = None,
    overrides: Sequence[str] = (),
    flags: Sequence[FlagValue] = (),
    observers: Sequence[Observer] = (),
    say: Say = lambda _: None,
) -> SweepResult:
    """Runs a sweep to its end and registers the best model.

    Args:
        sweep: a sweep file, or what one would say, as a record or as a mapping.
        hypermodel: of your own, in place of the sweep file's: a `keras_tuner.HyperModel` class or instance, or a
            function `build(hp)`. One that cannot be imported, as in a notebook, is kept with the sweep (cloudpickle).
        data: of your own, in place of `data.source`: (images, labels) or (images, labels, class names), images uint8
            (n, height, width, 3), labels whole numbers (n,) from 0; or a `galaxy_exp.data.ImageDataset`. Written once,
            as HDF5, into the project's folder.
        overrides: `key.path=value`, as with `--set`; only for a sweep file.
        flags: applied after the overrides, and named in messages; only for a sweep file.
        observers: told of every event.
        say: takes one line at a time about what is going on.

    Raises:
        ConfigError, DataError: bad input, before anything is trained.
        SweepFailedError: too many trials in a row failed, or none has a model.
        SweepInterrupted: Ctrl-C or SIGTERM; `resume_sweep` goes on.
        TrackingError: MLflow could not be written to at the end; `resume_sweep` registers later.
    """
    config, source = _read(sweep, overrides, flags)
    try:
        return _run_new(config, source, hypermodel, data, observers, say)
    except ConfigError as error:
        where = "" if source is None else f"{sweep}: "
        raise ConfigError([f"{where}{problem}" for problem in error.problems]) from error.__cause__


def _read(
    sweep: SweepConfig | Mapping[str, Any] | Path | str, overrides: Sequence[str], flags: Sequence[FlagValue]
) -> tuple[SweepConfig, SweepFile | None]:
    if isinstance(sweep, SweepConfig):
        return sweep, None
    return (parse_sweep(sweep), None) if isinstance(sweep, Mapping) else read_sweep(sweep, overrides, flags)


def _run_new(
    config: SweepConfig,
    source: SweepFile | None,
    hypermodel: Any,
    data: Any,
    observers: Sequence[Observer],
    say: Say,
) -> SweepResult:
    project = ProjectFolder.default()
    folder = project.new_sweep(config.name)
    crew = Crew(config.execution, project.worker_log(folder.sweep_id), say)
    with BACKEND_ENVIRONMENT, signals_as_interrupts(), _closing(crew, folder):
        given = _references(config, hypermodel, data, project, folder)
        config = config.model_copy(update=given)
        crew.start()  # its imports go on while this process prepares
        check_names(config, say)
        started = prepare_sweep(config, project, folder.sweep_id, say)
        if source is not None:
            values = {key: config.model_dump(mode="json")[key] for key in given}
            source = replace(source, settings=(*source.settings, *values.items()))
        with Journal.create(folder.path, started.model_copy(update={"sweep_file": source})) as journal:
            return _Run(journal, folder, crew, observers, say).to_the_end()


def _references(
    config: SweepConfig, hypermodel: Any, data: Any, project: ProjectFolder, folder: SweepFolder
) -> dict[str, Any]:
    """References, which the journal can hold, to the objects that were given, by key of the sweep."""
    changes: dict[str, Any] = {}
    if hypermodel is not None:
        import_keras_quietly()
        from galaxy_exp.hypermodel.given import store_hypermodel

        changes["hypermodel"] = store_hypermodel(hypermodel, folder.path)
    if data is not None:
        from galaxy_exp.data.in_memory import store_data

        changes["data"] = store_data(data, config.data, project.in_memory_data)
    return changes


def resume_sweep(
    reference: str | None = None,
    *,
    file: Path | str | None = None,
    overrides: Sequence[str] = (),
    flags: Sequence[FlagValue] = (),
    as_recorded: bool = False,
    observers: Sequence[Observer] = (),
    say: Say = lambda _: None,
) -> SweepResult:
    """Goes on with an unfinished sweep from its journal.

    If the sweep file that it came from has changed since, what changed takes effect, as do overrides, where no trial
    depends on it (budgets, workers; `galaxy_exp.config.differences.CHANGEABLE`); anything else is refused.

    Args:
        reference: a sweep's id or the beginning of one; None takes the newest unfinished sweep.
        file: a sweep file in place of the one that the sweep came from.
        overrides: `key.path=value`, as with `--set`, from now on; on top of those that the sweep began with.
        flags: applied after the overrides, and named in messages.
        as_recorded: leaves the sweep file aside, whatever it says now.
        observers: told of every event.
        say: takes one line at a time about what is going on.

    Raises:
        As `run_sweep`; JournalError if another process runs this sweep or there is nothing to resume.
    """
    project = ProjectFolder.default()
    folder = project.find_sweep(reference) if reference else _newest_unfinished(project)
    with BACKEND_ENVIRONMENT, signals_as_interrupts(), Journal.reopen(folder.path) as journal:
        if journal.record.ended is not None and journal.record.ended.succeeded:
            raise JournalError(
                f"sweep {folder.sweep_id} is finished, and its sealed test part is opened once; galaxy-exp show "
                f"{folder.sweep_id} tells how it went, and a new sweep learns from it with: "
                f"--set search.warm_start={folder.sweep_id}"
            )
        change = find_change(
            journal.record,
            file=Path(file) if file is not None else None,
            overrides=overrides,
            flags=flags,
            as_recorded=as_recorded,
            say=say,
        )
        change = _check_recorded_store(journal.record, change, say)
        config = journal.record.config if change is None else parse_sweep(change.config, "changed sweep file")
        add_import_paths(journal.record.started.import_paths)
        known = None if change is not None and changes_workers(change.changes) else journal.record.workers_chosen
        crew = Crew(config.execution, project.worker_log(folder.sweep_id), say, known)
        with _closing(crew, folder):
            crew.start()
            if change is not None:  # not before its workers are there: what cannot be used would hold for good
                journal.append(change)
            journal.append(SweepResumed())
            return _Run(journal, folder, crew, observers, say).to_the_end()


def _check_recorded_store(record: SweepRecord, change: SweepChanged | None, say: Say) -> SweepChanged | None:
    """Refuses a store that can never work; the change says which store it leads to, if to another one.

    Raises:
        UnusableStoreError: one line with the command that takes another store, if any still does.
    """
    from galaxy_exp.tracking.store import resolve_tracking_uri
    from galaxy_exp.tracking.store_check import check_store

    _remember_password(record)
    uri = record.tracking_uri
    if change is not None and any(each.key == STORE for each in change.changes):
        uri = remember_address(resolve_tracking_uri(parse_sweep(change.config, "changed sweep file").tracking.uri))
        if uri != record.tracking_uri:
            change = change.model_copy(update={"tracking_uri": uri})
            say(f"the whole sweep is written anew into the MLflow store {uri}")
    is_finished = record.ended is not None and record.ended.succeeded
    check_store(uri, say, None if is_finished else f"galaxy-exp resume {record.sweep_id}")
    return change


def sync_sweep(reference: str | None = None, *, say: Say = lambda _: None) -> SweepRecord:
    """Writes to MLflow what it lacks of a sweep; nothing is trained.

    Raises:
        TrackingError: if MLflow still cannot be written to.
    """
    folder = ProjectFolder.default().find_sweep(reference)
    with Journal.reopen(folder.path) as journal:
        _check_recorded_store(journal.record, None, say)
        projection = build_projection(journal, folder, restore_data(journal.record, say), say)
        ended = journal.record.ended
        if ended is None:  # no driver runs it, as the journal is ours
            projection.close_sweep("KILLED")
        else:
            refresh_report(journal.record, folder, say)
            projection.close_sweep("FINISHED" if ended.succeeded else "FAILED")
        return journal.record


class _Tracking:
    """What keeps MLflow in step, made when it first has something to do: MLflow is imported while a trial trains.

    It is made once, in a thread of its own: Ctrl-C, which comes in the main thread, leaves no import half done.
    """

    def __init__(self, build: Callable[[], MlflowProjection]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._made: Future[MlflowProjection] | None = None

    @property
    def projection(self) -> MlflowProjection:
        """Waits for it; TrackingError if MLflow cannot be imported."""
        with self._lock:
            if self._made is None:
                maker = ThreadPoolExecutor(1, "galaxy-exp-mlflow")
                self._made = maker.submit(self._build)
                maker.shutdown(wait=False)
        return self._made.result()

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`."""
        self.projection.on_event(event, record)


class _Run:
    """One process's part in a sweep, from wherever its journal stands to the end."""

    def __init__(
        self, journal: Journal, folder: SweepFolder, crew: Crew, observers: Sequence[Observer], say: Say
    ) -> None:
        self._journal = journal
        self._folder = folder
        self._crew = crew
        self._observers = observers
        self._say = say
        self._unread: set[int] = set()
        """Trials that are issued again although the images that their worker could not read are intact."""

    def to_the_end(self) -> SweepResult:
        """Trains what is left, then chooses, tests, registers and promotes."""
        import_keras_quietly()
        from galaxy_exp.execution.background import BackgroundObserver

        try:
            self._data = restore_data(self._journal.record, self._say)
            self._settle_workers()
        except BaseException as error:
            self._end_runs()
            if isinstance(error, DataError | EngineError):
                raise type(error)(self._and_how_to_go_on(error)) from error
            raise
        tracking = _Tracking(partial(build_projection, self._journal, self._folder, self._data, self._say))
        try:
            with BackgroundObserver(tracking) as tracker:
                reason = self._search(tracker)
                self._confirm_finalists(tracker)
            self._crew.close()  # the sealed test may want the worker's GPU
            self._folder.remove_attempts()
            self._crown(tracking.projection)
            self._journal.append(SweepEnded(succeeded=True, reason=reason))
        except KeyboardInterrupt:
            self._crew.close()
            self._leave(tracking, "KILLED")
            raise
        except (EngineError, DataError) as error:
            self._leave(tracking, "KILLED")
            raise type(error)(self._and_how_to_go_on(error)) from error
        except TrackingError as error:
            raise type(error)(self._and_how_to_go_on(error)) from error
        except SweepFailedError as error:
            self._journal.append(SweepEnded(succeeded=False, reason=str(error)))
            self._leave(tracking, "FAILED")
            raise
        except Exception:  # a bug, or a disk that is full: no run stays RUNNING
            self._leave(tracking, "KILLED")
            raise
        return SweepResult(self._journal.record, self._folder.path)

    def _settle_workers(self) -> None:
        record = self._journal.record
        seed = derive_seed(record.config.search.seed, "trial", 0)
        baseline = TrialRecord(0, dict(record.started.baseline), seed, proposed_at=0.0)
        chosen = self._crew.settle(self._make_spec(baseline, attempt=1))
        if chosen is not None:
            self._journal.append(chosen)

    def _make_spec(self, trial: TrialRecord, attempt: int) -> TrialSpec:
        """What the worker gets; the images are looked for first, and thoroughly after an attempt that was lost.

        Raises:
            DataError: they cannot be restored.
            EngineError: the worker could not read them twice, and nothing is wrong with them.
        """
        loss = trial.losses[-1] if trial.losses else ""
        if loss.startswith(DATA_GONE) and self._data.is_intact():
            if trial.number in self._unread:
                raise EngineError(
                    f"trial {trial.number}: {loss}; this process reads them: {self._data.folder} must be shared by all "
                    "workers and readable for them"
                )
            self._unread.add(trial.number)  # another trial may have restored them meanwhile
        elif attempt > 1 or not self._data.is_present():
            self._data = restore_data(self._journal.record, self._say)
        return trial_spec(self._journal.record, self._folder, self._data.files, trial, attempt)

    def _and_how_to_go_on(self, error: Exception) -> str:
        go_on = f"galaxy-exp resume {self._folder.sweep_id}"
        return f"{error}; what was trained is safe in the journal; continue with: {go_on}"

    def _leave(self, tracking: _Tracking, status: str) -> None:
        """Closes the sweep's runs in MLflow if that works; the reason for leaving matters more if it does not."""
        if status != "KILLED":  # whoever interrupts a sweep does not want to wait
            refresh_report(self._journal.record, self._folder, self._say)
        try:
            tracking.projection.close_sweep(status)
        except (TrackingError, JournalError) as error:
            self._say(f"{error}; galaxy-exp sync {self._folder.sweep_id} writes it later")

    def _end_runs(self) -> None:
        """Ends the runs that an earlier process left RUNNING in MLflow; without images nothing else is written."""
        from galaxy_exp.tracking.store import open_client, tracking_errors

        record = self._journal.record
        if record.parent_run_id is None:
            return
        try:
            with tracking_errors(record.tracking_uri):
                from galaxy_exp.tracking.projection import end_runs

                end_runs(open_client(record.tracking_uri), record, "KILLED")
        except TrackingError as error:
            self._say(f"{error}; the runs in MLflow stay open until: galaxy-exp resume {record.sweep_id}")

    def _search(self, tracker: Observer) -> str:
        """Runs the trials of the search, unless an earlier process finished it; returns why it ended."""
        from galaxy_exp.execution.budget import Budget
        from galaxy_exp.execution.sources import SearchSource
        from galaxy_exp.registry.choice import choose_finalists
        from galaxy_exp.search.pruners import build_pruner

        record = self._journal.record
        if record.finalists is None:
            search, epochs = record.config.search, record.config.training.epochs
            pruner = build_pruner(search, epochs)
            source = SearchSource(proposer_of(record), Budget(search, pruner, epochs))
            choose_finalists(self._journal, self._train(source, pruner, tracker))
        return record.why_search_ended

    def _confirm_finalists(self, tracker: Observer) -> None:
        from galaxy_exp.execution.sources import FinalistSource
        from galaxy_exp.search.pruners import NoPruner

        record, seeds = self._journal.record, self._journal.record.config.registry.seeds
        source = FinalistSource(seeds)
        is_over = source.refusal(record, time.time()) is not None and not any(map(source.owns, record.running))
        if record.finalists and not is_over:
            names = ", ".join(str(number) for number in record.finalists)
            self._say(f"training the finalists again, {seeds} times each: trials {names}")
            self._train(source, NoPruner(), tracker)

    def _train(self, source: TrialSource, pruner: Pruner, tracker: Observer) -> str:
        from galaxy_exp.execution.loop import SweepLoop
        from galaxy_exp.execution.model_keeper import ModelKeeper, settle_files
        from galaxy_exp.execution.pace import Pace

        with gentle_interrupts(self._say) as stopping:
            loop = SweepLoop(
                self._journal,
                source,
                pruner,
                self._crew.engine,
                self._make_spec,
                (*self._observers, ModelKeeper(self._folder), tracker),
                pace=Pace(60 * self._journal.record.config.execution.first_epoch_minutes),
                stopping=stopping,
                settle_files=partial(settle_files, self._folder),
            )
            return loop.run()

    def _crown(self, projection: MlflowProjection) -> None:
        from galaxy_exp.registry import winner
        from galaxy_exp.registry.choice import choose_winner

        data = restore_data(self._journal.record, self._say)
        choose_winner(self._journal)
        self._say("testing the winner and the baseline on the sealed test images")
        winner.open_sealed_test(self._journal, self._folder, data)
        projection.catch_up()
        winner.register_winner(self._journal, self._folder, data, projection.client)
        winner.promote_winner(self._journal, self._folder, projection.client)
        refresh_report(self._journal.record, self._folder, self._say)
        projection.close_sweep("FINISHED")


def trial_spec(
    record: SweepRecord, folder: SweepFolder, data: SplitFiles, trial: TrialRecord, attempt: int
) -> TrialSpec:
    """All that a worker needs for an attempt at a trial."""
    from galaxy_exp.hypermodel.given import locate_hypermodel
    from galaxy_exp.search.proposer import epochs_of

    config = record.config
    is_baseline = config.search.baseline and trial.number == 0  # trained whatever it costs, for comparison
    return TrialSpec(
        sweep_id=record.sweep_id,
        number=trial.number,
        values=trial.values,
        space=record.started.space,
        hypermodel=locate_hypermodel(config.hypermodel, folder.path),
        data=data,
        epochs=epochs_of(trial.values, config.training.epochs),
        seed=trial.seed,
        precision=record.precision or config.training.precision,
        deterministic=config.training.deterministic,
        jit_compile=config.training.jit_compile,
        objective=record.objective,
        constraints=() if is_baseline else config.search.constraint_records,
        folder=folder.attempt(trial.number, attempt),
        attempt=attempt,
    )


def proposer_of(record: SweepRecord) -> Proposer:
    """What proposes the trials of a sweep, before it has heard of any."""
    from galaxy_exp.hypermodel.search_space import space_from_config
    from galaxy_exp.search.building import build_proposer

    config = record.config
    space = space_from_config(record.started.space)
    return build_proposer(config.search, space, epochs=config.training.epochs, evidence=record.started.evidence)


def restore_data(record: SweepRecord, say: Say) -> PreparedData:
    """The prepared images, prepared again if the cache was deleted or damaged since the sweep began.

    Where they come from is what this sweep says, whoever prepared the same images first.

    Raises:
        DataError: the source is gone, or no longer holds the same images.
    """
    from galaxy_exp.data import PreparedData

    folder = Path(record.started.data_folder)
    try:
        data = PreparedData.load(folder)
    except DataError as problem:
        say(f"preparing the images again: {problem}")
        data = _prepare_again(record, folder)
    return replace(data, source=record.started.data_source, simulated=record.started.simulated)


def _prepare_again(record: SweepRecord, folder: Path) -> PreparedData:
    from galaxy_exp.data import load_dataset, prepare_split

    config = record.config.data
    try:
        data = prepare_split(load_dataset(config), config.split, folder.parent)
    except DataError as error:
        raise type(error)(f"{folder}: the prepared images are gone and cannot be prepared again: {error}") from None
    if data.folder != folder:
        found = f"digest {data.digest[:16]}, expected {record.started.data_digest[:16]}"
        message = f"{config.source}: the images are not those that sweep {record.sweep_id} began with; {found}"
        raise DataError(message)
    return data


def build_projection(journal: Journal, folder: SweepFolder, data: PreparedData, say: Say) -> MlflowProjection:
    """What keeps MLflow in step with a journal.

    Raises:
        TrackingError: MLflow cannot be imported.
    """
    from galaxy_exp.tracking.store import is_first_use, open_client, tracking_errors

    uri = journal.record.tracking_uri
    with tracking_errors(uri):
        from galaxy_exp.tracking.projection import MlflowProjection
    _remember_password(journal.record)

    def open_store() -> MlflowClient:
        if is_first_use(uri):
            say(f"creating the MLflow database {uri} (first use, about 10 s)")
        return open_client(uri)

    return MlflowProjection(open_store, journal, folder, data, say)


def _remember_password(record: SweepRecord) -> None:
    """The journal has the store's address without its password; the sweep file may have it."""
    source = record.sweep_file
    if source is None or not source.path or record.config.tracking.uri is None:
        return
    try:
        uri = load_sweep(source.path).tracking.uri
    except ConfigError:  # gone or changed; the environment may have it
        return
    if uri is not None:
        remember_address(uri)


def _newest_unfinished(project: ProjectFolder) -> SweepFolder:
    """The newest sweep that did not succeed and that no process is running; unreadable ones are passed over."""
    from galaxy_exp.journal.journal import is_running, read_record

    for folder in reversed(project.sweeps()):
        try:
            ended = read_record(folder.path).ended
        except JournalError:
            continue
        if (ended is None or not ended.succeeded) and not is_running(folder.path):
            return folder
    raise JournalError(f"{project.path}: no unfinished sweep here; galaxy-exp list shows them all")


@contextmanager
def _closing(crew: Crew, folder: SweepFolder) -> Iterator[None]:
    """Ends the workers whatever happens, and turns an interrupt into one that names the sweep to resume."""
    try:
        yield
    except KeyboardInterrupt:
        if folder.journal.exists():
            raise SweepInterrupted(folder.sweep_id) from None
        raise
    finally:
        with signals_ignored():
            crew.close()
            if folder.path.exists() and not folder.journal.exists():
                shutil.rmtree(folder.path)  # refused before anything began
