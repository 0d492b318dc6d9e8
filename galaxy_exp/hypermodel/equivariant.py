"""Layers that are equivariant under the eight flips and quarter turns of an image.

A turned image gives turned maps, whose channels have changed places: `ORIENTATIONS` groups of channels follow each
other, one for each orientation in which a kernel is applied (Cohen & Welling 2016, arXiv:1602.07576, the group p4m). A
network of these layers whose last map is averaged over its pixels and orientations answers the same for an image
however it is flipped and turned by 90 degrees, up to rounding; images that are not square have no quarter turns.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from galaxy_exp.hypermodel.augmentation import symmetry_table

__all__ = [
    "ORIENTATIONS",
    "EquivariantBatchNormalization",
    "EquivariantConv2D",
    "leaf_layers",
    "orientation_mean_layers",
    "restore_equivariant_layers",
    "weighted_layers",
]

ORIENTATIONS = 8


@keras.saving.register_keras_serializable("galaxy_exp")
class EquivariantConv2D(keras.layers.Layer):  # type: ignore[misc]
    """A convolution of stride 1 with the padding "same" that applies each kernel in all orientations.

    It computes what a `keras.layers.Conv2D` of as many filters does, and has an eighth of its weights. It takes maps
    (n, height, width, channels) of any float dtype and gives (n, height, width, filters) of the layer's.

    Args:
        filters: of all orientations together, a multiple of `ORIENTATIONS`.
        kernel_size: in pixels.
        use_bias: whether a bias is added, the same for all orientations of a kernel.
        lifts: True: it takes images, which have no orientations.
    """

    activation = None
    """It applies none; `keras.layers.Conv2D` has an attribute of this name, which `count_flops` reads."""

    def __init__(
        self, filters: int, kernel_size: int, use_bias: bool = True, lifts: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.use_bias, self.lifts = filters, kernel_size, use_bias, lifts

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """The kernel and bias of one orientation, float32."""
        channels, size, filters = int(input_shape[-1] or 0), self.kernel_size, self.filters // ORIENTATIONS
        if self.filters % ORIENTATIONS or (channels % ORIENTATIONS and not self.lifts):
            raise ValueError(
                f"{self.name}: from {channels} channels to {self.filters} filters; expected multiples of {ORIENTATIONS}"
            )
        bound = (6 / (size**2 * (channels + self.filters))) ** 0.5  # `glorot_uniform` of the `Conv2D`
        self.one_kernel = self.add_weight(
            shape=(size, size, channels, filters),
            initializer=keras.initializers.RandomUniform(-bound, bound),
            name="kernel",
            autocast=False,
        )
        self.one_bias = self.add_weight(shape=(filters,), initializer="zeros", name="bias") if self.use_bias else None
        self._places = _kernel_places(size, self.lifts)
        self.built = True

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The size of the input."""
        return (*input_shape[:-1], self.filters)

    def call(self, maps: Any) -> Any:
        """See the class."""
        convolved = ops.conv(maps, ops.cast(self.kernel, self.compute_dtype), padding="same")
        return convolved if self.one_bias is None else convolved + self.bias

    @property
    def kernel(self) -> Any:
        """The kernel of the `Conv2D` that computes the same: float32 (size, size, channels, filters)."""
        size, _, channels, filters = self.one_kernel.shape
        rows = ops.reshape(ops.convert_to_tensor(self.one_kernel), (self._places.shape[1], -1))
        turned = ops.take(rows, ops.convert_to_tensor(self._places.reshape(-1)), axis=0)
        turned = ops.reshape(turned, (ORIENTATIONS, size, size, channels, filters))
        return ops.reshape(ops.transpose(turned, (1, 2, 3, 0, 4)), (size, size, channels, self.filters))

    @property
    def bias(self) -> Any:
        """The bias of the `Conv2D` that computes the same: (filters,)."""
        return ops.tile(ops.convert_to_tensor(self.one_bias), (ORIENTATIONS,))

    def keras_weights(self) -> list[NDArray[np.float32]]:
        """The weights of the `Conv2D` that computes the same."""
        weights = [self.kernel] if self.one_bias is None else [self.kernel, self.bias]
        return [np.asarray(ops.convert_to_numpy(weight), np.float32) for weight in weights]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {name: getattr(self, name) for name in ("filters", "kernel_size", "use_bias", "lifts")}
        return {**super().get_config(), **own}


