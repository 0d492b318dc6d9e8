from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from galaxy_exp.config.data_section import SimulatedConfig
from galaxy_exp.data import image_arrays
from galaxy_exp.data.simulated import (
    CLASS_NAMES,
    CONFUSIONS,
    GALAXY10_COUNTS,
    TRUTH_DTYPE,
    TRUTH_FIELDS,
    allocate_counts,
    iter_galaxies,
    simulate_galaxies,
    simulate_galaxy,
    simulate_with_truth,
)

REFERENCE = json.loads(Path(__file__).with_name("simulated_reference.json").read_text())
"""Galaxy 0 of each class with seed 42: means of 5 x 5 blocks, [class][row][column][channel]."""


def coarsen(image: np.ndarray) -> np.ndarray:
    """Means of 5 x 5 blocks of an image of 69 pixels without its last four rows and columns: (5, 5, 3)."""
    return image[:65, :65].reshape(5, 13, 5, 13, 3).mean(axis=(1, 3))


class TestAllocateCounts:
    def test_follows_galaxy10(self) -> None:
        counts = allocate_counts(sum(GALAXY10_COUNTS), "galaxy10")
        assert counts.tolist() == list(GALAXY10_COUNTS)

    @pytest.mark.parametrize("proportions", ["galaxy10", "equal"])
    @pytest.mark.parametrize("n_images", [60, 61, 99, 100, 101, 150, 1500, 12345])
    def test_adds_up_with_a_minimum(self, n_images: int, proportions: str) -> None:
        counts = allocate_counts(n_images, proportions)  # type: ignore[arg-type]
        assert counts.sum() == n_images
        assert counts.min() >= min(10, n_images // 10)

    def test_equal(self) -> None:
        assert allocate_counts(1003, "equal").tolist() == [101] * 3 + [100] * 7


class TestSimulateGalaxies:
    def test_shape_and_labels(self) -> None:
        images, labels = simulate_galaxies(SimulatedConfig(n_images=60, image_size=31))
        assert (images.shape, images.dtype) == ((60, 31, 31, 3), np.uint8)
        assert np.bincount(labels).tolist() == allocate_counts(60, "galaxy10").tolist()
        assert labels.tolist() != sorted(labels.tolist())

    def test_a_large_set_lies_on_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(image_arrays, "IN_MEMORY_BYTES", 100)
        assert isinstance(simulate_galaxies(SimulatedConfig(n_images=60, image_size=24))[0], np.memmap)

    def test_follows_the_seed_only(self) -> None:
        one, two, other = (simulate_galaxies(SimulatedConfig(n_images=60, seed=seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
        assert (one[0] != other[0]).any(axis=(1, 2, 3)).all()

    def test_a_larger_set_holds_the_smaller(self) -> None:
        small, large = (
            {image.tobytes() for image in simulate_galaxies(SimulatedConfig(n_images=n, image_size=24))[0]}
            for n in (60, 200)
        )
        assert len(small) == 60
        assert small <= large

    def test_looks_as_galaxy10_does_on_average(self) -> None:
        """Channel means and deviations of the real file, red green blue; within 10%."""
        images, _ = simulate_galaxies(SimulatedConfig(n_images=800))
        np.testing.assert_allclose(images.mean(axis=(0, 1, 2)) / 255, [0.109, 0.093, 0.071], rtol=0.1)
        np.testing.assert_allclose(images.std(axis=(0, 1, 2)) / 255, [0.147, 0.123, 0.103], rtol=0.1)


class TestSamePictures:
    """The same seed gives the same galaxies everywhere."""

    def test_in_another_process(self) -> None:
        program = (
            "import hashlib; from galaxy_exp.data.simulated import simulate_galaxies\n"
            "from galaxy_exp.config.data_section import SimulatedConfig\n"
            "images, labels = simulate_galaxies(SimulatedConfig(n_images=80, seed=5, label_noise=0.3))\n"
            "print(hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest())"
        )
        digests = {
            subprocess.run(
                [sys.executable, "-c", program],
                capture_output=True,
                text=True,
                check=True,
                env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            ).stdout
            for seed in ("1", "2")
        }
        assert len(digests) == 1
        assert len(digests.pop().strip()) == 64

    @pytest.mark.parametrize("label", range(10))
    def test_on_another_machine(self, label: int) -> None:
        """Within a grey level, on average, of stored block means: exponentials and products may round differently."""
        image, _ = simulate_galaxy(label, 0, seed=42, image_size=69)
        assert np.abs(coarsen(image) - REFERENCE[label]).mean() <= 1.0

    def test_reference_tells_galaxies_apart(self) -> None:
        others = [coarsen(simulate_galaxy(label, 1, seed=42, image_size=69)[0]) for label in range(10)]
        assert all(np.abs(other - mine).mean() > 2.0 for other, mine in zip(others, REFERENCE, strict=True))


class TestTruth:
    def test_every_image_has_a_record(self) -> None:
        simulated = simulate_with_truth(SimulatedConfig(n_images=60, image_size=24))
        assert (simulated.truth.shape, simulated.truth.dtype) == ((60,), TRUTH_DTYPE)
        assert simulated.truth["label"].tolist() == simulated.labels.tolist()
        assert set(TRUTH_FIELDS) == set(TRUTH_DTYPE.names or ())

    def test_identifies_its_galaxy(self) -> None:
        simulated = simulate_with_truth(SimulatedConfig(n_images=60, image_size=24, seed=8))
        label, number = (int(simulated.truth[7][name]) for name in ("label", "number"))
        image, record = simulate_galaxy(label, number, seed=8, image_size=24)
        np.testing.assert_array_equal(image, simulated.images[7])
        assert json.dumps(record.tolist()) == json.dumps(simulated.truth[7].tolist())

    def test_comes_one_by_one_too(self) -> None:
        config = SimulatedConfig(n_images=60, image_size=24)
        images, labels = simulate_galaxies(config)
        pairs = [(image, label) for image, _, label in iter_galaxies(config)]
        np.testing.assert_array_equal(images, [image for image, _ in pairs])
        assert labels.tolist() == [label for _, label in pairs]

    def test_fields_fit_the_class(self) -> None:
        truth = simulate_with_truth(SimulatedConfig(n_images=400, image_size=24, class_proportions="equal")).truth
        smooth = np.isin(truth["label"], (1, 2, 3))
        edge_on = np.isin(truth["label"], (4, 5, 6))
        spiral = truth["label"] >= 7
        np.testing.assert_allclose((truth["bulge_share"] + truth["envelope_share"])[smooth], 1, rtol=1e-6)
        assert (truth["envelope_share"][~smooth] == 0).all()
        assert np.isnan(truth["inclination"][smooth]).all()
        assert (truth["inclination"][edge_on] > 80).all()
        assert (truth["n_arms"][spiral] >= 1).all()
        assert (truth["n_arms"][smooth | edge_on] == 0).all()
        assert np.isnan(truth["pitch"]).tolist() == (truth["n_arms"] == 0).tolist()
        assert (truth["bar_share"][spiral] > 0).mean() == pytest.approx(0.35, abs=0.15)
        tight, medium, loose = (np.median(truth["pitch"][truth["label"] == label]) for label in (7, 8, 9))
        assert tight + 3 < medium < loose - 3

    def test_position_angle_and_axis_ratio_are_those_of_the_picture(self) -> None:
        """Cigars without a bright neighbour, by second moments; degrees from the top towards the left."""
        errors, ratios = [], []
        for number in range(40):
            image, record = simulate_galaxy(3, number, seed=4, image_size=69)
            angle, ratio = measure_ellipse(image.mean(axis=2))
            errors.append(abs((angle - float(record["position_angle"]) + 90) % 180 - 90))
            ratios.append(ratio)
        assert np.median(errors) < 3
        assert np.median(ratios) < 0.6

    def test_lengths_scale_with_the_image(self) -> None:
        small, large = (simulate_galaxy(1, 0, seed=3, image_size=side)[1] for side in (69, 138))
        for name in ("half_light_radius", "seeing"):
            assert float(large[name]) == pytest.approx(2 * float(small[name]), rel=1e-5)
        assert float(large["r90_arcsec"]) == float(small["r90_arcsec"])

    def test_larger_galaxies_look_larger(self) -> None:
        stacks = [simulate_galaxy(1, number, seed=6, image_size=69) for number in range(60)]
        areas = [(image.mean(axis=2) > 40).sum() for image, _ in stacks]
        radii = [float(record["half_light_radius"]) for _, record in stacks]
        assert np.corrcoef(areas, radii)[0, 1] > 0.3


class TestLabelNoise:
    def test_changes_labels_only(self) -> None:
        clean, noisy = (
            simulate_with_truth(SimulatedConfig(n_images=300, image_size=24, label_noise=share)) for share in (0.0, 0.4)
        )
        np.testing.assert_array_equal(clean.images, noisy.images)
        np.testing.assert_array_equal(clean.labels, noisy.truth["label"])
        assert (noisy.labels != clean.labels).mean() == pytest.approx(0.4, abs=0.1)

    def test_confuses_neighbours_only(self) -> None:
        noisy = simulate_with_truth(
            SimulatedConfig(n_images=300, image_size=24, label_noise=0.5, class_proportions="equal")
        )
        wrong = noisy.labels != noisy.truth["label"]
        pairs = set(zip(noisy.truth["label"][wrong].tolist(), noisy.labels[wrong].tolist(), strict=True))
        assert pairs <= {(true, other) for true, others in CONFUSIONS.items() for other in others}
        assert len(pairs) > 12

    def test_more_noise_keeps_the_wrong_labels_of_less(self) -> None:
        little, much = (
            simulate_galaxies(SimulatedConfig(n_images=200, image_size=24, label_noise=share))[1]
            for share in (0.1, 0.3)
        )
        truth = simulate_galaxies(SimulatedConfig(n_images=200, image_size=24))[1]
        wrong = little != truth
        assert wrong.any()
        np.testing.assert_array_equal(little[wrong], much[wrong])

    def test_shares_are_shares(self) -> None:
        assert set(CONFUSIONS) == set(range(10))
        for label, others in CONFUSIONS.items():
            assert sum(others.values()) == pytest.approx(1)
            assert label not in others


@pytest.fixture(scope="module")
def stacks() -> list[np.ndarray]:
    """For each class, 24 galaxies as float (24, 69, 69): the mean of the three channels."""
    return [
        np.stack([simulate_galaxy(label, k, seed=11, image_size=69)[0].mean(axis=2) for k in range(24)])
        for label in range(len(CLASS_NAMES))
    ]


def measure_ellipse(image: np.ndarray) -> tuple[float, float]:
    """Position angle in degrees and axis ratio, from second moments of the light within 24 pixels of the centre."""
    rows, columns = np.mgrid[:69, :69] - 34.0
    light = np.clip(image - 15, 0, None) * (np.hypot(rows, columns) < 24)
    up, left = -rows, -columns
    covariance = np.cov(np.stack([up.ravel(), left.ravel()]), aweights=light.ravel())
    values, vectors = np.linalg.eigh(covariance)
    return float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180), float(np.sqrt(values[0] / values[1]))


def measure_axis_ratio(image: np.ndarray) -> float:
    """Minor over major axis from second moments of the bright pixels within 26 pixels of the centre."""
    rows, columns = np.mgrid[:69, :69] - 34.0
    bright = (image > 30) & (np.hypot(rows, columns) < 26)
    low, high = np.linalg.eigvalsh(np.cov(rows[bright], columns[bright]))
    return float(np.sqrt(low / high))


class TestClasses:
    def test_axis_ratios_are_ordered(self, stacks: list[np.ndarray]) -> None:
        round_, between, cigar, edge_on = (
            float(np.median([measure_axis_ratio(image) for image in stacks[label]])) for label in (1, 2, 3, 6)
        )
        assert round_ > 0.85 > between > 0.55 > cigar
        assert edge_on < 0.45

    def test_galaxies_are_centred(self, stacks: list[np.ndarray]) -> None:
        for stack in stacks:
            peak = stack.mean(axis=0)
            row, column = np.unravel_index(peak.argmax(), peak.shape)
            assert abs(row - 34) <= 2
            assert abs(column - 34) <= 2

    def test_orientation_is_arbitrary(self) -> None:
        angles = [simulate_galaxy(6, k, seed=11, image_size=24)[1]["position_angle"] for k in range(200)]
        assert np.histogram(angles, 6, (0, 180))[0].min() > 15

    def test_arms_leave_the_discs_of_spirals_uneven(self, stacks: list[np.ndarray]) -> None:
        """Difference from the picture turned by half a turn and from its rings' means, against smooth galaxies."""
        rows, columns = np.mgrid[:69, :69] - 34
        rings = np.minimum(np.hypot(rows, columns).astype(int), 30)

        def unevenness(image: np.ndarray) -> float:
            means = np.bincount(rings.ravel(), image.ravel()) / np.bincount(rings.ravel())
            inner = (rings > 4) & (rings < 16)
            return float(np.abs(image - means[rings])[inner].mean() / image[inner].mean())

        smooth, spiral = (np.median([unevenness(image) for image in stacks[label]]) for label in (1, 8))
        assert spiral > 2 * smooth

    def test_size_scales_with_the_image(self) -> None:
        small, large = (simulate_galaxy(1, 0, seed=3, image_size=side)[0] for side in (69, 138))
        assert large.shape == (138, 138, 3)
        assert abs(float(small.mean()) - float(large.mean())) < 4

    def test_sky_noise_is_nearly_grey(self, stacks: list[np.ndarray]) -> None:
        """JPEG drops colour noise where there is no light: channels differ less than their mean varies."""
        corners = [simulate_galaxy(1, k, seed=12, image_size=69)[0][:10, :10].astype(float) for k in range(40)]
        quiet = [corner - corner.mean(axis=(0, 1)) for corner in corners if corner.std() < 6]
        grey = np.mean([corner.mean(axis=2).std() for corner in quiet])
        colour = np.mean([(corner - corner.mean(axis=2, keepdims=True)).std() for corner in quiet])
        assert len(quiet) > 10
        assert colour < 0.5 * grey
