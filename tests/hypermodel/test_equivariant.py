"""Layers that are equivariant under flips and quarter turns, and networks of them."""

import keras
import keras_tuner
import numpy as np
import pytest

from galaxy_exp.hypermodel import GalaxyCNN, to_inference_model
from galaxy_exp.hypermodel.augmentation import symmetry_table
from galaxy_exp.hypermodel.equivariant import (
    ORIENTATIONS,
    EquivariantBatchNormalization,
    EquivariantConv2D,
    orientation_mean_layers,
    restore_equivariant_layers,
)
from galaxy_exp.hypermodel.flops import count_flops, uncounted_layers

RNG = np.random.default_rng(3)


def symmetric(images):
    """All flips and quarter turns of images (n, height, width, channels), the images themselves first."""
    height, width = images.shape[1:3]
    flat = images.reshape(len(images), -1, images.shape[-1])
    return [flat[:, row].reshape(images.shape) for row in symmetry_table(height, width, transpose=True)]


def network(size, **values):
    """One with running statistics and weights other than their first values, as after training."""
    hp = keras_tuner.HyperParameters()
    hp.values = {
        "n_blocks": 3, "equivariant": True, "filters_1": 8, "filters_2": 16, "width_growth": 1.0, "dense_width": 0,
        "head": "gap", **values,
    }  # fmt: skip
    model = GalaxyCNN((*size, 3), 4).build(hp)
    model.set_weights([each + RNG.uniform(0.1, 0.3, each.shape).astype(each.dtype) for each in model.get_weights()])
    return model


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("lifts", [True, False])
def test_a_turned_image_gives_turned_maps_with_their_channels_in_other_places(size, lifts):
    layer = EquivariantConv2D(16, size, lifts=lifts)
    images = RNG.normal(size=(2, 7, 7, 3)).astype(np.float32)
    inputs = symmetric(images)
    if not lifts:
        first = EquivariantConv2D(24, 3, lifts=True)
        inputs = [np.asarray(first(each)) for each in inputs]
    outputs = [np.asarray(layer(each)) for each in inputs]
    for found, turned in zip(outputs, symmetric(outputs[0]), strict=True):
        places = [
            next(a for a in range(ORIENTATIONS) if np.allclose(found[..., 2 * a : 2 * a + 2], part, atol=1e-5))
            for part in np.split(turned, ORIENTATIONS, axis=-1)
        ]
        assert sorted(places) == list(range(ORIENTATIONS))
        assert np.abs(np.diff(np.split(found, ORIENTATIONS, axis=-1), axis=0)).max() > 0.1


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("lifts", [True, False])
def test_computes_what_a_convolution_with_its_kernel_and_bias_does(use_bias, lifts):
    layer = EquivariantConv2D(24, 3, use_bias, lifts)
    maps = RNG.normal(size=(2, 6, 5, 16)).astype(np.float32)
    layer.build(maps.shape)
    layer.set_weights([RNG.normal(size=each.shape) for each in layer.get_weights()])
    plain = keras.layers.Conv2D(24, 3, padding="same", use_bias=use_bias)
    plain.build(maps.shape)
    plain.set_weights(layer.keras_weights())
    np.testing.assert_allclose(layer(maps), plain(maps), atol=1e-5)
    assert layer.count_params() == plain.count_params() // ORIENTATIONS


def test_orientations_share_their_normalisation():
    layer = EquivariantBatchNormalization(momentum=0.5)
    maps = RNG.normal(2, 3, size=(40, 4, 4, 16)).astype(np.float32)
    normalised = np.asarray(layer(maps, training=True)).reshape(-1, 2)
    np.testing.assert_allclose(normalised.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(normalised.std(axis=0), 1, atol=1e-3)
    assert [each.shape for each in layer.get_weights()] == [(2,)] * 4
    assert np.abs(layer.get_weights()[2]).min() > 0.5  # the running mean


def test_the_orientation_mean_layers():
    maps = RNG.normal(size=(2, 3, 5, 24)).astype(np.float32)
    found = keras.Sequential([keras.Input((3, 5, 24)), *orientation_mean_layers((3, 5, 24))])(maps)
    np.testing.assert_allclose(found, maps.reshape(2, 3, 5, 8, 3).mean(axis=3), atol=1e-6)


@pytest.mark.parametrize(
    "values", [{}, {"batch_norm": True, "residual": True}, {"convs_per_block": 2, "kernel_size": 5}]
)
@pytest.mark.parametrize("size", [(21, 21), (24, 24), (13, 20)])
def test_a_network_answers_the_same_for_all_orientations(size, values):
    model = network(size, **values)
    images = RNG.integers(0, 256, (3, *size, 3), dtype=np.uint8)
    outputs = [np.asarray(model(each)) for each in symmetric(images)]
    assert len(outputs) == (8 if size[0] == size[1] else 4)
    np.testing.assert_allclose(outputs[1:], [outputs[0]] * (len(outputs) - 1), atol=1e-4)
    features = keras.Model(model.inputs[0], model.get_layer("average").output)(images)
    assert np.ptp(np.asarray(features), axis=0).min() > 1e-4  # not because it answers the same for all images


def test_counts_as_the_network_of_keras_s_own_layers_that_is_saved():
    model = network((24, 24), batch_norm=True, residual=True)
    saved = to_inference_model(model)
    assert count_flops(model) == count_flops(saved)
    assert uncounted_layers(model) == uncounted_layers(saved) == ()
    assert saved.count_params() > 6 * model.count_params()


def test_loads_from_a_file(tmp_path):
    model = network((24, 24), batch_norm=True, residual=True)
    model.save(tmp_path / "model.keras")
    images = RNG.integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))


