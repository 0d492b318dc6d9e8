import math
from dataclasses import replace

import keras_tuner
import numpy as np
import pytest

from benchmarks import warm_start
from benchmarks.curves_table import METRICS, write_table

EPOCHS = 9


def write_curves(file, best_rate, noise):
    """150 configurations whose curves rise towards what the learning rate and the width are good for."""
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Choice("optimizer", ["adam", "adamw"])
    hp.Int("width", 1, 9)
    rng = np.random.default_rng(1)
    lines = []
    for number in range(150):
        values = {"rate": float(10 ** rng.uniform(-4, -1)), "optimizer": "adam", "width": int(rng.integers(1, 10))}
        final = 0.8 - 0.15 * abs(math.log10(values["rate"]) - best_rate) - 0.02 * abs(values["width"] - 6)
        final += noise * float(rng.standard_normal())
        curve = [final * (1 - 0.6**epoch) for epoch in range(1, EPOCHS + 1)]
        line = {"number": number, "values": values, "state": "completed", "reason": "", "parameters": 1}
        lines.append(line | dict.fromkeys(METRICS, curve))
    write_table(file, {"epochs": EPOCHS, "space": hp.get_config()}, lines)
    return file


@pytest.fixture(scope="module")
def regrets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves")
    first, second = (
        str(write_curves(folder / name, rate, 0.005)) for name, rate in (("a.parquet", -2.5), ("b.parquet", -2.3))
    )
    run = warm_start.Run(first, second, "cold", "tpe", "asha", 1, 6)
    runs = [
        replace(run, kind=kind, seed=seed) for kind in ("random", "cold", *warm_start.KINDS) for seed in range(1, 16)
    ]
    return {run: np.array(warm_start.do_run(run)) for run in runs}


def test_good_evidence_helps(regrets):
    for kind in ("same data", "other data"):
        mean, low, high, p = warm_start.compare(regrets, kind)["epochs"]
        assert low < mean < high < 0
        assert p < 0.05


def test_bad_evidence_costs_nothing(regrets):
    for kind in ("shuffled", "reversed"):
        found = warm_start.compare(regrets, kind)
        for what in ("epochs", "regret at 100%"):
            mean, low, _, p = found[what]
            assert low <= 0 or p > 0.05, (kind, what, mean)


def test_another_scale_makes_no_difference(regrets):
    for run, found in regrets.items():
        if run.kind == "other data":
            assert np.array_equal(found, regrets[replace(run, kind="other data + 0.3")])


def test_every_question_is_answered_and_kept(tmp_path, capsys):
    tables = [str(write_curves(tmp_path / name, -2.0, 0.01)) for name in ("a.parquet", "b.parquet")]
    arguments = ["--tables", *tables, "--quick", "--seeds", "2", "--sampler", "random", "--processes", "1"]
    arguments += ["--keep", str(tmp_path / "kept.jsonl"), "--json", str(tmp_path / "report.json")]
    assert warm_start.main(arguments) == 0
    first = capsys.readouterr().out
    for kind in warm_start.KINDS:
        assert kind in first
    kept = (tmp_path / "kept.jsonl").read_bytes()
    assert warm_start.main(arguments) == 0
    assert capsys.readouterr().out == first
    assert (tmp_path / "kept.jsonl").read_bytes() == kept
