"""The search space of GalaxyCNN: every hyperparameter is declared here, and read back as one record."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from galaxy_exp.encoder_file import SCRATCH
from galaxy_exp.records import HyperparameterValue
from galaxy_exp.space.search_space import Condition, Hyperparameter, Kind, SearchSpace

if TYPE_CHECKING:
    import keras_tuner

__all__ = ["EARLIER_VALUES", "HINTS", "LIMITS", "LOSSES", "NetworkValues", "declare_hyperparameters", "declared_space"]

AUGMENTATIONS = ("none", "flips", "flips+rotations", "flips+rotations+shift+zoom")
"""From none to all, each including the one before. Galaxies have no preferred orientation, so flips and
rotations keep the class; Zoobot (Walmsley et al. 2022, MNRAS 509, 3966, section 5) trains with the same."""

CLASS_WEIGHTINGS = ("none", "sqrt", "balanced", "sampling")
"""What is done about unequal class sizes: see `galaxy_exp.hypermodel.batches`."""

LOSSES = ("crossentropy", "dirichlet_multinomial")
"""The values of the hyperparameter `loss`, of networks for counts of votes."""

MAX_BLOCKS = 5
"""After five poolings a 69-pixel image is 2 pixels wide."""

LIMITS: dict[str, tuple[float, float]] = {
    "n_blocks": (1, MAX_BLOCKS),
    "convs_per_block": (1, 4),
    "width_growth": (0.5, 4.0),
    "filters_1": (1, 2048),
    "filters_2": (1, 2048),
    "kernel_size": (1, 15),
    "body_rate": (0.0, 10.0),
    "frozen_share": (0.0, 1.0),
    "dropout_1": (0.0, 0.95),
    "dropout_2": (0.0, 0.95),
    "dense_width": (0, 16384),
    "learning_rate": (1e-8, 10.0),
    "batch_size": (1, 8192),
    "weight_decay": (0.0, 1.0),
    "label_smoothing": (0.0, 0.95),
}
"""How far a sweep file may widen each numeric hyperparameter: outside, no network can be built or trained."""

HINTS = {
    "start": "expected space.start, with what networks start from",
    "encoder": "expected space.start instead, with what networks start from",
    **dict.fromkeys(
        ("body_rate", "head_warm_up", "frozen_share"), "expected space.start too, with what networks start from"
    ),
    "loss": "expected data with volunteers' votes, as counts",
}
"""By name: when the hyperparameters are declared that not every sweep has."""

EARLIER_VALUES: dict[str, HyperparameterValue] = {
    "start": SCRATCH,
    "head_warm_up": False,
    "frozen_share": 0.0,
    "residual": False,
    "equivariant": False,
}
"""What hyperparameters were, by name, in the networks of sweeps that had none of this name."""


@dataclass(frozen=True, slots=True)
class NetworkValues:
    """One point of the space. A conditional hyperparameter that is not active is None: so are those of the body,
    `n_blocks` to `batch_norm`, of a network that starts from an encoder, and `head` if the encoder gives features."""

    n_blocks: int
    convs_per_block: int | None
    width_growth: float | None
    filters_1: int
    filters_2: int
    kernel_size: int
    batch_norm: bool
    dropout_1: float
    head: Literal["flatten", "gap"] | None
    dense_width: int
    dropout_2: float
    augmentation: Literal["none", "flips", "flips+rotations", "flips+rotations+shift+zoom"]
    learning_rate: float
    batch_size: int
    optimizer: Literal["adam", "adamw", "sgd"]
    weight_decay: float | None
    schedule: Literal["constant", "cosine"]
    label_smoothing: float
    class_weighting: Literal["none", "sqrt", "balanced", "sampling"]
    start: str = SCRATCH
    """`scratch`, `pretrained` or the name of an encoder's file."""
    encoder: str | None = None
    """The identity of the encoder; see `galaxy_exp.encoder_file.describe_encoder`."""
    body_rate: float | None = None
    """The learning rate of the encoder, as a factor of that of the head; 0: it is frozen."""
    head_warm_up: bool | None = None
    """Whether the head is trained alone before the whole network is; see `head_warm_up`."""
    frozen_share: float | None = None
    """The share of the encoder's layers with weights, counted from the images, that are not trained."""
    loss: Literal["crossentropy", "dirichlet_multinomial"] = "crossentropy"
    """A hyperparameter of networks for counts of votes alone."""
    residual: bool | None = None
    """Whether a block ends with a residual unit; of networks with several blocks."""
    equivariant: bool | None = None
    """Whether all convolutions are equivariant under flips and quarter turns; of networks with several blocks."""

    @property
    def is_frozen(self) -> bool:
        """Whether the network starts from an encoder that is not trained."""
        return self.start != SCRATCH and self.body_rate == 0