@pytest.mark.parametrize(("filters", "channels"), [(12, 16), (16, 12)])
def test_sizes_that_are_no_multiples_are_refused(filters, channels):
    with pytest.raises(ValueError, match=rf"from {channels} channels to {filters} filters; expected multiples of 8"):
        EquivariantConv2D(filters, 3).build((None, 8, 8, channels))


def saved_body(**values):
    """As a file has it: Keras's own layers, with the weights of an equivariant network."""
    saved = to_inference_model(network((21, 21), **values))
    layers = saved.layers[: [each.name for each in saved.layers].index("average")]
    return keras.Sequential([keras.Input((21, 21, 3)), *layers])


@pytest.mark.parametrize(
    "values", [{}, {"batch_norm": True, "residual": True}, {"convs_per_block": 2, "kernel_size": 5}]
)
def test_equivariant_layers_are_restored_from_the_saved_ones(values):
    body = saved_body(**values)
    restored = restore_equivariant_layers(body)
    images = RNG.uniform(0, 255, (3, 21, 21, 3)).astype(np.float32)
    np.testing.assert_allclose(
        restored.predict(images, verbose=0), body.predict(images, verbose=0), rtol=1e-4, atol=1e-4
    )
    assert restored.count_params() * ORIENTATIONS == body.count_params()
    for one, other in zip(to_inference_model(restored).get_weights(), body.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("layer", "number"), [("conv_2_1", 0), ("norm_2_1", 2)])
def test_nothing_is_restored_if_one_weight_differs(layer, number):
    body = saved_body(batch_norm=True)
    assert restore_equivariant_layers(body) is not None
    changed = body.get_layer(layer).weights[number]
    by = np.zeros(changed.shape, np.float32)
    by.flat[-1] = 1e-6
    changed.assign(np.asarray(changed) + by)
    assert restore_equivariant_layers(body) is None


def conv(filters=16, size=3, padding="same", **arguments):
    """A layer whose weights are the same for all orientations."""
    layer = keras.layers.Conv2D(filters, size, padding=padding, **arguments)
    layer.build((None, 16, 16, 3))
    layer.set_weights([np.full(weight.shape, 0.1) for weight in layer.get_weights()])
    return layer


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [keras.layers.Rescaling(1.0)],
        lambda: [keras.layers.BatchNormalization()],
        lambda: [conv(12)],
        lambda: [conv(16, strides=2)],
        lambda: [conv(16, (3, 1))],
        lambda: [conv(16, padding="valid")],
        lambda: [conv(16, activation="relu")],
        lambda: [conv(), keras.layers.BatchNormalization(axis=1)],
        lambda: [conv(), keras.layers.GlobalAveragePooling2D(), keras.layers.BatchNormalization()],
        lambda: [conv(), keras.layers.DepthwiseConv2D(3, padding="same")],
    ],
    ids=[
        "no weights", "no convolution", "12 filters", "stride", "not square", "no padding", "activation",
        "normalised rows", "normalised features", "another layer",
    ],
)  # fmt: skip
def test_other_models_have_nothing_to_restore(layers):
    assert restore_equivariant_layers(keras.Sequential([keras.Input((16, 16, 3)), *layers()])) is None


def test_a_model_for_images_of_any_size_has_nothing_to_restore():
    assert restore_equivariant_layers(keras.Sequential([keras.Input((16, 16, 3)), conv()])) is not None
    assert restore_equivariant_layers(keras.Sequential([keras.Input((None, None, 3)), conv()])) is None
