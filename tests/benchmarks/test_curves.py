import json

import keras_tuner
import pytest

from benchmarks import curves
from benchmarks.curves_table import METRICS, append_line, read_lines, read_table, write_table


def line(number, state="completed"):
    return {
        "number": number,
        "values": {"learning_rate": 0.5, "optimizer": "adam"},
        "state": state,
        "reason": "all 2 epochs",
        "parameters": 10,
        **{name: [0.25, 0.5] for name in METRICS},
    }


class TestTable:
    def test_comes_back_sorted_with_its_task(self, tmp_path):
        write_table(tmp_path / "t.parquet", {"epochs": 2}, [line(1, "failed"), line(0)])
        table = read_table(tmp_path / "t.parquet")
        assert table.task == {"epochs": 2}
        assert [(row.number, row.state) for row in table.rows] == [(0, "completed"), (1, "failed")]
        assert table.rows[0].values == {"learning_rate": 0.5, "optimizer": "adam"}
        assert table.rows[0].curves["val_macro_f1"] == [0.25, 0.5]

    def test_another_parquet_file_is_refused(self, tmp_path):
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
        with pytest.raises(ValueError, match="is no table of learning curves"):
            read_table(tmp_path / "t.parquet")

    def test_line_that_was_cut_off_is_removed(self, tmp_path):
        file = tmp_path / "curves.jsonl"
        append_line(file, {"a": 1})
        with file.open("a") as torn:
            torn.write('{"a": ')
        assert read_lines(file) == [{"a": 1}]
        append_line(file, {"a": 2})
        assert read_lines(file) == [{"a": 1}, {"a": 2}]


class TestDrawValues:
    @pytest.fixture
    def space(self):
        hp = keras_tuner.HyperParameters()
        hp.Float("rate", 1e-4, 1.0, sampling="log")
        hp.Choice("optimizer", ["adam", "adamw"])
        with hp.conditional_scope("optimizer", ["adamw"]):
            hp.Float("weight_decay", 0.1, 0.2)
        return hp

    def test_follow_from_seed_and_number(self, space):
        drawn = [curves.draw_values(space, 1, number) for number in range(20)]
        assert drawn[7] == curves.draw_values(space, 1, 7)
        assert len({values["rate"] for values in drawn}) == 20
        assert drawn[7] != curves.draw_values(space, 2, 7)

    def test_inactive_ones_are_left_out(self, space):
        drawn = [curves.draw_values(space, 1, number) for number in range(20)]
        assert {values["optimizer"] for values in drawn} == {"adam", "adamw"}
        assert all(("weight_decay" in values) == (values["optimizer"] == "adamw") for values in drawn)


@pytest.mark.slow
def test_trains_goes_on_and_packs(tmp_path, capsys):
    folder = tmp_path / "curves"
    command = ["train", "--folder", str(folder), "--quick"]
    assert curves.main([*command, "--configurations", "1"]) == 0
    first = read_lines(folder / curves.FILE)
    assert curves.main([*command, "--configurations", "2"]) == 0
    assert read_lines(folder / curves.FILE)[:2] == first
    assert curves.main([*command, "--image-size", "32"]) == 1
    assert "holds curves of another task" in capsys.readouterr().err

    assert curves.main(["pack", "--folder", str(folder), "--to", str(tmp_path / "table.parquet")]) == 0
    table = read_table(tmp_path / "table.parquet")
    assert [row.number for row in table.rows] == [0, 1]
    assert all(len(row.curves["val_macro_f1"]) == table.task["epochs"] == 1 for row in table.rows)
    space = keras_tuner.HyperParameters.from_config(json.loads(json.dumps(table.task["space"])))
    assert {entry.name for entry in space.space} >= set(table.rows[0].values)


def test_nothing_to_pack(tmp_path, capsys):
    assert curves.main(["pack", "--folder", str(tmp_path), "--to", str(tmp_path / "table.parquet")]) == 1
    assert "holds no finished configuration" in capsys.readouterr().err
