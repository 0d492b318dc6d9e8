import keras
import keras_tuner
import pytest
from keras import layers

from galaxy_exp.hypermodel.flops import count_flops, layer_calls, uncounted_layers
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN


def network(*inside, shape=(8, 8, 3)):
    return keras.Sequential([keras.Input(shape), *inside])


class TestOneLayer:
    @pytest.mark.parametrize(
        ("layer", "flops"),
        [
            (layers.Conv2D(4, 3, padding="same"), 8 * 8 * 4 * (2 * 27 + 1)),
            (layers.Conv2D(4, 3, use_bias=False), 6 * 6 * 4 * 54),
            (layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"), 4 * 4 * 4 * (55 + 1)),
            (layers.Conv2D(6, 3, groups=3, padding="same", use_bias=False), 8 * 8 * 6 * 18),
            (layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False), 6 * 6 * 6 * 18),
            (layers.SeparableConv2D(4, 3, use_bias=False), 6 * 6 * 2 * (27 + 12)),
            (layers.Conv2DTranspose(4, 2, strides=2, use_bias=False), 8 * 8 * 2 * (4 * 3 * 4)),
            (layers.Dense(5), 8 * 8 * 5 * (2 * 3 + 1)),
            (layers.Dense(5, activation="softmax", use_bias=False), 8 * 8 * 5 * 7),
            (layers.BatchNormalization(), 2 * 192),
            (layers.MaxPooling2D(2), 192),
            (layers.GlobalAveragePooling2D(), 192),
            (layers.Activation("relu"), 192),
            (layers.Activation("linear"), 0),
            (layers.ReLU(), 192),
            (layers.Flatten(), 0),
            (layers.Dropout(0.5), 0),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, layers.Layer) else "",
    )
    def test_counts_a_multiplication_and_an_addition_as_two(self, layer, flops):
        assert count_flops(network(layer)) == flops


class TestNetworks:
    def test_the_baseline_of_galaxy_cnn_by_hand(self):
        model = GalaxyCNN((69, 69, 3), 10).build(keras_tuner.HyperParameters())
        first, second = 67 * 67 * 32 * (2 * 27 + 2), 65 * 65 * 64 * (2 * 288 + 1)
        rescaling, pool, flat = 2 * 69 * 69 * 3, 32 * 32 * 64 * 4, 32 * 32 * 64
        dense, probabilities = 128 * (2 * flat + 2), 10 * (2 * 128 + 2)
        relu = flat
        assert count_flops(model) == first + second + rescaling + pool + relu + dense + probabilities
        assert uncounted_layers(model) == ()

    def test_a_residual_unit_adds_its_convolution_and_the_sum(self):
        def count(residual):
            hp = keras_tuner.HyperParameters()
            hp.values = {"n_blocks": 2, "residual": residual, "filters_1": 4, "filters_2": 6}
            model = GalaxyCNN((8, 8, 3), 10).build(hp)
            assert uncounted_layers(model) == ()
            return count_flops(model)

        units = [(4 * 4 * 4, 4), (2 * 2 * 6, 6)]
        assert count(True) - count(False) == sum(elements * (2 * 9 * n + 1 + 2) for elements, n in units)

    def test_a_sequential_built_layer_by_layer_counts_each_layer_once(self):
        model = keras.Sequential([keras.Input((8, 8, 3))])
        for _ in range(3):
            model.add(layers.Conv2D(3, 1, use_bias=False))
        assert count_flops(model) == 3 * 64 * 18
        assert [call.output_elements for call in layer_calls(model)] == [192, 192, 192]

    def test_models_inside_models_and_shared_layers(self):
        inner = network(layers.Conv2D(3, 1, use_bias=False))
        shared = layers.Conv2D(3, 1, use_bias=False)
        images = keras.Input((8, 8, 3))
        once = shared(inner(images))
        model = keras.Model(images, layers.Add()([once, shared(once)]))
        assert count_flops(model) == 3 * 64 * 18 + 192

    def test_a_merge_that_broadcasts_counts_what_it_computes(self):
        images, gate = keras.Input((7, 7, 16)), keras.Input((1, 1, 16))
        assert count_flops(keras.Model([images, gate], layers.Multiply()([images, gate]))) == 7 * 7 * 16

    def test_what_is_not_known_is_named(self):
        class Own(layers.Layer):
            def call(self, inputs):
                return inputs

        model = network(Own(name="own"), layers.ReLU())
        assert count_flops(model) == 192
        assert uncounted_layers(model) == ("own",)

    def test_a_model_with_a_call_of_its_own_is_named(self):
        class Subclassed(keras.Model):
            def call(self, inputs):
                return inputs

        assert count_flops(Subclassed(name="mine")) == 0
        assert uncounted_layers(Subclassed(name="mine")) == ("mine",)

    def test_a_side_that_is_not_fixed_is_not_guessed(self):
        model = network(layers.Conv2D(3, 3, name="conv"), layers.GlobalAveragePooling2D(), shape=(None, None, 3))
        assert "conv" in uncounted_layers(model)
