"""From a trained network to the one that is saved and registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from galaxy_exp.hypermodel.augmentation import AugmentationLayer
from galaxy_exp.hypermodel.equivariant import EquivariantBatchNormalization, EquivariantConv2D, leaf_layers
from galaxy_exp.hypermodel.galaxy_network import FastDropout

__all__ = ["forget_unsavable_loss", "is_portable", "make_savable", "to_inference_model"]


def to_inference_model(model: keras.Model) -> keras.Model:
    """The same function as `model` at inference, in float32, made of Keras's own layers.

    Augmentation layers are dropped, galaxy_exp's other layers become Keras's own, and every layer's dtype policy
    float32, so that the saved file loads without galaxy_exp, with `safe_mode=True`, and computes the same on machines
    without bfloat16. It is not compiled. Only a `keras.Sequential` of Keras's own and galaxy_exp's layers is rebuilt;
    any other model is returned as it is.
    """
    if not isinstance(model, keras.Sequential) or not all(_is_known(layer) for layer in leaf_layers(model)):
        return model
    if any(map(_is_lambda, _dictionaries(_config_of(model)))):  # cannot be restored from a configuration
        return model
    kept = [layer for layer in model.layers if not isinstance(layer, AugmentationLayer)]
    copies = [_copy(layer) for layer in kept]
    shape = model.input_shape[1:]
    inference = keras.Sequential([keras.Input(shape, dtype=model.inputs[0].dtype), *copies], name=model.name)
    for copy, layer in zip(copies, kept, strict=True):
        copy.set_weights(_exported_weights(layer))
    return inference


def is_portable(model: keras.Model) -> bool:
    """Whether a file of this model loads in safe mode without the user's code: it is made of Keras's own parts."""
    activations = [getattr(layer, "activation", None) for layer in leaf_layers(model)]
    if any(getattr(activation, "__name__", "") == "<lambda>" for activation in activations):
        return False  # Keras stores no class name for these
    config = _config_of(model)
    parts = list(_dictionaries(config, skipped="compile_config"))
    packages = {str(part["module"]).split(".")[0] for part in parts if "module" in part}
    return config is not None and packages <= {"keras"} and not any(map(_is_lambda, parts))


def make_savable(model: keras.Model) -> None:
    """Lets Keras write a `.keras` file of a model that has layers without a `get_config` that works.

    The file has the weights of all layers, but not the arguments of these: it serves `load_weights` of the same model
    made by the user's code, not `load_model`.
    """
    for layer in [*leaf_layers(model), *_nested(model), model]:
        if _config_of(layer) is None:
            layer.get_config = dict


def forget_unsavable_loss(model: keras.Model) -> None:
    """Lets Keras write a model without its loss, metrics and optimizer if one has no configuration (a partial, say)."""
    for each in [*_nested(model), model]:
        if isinstance(each, keras.Model) and each.compiled:
            try:
                each.get_compile_config()
            except Exception:  # noqa: BLE001 - a user's loss, metric or optimizer can raise anything
                each.get_compile_config = lambda: None


def _config_of(layer: keras.layers.Layer) -> Any | None:
    """None where a `get_config` raises: Keras's own if the constructor takes more than plain values, or the user's."""
    try:
        return keras.saving.serialize_keras_object(layer)
    except Exception:  # noqa: BLE001 - a user's `get_config` can raise anything
        return None


def _nested(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers that contain others, the innermost first."""
    holders = [layer for layer in model.layers if hasattr(layer, "layers")]
    return [inner for holder in holders for inner in (*_nested(holder), holder)]


def _dictionaries(config: Any, skipped: str | None = None) -> Iterator[dict[str, Any]]:
    """All dictionaries in a configuration but those below the key `skipped`."""
    if isinstance(config, dict):
        yield config
        config = [value for key, value in config.items() if key != skipped]
    for each in config if isinstance(config, list | tuple) else ():
        yield from _dictionaries(each, skipped)


def _is_lambda(part: Mapping[str, Any]) -> bool:
    return part.get("class_name") == "__lambda__"


def _is_known(layer: keras.layers.Layer) -> bool:
    kind = type(layer)
    return isinstance(layer, AugmentationLayer) or kind in _EXPORTED or kind.__module__.split(".")[0] == "keras"


def _copy(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The layer as it is saved, without its weights."""
    kind, arguments = _EXPORTED.get(type(layer), (type(layer), dict))
    return kind.from_config(_exported(arguments(layer.get_config())))


def _exported(config: Any) -> Any:
    """A copy of a layer's configuration, in which all layers have the dtype policy float32 and are saved ones."""
    if isinstance(config, list | tuple):
        return [_exported(item) for item in config]
    if not isinstance(config, dict):
        return config
    for kind, (saved, arguments) in _EXPORTED.items():
        if config.get("registered_name") == f"galaxy_exp>{kind.__name__}":
            named = {"module": "keras.layers", "class_name": saved.__name__, "registered_name": None}
            config = {**config, **named, "config": arguments(config["config"])}
    content = {key: _exported(value) for key, value in config.items()}
    policy = content.get("dtype")
    if policy in ("bfloat16", "float16") or (
        isinstance(policy, dict) and "DTypePolicy" in str(policy.get("class_name"))
    ):
        content["dtype"] = "float32"
    return content


def _exported_weights(layer: keras.layers.Layer) -> list[Any]:
    """The weights of the copy of a layer."""
    if isinstance(layer, EquivariantConv2D | EquivariantBatchNormalization):
        return list(layer.keras_weights())
    if hasattr(layer, "layers") and any(type(leaf) in _EXPORTED for leaf in leaf_layers(layer)):
        return [weight for inner in layer.layers for weight in _exported_weights(inner)]
    return list(layer.get_weights())


_EXPORTED: dict[type, tuple[Any, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    FastDropout: (keras.layers.Dropout, dict),
    EquivariantConv2D: (
        keras.layers.Conv2D,
        lambda config: {"padding": "same"} | {name: value for name, value in config.items() if name != "lifts"},
    ),
    EquivariantBatchNormalization: (keras.layers.BatchNormalization, dict),
}
"""What a saved file has in the place of each of galaxy_exp's layers, and its arguments from those of the layer."""
