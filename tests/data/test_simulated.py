from __future__ import annotations

import numpy as np
import pytest

from galaxy_exp.config.sweep import SimulatedConfig
from galaxy_exp.data.simulated import CLASS_NAMES, GALAXY10_COUNTS, allocate_counts, simulate_galaxies, simulate_galaxy


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
        images, _ = simulate_galaxies(SimulatedConfig(n_images=1500))
        np.testing.assert_allclose(images.mean(axis=(0, 1, 2)) / 255, [0.109, 0.093, 0.071], rtol=0.1)
        np.testing.assert_allclose(images.std(axis=(0, 1, 2)) / 255, [0.147, 0.123, 0.103], rtol=0.1)


@pytest.fixture(scope="module")
def stacks() -> list[np.ndarray]:
    """For each class, 24 galaxies as float (24, 69, 69): the mean of the three channels."""
    return [
        np.stack([simulate_galaxy(label, k, seed=11, image_size=69).mean(axis=2) for k in range(24)])
        for label in range(len(CLASS_NAMES))
    ]


def measure_axis_ratio(image: np.ndarray) -> float:
    """Minor over major axis from second moments of the bright pixels within 26 pixels of the centre."""
    rows, columns = np.mgrid[:69, :69] - 34.0
    bright = (image > 30) & (np.hypot(rows, columns) < 26)
    covariance = np.cov(rows[bright], columns[bright])
    low, high = np.linalg.eigvalsh(covariance)
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

    def test_orientation_is_arbitrary(self, stacks: list[np.ndarray]) -> None:
        """The sum of many edge-on discs is round."""
        assert measure_axis_ratio(stacks[6].mean(axis=0) * 2) > 0.75

    def test_size_scales_with_the_image(self) -> None:
        small, large = (simulate_galaxy(1, 0, seed=3, image_size=side) for side in (69, 138))
        assert large.shape == (138, 138, 3)
        assert abs(float(small.mean()) - float(large.mean())) < 4
