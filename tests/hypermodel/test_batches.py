import numpy as np

from galaxy_exp.hypermodel.batches import Batches, ImageBatches


def _batches(n=10, size=4, **kwargs):
    images = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    return Batches(images, np.arange(n), size, **{"seed": 1, **kwargs})


def _labels(batches):
    batches.on_epoch_begin()
    return [batches[index][1].tolist() for index in range(len(batches))]


def test_an_epoch_holds_every_image_once_and_the_last_batch_the_rest():
    epoch = _labels(_batches())
    assert [len(batch) for batch in epoch] == [4, 4, 2]
    assert sorted(label for batch in epoch for label in batch) == list(range(10))


def test_images_stay_with_their_labels():
    batches = _batches()
    batches.on_epoch_begin()
    images, labels = batches[1]
    assert images.reshape(-1).tolist() == labels.tolist()


def test_the_order_follows_from_seed_and_epoch():
    one, same, other = _batches(), _batches(), _batches(seed=2)
    first, second = _labels(one), _labels(one)
    assert first != second
    assert [first, second] == [_labels(same), _labels(same)]
    assert first != _labels(other)


def test_end_of_epoch_calls_do_not_change_the_order():
    batches, same = _batches(), _batches()
    batches.on_epoch_end()
    assert _labels(batches) == _labels(same)


def test_without_seed_the_order_is_kept():
    assert _labels(_batches(seed=None)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_weights_go_with_the_labels():
    weights = np.linspace(0, 1, 10, dtype=np.float32)
    batches = _batches(class_weights=weights)
    _, labels, given = batches[0]
    assert given.tolist() == weights[labels].tolist()


def test_a_memory_map_is_copied_batch_by_batch(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((10, 2, 2, 3), np.uint8))
    images = np.load(tmp_path / "x.npy", mmap_mode="r")
    batch = Batches(images, np.zeros(10, int), 4, seed=0)[0][0]
    assert batch.shape == (4, 2, 2, 3)
    assert batch.flags.owndata or batch.base.size == batch.size
    assert [len(ImageBatches(images, 4)[index][0]) for index in range(3)] == [4, 4, 2]
