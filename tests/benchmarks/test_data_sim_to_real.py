import json

import h5py
import numpy as np
import pytest

from benchmarks import sim_to_real
from benchmarks.sim_to_real import merge_probabilities, parse_map
from galaxy_exp.config.data_section import SimulatedConfig
from galaxy_exp.data.simulated import simulate_galaxies

MAP = "1:0,2:1,3:2,4:3,5:3,6:3,7:4,8:4,9:4"


class TestClassMap:
    def test_pairs(self):
        assert parse_map("1:0,2:1,3:1", 10) == {1: 0, 2: 1, 3: 1}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1-0", "is no class map"),
            ("", "is no class map"),
            ("1:0,1:1", "at most once"),
            ("10:0", "from 0 to 9"),
            ("1:0,2:2", "without a gap"),
        ],
    )
    def test_mistakes_are_named(self, text, message):
        with pytest.raises(ValueError, match=message):
            parse_map(text, 10)

    def test_merging_sums_what_is_mapped_and_leaves_out_the_rest(self):
        probabilities = np.array([[0.5, 0.2, 0.1, 0.2], [0.0, 0.0, 0.5, 0.5]])
        merged = merge_probabilities(probabilities, [0, 1, 4, 5], {1: 0, 4: 1, 5: 1})
        np.testing.assert_allclose(merged, [[0.4, 0.6], [0.0, 1.0]])


class TestSimulateClasses:
    def test_only_those_asked_for(self):
        dataset = sim_to_real.simulate_classes(60, 1, 0.0, 24, [1, 4, 9])
        assert dataset.simulated
        assert dataset.counts == {
            "Smooth, Completely round": 6,
            "Disk, Edge-on, Rounded Bulge": 6,
            "Disk, Face-on, Loose Spiral": 6,
        }


class TestScore:
    def test_figures(self):
        probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.7, 0.3]])
        result = sim_to_real.score(np.array([0, 0, 1, 1]), probabilities, ("smooth", "disc", "other"))
        assert (result["accuracy"], result["confusion"]) == (0.75, [[2, 0], [1, 1]])
        assert result["classes"][1]["completeness"] == 0.5
        assert result["classes"][0]["purity"] == pytest.approx(2 / 3)

    def test_class_without_a_counterpart(self):
        with pytest.raises(ValueError, match="the file has class 2"):
            sim_to_real.score(np.array([0, 2]), np.eye(2), ("a", "b", "c"))


@pytest.mark.slow
def test_trains_on_simulated_and_classifies_a_file(tmp_path, capsys):
    """The file here is simulated too: what is tested is the way from the command line to the figures."""
    images, labels = simulate_galaxies(SimulatedConfig(n_images=60, image_size=32, seed=9, class_proportions="equal"))
    kept = labels > 0
    with h5py.File(tmp_path / "galaxies.h5", "w") as file:
        file["images"] = images[kept]
        file["ans"] = np.array([0, 0, 1, 2, 3, 3, 3, 4, 4, 4], np.uint8)[labels[kept]]
    out = tmp_path / "out.json"
    command = ["--data", str(tmp_path / "galaxies.h5"), "--map", MAP, "--images", "300", "--epochs", "1"]
    assert sim_to_real.main([*command, "--image-size", "32", "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["training"]["images"] == 270
    assert report["real"]["images"] == 54
    assert np.sum(report["real"]["confusion"]) == 54
    assert "Disk, Face-on, No Spiral" in capsys.readouterr().out
