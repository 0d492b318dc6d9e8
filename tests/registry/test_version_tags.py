from __future__ import annotations

from galaxy_exp.registry import version_tags


def test_test_metrics_survive_the_tags() -> None:
    metrics = {"accuracy": 0.1 + 0.2, "n_images": 456}
    tags = version_tags.build_test_tags(metrics)
    assert tags == {"galaxy_exp.test.accuracy": "0.30000000000000004", "galaxy_exp.test.n_images": "456"}
    assert version_tags.parse_test_tags({**tags, version_tags.TEST_DIGEST: "abc"}) == metrics


def test_every_listed_name_exists() -> None:
    assert all(hasattr(version_tags, name) for name in version_tags.__all__)