@functools.cache
def _kernel_places(size: int, lifts: bool) -> NDArray[np.int32]:
    """Where the weights of turned kernels are in the kernel of one orientation.

    Returns:
        (ORIENTATIONS, n): row a lists, for each pixel of the kernel in orientation a, and if it takes orientations for
        each of these, the place among the n pairs of pixel and orientation of the kernel.
    """
    pixels = symmetry_table(size, size, transpose=True)
    if lifts:
        return pixels
    turns = symmetry_table(3, 3, transpose=True)
    found = {tuple(row): number for number, row in enumerate(turns.tolist())}
    product = np.array([[found[tuple(second[first])] for second in turns] for first in turns])
    inverse = product.argmin(axis=1)  # row 0 of the table is the identity
    relative = product[inverse]  # of orientations a and b, that of a^-1 b
    places = pixels[:, :, None] * ORIENTATIONS + relative[:, None, :]
    return np.asarray(places.reshape(ORIENTATIONS, -1), np.int32)


@keras.saving.register_keras_serializable("galaxy_exp")
class EquivariantBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Batch normalisation of maps in all orientations: those of one kernel have the same statistics and weights."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """The statistics and weights of one orientation."""
        channels = int(input_shape[-1] or 0)
        super().build((*input_shape[:-1], channels // ORIENTATIONS))
        self.input_spec = keras.InputSpec(ndim=len(input_shape), axes={-1: channels})

    def call(self, maps: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Maps (n, height, width, channels) to the same shape."""
        *sides, channels = maps.shape[1:]
        split = ops.reshape(maps, (-1, sides[0], sides[1] * ORIENTATIONS, channels // ORIENTATIONS))
        return ops.reshape(super().call(split, training=training), (-1, *sides, channels))

    def keras_weights(self) -> list[NDArray[np.float32]]:
        """The weights of the `BatchNormalization` that computes the same in inference."""
        return [np.tile(weight, ORIENTATIONS) for weight in self.get_weights()]


def orientation_mean_layers(shape: tuple[int, int, int]) -> list[keras.layers.Layer]:
    """Layers from maps of this shape (height, width, channels) to maps with an eighth of the channels."""
    height, width, channels = shape
    split = (height, width, ORIENTATIONS, channels // ORIENTATIONS)
    return [
        keras.layers.Reshape(split, name="orientations"),
        keras.layers.AveragePooling3D((1, 1, ORIENTATIONS), name="orientation_mean"),
        keras.layers.Reshape((height, width, split[-1]), name="invariant"),
    ]


def restore_equivariant_layers(model: keras.Model) -> keras.Model | None:
    """The same function as a Sequential or functional model, with equivariant layers; None if it cannot have them.

    It can if a network of equivariant layers may have been saved as this model: all layers with weights are
    convolutions and batch normalisations as such a network is saved with, and what orientations share is equal. Trained
    further, the model stays equivariant.
    """
    layers = weighted_layers(model)
    has_convolution = any(type(layer) is keras.layers.Conv2D for layer in layers)
    if None in model.input_shape[1:] or not has_convolution or not all(map(_may_be_equivariant, layers)):
        return None
    restored = keras.models.clone_model(model, clone_function=_equivariant_copy, recursive=True)
    for layer, copy in zip(layers, weighted_layers(restored), strict=True):
        copy.set_weights([weight[..., : weight.shape[-1] // ORIENTATIONS] for weight in layer.get_weights()])
        if not all(map(np.array_equal, copy.keras_weights(), layer.get_weights())):
            return None
    return restored


def leaf_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model in its order, those of models within it in their places."""
    return [leaf for layer in model.layers for leaf in (leaf_layers(layer) if hasattr(layer, "layers") else [layer])]


def weighted_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Those of `leaf_layers` that have weights."""
    return [layer for layer in leaf_layers(model) if layer.weights]


def _may_be_equivariant(layer: keras.layers.Layer) -> bool:
    """Whether it has the kind, shapes and arguments of a saved equivariant layer."""
    if type(layer) is keras.layers.BatchNormalization:
        on_maps = layer.axis == -1 and layer.input_spec.ndim == 4
        return bool(on_maps and layer.moving_mean.shape[-1] % ORIENTATIONS == 0)
    if type(layer) is not keras.layers.Conv2D:
        return False
    plain = keras.layers.Conv2D(**_shared_arguments(layer), padding="same")
    return bool(layer.filters % ORIENTATIONS == 0 and plain.get_config() == layer.get_config())


def _shared_arguments(layer: keras.layers.Conv2D) -> dict[str, Any]:
    """Those of `Conv2D` that `EquivariantConv2D` has too."""
    config = layer.get_config()
    shared = {name: config[name] for name in ("name", "trainable", "dtype", "filters", "use_bias")}
    return {**shared, "kernel_size": layer.kernel_size[0]}


def _equivariant_copy(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.layers.Conv2D):
        return EquivariantConv2D(**_shared_arguments(layer), lifts=layer.kernel.shape[-2] % ORIENTATIONS != 0)
    kind = EquivariantBatchNormalization if isinstance(layer, keras.layers.BatchNormalization) else type(layer)
    return kind.from_config(layer.get_config())
