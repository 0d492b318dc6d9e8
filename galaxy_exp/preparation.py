"""What happens before a trial is trained: checks, the search space, and the prepared images."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from galaxy_exp.config import SweepConfig
from galaxy_exp.config.reading import FlagValue, as_journaled
from galaxy_exp.deferred_imports import stated_backend
from galaxy_exp.encoder_file import is_identity, store_encoder
from galaxy_exp.environment import describe_software, user_import_paths
from galaxy_exp.errors import BadInputError, ConfigError, JournalError
from galaxy_exp.execution.resources import refuse_too_many
from galaxy_exp.folders import ProjectFolder, SweepFolder
from galaxy_exp.journal.events import SweepChanged, SweepStarted
from galaxy_exp.journal.journal import is_running, read_record
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.journal.resume_changes import find_change
from galaxy_exp.quiet import import_keras_quietly, say_nothing
from galaxy_exp.records import BUILT_IN_HYPERMODEL, Evidence, HyperparameterValue
from galaxy_exp.redaction import hide_password, remember_address
from galaxy_exp.search_methods import STOPPING
from galaxy_exp.sweep_images import load_prepared
from galaxy_exp.wording import Say

if TYPE_CHECKING:
    import keras_tuner
    import numpy as np
    from numpy.typing import NDArray

    from galaxy_exp.data import PreparedData
    from galaxy_exp.questions import Votes
    from galaxy_exp.space.search_space import SearchSpace

__all__ = [
    "check_hypermodel",
    "check_names",
    "check_space",
    "complete_values",
    "find_unfinished",
    "note_changed_source",
    "prepare_resume",
    "prepare_sweep",
    "resting_sweeps",
    "store_encoders",
    "store_user_objects",
]


def store_user_objects(
    config: SweepConfig, hypermodel: Any, data: Any, project: ProjectFolder, folder: SweepFolder
) -> dict[str, Any]:
    """Stores a hypermodel and data that are Python objects, if any; returns the sweep's keys that refer to them."""
    changes: dict[str, Any] = {}
    if hypermodel is not None:
        import_keras_quietly()
        from galaxy_exp.hypermodel.loading import store_hypermodel

        changes["hypermodel"] = store_hypermodel(hypermodel, folder.path)
    if data is not None:
        from galaxy_exp.data.sources.array_file import store_data

        changes["data"] = store_data(data, config.data, project.in_memory_data)
    return changes


def check_names(config: SweepConfig, say: Say = lambda _: None) -> None:
    """Checks the space, paths, names and the MLflow store, before data are read.

    Raises:
        ConfigError: a mistake in the space of the built-in hypermodel; a sampler or scheduler that does not exist, or
            that cannot do what is asked of it.
        DataError: a file that does not exist.
        UnusableStoreError: the MLflow store cannot be used.
    """
    from galaxy_exp.data.sources import check_source
    from galaxy_exp.tracking.store_check import check_store

    check_space(config)
    refuse_too_many(config.execution)
    check_source(config.data)
    experiment = config.named(os.environ.get("MLFLOW_EXPERIMENT_NAME")).experiment_name
    check_store(config.tracking.uri, say, experiment=experiment)
    import_keras_quietly()  # the samplers know the spaces of KerasTuner
    from galaxy_exp.search import building

    building.check_names(config.search, config.training.epochs)


def check_space(config: SweepConfig) -> None:
    """Checks `space` and `search.enqueue` of the built-in hypermodel, without importing Keras (seconds).

    What networks start from is checked later, with the files, and whether there are votes, which `loss` needs, with the
    images.

    Raises:
        ConfigError: one line for each mistake.
    """
    if config.hypermodel != BUILT_IN_HYPERMODEL:
        return
    from galaxy_exp.hypermodel.galaxy_space import HINTS, LIMITS, LOSSES, declared_space
    from galaxy_exp.space.overrides import build_space, complete_configuration

    hypermodel = SimpleNamespace(limits=LIMITS, hints=HINTS)
    later = {"start", "encoder"} if "start" in config.space else set()
    names = {*config.space, *(name for values in config.search.enqueue for name in values)}
    losses = LOSSES if config.data.has_counts or "loss" in names else ()
    declared = declared_space(["pretrained"] if later else (), losses)
    overrides = {name: entry for name, entry in config.space.items() if name not in later}
    space = build_space(hypermodel, overrides, declared)
    for position, values in enumerate(config.search.enqueue) if not later else ():
        complete_configuration(hypermodel, space, values, f"search.enqueue.{position}", declared)


