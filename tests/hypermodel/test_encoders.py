"""Encoders from files: what is accepted, the space with `start`, and the networks that start from them."""

import zipfile

import keras
import numpy as np
import pytest

from galaxy_exp.config.sweep import ValuesSpace
from galaxy_exp.encoder_file import (
    PACKAGED,
    PRETRAINED,
    SIMULATED,
    describe_encoder,
    describe_start,
    file_sha256,
    find_encoder,
    read_card,
    store_encoder,
)
from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel import GalaxyCNN, discover_space, to_inference_model
from galaxy_exp.hypermodel.discovery import to_kerastuner
from galaxy_exp.hypermodel.encoders import ENCODER_LAYER, load_encoder, write_encoder
from galaxy_exp.space.overrides import build_space, complete_configuration, listed_texts
from galaxy_exp.space.search_space import SearchSpace
from galaxy_exp.training.machine import fresh_session

SHAPE = (12, 12, 3)
BODY = {"n_blocks", "convs_per_block", "width_growth", "filters_1", "filters_2", "kernel_size", "batch_norm"}


def a_map(shape=SHAPE, seed=1):
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape, name="images"),
            layers.Rescaling(1 / 255, name="rescaling"),
            layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Activation("relu", name="relu"),
        ],
        name="body",
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_encoder(a_map(), tmp_path / "map.keras", {"trained_on": "SIMULATED galaxies"})
    pooled = keras.Sequential([*a_map().layers, keras.layers.GlobalAveragePooling2D()])
    pooled.build((None, *SHAPE))
    pooled.save(tmp_path / "features.keras")
    return tmp_path


def space_of(hypermodel, **space):
    return build_space(hypermodel, space, discover_space(hypermodel))


def built(hypermodel, **space):
    return hypermodel.build(to_kerastuner(space_of(hypermodel, **space)))


def images(n=6, shape=SHAPE):
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_without_starts_the_space_has_no_start(folder):
    names = discover_space(GalaxyCNN(SHAPE, 3)).names
    assert names[0] == "n_blocks"
    assert not {"start", "encoder", "body_rate"} & set(names)


def test_what_belongs_to_start_needs_it(folder):
    with pytest.raises(ConfigError, match=r"space.body_rate: unknown hyperparameter; expected space.start too"):
        space_of(GalaxyCNN(SHAPE, 3), body_rate=0.1)


def test_the_baseline_starts_from_scratch_and_a_body_belongs_to_scratch_alone(folder):
    hypermodel = GalaxyCNN(SHAPE, 3, ["map.keras", "scratch"])
    declared = discover_space(hypermodel)
    assert declared.defaults == {"start": "scratch", **discover_space(GalaxyCNN(SHAPE, 3)).defaults}
    space = space_of(hypermodel, start=ValuesSpace(values=("map.keras", "scratch")))
    values = complete_configuration(hypermodel, space, {"start": "map.keras"}, "enqueue", declared)
    assert not BODY & set(values)
    assert values["encoder"] == describe_encoder(folder / "map.keras")
    assert values["encoder"].startswith("SIMULATED galaxies, sha256 ")
    assert values["body_rate"] == 1.0
    with pytest.raises(ConfigError, match="n_blocks: has no effect here"):
        complete_configuration(hypermodel, space, {"start": "map.keras", "n_blocks": 3}, "enqueue", declared)


def test_a_worker_finds_in_its_space_all_that_the_sweep_declared(folder):
    starts = ("map.keras", "scratch", "features.keras")
    space = space_of(GalaxyCNN(SHAPE, 3, starts), start=ValuesSpace(values=starts))
    for start in starts:
        values = space.fill(lambda each, start=start: start if each.name == "start" else each.default)
        hp = to_kerastuner(SearchSpace.from_config(space.get_config()), values)
        before = len(hp.space)
        model = GalaxyCNN(SHAPE, 3).build(hp)  # a worker's knows of no starts
        assert len(hp.space) == before
        assert (ENCODER_LAYER in [layer.name for layer in model.layers]) is (start != "scratch")