def declare_hyperparameters(
    hp: keras_tuner.HyperParameters,
    encoders: Mapping[str, str] | None = None,
    features: Collection[str] = (),
    losses: Sequence[str] = (),
) -> NetworkValues:
    """Declares every hyperparameter and returns their values in `hp`.

    The defaults together are the network of astroNN's Galaxy10 tutorial: Conv32, Conv64, MaxPool, Dropout 0.25,
    Flatten, Dense128, Dropout 0.5, with Adam at 0.001 and batches of 32. An entry that is already in `hp` under the
    same name and condition wins over the one declared here: that is how a sweep file narrows, widens or fixes it.

    Args:
        encoders: the values of `start` but `scratch`, with the identity of each encoder; None: `start` is not declared,
            unless it is in `hp` already.
        features: those of `encoders` that give features, with which `head` has no effect.
        losses: the values of `loss`, the default first; without any it is not declared.
    """
    if any(entry.name == "start" for entry in hp.space):
        encoders = {entry.conditions[0].values[0]: entry.value for entry in hp.space if entry.name == "encoder"}
        heads = [entry.conditions[0].values for entry in hp.space if entry.name == "head" and entry.conditions]
        features = encoders.keys() - set(heads[0]) if heads else ()
    if encoders is None:
        network = {**_declare_body(hp), **_declare_head(hp)}
    else:
        maps = [SCRATCH, *(start for start in encoders if start not in features)]
        network = {**_declare_start(hp, encoders), **_declare_head(hp, maps if features else None)}
    training = _declare_training(hp)
    if losses:
        training["loss"] = hp.Choice("loss", list(losses), default=losses[0])
    return NetworkValues(**network, **training)


def _declare_start(hp: keras_tuner.HyperParameters, encoders: Mapping[str, str]) -> dict[str, Any]:
    values = {"start": hp.Choice("start", [SCRATCH, *encoders], default=SCRATCH)}
    with hp.conditional_scope("start", [SCRATCH]):
        values |= _declare_body(hp)
    for start, identity in encoders.items():
        with hp.conditional_scope("start", [start]):
            found = hp.Fixed("encoder", identity)
        if start == values["start"]:
            values["encoder"] = found
    if encoders:
        with hp.conditional_scope("start", list(encoders)):
            values["body_rate"] = hp.Choice("body_rate", [0.0, 0.1, 0.3, 1.0], default=1.0)
            for name, value in (("head_warm_up", True), ("frozen_share", 0.0)):
                if not _is_stored_without(name, hp):
                    values[name] = hp.Fixed(name, value)
    return values


def _declare_body(hp: keras_tuner.HyperParameters) -> dict[str, Any]:
    values = {"n_blocks": hp.Int("n_blocks", 1, MAX_BLOCKS, default=1)}
    with hp.conditional_scope("n_blocks", list(range(2, MAX_BLOCKS + 1))):
        values["convs_per_block"] = hp.Choice("convs_per_block", [1, 2], default=1)
        values["width_growth"] = hp.Choice("width_growth", [1.0, 1.5, 2.0], default=2.0)
        for name in ("residual", "equivariant"):
            if not _is_stored_without(name, hp):
                values[name] = hp.Boolean(name, default=False)
    values["filters_1"] = hp.Choice("filters_1", [16, 32, 64, 128], default=32)
    values["filters_2"] = hp.Choice("filters_2", [16, 32, 64, 128], default=64)
    values["kernel_size"] = hp.Choice("kernel_size", [3, 5], default=3)
    values["batch_norm"] = hp.Boolean("batch_norm", default=False)
    return values


