"""The story of a sweep: prepare, search, train the finalists again, choose, test once, register, promote."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy_exp.config import SweepConfig, parse_sweep
from galaxy_exp.config.differences import changes_workers
from galaxy_exp.config.reading import FlagValue, SweepFile, read_sweep
from galaxy_exp.environment import add_import_paths, what_is_imported
from galaxy_exp.errors import (
    BadInputError,
    ConfigError,
    DataError,
    EngineError,
    JournalError,
    SweepFailedError,
    SweepInterrupted,
    TrackingError,
    is_of_the_machine,
    machine_reason,
)
from galaxy_exp.execution.budget import Budget
from galaxy_exp.execution.hang_detection import HangDetector
from galaxy_exp.execution.loop import SweepLoop
from galaxy_exp.execution.observers import BackgroundObserver, CheckpointKeeper, ModelKeeper, Observer
from galaxy_exp.execution.orders import OrderDesk
from galaxy_exp.execution.trials import (
    FinalistSource,
    SearchSource,
    TrialSource,
    epochs_known,
    find_longer_training,
    keep_files,
    proposer_of,
    trial_spec,
)
from galaxy_exp.execution.worker_pool import WorkerPool
from galaxy_exp.folders import ProjectFolder, SweepFolder
from galaxy_exp.interrupts import gentle_interrupts, signals_as_interrupts, signals_ignored
from galaxy_exp.journal.events import Event, SweepEnded, SweepResumed
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.orders import OrderFolder
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.preparation import (
    check_hypermodel,
    check_names,
    check_space,
    find_unfinished,
    prepare_resume,
    prepare_sweep,
    store_encoders,
    store_user_objects,
)
from galaxy_exp.quiet import BACKEND_ENVIRONMENT, import_keras_quietly, say_nothing, warnings_unprinted
from galaxy_exp.records import TrialSpec
from galaxy_exp.result import SweepResult
from galaxy_exp.search.schedulers import Scheduler, build_scheduler, no_scheduler
from galaxy_exp.search_methods import SAMPLERS
from galaxy_exp.seeding import derive_seed
from galaxy_exp.sweep_images import SweepImages, restore_data
from galaxy_exp.sweep_report import refresh_report
from galaxy_exp.tracking.sweep_tracking import LazyProjection, build_projection, check_recorded_store, end_open_runs
from galaxy_exp.wording import Say

if TYPE_CHECKING:
    from galaxy_exp.tracking.projection import MlflowProjection

__all__ = ["SweepResult", "resume_sweep", "run_sweep", "sync_sweep"]


def run_sweep(
    sweep: SweepConfig | Mapping[str, Any] | Path | str,
    *,
    hypermodel: Any = None,
    data: Any = None,
    overrides: Sequence[str] = (),
    flags: Sequence[FlagValue] = (),
    observers: Sequence[Observer] = (),
    say: Say | None = None,
    verbose: int = 1,
) -> SweepResult:
    """Runs a sweep to its end and registers the best model.

    Args:
        sweep: a sweep file, or its content as a record or as a mapping.
        hypermodel: replaces the sweep file's: a `keras_tuner.HyperModel` class or instance, or a function `build(hp)`.
            One that cannot be imported, as in a notebook, is stored with the sweep (cloudpickle).
        data: replaces `data.source`: (images, labels) or (images, labels, class names), images uint8
            (n, height, width, 3), labels whole numbers (n,) from 0; or a `galaxy_exp.data.ImageDataset`. Written once,
            as HDF5, to the project's folder.
        overrides: `key.path=value`, as with `--set`.
        flags: applied after the overrides, and named in messages.
        observers: called with every event.
        say: called with each message; then nothing else is printed, whatever `verbose` is.
        verbose: 0: silent; 1: a line for each trial on stderr, or a live table in a notebook; 2: also a line for each
            epoch.

    Raises:
        BadInputError, ConfigError, DataError: bad input, before anything is trained.
        SweepFailedError: too many trials in a row failed, or none has a model.
        SweepInterrupted: Ctrl-C, SIGTERM or SIGHUP; `resume_sweep` continues.
        TrackingError: MLflow could not be written to at the end; `resume_sweep` registers later.
    """
    _refuse_while_importing("run_sweep")
    _check_verbosity(verbose)
    config, source = _read(sweep, overrides, flags)
    try:
        return _show(verbose, observers, say, partial(_run_new, config, source, hypermodel, data))
    except ConfigError as error:
        where = "" if source is None else f"{sweep}: "
        raise ConfigError([f"{where}{problem}" for problem in error.problems]) from error.__cause__


def _refuse_while_importing(function: str) -> None:
    """Raises ConfigError for a script that names what it defines itself: it would begin sweep after sweep."""
    if name := what_is_imported():
        raise ConfigError(
            f"{function} was called while {name} was imported for a sweep; expected the call under "
            'if __name__ == "__main__":'
        )


def _check_verbosity(verbose: int) -> None:
    """Raises BadInputError unless `verbose` is 0, 1 or 2."""
    if verbose not in (0, 1, 2):
        raise BadInputError(f"verbose={verbose!r}: expected 0 (silent), 1 (a line a trial) or 2 (a line an epoch)")


def _show(
    verbose: int,
    observers: Sequence[Observer],
    say: Say | None,
    run: Callable[[Sequence[Observer], Say], SweepResult],
) -> SweepResult:
    """Calls `run` with the observers, with the display that `verbose` asks for, and with what prints messages."""
    if say is not None:
        return run(observers, say)
    if verbose == 0:
        with warnings_unprinted():
            return run(observers, say_nothing)
    from galaxy_exp.display import open_progress

    with open_progress(verbose) as display:
        result = run((*observers, display), display.say)
        display.conclude(result.record)
        return result


def _read(
    sweep: SweepConfig | Mapping[str, Any] | Path | str, overrides: Sequence[str], flags: Sequence[FlagValue]
) -> tuple[SweepConfig, SweepFile | None]:
    if isinstance(sweep, str | os.PathLike):
        return read_sweep(sweep, overrides, flags)
    if isinstance(sweep, SweepConfig):
        if not overrides and not flags:
            return sweep, None
        sweep = sweep.model_dump(mode="json", exclude_unset=True)
    if not isinstance(sweep, Mapping):
        kind = type(sweep).__name__
        raise BadInputError(f"sweep: is of type {kind}; expected the path of a sweep file, or its content as a mapping")
    return parse_sweep(sweep, "sweep", overrides, flags), None


def _run_new(
    config: SweepConfig,
    source: SweepFile | None,
    hypermodel: Any,
    data: Any,
    observers: Sequence[Observer],
    say: Say,
) -> SweepResult:
    if hypermodel is None:
        check_space(config)  # before the workers, and anything that takes seconds
    project = ProjectFolder.default()
    folder = project.new_sweep(config.name)
    with BACKEND_ENVIRONMENT, signals_as_interrupts(), _cleaning_up(folder) as at_end:
        pool = WorkerPool(config.execution, project.worker_log(folder.sweep_id), say)
        at_end.callback(pool.close)
        stored = store_user_objects(config, hypermodel, data, project, folder)
        config = config.model_copy(update=stored)
        pool.start()  # the workers import TensorFlow while this process prepares
        check_names(config, say)
        started = prepare_sweep(config, project, folder.sweep_id, say)
        store_encoders(started.space, folder)
        if source is not None:
            values = {key: config.model_dump(mode="json")[key] for key in stored}
            source = replace(source, settings=(*source.settings, *values.items()))
        with Journal.create(folder.path, started.model_copy(update={"sweep_file": source})) as journal:
            return _Run(journal, folder, pool, observers, say).to_the_end()


def resume_sweep(
    reference: str | None = None,
    *,
    file: Path | str | None = None,
    overrides: Sequence[str] = (),
    flags: Sequence[FlagValue] = (),
    as_recorded: bool = False,
    observers: Sequence[Observer] = (),
    say: Say | None = None,
    verbose: int = 1,
) -> SweepResult:
    """Continues an unfinished sweep from its journal.

    Changes of the sweep file since the sweep began, and overrides, take effect if no trial depends on them (budgets,
    workers; `galaxy_exp.config.differences.CHANGEABLE`); other changes are refused.

    Args:
        reference: a sweep's id or the beginning of one; None: the newest unfinished sweep.
        file: replaces the sweep file with which the sweep began.
        overrides: `key.path=value`, as with `--set`, from now on; applied after those with which the sweep began.
        flags: applied after the overrides, and named in messages.
        as_recorded: ignores changes of the sweep file.
        observers: called with every event.
        say: as of `run_sweep`.
        verbose: as of `run_sweep`.

    Raises:
        JournalError: another process runs this sweep, or there is nothing to resume.
        GalaxyExpError: as of `run_sweep`.
    """
    _refuse_while_importing("resume_sweep")
    _check_verbosity(verbose)
    project = ProjectFolder.default()
    folder = project.find_sweep(reference) if reference else find_unfinished(project)

    def run(observers: Sequence[Observer], say: Say) -> SweepResult:
        with BACKEND_ENVIRONMENT, signals_as_interrupts(), Journal.reopen(folder.path) as journal:
            record = journal.record
            change = prepare_resume(record, file, overrides, flags, as_recorded, say)
            config = record.config if change is None else parse_sweep(change.config, "changed sweep file")
            add_import_paths(record.started.import_paths)
            store_encoders(record.started.space, folder)
            known = None if change is not None and changes_workers(change.changes) else record.workers_chosen
            with _cleaning_up(folder) as at_end:
                pool = WorkerPool(config.execution, project.worker_log(folder.sweep_id), say, known)
                at_end.callback(pool.close)
                pool.start()
                resumption: list[Event] = [*([] if change is None else [change]), SweepResumed()]
                return _Run(journal, folder, pool, observers, say, resumption).to_the_end()

    return _show(verbose, observers, say, run)


def sync_sweep(reference: str | None = None, *, say: Say | None = None) -> SweepRecord:
    """Writes what MLflow lacks of a sweep; trains nothing.

    Raises:
        TrackingError: MLflow still cannot be written to.
    """
    say = say or say_nothing
    folder = ProjectFolder.default().find_sweep(reference)
    with Journal.reopen(folder.path) as journal:
        check_recorded_store(journal.record, None, say)
        projection = build_projection(journal, folder, restore_data(journal.record, folder, say), say)
        say(f"writing what MLflow lacks of {folder.sweep_id}")
        ended = journal.record.ended
        if ended is None:  # the sweep was interrupted, since its journal could be opened
            projection.close_sweep("KILLED")
        else:
            refresh_report(journal.record, folder, say)
            projection.close_sweep("FINISHED" if ended.succeeded else "FAILED")
        return journal.record


@contextmanager
def _cleaning_up(folder: SweepFolder) -> Iterator[ExitStack]:
    """Closes what is registered, whatever happens, and turns an interrupt into an error that names the sweep."""
    at_end = ExitStack()
    try:
        yield at_end
    except KeyboardInterrupt:
        if folder.journal.exists():
            raise SweepInterrupted(folder.sweep_id) from None
        raise
    finally:
        with signals_ignored():
            at_end.close()
            if folder.path.exists() and not folder.journal.exists():
                shutil.rmtree(folder.path)  # the sweep was refused


@dataclass(eq=False)
class _Run:
    """Runs a sweep from the current state of its journal to the end."""

    journal: Journal
    folder: SweepFolder
    pool: WorkerPool
    observers: Sequence[Observer]
    say: Say
    resumption: Sequence[Event] = ()
    """Of a sweep that is resumed; journaled when it can be, as settings that do not work must not be permanent."""

    def to_the_end(self) -> SweepResult:
        import_keras_quietly()
        sampler = self.journal.record.config.search.sampler_choice
        if sampler == "gp" or sampler not in SAMPLERS:  # one of the user's own may be a Gaussian process too
            from galaxy_exp.search.bayesian import thread_pools

            thread_pools()  # before other threads import; see there
        try:
            self._images = SweepImages(self.journal.record, self.folder, self.say)
            if self.resumption:
                check_hypermodel(self.journal.record, self.folder, self._images.prepared, self.say)
                for event in self.resumption:
                    self.journal.append(event)
            self._choose_workers()
        except BaseException as error:
            end_open_runs(self.journal.record, self.say)
            self._raise_with_remedy(error)
            raise
        write_report = partial(refresh_report, self.journal.record, self.folder, self.say)
        prepared = self._images.prepared
        build = partial(build_projection, self.journal, self.folder, prepared, self.say, write_report)
        tracking = LazyProjection(build)
        try:
            with BackgroundObserver(tracking) as tracker:
                reason = self._search(tracker)
                self._retrain_finalists(tracker)
            self.pool.close()  # the test may need the worker's GPU
            self.folder.remove_attempts()
            shutil.rmtree(self.folder.orders, ignore_errors=True)
            self._register_winner(tracking.projection)
            self.journal.append(SweepEnded(succeeded=True, reason=reason))
            self.folder.remove_checkpoints()
        except TrackingError as error:
            self._raise_with_remedy(error)
            raise
        except SweepFailedError as error:
            self.journal.append(SweepEnded(succeeded=False, reason=str(error)))
            self._leave(tracking, "FAILED")
            raise
        except BaseException as error:  # an interrupt, lost workers or images, a full disk, or a bug
            self.pool.close()
            self._leave(tracking, "KILLED")
            self._raise_with_remedy(error)
            raise
        return SweepResult(self.journal.record, self.folder.path)

    def _choose_workers(self) -> None:
        record = self.journal.record
        seed = derive_seed(record.config.search.seed, "trial", 0)
        baseline = TrialRecord(0, dict(record.started.baseline), seed, proposed_at=0.0)
        chosen = self.pool.choose_workers(self._make_spec(baseline, attempt=1))
        if chosen is not None:
            self.journal.append(chosen)

    def _make_spec(self, trial: TrialRecord, attempt: int) -> TrialSpec:
        files = self._images.files_for(trial)
        return trial_spec(self.journal.record, self.folder, files, trial, attempt)

    def _search(self, tracker: Observer) -> str:
        """Runs the trials of the search, unless they were run before; returns why the search ended."""
        from galaxy_exp.evaluation.selection import choose_finalists

        record = self.journal.record
        if record.finalists is None:
            search, epochs = record.config.search, record.config.training.epochs
            scheduler = build_scheduler(search, epochs)
            source = SearchSource(proposer_of(record), Budget(scheduler, epochs))
            longer = find_longer_training(record, self.folder)
            for line in longer.describe(epochs):
                self.say(line)
            choose_finalists(self.journal, self._train(source, scheduler, tracker, longer.numbers))
        return record.why_search_ended

    def _retrain_finalists(self, tracker: Observer) -> None:
        record, seeds = self.journal.record, self.journal.record.config.registry.seeds
        source = FinalistSource(seeds)
        is_over = source.refusal(record, time.time()) is not None and not any(map(source.owns, record.running))
        if record.finalists and not is_over:
            names = ", ".join(str(number) for number in record.finalists)
            self.say(f"training the finalists again, {seeds} times each: trials {names}")
            self._train(source, no_scheduler(), tracker)

    def _train(
        self, source: TrialSource, scheduler: Scheduler, tracker: Observer, to_continue: Sequence[int] = ()
    ) -> str:
        with gentle_interrupts(self.say) as stopping:
            loop = SweepLoop(
                self.journal,
                source,
                scheduler,
                self.pool.engine,
                self._make_spec,
                (*self.observers, ModelKeeper(self.folder), CheckpointKeeper(self.folder), tracker),
                hang_detector=HangDetector(60 * self.journal.record.config.execution.first_epoch_minutes),
                stopping=stopping,
                keep_files=partial(keep_files, self.folder),
                orders=OrderDesk(OrderFolder(self.folder.orders), self.pool.engine),
                epochs_known=partial(epochs_known, self.journal.record, self.folder),
                to_continue=to_continue,
            )
            return loop.run()

    def _register_winner(self, projection: MlflowProjection) -> None:
        from galaxy_exp.evaluation.selection import choose_winner
        from galaxy_exp.registry import winner

        data = restore_data(self.journal.record, self.folder, self.say)
        choose_winner(self.journal)
        self.say("testing the winner and the baseline on the held-out test images")
        winner.open_held_out_test(self.journal, self.folder, data)
        projection.catch_up()
        winner.register_winner(self.journal, self.folder, data, projection.client)
        winner.promote_winner(self.journal, self.folder, projection.client)
        refresh_report(self.journal.record, self.folder, self.say)
        projection.close_sweep("FINISHED")

    def _leave(self, tracking: LazyProjection, status: str) -> None:
        """Closes the sweep's runs in MLflow; if that fails, it only prints a line, since another error is raised."""
        if status != "KILLED":  # a person who interrupts a sweep does not want to wait
            refresh_report(self.journal.record, self.folder, self.say)
        try:
            tracking.projection.close_sweep(status)
        except (TrackingError, JournalError) as error:
            self.say(f"{error}; galaxy-exp sync {self.folder.sweep_id} writes it later")

    def _raise_with_remedy(self, error: BaseException) -> None:
        """Raises an error of images, workers, MLflow or the machine with the command that continues the sweep."""
        command = f"galaxy-exp resume {self.folder.sweep_id}"
        remedy = f"what was trained is safe in the journal; continue with: {command}"
        if isinstance(error, DataError | EngineError | TrackingError):
            raise type(error)(f"{error}; {remedy}") from error
        if isinstance(error, OSError) and is_of_the_machine(error):
            raise EngineError(f"{machine_reason(error)}; {remedy}") from error