def prepare_sweep(config: SweepConfig, project: ProjectFolder, sweep_id: str, say: Say) -> SweepStarted:
    """Checks all of the configuration and prepares the images; returns the first event of the journal.

    Raises:
        ConfigError, DataError: with one line for each mistake.
    """
    from galaxy_exp.data import load_dataset, prepare_split

    config = config.named(experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME"))
    dataset = load_dataset(config.data)
    config = _fitted_to(config, dataset.votes)
    _check_agreement(config, dataset.votes)
    simulated = "SIMULATED " if dataset.simulated else ""
    say(f"data: {len(dataset)} {simulated}images in {dataset.n_classes} classes from {dataset.source}")
    _note_idle_scheduler(config, say)
    import_keras_quietly()
    from galaxy_exp.hypermodel.loading import digest_source, locate_hypermodel
    from galaxy_exp.search.building import check_search
    from galaxy_exp.space.overrides import build_space, complete_configuration
    from galaxy_exp.tracking.addresses import resolve_tracking_uri
    from galaxy_exp.training.fitting import open_split

    reference = locate_hypermodel(config.hypermodel, project.sweep(sweep_id).path)
    with _traceback_kept(project.worker_log(sweep_id)):
        arrays = dataset.images, dataset.labels, dataset.n_classes
        hypermodel, declared, obstacle = _discover(config, reference, *arrays, say, votes=dataset.votes)
    space = build_space(hypermodel, config.space, declared)
    check_search(config.search, space, config.training.epochs)
    requested = config.search.scheduler
    config = _without_pausing(config, hypermodel, obstacle, say)
    for position, values in enumerate(config.search.enqueue):
        _refuse_encoder(hypermodel, values, f"search.enqueue.{position}")
    enqueued = [
        complete_configuration(hypermodel, space, values, f"search.enqueue.{position}", declared)
        for position, values in enumerate(config.search.enqueue)
    ]
    source = digest_source(reference)
    evidence = _evidence(config, project, sweep_id, dataset.digest, space, source, say)
    data = prepare_split(dataset, config.data.split, project.data_cache)
    _check_agreement(config, open_split(data.files).validation_votes, " on a validation image")
    return SweepStarted(
        sweep_id=sweep_id,
        config=as_journaled(config),
        space=space.get_config(),
        baseline=declared.defaults,
        enqueued=enqueued,
        evidence=evidence,
        data_folder=str(data.folder),
        data_digest=data.digest,
        split_digest=data.split_digest,
        data_source=data.source,
        simulated=data.simulated,
        own_split=data.own_split,
        n_identical=data.n_identical,
        n_near=data.n_near,
        skipped=data.skipped,
        import_paths=user_import_paths(),
        requested_scheduler="" if config.search.scheduler == requested else requested,
        hypermodel_source=source,
        tracking_uri=remember_address(resolve_tracking_uri(config.tracking.uri)),
        software=describe_software(),
    )


def complete_values(
    record: SweepRecord, folder: SweepFolder, stated: Mapping[str, HyperparameterValue], where: str, say: Say
) -> dict[str, HyperparameterValue]:
    """Every active hyperparameter of a configuration for a recorded sweep, as for `search.enqueue`.

    Args:
        stated: some of its values; the others take their defaults.
        where: what messages start with.

    Raises:
        ConfigError: a value that is not possible.
        DataError: the prepared images are gone.
    """
    from galaxy_exp.space.overrides import complete_configuration
    from galaxy_exp.space.search_space import SearchSpace

    data = load_prepared(record, folder)
    hypermodel, declared, _ = _discover_again(record, folder, data, say)
    _refuse_encoder(hypermodel, stated, where)
    space = SearchSpace.from_config(record.started.space)
    return complete_configuration(hypermodel, space, stated, where, declared)


def check_hypermodel(record: SweepRecord, folder: SweepFolder, data: PreparedData, say: Say) -> None:
    """Checks that the hypermodel of a recorded sweep still can be built and fitted, and says if its code has changed.

    Args:
        data: the prepared images of the sweep.

    Raises:
        ConfigError: it cannot, so that each trial would fail.
    """
    if record.config.hypermodel != BUILT_IN_HYPERMODEL and record.winner is None:
        with _traceback_kept(folder.project.worker_log(folder.sweep_id)):
            _discover_again(record, folder, data, say_nothing)
        note_changed_source(record, folder, say)


def note_changed_source(record: SweepRecord, folder: SweepFolder, say: Say) -> None:
    """Says if the file that defines the hypermodel has changed since the sweep began."""
    from galaxy_exp.hypermodel.loading import digest_source, locate_hypermodel

    reference, source = record.config.hypermodel, record.started.hypermodel_source
    if source and digest_source(locate_hypermodel(reference, folder.path)) != source:
        say(
            f"hypermodel: the file of {reference} has changed since sweep {record.sweep_id} began; if the network is "
            "another now, earlier and later trials cannot be compared: start a new sweep for it"
        )


def _discover_again(
    record: SweepRecord, folder: SweepFolder, data: PreparedData, say: Say
) -> tuple[Any, SearchSpace, str | None]:
    """As `_discover`, for a recorded sweep."""
    from galaxy_exp.hypermodel.loading import locate_hypermodel
    from galaxy_exp.space.search_space import SearchSpace
    from galaxy_exp.training.fitting import open_split

    arrays = open_split(data.files)
    reference = locate_hypermodel(record.config.hypermodel, folder.path)
    images, labels, n_classes = arrays.train_images, arrays.train_labels, len(data.class_names)
    encoders = encoders_of(SearchSpace.from_config(record.started.space))
    return _discover(record.config, reference, images, labels, n_classes, say, encoders, arrays.train_votes)


def _discover(
    config: SweepConfig,
    reference: str,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    n_classes: int,
    say: Say,
    encoders: Mapping[str, str] | None = None,
    votes: Votes | None = None,
) -> tuple[Any, SearchSpace, str | None]:
    """The hypermodel, the space that it declares in `build` and in `fit`, and why its trials cannot continue, if so.

    The files of the `encoders` of a recorded sweep are not looked for again.
    """
    from galaxy_exp.hypermodel import GalaxyCNN, discover_space, load_hypermodel
    from galaxy_exp.space.overrides import listed_texts
    from galaxy_exp.training.fit_probe import FitRehearsal

    questions = (None, False) if votes is None else (votes.questions, votes.are_counts)
    with redirect_stdout(sys.stderr):  # keeps what a user's module and `build` print out of JSON output
        hypermodel = load_hypermodel(reference, images.shape[1:], n_classes, *questions)
    if isinstance(hypermodel, GalaxyCNN) and "start" in config.space:
        _refuse_encoder(hypermodel, config.space, "space")
        try:
            if encoders is None:
                hypermodel.offer(listed_texts(config.space["start"]))
            else:
                hypermodel.encoders = dict(encoders)
        except ConfigError as error:
            raise ConfigError([f"space.{problem}" for problem in error.problems]) from None
    rehearsal = FitRehearsal(config.hypermodel, images, labels, n_classes, config.training.epochs, votes)
    with redirect_stdout(sys.stderr):
        space = discover_space(hypermodel, name=config.hypermodel, probe_fit=rehearsal, note=say)
    return hypermodel, space, rehearsal.obstacle


def _refuse_encoder(hypermodel: Any, stated: Mapping[str, Any], where: str) -> None:
    from galaxy_exp.hypermodel import GalaxyCNN

    if isinstance(hypermodel, GalaxyCNN) and "encoder" in stated:
        raise ConfigError(
            f"{where}.encoder: the sweep itself records which file an encoder is; expected start: with its name"
        )


def encoders_of(space: SearchSpace) -> dict[str, str]:
    """The identities of the encoders that networks of a recorded sweep start from, by the value of `start`."""
    return {
        str(each.conditions[0].values[0]): str(each.default)
        for each in space.hyperparameters
        if each.name == "encoder" and each.conditions and is_identity(each.default)
    }


def store_encoders(space_config: Mapping[str, Any], folder: SweepFolder) -> None:
    """Copies the encoders of a sweep, whose space is as `SweepStarted` has it, into its folder, unless they are there.

    Raises:
        ConfigError: one line for each that is neither there nor where it was when the sweep began.
    """
    from galaxy_exp.space.search_space import SearchSpace

    problems: list[str] = []
    for start, identity in encoders_of(SearchSpace.from_config(space_config)).items():
        try:
            store_encoder(start, identity, folder.encoders)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


@contextmanager
def _traceback_kept(log: Path) -> Iterator[None]:
    """Writes the traceback of an error in a user's hypermodel to the sweep's log, and adds the log to the message."""
    try:
        yield
    except ConfigError as error:
        if error.__cause__ is None:
            raise
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(hide_password("".join(traceback.format_exception(error.__cause__))))
        problems = [f"{problem} (traceback: {log})" for problem in error.problems]
        raise ConfigError(problems) from error.__cause__


def resting_sweeps(project: ProjectFolder, prefix: str = "") -> Iterator[tuple[SweepFolder, SweepRecord]]:
    """The readable sweeps that no process is running and whose ids begin with `prefix`, the newest first."""
    for folder in reversed(project.sweeps()):
        if not folder.sweep_id.startswith(prefix):
            continue
        try:
            record = read_record(folder.path)
        except JournalError:
            continue
        if not is_running(folder.path):
            yield folder, record


def find_unfinished(project: ProjectFolder) -> SweepFolder:
    """The newest sweep that did not succeed and that no process is running; unreadable journals are ignored.

    Raises:
        JournalError: there is none.
    """
    for folder, record in resting_sweeps(project):
        if record.ended is None or not record.ended.succeeded:
            return folder
    running = [folder.sweep_id for folder in project.sweeps() if is_running(folder.path)]
    hint = f"another process runs {running[-1]}; " if running else ""
    raise JournalError(f"{project.path}: no unfinished sweep here; {hint}galaxy-exp list shows them all")


def prepare_resume(
    record: SweepRecord,
    file: Path | str | None,
    overrides: Sequence[str],
    flags: Sequence[FlagValue],
    as_recorded: bool,
    say: Say,
) -> SweepChanged | None:
    """Checks what has changed since a sweep began, and its MLflow store; the arguments are those of `resume_sweep`.

    Raises:
        ConfigError: a change that is not possible, as of Keras's backend.
        JournalError: the sweep is finished.
        UnusableStoreError: the MLflow store cannot be used.
    """
    from galaxy_exp.tracking.sweep_tracking import check_recorded_store

    if record.ended is not None and record.ended.succeeded:
        raise JournalError(
            f"sweep {record.sweep_id} is finished, and its held-out test set is opened once; galaxy-exp show "
            f"{record.sweep_id} shows its result, and a new sweep learns from it with: "
            f"--set search.warm_start={record.sweep_id}"
        )
    _refuse_other_backend(record)
    path = Path(file) if file is not None else None
    change = find_change(record, file=path, overrides=overrides, flags=flags, as_recorded=as_recorded, say=say)
    return check_recorded_store(record, change, say)


def _refuse_other_backend(record: SweepRecord) -> None:
    """Raises ConfigError if trials would be trained with another backend of Keras's than those so far."""
    backend, where = stated_backend()
    known = sorted({trial.result.backend for trial in record.trials.values() if trial.result} - {""})
    # workers elsewhere have the environment of their own hosts
    if known and backend not in known and record.winner is None and record.config.execution.is_local:
        raise ConfigError(
            f"{where}: found {backend}; the trials of sweep {record.sweep_id} were trained with {known[0]}, and others "
            f"could not be compared with them; expected: KERAS_BACKEND={known[0]} galaxy-exp resume {record.sweep_id}"
        )


def _evidence(
    config: SweepConfig,
    project: ProjectFolder,
    sweep_id: str,
    data_digest: str,
    space: SearchSpace,
    source: str,
    say: Say,
) -> list[Evidence]:
    """The trials of the earlier sweeps that `search.warm_start` names; the source is the hypermodel's digest."""
    from galaxy_exp.execution.warm_start import collect_evidence, is_comparable
    from galaxy_exp.hypermodel.galaxy_space import EARLIER_VALUES
    from galaxy_exp.hypermodel.loading import is_same_hypermodel

    implied = EARLIER_VALUES if config.hypermodel == BUILT_IN_HYPERMODEL else {}
    evidence: dict[str, list[Evidence]] = {}
    for reference in config.search.warm_starts:
        try:
            folder = project.find_sweep(reference).path
            earlier = read_record(folder)
        except BadInputError as error:
            raise ConfigError(f"search.warm_start: {error}") from None
        same = is_same_hypermodel(config.hypermodel, folder, project.sweep(sweep_id).path)
        same = same and earlier.started.hypermodel_source in ("", source)
        comparable = same and is_comparable(earlier, config, data_digest, space)
        found = collect_evidence(earlier, config, space, comparable=comparable, implied=implied)
        say(found.describe())
        evidence[earlier.sweep_id] = found.evidence
    return [known for each in evidence.values() for known in each]


def _fitted_to(config: SweepConfig, votes: Votes | None) -> SweepConfig:
    """The configuration with the objective for votes, if any; ConfigError if the stated one does not fit the data."""
    try:
        search = config.search.fitted_to(has_votes=votes is not None, are_counts=votes is not None and votes.are_counts)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return config.model_copy(update={"search": search})


def _check_agreement(config: SweepConfig, votes: Votes | None, which: str = "") -> None:
    """Refuses an objective of images on which votes agree if there is no such image among `which` images."""
    from galaxy_exp.config.search_section import OBJECTIVE_OF_VOTES
    from galaxy_exp.evaluation.vote_metrics import AGREED_METRICS, find_agreed

    name, agreement = config.search.objective_record.name, config.data.votes.agreement
    if votes is not None and name.removeprefix("val_") in AGREED_METRICS and not find_agreed(votes, agreement).any():
        raise ConfigError(
            f"search.objective: {name} is of images on which votes agree, and no winning answer has {agreement:g} of "
            f"them{which}; expected a smaller data.votes.agreement, or another objective, such as {OBJECTIVE_OF_VOTES}"
        )


def _without_pausing(
    config: SweepConfig, hypermodel: keras_tuner.HyperModel, obstacle: str | None, say: Say
) -> SweepConfig:
    """The configuration, with a scheduler that stops trials where paused ones would begin with the first epoch.

    Args:
        obstacle: why they would, as the rehearsal found; None also if there was no rehearsal.
    """
    from galaxy_exp.training.continuation import NO_INITIAL_EPOCH
    from galaxy_exp.training.fitting import takes_initial_epoch

    scheduler, has_checkpoints = config.search.scheduler, config.execution.has_checkpoints
    if obstacle is None and not takes_initial_epoch(hypermodel):
        obstacle = NO_INITIAL_EPOCH
    if scheduler not in STOPPING or (has_checkpoints and obstacle is None):
        return config
    instead = STOPPING[scheduler]
    why = f"hypermodel {config.hypermodel}: {obstacle}" if has_checkpoints else "execution.checkpoint_gib is 0"
    say(f"note: search.scheduler is {instead} instead of {scheduler}: paused trials cannot continue ({why})")
    search = config.search.model_copy(update={"scheduler": instead})
    return config.model_copy(update={"search": search})


def _note_idle_scheduler(config: SweepConfig, say: Say) -> None:
    from galaxy_exp.search.schedulers import build_scheduler

    epochs = config.training.epochs
    first = build_scheduler(config.search, epochs).first_decision(1)
    if config.search.scheduler != "none" and (first is None or first >= epochs):
        when = "decides after no epoch" if first is None else f"first decides after epoch {first}"
        name = config.search.scheduler
        say(f"note: search.scheduler {name} {when} and training.epochs is {epochs}: no trial ends early")
