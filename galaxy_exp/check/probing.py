"""Looking at the network of a trial, in the process that may run out of memory over it.

Importing this imports Keras and its backend (seconds).
"""

from __future__ import annotations

import time
from dataclasses import replace

import keras
import keras_tuner

from galaxy_exp.check.findings import Probe, format_bytes
from galaxy_exp.check.memory import TooLargeError, estimate_memory, refuse_many_weights
from galaxy_exp.check.timing import time_training
from galaxy_exp.hypermodel.flops import count_flops, uncounted_layers
from galaxy_exp.records import TrialSpec
from galaxy_exp.training.failures import failure_reason
from galaxy_exp.training.fitting import DEFAULT_BATCH_SIZE, open_split
from galaxy_exp.training.memory import memory_limit
from galaxy_exp.training.network import build_network, rehearse_keeping
from galaxy_exp.training.precision import resolve_precision
from galaxy_exp.training.session import fresh_session

__all__ = ["probe_network"]


def probe_network(spec: TrialSpec, *, with_timing: bool) -> Probe:
    """Builds the network of a trial and looks at it; with `with_timing`, trains some steps of it."""
    precision = resolve_precision(spec.precision)
    with fresh_session(spec.seed, precision, spec.deterministic):
        try:
            return _probe(spec, Probe(precision=precision), with_timing)
        except TooLargeError as error:
            return Probe(problem=str(error), precision=precision)
        except Exception as error:  # noqa: BLE001 - a hypermodel can raise anything
            return Probe(problem=failure_reason(error), precision=precision)


def _probe(spec: TrialSpec, known: Probe, with_timing: bool) -> Probe:
    began = time.perf_counter()
    where, limit = memory_limit()
    data = open_split(spec.data)
    with refuse_many_weights(where, limit):
        network = build_network(spec, data.train_images)
    known = _describe(network.model, replace(known, batch_size=_batch_size(network.hp)))
    if known.memory_bytes > limit:
        needed = f"training takes about {format_bytes(known.memory_bytes)} of memory at batches of {known.batch_size}"
        return replace(known, problem=f"{needed}, and this {where} has {format_bytes(limit)}")
    rehearse_keeping(network, data.train_images)
    if not with_timing:
        return known
    return replace(known, timing=time_training(network, data, epochs=spec.epochs, seed=spec.seed, began=began))


def _describe(model: keras.Model, known: Probe) -> Probe:
    return replace(
        known,
        parameters=int(model.count_params()),
        flops=count_flops(model),
        uncounted=uncounted_layers(model),
        memory_bytes=estimate_memory(model, known.batch_size),
    )


def _batch_size(hp: keras_tuner.HyperParameters) -> int:
    return int(hp.values.get("batch_size", DEFAULT_BATCH_SIZE))
