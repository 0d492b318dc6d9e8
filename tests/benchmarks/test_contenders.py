"""Both sides must search the same space; this imports TensorFlow."""

import pytest

from benchmarks.contenders import FIXED, SAME_SEARCH, TUNED, Task, build_sweep
from galaxy_exp.config import parse_sweep

TASK = Task("simulated", trials=4, epochs=3, seed=5, images=600, image_size=32)


def test_sweep_file_is_valid_and_counts_the_baseline():
    config = parse_sweep(build_sweep(TASK, SAME_SEARCH), "compare.yaml")
    assert (config.search.sampler, config.search.scheduler, config.search.max_trials) == ("random", "none", 5)
    assert config.data.simulated.n_images == 600
    assert set(config.space) == set(TUNED) | set(FIXED)


def test_left_out_search_keys_take_the_defaults():
    search = parse_sweep(build_sweep(TASK, {}), "compare.yaml").search
    assert (search.sampler, search.scheduler) == ("auto", "promote")


@pytest.fixture(scope="module")
def spaces():
    """The tuned hyperparameters by name, of the hand-wired network and of the sweep."""
    import keras_tuner

    from benchmarks.handwired import TutorialNetwork
    from galaxy_exp.hypermodel import discover_space, load_hypermodel
    from galaxy_exp.hypermodel.discovery import to_kerastuner
    from galaxy_exp.space.overrides import build_space

    hp = keras_tuner.HyperParameters()
    TutorialNetwork((32, 32, 3), 10, False).build(hp)
    hypermodel = load_hypermodel("galaxy-cnn", (32, 32, 3), 10)
    space = build_space(
        hypermodel, parse_sweep(build_sweep(TASK, {}), "compare.yaml").space, discover_space(hypermodel)
    )
    return {entry.name: entry for entry in hp.space}, {entry.name: entry for entry in to_kerastuner(space).space}


@pytest.mark.parametrize("name", TUNED)
def test_same_values_on_both_sides(spaces, name):
    by_hand, swept = (space[name].get_config() for space in spaces)
    compared = ("values",) if "values" in by_hand else ("min_value", "max_value", "step", "sampling")
    assert {key: by_hand[key] for key in compared} == {key: swept[key] for key in compared}
    assert by_hand["default"] == pytest.approx(swept["default"])


def test_nothing_else_is_tuned(spaces):
    from keras_tuner.engine.hyperparameters import Fixed

    by_hand, swept = spaces
    assert set(by_hand) == set(TUNED)
    # what depends on a hyperparameter that is fixed otherwise is never active
    free = {name for name, entry in swept.items() if not isinstance(entry, Fixed) and not entry.conditions}
    assert free == set(TUNED)


def test_untuned_network_is_the_same_size_on_both_sides():
    import keras_tuner

    from benchmarks.handwired import TutorialNetwork
    from galaxy_exp.hypermodel import load_hypermodel

    by_hand = TutorialNetwork((32, 32, 3), 10, False).build(keras_tuner.HyperParameters())
    swept = load_hypermodel("galaxy-cnn", (32, 32, 3), 10).build(keras_tuner.HyperParameters())
    assert by_hand.count_params() == swept.count_params()
