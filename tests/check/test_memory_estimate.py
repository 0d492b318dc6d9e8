import keras
import pytest
from keras import layers

from galaxy_exp.check.probing import TooLargeError, estimate_memory, refuse_many_weights
from galaxy_exp.training.machine import memory_limit
from galaxy_exp.wording import format_bytes


def build(optimizer, *inside):
    model = keras.Sequential([keras.Input((8, 8, 3)), *inside])
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize(("optimizer", "slots"), [("sgd", 0), (keras.optimizers.SGD(momentum=0.9), 1), ("adam", 2)])
def test_weights_count_with_the_slots_of_the_optimizer(optimizer, slots):
    model = build(optimizer, layers.Flatten(), layers.Dense(1000))
    weights, outputs = 4 * 193_000 * (6 + slots), 4 * 1000
    assert estimate_memory(model, 10) == weights + 10 * 2 * outputs


def test_outputs_count_for_each_image_of_a_batch():
    model = build("sgd", layers.Conv2D(10, 1), layers.ReLU(), layers.GlobalAveragePooling2D())
    one, two = estimate_memory(model, 1), estimate_memory(model, 2)
    assert two - one == 4 * (2 * 640 + 10 + 2 * 640)


def test_a_layer_too_many_is_refused_before_it_is_made():
    message = r"300,030,700 weights, 300,000,000 of them in layer big, take 2.4 GB .* and this GPU has 1 MB"
    first, big = layers.Dense(1000), layers.Dense(10**6, name="big")
    with pytest.raises(TooLargeError, match=message), refuse_many_weights("GPU", 1_000_000):
        build("sgd", layers.Dense(100), layers.Dense(300), big)
    with refuse_many_weights("GPU", 1_000_000):
        build("sgd", first)
    build("sgd", layers.Dense(1000))


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"memory.max": "max"}, None),
        ({"memory.max": "1000"}, 1000),
        ({"a/b/memory.max": "3000", "a/memory.max": "2000"}, 2000),
        ({"memory/job/memory.limit_in_bytes": "4000"}, 4000),
    ],
)
def test_a_control_group_limits_the_memory(tmp_path, files, limit):
    groups = tmp_path / "groups"
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    own = tmp_path / "own"
    own.write_text("12:cpu,memory:/job\n0::/a/b\n")
    where, found = memory_limit(groups, own)
    assert where == "machine"
    assert found == limit if limit else found > 2**28


def test_bytes_are_short_to_read():
    assert [format_bytes(number) for number in (39e6, 4.24e9)] == ["39 MB", "4.2 GB"]
