"""Everything that can be refused before a sweep begins."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy_exp.config import SweepConfig
from galaxy_exp.config.reading import as_journaled
from galaxy_exp.environment import describe_software, user_import_paths
from galaxy_exp.errors import BadInputError, ConfigError
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.journal.events import SweepStarted
from galaxy_exp.quiet import import_keras_quietly
from galaxy_exp.records import Evidence
from galaxy_exp.redaction import hide_password, remember_address

if TYPE_CHECKING:
    from galaxy_exp.data import ImageDataset

__all__ = ["check_names", "prepare_sweep"]

Say = Callable[[str], None]


def check_names(config: SweepConfig, say: Say = lambda _: None) -> None:
    """Refuses what can be told from names alone, before data are read.

    That is a path where there is nothing, an MLflow store that can never work, a sampler or pruner of one's own that
    cannot be had, and what a sampler cannot do.

    Raises:
        ConfigError: one line that names the key, what was found and what is known.
        DataError: there is no such file.
        UnusableStoreError: the MLflow store cannot be used.
    """
    from galaxy_exp.data.sources import check_source
    from galaxy_exp.tracking.store_check import check_store

    check_source(config.data)
    check_store(config.tracking.uri, say)
    import_keras_quietly()  # the samplers know the spaces of KerasTuner
    from galaxy_exp.search import building
    from galaxy_exp.search.pruners import build_pruner

    building.check_names(config.search)
    build_pruner(config.search, config.training.epochs)


def prepare_sweep(config: SweepConfig, project: ProjectFolder, sweep_id: str, say: Say) -> SweepStarted:
    """Everything that can be refused, before the journal begins; writes nothing but what `prepare_split` does.

    Raises:
        ConfigError, DataError: one line for each mistake.
    """
    from galaxy_exp.data import load_dataset, prepare_split

    config = config.named(experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME"))
    dataset = load_dataset(config.data)
    simulated = "SIMULATED " if dataset.simulated else ""
    say(f"data: {len(dataset)} {simulated}images in {dataset.n_classes} classes from {dataset.source}")
    _note_idle_pruner(config, say)
    import_keras_quietly()
    from galaxy_exp.hypermodel.configurations import complete_configuration
    from galaxy_exp.hypermodel.given import locate_hypermodel
    from galaxy_exp.hypermodel.search_space import baseline_values, build_space
    from galaxy_exp.search.building import check_search
    from galaxy_exp.tracking.store import resolve_tracking_uri

    reference = locate_hypermodel(config.hypermodel, project.sweep(sweep_id).path)
    with _traceback_kept(project.worker_log(sweep_id)):
        hypermodel, declared = _discover(config, reference, dataset, say)
    space = build_space(hypermodel, config.space, declared)
    check_search(config.search, space, config.training.epochs)
    enqueued = [
        complete_configuration(hypermodel, space, values, f"search.enqueue.{position}", declared)
        for position, values in enumerate(config.search.enqueue)
    ]
    evidence = _evidence(config, project, sweep_id, dataset.digest, space, say)
    data = prepare_split(dataset, config.data.split, project.data_cache)
    return SweepStarted(
        sweep_id=sweep_id,
        config=as_journaled(config),
        space=space.get_config(),
        baseline=baseline_values(declared),
        enqueued=enqueued,
        evidence=evidence,
        data_folder=str(data.folder),
        data_digest=data.digest,
        split_digest=data.split_digest,
        data_source=dataset.source,
        simulated=dataset.simulated,
        import_paths=user_import_paths(),
        tracking_uri=remember_address(resolve_tracking_uri(config.tracking.uri)),
        software=describe_software(),
    )


def _discover(config: SweepConfig, reference: str, dataset: ImageDataset, say: Say) -> tuple[Any, Any]:
    """The hypermodel and the space that it declares in `build` and in a `fit` of its own."""
    from galaxy_exp.hypermodel.discovery import discover_space
    from galaxy_exp.hypermodel.loading import load_hypermodel
    from galaxy_exp.training.fit_probe import FitRehearsal

    hypermodel = load_hypermodel(reference, dataset.image_shape, dataset.n_classes)
    epochs = config.training.epochs
    rehearsal = FitRehearsal(config.hypermodel, dataset.images, dataset.labels, dataset.n_classes, epochs)
    with redirect_stdout(sys.stderr):  # what a user's `build` prints is no part of an answer in JSON
        return hypermodel, discover_space(hypermodel, name=config.hypermodel, probe_fit=rehearsal, note=say)


@contextmanager
def _traceback_kept(log: Path) -> Iterator[None]:
    """Writes the traceback of what a user's hypermodel raised into the sweep's log, which the message then names."""
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


def _evidence(
    config: SweepConfig, project: ProjectFolder, sweep_id: str, data_digest: str, space: Any, say: Say
) -> list[Evidence]:
    """The trials of the sweeps that `search.warm_start` names."""
    from galaxy_exp.execution.warm_start import collect_evidence, is_comparable
    from galaxy_exp.hypermodel.given import is_same_hypermodel
    from galaxy_exp.journal.journal import read_record
    from galaxy_exp.search.space import SearchSpace

    evidence: dict[str, list[Evidence]] = {}
    for reference in config.search.warm_starts:
        try:
            folder = project.find_sweep(reference).path
            earlier = read_record(folder)
        except BadInputError as error:
            raise ConfigError(f"search.warm_start: {error}") from None
        same = is_same_hypermodel(config.hypermodel, folder, project.sweep(sweep_id).path)
        comparable = same and is_comparable(earlier, config, data_digest, space.get_config())
        found = collect_evidence(earlier, config, SearchSpace(space).misfit, comparable=comparable)
        say(found.describe())
        evidence[earlier.sweep_id] = found.evidence
    return [known for each in evidence.values() for known in each]


def _note_idle_pruner(config: SweepConfig, say: Say) -> None:
    from galaxy_exp.search.pruners import build_pruner

    epochs = config.training.epochs
    first = build_pruner(config.search, epochs).first_decision(1)
    if config.search.pruner != "none" and (first is None or first >= epochs):
        when = "decides after no epoch" if first is None else f"first decides after epoch {first}"
        say(f"note: search.pruner {config.search.pruner} {when} and training.epochs is {epochs}: no trial stops early")