def _is_stored_without(name: str, hp: keras_tuner.HyperParameters) -> bool:
    """Whether `hp` is the stored space of a sweep that knew no hyperparameter of this name: it stays as it was."""
    names = {entry.name for entry in hp.space}
    return {"n_blocks", "width_growth", "class_weighting"} <= names and name not in names


def _declare_head(hp: keras_tuner.HyperParameters, maps: list[str] | None = None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    values["dropout_1"] = hp.Float("dropout_1", 0.0, 0.6, step=0.05, default=0.25)
    with hp.conditional_scope("start", maps) if maps else nullcontext():
        values["head"] = hp.Choice("head", ["flatten", "gap"], default="flatten")
    values["dense_width"] = hp.Choice("dense_width", [0, 64, 128, 256, 512], default=128)
    values["dropout_2"] = hp.Float("dropout_2", 0.0, 0.7, step=0.05, default=0.5)
    return values


def _declare_training(hp: keras_tuner.HyperParameters) -> dict[str, Any]:
    values = {"augmentation": hp.Choice("augmentation", list(AUGMENTATIONS), default="none")}
    values["learning_rate"] = hp.Float("learning_rate", 1e-4, 3e-3, sampling="log", default=1e-3)
    values["batch_size"] = hp.Choice("batch_size", [32, 64, 128], default=32)
    values["optimizer"] = hp.Choice("optimizer", ["adam", "adamw", "sgd"], default="adam")
    with hp.conditional_scope("optimizer", ["adamw"]):
        values["weight_decay"] = hp.Float("weight_decay", 1e-5, 1e-1, sampling="log", default=4e-3)
    values["schedule"] = hp.Choice("schedule", ["constant", "cosine"], default="constant")
    values["label_smoothing"] = hp.Float("label_smoothing", 0.0, 0.15, step=0.05, default=0.0)
    values["class_weighting"] = hp.Choice("class_weighting", list(CLASS_WEIGHTINGS), default="none")
    return values


def declared_space(starts: Sequence[str] = (), losses: Sequence[str] = ()) -> SearchSpace:
    """The space without its conditions on encoders, found without importing KerasTuner, which takes seconds.

    Args:
        starts: what networks may start from; none: `start` is not declared.
        losses: see `declare_hyperparameters`.
    """
    recorder: Any = _Recorder()
    declare_hyperparameters(recorder, dict.fromkeys(starts, "") if starts else None, losses=losses)
    return SearchSpace(recorder.declared)


class _Recorder:
    """Takes declarations as `keras_tuner.HyperParameters` does, and answers with the defaults."""

    space: Sequence[Any] = ()

    def __init__(self) -> None:
        self.declared: list[Hyperparameter] = []
        self._conditions: tuple[Condition, ...] = ()

    @contextmanager
    def conditional_scope(self, name: str, values: Sequence[HyperparameterValue]) -> Iterator[None]:
        outer = self._conditions
        self._conditions = (*outer, Condition(name, tuple(values)))
        try:
            yield
        finally:
            self._conditions = outer

    def Fixed(self, name: str, value: Any) -> Any:  # noqa: N802 - KerasTuner's names
        return self._add(Hyperparameter.fixed(name, value, self._conditions))

    def Boolean(self, name: str, default: bool = False) -> Any:  # noqa: N802
        return self._add(Hyperparameter.from_config("Boolean", {"name": name, "default": default}))

    def Choice(self, name: str, values: Sequence[Any], default: Any = None) -> Any:  # noqa: N802
        return self._add(Hyperparameter.from_config("Choice", {"name": name, "values": values, "default": default}))

    def Int(self, name: str, low: int, high: int, default: int) -> Any:  # noqa: N802
        return self._add(Hyperparameter.range(Kind.INT, name, low, high, None, None, default, ()))

    def Float(  # noqa: N802
        self, name: str, low: float, high: float, default: float, step: float | None = None, sampling: str | None = None
    ) -> Any:
        return self._add(Hyperparameter.range(Kind.FLOAT, name, low, high, step, sampling, default, ()))

    def _add(self, hyperparameter: Hyperparameter) -> Any:
        self.declared.append(replace(hyperparameter, conditions=self._conditions))
        return hyperparameter.default