def test_a_changed_file_is_not_used(folder):
    space = space_of(GalaxyCNN(SHAPE, 3, ["map.keras"]), start="map.keras")
    write_encoder(a_map(seed=2), folder / "map.keras", {})
    with pytest.raises(ConfigError, match=r"another file than the sweep began with: sha256 .*; expected SIMULATED"):
        GalaxyCNN(SHAPE, 3).build(to_kerastuner(space))


def test_a_copy_of_the_sweep_is_used_wherever_the_file_is(folder, monkeypatch):
    hypermodel = GalaxyCNN(SHAPE, 3, ["map.keras"])
    space, (identity,) = space_of(hypermodel, start="map.keras"), hypermodel.encoders.values()
    expected = [np.array(weight) for weight in load_encoder("map.keras").get_weights()]
    for _ in range(2):
        store_encoder("map.keras", identity, folder / "stored")
    write_encoder(a_map(seed=2), folder / "map.keras", {})
    (folder / "elsewhere").mkdir()
    for place in (folder, folder / "elsewhere"):
        monkeypatch.chdir(place)
        worker = GalaxyCNN(SHAPE, 3)
        worker.stored_encoders = folder / "stored"
        model = worker.build(to_kerastuner(space))
        for one, other in zip(model.get_layer(ENCODER_LAYER).get_weights(), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_file_with_the_digest_is_found_and_words_do_not_matter(folder, monkeypatch):
    identity = describe_encoder(folder / "map.keras")
    (folder / "other").mkdir()
    write_encoder(a_map(seed=2), folder / "other" / "map.keras", {})
    monkeypatch.chdir(folder / "other")
    monkeypatch.syspath_prepend(folder)
    assert find_encoder("map.keras", f"other words, {identity[-23:]}") == folder / "map.keras"
    assert find_encoder("map.keras").resolve() == folder / "other" / "map.keras"


def test_a_file_may_be_below_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir("/")
    assert find_encoder("~/map.keras") == folder / "map.keras"
    with pytest.raises(ConfigError, match=r"start: ~no-such-user/map\.keras: no such file in /"):
        find_encoder("~no-such-user/map.keras")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(folder, value):
    broken = a_map()
    broken.get_layer("norm").beta.assign([0, 0, value, 0])
    write_encoder(broken, folder / "broken.keras", {})
    with pytest.raises(ConfigError, match=r"start: broken\.keras: its weights .*beta are NaN or infinite; expected"):
        GalaxyCNN(SHAPE, 3).offer(["broken.keras"])


def test_what_an_earlier_release_pickled_has_no_encoders(folder):
    hypermodel = GalaxyCNN(SHAPE, 3)
    assert {"encoders", "features", "stored_encoders"}.isdisjoint(vars(hypermodel))
    assert hypermodel.build(to_kerastuner(discover_space(hypermodel))).output_shape == (None, 3)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("pretraned", "start: 'pretraned' was found; expected scratch, pretrained or a .keras file"),
        ("none.keras", "start: none.keras: no such file in "),
        ("damaged.keras", "not a .keras file: "),
        ("other.keras", "no Keras model that loads in safe mode: "),
        ("lambda.keras", "has a Lambda, which runs code that is not Keras's"),
        ("flat.keras", r"its input is \(None, 7\); expected images"),
        ("sequence.keras", r"its output is \(None, 144, 3\); expected a map"),
        ("deep.keras", r"cannot take images of 12x12 pixels: "),
        ("one_side.keras", r"cannot take images of 12x12 pixels: "),
        ("grey.keras", r"takes images of 1 channel\(s\), and the images have 3"),
    ],
)
def test_a_file_that_is_no_encoder_is_one_line(folder, start, message):
    layers = keras.layers
    (folder / "damaged.keras").write_bytes((folder / "map.keras").read_bytes()[:500])
    with zipfile.ZipFile(folder / "other.keras", "w") as archive:
        archive.writestr("readme.txt", "no model")
    keras.Sequential([keras.Input(SHAPE), layers.Lambda(lambda x: x * 2)]).save(folder / "lambda.keras")
    keras.Sequential([keras.Input((7,)), layers.Dense(2)]).save(folder / "flat.keras")
    keras.Sequential([keras.Input(SHAPE), layers.Reshape((144, 3))]).save(folder / "sequence.keras")
    a_map((12, 12, 1)).save(folder / "grey.keras")
    for name, side in (("deep", None), ("one_side", 24)):
        sides = keras.Sequential([keras.Input((side, None, 3)), layers.Conv2D(2, 16), layers.GlobalMaxPooling2D()])
        sides.save(folder / f"{name}.keras")
    with pytest.raises(ConfigError, match=message) as caught:
        GalaxyCNN(SHAPE, 3, [start])
    assert "\n" not in str(caught.value)


