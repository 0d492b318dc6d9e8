import keras
import numpy as np
import pytest

from galaxy_exp.hypermodel.augmentation import RandomAffine, RandomDihedral, RandomFlips, symmetry_table

LAYERS = [RandomFlips, RandomDihedral, RandomAffine]


def _images(n=64, height=6, width=6):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def _apply(layer, images, training=True):
    return keras.ops.convert_to_numpy(layer(images, training=training))


def _symmetries(image):
    return [np.rot90(base, k) for base in (image, image[:, ::-1]) for k in range(4)]


def _variant(image, variants):
    return next(index for index, other in enumerate(variants) if np.array_equal(image, other))


@pytest.mark.parametrize("layer", LAYERS)
def test_does_nothing_outside_training(layer):
    images = _images()
    assert np.array_equal(_apply(layer(), images, training=False), images)


@pytest.mark.parametrize("layer", LAYERS)
def test_follows_from_the_seed_and_changes_from_call_to_call(layer):
    images, one, other = _images(), layer(seed=1), layer(seed=1)
    first = _apply(one, images)
    assert np.array_equal(first, _apply(other, images))
    assert not np.array_equal(first, _apply(one, images))


def test_flips_are_exact_and_all_four_occur():
    images = _images()
    flipped = _apply(RandomFlips(seed=0), images)
    assert flipped.dtype == np.uint8
    variants = {
        _variant(out, [image[::rows, ::columns] for rows in (1, -1) for columns in (1, -1)])
        for out, image in zip(flipped, images, strict=True)
    }
    assert variants == set(range(4))


def test_dihedral_variants_are_exact_and_all_eight_occur():
    images = _images(128)
    turned = _apply(RandomDihedral(seed=0), images)
    found = {_variant(out, _symmetries(image)) for out, image in zip(turned, images, strict=True)}
    assert found == set(range(8))


def test_images_that_are_not_square_keep_their_shape():
    assert len(symmetry_table(4, 6, transpose=True)) == 4
    images = _images(16, 4, 6)
    assert _apply(RandomDihedral(seed=0), images).shape == images.shape
    assert _apply(RandomAffine(seed=0), images).shape == images.shape


def test_affine_turns_about_the_centre():
    images = np.zeros((32, 33, 33, 1), np.uint8)
    images[:, 16, 16] = 200
    images[:, 16, 24] = 100
    turned = _apply(RandomAffine(shift=0.0, zoom=0.0, fill="constant", seed=0), images)[..., 0]
    np.testing.assert_allclose(turned[:, 16, 16], 200, atol=1)
    rows, columns = np.indices((33, 33)) - 16.0
    companion = np.where(np.hypot(rows, columns) > 4, turned, 0.0)
    total = companion.sum(axis=(1, 2))
    y, x = (companion * rows).sum(axis=(1, 2)) / total, (companion * columns).sum(axis=(1, 2)) / total
    np.testing.assert_allclose(np.hypot(y, x), 8.0, atol=0.3)
    assert np.ptp(np.arctan2(y, x)) > 3


def test_affine_shifts_and_zooms_within_its_limits():
    images = np.zeros((64, 41, 41, 1), np.uint8)
    images[:, 18:23, 18:23] = 100
    out = _apply(RandomAffine(seed=0), images)[..., 0]
    assert out.dtype == np.float32
    assert out.min() >= 0 and out.max() <= 100.001
    rows = np.indices((41, 41))[0] - 20.0
    total = out.sum(axis=(1, 2))
    assert np.abs((out * rows).sum(axis=(1, 2)) / total).max() < 0.06 * 41 * 1.5
    area = total / 2500
    assert 0.75 < area.min() < 0.95 and 1.05 < area.max() < 1.3


@pytest.mark.parametrize("layer", LAYERS)
def test_mirror_images_are_as_likely_as_not(layer):
    """A chiral image (an L) keeps its handedness in about half of the copies."""
    image = np.zeros((1, 33, 33, 1), np.uint8)
    image[0, 8:25, 10:14] = 200
    image[0, 21:25, 10:22] = 200
    out = _apply(layer(seed=2), np.repeat(image, 200, axis=0))[..., 0].astype(float)
    rows, columns = np.indices((33, 33)).astype(float)
    total = out.sum(axis=(1, 2))
    y = rows - ((out * rows).sum(axis=(1, 2)) / total)[:, None, None]
    x = columns - ((out * columns).sum(axis=(1, 2)) / total)[:, None, None]
    z = x + 1j * y
    moments = (out * z**2 * np.conj(z)).sum(axis=(1, 2)), (out * z**2).sum(axis=(1, 2))
    handed = np.imag(moments[0] ** 2 * np.conj(moments[1]))
    assert 0.35 < (handed > 0).mean() < 0.65


@pytest.mark.parametrize("layer", LAYERS)
def test_survives_serialization(layer):
    config = keras.layers.serialize(layer(seed=4, name="x"))
    again = keras.layers.deserialize(config)
    assert type(again) is layer
    assert again.get_config() == layer(seed=4, name="x").get_config()


def test_images_of_unknown_size_are_refused():
    with pytest.raises(ValueError, match=r"flips needs images of a fixed size; found shape \(None, None, None, 3\)"):
        RandomFlips(name="flips").build((None, None, None, 3))
