import numpy as np

from galaxy_exp.hypermodel.batches import Batches, class_weights, draw_balanced

LABELS = np.repeat([0, 1, 3], [70, 25, 6])


def test_every_class_comes_equally_often_and_the_epoch_keeps_its_length():
    drawn = draw_balanced(LABELS, np.random.default_rng(0))
    counts = np.bincount(LABELS[drawn])
    assert len(drawn) == 101
    assert counts[2] == 0
    assert sorted(counts[[0, 1, 3]]) == [33, 34, 34]


def test_within_a_class_all_come_equally_often():
    times = np.bincount(draw_balanced(LABELS, np.random.default_rng(1)), minlength=101)
    assert times[:70].max() == 1
    assert set(times[70:95]) == {1, 2}
    assert set(times[95:]) <= {5, 6}


def test_over_the_epochs_every_image_comes():
    seen = np.concatenate([draw_balanced(LABELS, np.random.default_rng((7, epoch))) for epoch in range(20)])
    assert set(seen.tolist()) == set(range(101))


def test_classes_are_mixed_within_the_epoch():
    labels = LABELS[draw_balanced(LABELS, np.random.default_rng(0))]
    assert (np.diff(labels) != 0).sum() > 40


def test_without_images_nothing_is_drawn():
    assert draw_balanced(np.empty(0, int), np.random.default_rng(0)).tolist() == []


def _epochs(n, **settings):
    batches = Batches(np.arange(101).reshape(-1, 1), LABELS, 8, **settings)
    epochs = []
    for _ in range(n):
        batches.on_epoch_begin()
        epochs.append([batches[index] for index in range(len(batches))])
    return epochs


def test_batches_follow_from_seed_and_epoch():
    def images(seed):
        return [[batch[0].ravel().tolist() for batch in epoch] for epoch in _epochs(2, seed=seed, balanced=True)]

    assert images(3) == images(3) != images(4)
    assert images(3)[0] != images(3)[1]


def test_batches_have_no_weights_and_the_usual_number():
    (epoch,) = _epochs(1, seed=1, balanced=True, class_weights=class_weights(LABELS, 4, "sampling"))
    assert len(epoch) == 13
    assert all(len(batch) == 2 for batch in epoch)
    for images, labels in epoch:
        assert LABELS[images.ravel()].tolist() == labels.tolist()