def test_the_network_computes_what_the_encoder_does(folder):
    model = built(GalaxyCNN(SHAPE, 3, ["map.keras"]), start="map.keras", head="gap", dense_width=0)
    features = keras.Model(model.inputs, model.get_layer("average").output)
    expected = np.asarray(a_map()(images().astype("float32"))).mean(axis=(1, 2))
    np.testing.assert_allclose(features.predict(images(), verbose=0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("start", ["map.keras", "features.keras"])
@pytest.mark.parametrize("shape", [SHAPE, (20, 16, 1)])
def test_raw_images_of_any_size_and_grey_ones(folder, start, shape):
    hypermodel = GalaxyCNN(shape, 3, [start])
    model = built(hypermodel, start=start, augmentation="flips+rotations")
    exported = to_inference_model(model)
    exported.save(folder / "exported.keras")
    loaded = keras.saving.load_model(folder / "exported.keras", safe_mode=True)
    probabilities = loaded.predict(images(shape=shape), verbose=0)
    assert probabilities.shape == (6, 3)
    np.testing.assert_allclose(probabilities, model.predict(images(shape=shape), verbose=0), rtol=1e-4, atol=1e-5)


def _trained(hypermodel, **space):
    found = space_of(hypermodel, start="map.keras", learning_rate=1e-3, **space)
    hp = to_kerastuner(found)
    keras.utils.set_random_seed(3)
    model = hypermodel.build(hp)
    before = [np.array(weight) for weight in model.get_layer(ENCODER_LAYER).get_weights()]
    hypermodel.fit(hp, model, images(), np.arange(6) % 3, epochs=1, seed=1)
    return before, model.get_layer(ENCODER_LAYER).get_weights()


def test_a_frozen_body_stays_as_it_is(folder):
    before, after = _trained(GalaxyCNN(SHAPE, 3, ["map.keras"]), body_rate=0.0)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["dropping.keras", "functional.keras"])
def test_a_frozen_body_computes_as_in_inference_while_the_head_is_trained(folder, name):
    dropping = keras.Sequential([keras.Input(SHAPE), *a_map().layers, keras.layers.Dropout(0.5)])
    if name == "functional.keras":
        dropping = keras.Model(dropping.inputs[0], dropping.outputs[0])
    dropping.save(folder / name)
    hypermodel = GalaxyCNN(SHAPE, 3, [name])
    outputs = {}
    for rate in (0.0, 0.1):
        model = built(hypermodel, start=name, body_rate=rate, dropout_1=0.0, dropout_2=0.0)
        outputs[rate] = [np.asarray(model(images(), training=training)) for training in (False, True, True)]
    np.testing.assert_array_equal(outputs[0.0][0], outputs[0.0][1])
    assert not np.array_equal(outputs[0.1][1], outputs[0.1][2])


def test_layers_that_the_file_has_frozen_stay_so(folder):
    partly = a_map()
    partly.get_layer("conv").trainable = False
    partly.save(folder / "partly.keras")
    model = built(GalaxyCNN(SHAPE, 3, ["partly.keras"]), start="partly.keras", body_rate=1.0)
    encoder = model.get_layer(ENCODER_LAYER)
    assert not encoder.get_layer("conv").trainable
    assert encoder.get_layer("norm").trainable


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_body_of_the_package_stays_equivariant_where_it_is_trained(policy):
    shape = (24, 24, 3)
    hypermodel = GalaxyCNN(shape, 3, [PRETRAINED])
    hp = to_kerastuner(space_of(hypermodel, start=PRETRAINED, body_rate=1.0, head="gap", dense_width=0))
    with fresh_session(1, policy, False):
        model = hypermodel.build(hp)
        hypermodel.fit(hp, model, images(shape=shape), np.arange(6) % 3, epochs=2, seed=1)
        frozen = built(hypermodel, start=PRETRAINED, body_rate=0.0)
    assert 8 * model.get_layer(ENCODER_LAYER).count_params() == frozen.get_layer(ENCODER_LAYER).count_params()
    exported = to_inference_model(model)
    turned = [exported.predict(np.rot90(images(shape=shape), k, axes=(1, 2)), verbose=0) for k in range(4)]
    np.testing.assert_allclose(turned[1:], [turned[0]] * 3, atol=1e-5)
    assert np.ptp(turned[0], axis=0).max() > 1e-3  # not because it answers the same for all images


def test_head_is_searched_only_where_an_encoder_gives_a_map(folder):
    starts = ("features.keras", "map.keras", "scratch")
    hypermodel = GalaxyCNN(SHAPE, 3, starts)
    declared = discover_space(hypermodel)
    space = space_of(hypermodel, start=ValuesSpace(values=starts))
    complete = {start: complete_configuration(hypermodel, space, {"start": start}, "x", declared) for start in starts}
    assert [start for start in starts if "head" in complete[start]] == ["map.keras", "scratch"]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_the_body_s_rate_is_a_factor_of_the_head_s(folder, optimizer):
    steps, decay = {}, {"weight_decay": 0.5} if optimizer == "adamw" else {}
    for rate in (1.0, 0.1):
        before, after = _trained(GalaxyCNN(SHAPE, 3, ["map.keras"]), body_rate=rate, optimizer=optimizer, **decay)
        steps[rate] = after[0] - before[0]
    assert np.abs(steps[1.0]).max() > 1e-5
    np.testing.assert_allclose(steps[0.1], 0.1 * steps[1.0], rtol=1e-2, atol=1e-6)


def test_mixed_precision_computes_the_encoder_in_it_but_not_raw_values(folder, monkeypatch):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        encoder = load_encoder("map.keras")
        model = built(GalaxyCNN(SHAPE, 3, ["map.keras"]), start="map.keras")
        assert to_inference_model(model).get_layer(ENCODER_LAYER).get_layer("conv").compute_dtype == "float32"
    finally:
        keras.config.set_dtype_policy(policy)
    assert encoder.get_layer("conv").compute_dtype == "bfloat16"
    assert encoder.get_layer("rescaling").compute_dtype == "float32"
    assert encoder.get_layer("conv").kernel.dtype == "float32"


def test_precisions_that_the_author_chose_stay(folder):
    chosen = keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16", name="half")])
    chosen.add(keras.layers.Conv2D(2, 3, dtype="float32", name="single"))
    chosen.save(folder / "chosen.keras")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        encoder = load_encoder("chosen.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    assert [encoder.get_layer(name).compute_dtype for name in ("half", "single")] == ["bfloat16", "float32"]


def test_equal_encoders_give_equal_files(folder):
    write_encoder(a_map(), folder / "again.keras", {"trained_on": "SIMULATED galaxies"})
    assert file_sha256(folder / "again.keras") == file_sha256(folder / "map.keras")
    assert read_card(folder / "again.keras") == {"trained_on": "SIMULATED galaxies"}
    assert read_card(folder / "features.keras") == {}


def test_the_encoder_of_the_package_is_small_and_says_that_it_is_of_simulated_galaxies():
    card = read_card(PACKAGED)
    assert PACKAGED.stat().st_size < 4e6
    assert (card["simulated"], card["trained_on"]) == (True, SIMULATED)
    encoder = load_encoder(PRETRAINED)
    assert encoder.input_shape == (None, 69, 69, 3)
    assert encoder.output_shape == (None, 4, 4, 32)


def test_only_identities_of_encoders_are_described():
    assert describe_start({"start": "a.keras", "encoder": "sha256 0123456789abcdef"}) == (
        "a.keras (sha256 0123456789abcdef)"
    )
    assert describe_start({"start": "fast", "encoder": "resnet"}) is None
    assert describe_start({"start": 3, "encoder": 2}) is None
    assert describe_start({"start": "scratch"}) is None


def test_listed_texts():
    assert listed_texts("pretrained") == ["pretrained"]
    assert listed_texts(ValuesSpace(values=("scratch", PRETRAINED))) == ["scratch", "pretrained"]
    assert listed_texts(3) == []
