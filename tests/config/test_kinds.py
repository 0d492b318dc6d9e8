"""Every field of the sweep file takes values of its own kind alone, from a file and from `--set` alike."""

from pathlib import Path
from types import NoneType

import numpy as np
import pytest
from pydantic import BaseModel

from galaxy_exp.config import dump_sweep, load_sweep, parse_sweep
from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.config.reading import parse_overrides
from galaxy_exp.config.section import kinds_of
from galaxy_exp.config.sweep import SweepConfig
from galaxy_exp.errors import ConfigError


def fields_of(model, path=""):
    """Key path and field of everything that a sweep file may hold, except for single hyperparameters."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields_of(field.annotation, f"{path}{name}.")
        else:
            yield f"{path}{name}", field


FIELDS = dict(fields_of(SweepConfig))
KINDS = {key: kinds_of(field.annotation) for key, field in FIELDS.items()}
NUMBERS = [key for key, kinds in KINDS.items() if kinds & {int, float}]
SWITCHES = [key for key, kinds in KINDS.items() if bool in kinds]
TEXTS = [key for key, kinds in KINDS.items() if kinds <= {str, NoneType, list} and str in kinds]
NUMBER_LISTS = [key for key, field in FIELDS.items() if list in KINDS[key] and "int" in str(field.annotation)]

TYPED = [
    "set #1.h5", " set.h5 ", "a: b", "key=value", "it's", 'a "b" c', "'a' and 'b'", "100%", "%a", "@a", "`a`", "!a",
    "*a", "&a", "| a", "> a", "- a", "? a", "{a", "a}", "]a", "yes", "1e-3", "20", "0x_", "99999999999999999999",
    "true", "2026-01-01", "=", "<<", "---", "a\tb", "a\\b", "galáxia 銀河", "tcp://a:1",
]  # fmt: skip


def value_at(config, key):
    for part in key.split("."):
        config = getattr(config, part)
    return config


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def outcome(read, key):
    """The value, or the reason without who is to blame."""
    try:
        return value_at(read(), key)
    except ConfigError as error:
        assert len(error.problems) == 1
        return error.problems[0].partition(": found ")[2] or error.problems[0].rpartition(": ")[2]


def refusal(read):
    with pytest.raises(ConfigError) as caught:
        read()
    assert len(str(caught.value).splitlines()) == len(caught.value.problems) == 1
    return str(caught.value)


def test_every_kind_of_field_is_met():
    assert len(NUMBERS) > 20 and len(SWITCHES) > 4 and len(TEXTS) > 10 and NUMBER_LISTS
    assert set(FIELDS) == {*NUMBERS, *SWITCHES, *TEXTS, *(key for key in FIELDS if KINDS[key] & {list, dict})}


@pytest.mark.parametrize("key", TEXTS)
def test_set_takes_text_as_it_is_typed(key):
    for text in TYPED:
        typed = outcome(lambda text=text: parse_overrides([f"{key}={text}"]), key)
        assert typed == outcome(lambda text=text: parse_sweep(nested(key, text)), key), text


@pytest.mark.parametrize("text", [*TYPED, "[1, 2]", "{a: b}", "null", "~"])
def test_the_source_of_the_data_is_what_was_typed(text):
    assert parse_overrides([f"data.source={text}"]).data.source == text


@pytest.mark.parametrize("quoted", ['"set #1.h5"', "'set #1.h5'", ' "set #1.h5" '])
def test_quotes_around_all_of_it_are_removed(quoted):
    assert parse_overrides([f"data.source={quoted}"]).data.source == "set #1.h5"


@pytest.mark.parametrize("key", [key for key in TEXTS if NoneType in KINDS[key]])
def test_null_and_nothing_unset_a_text_that_may_be_left_out(key):
    assert [value_at(parse_overrides([f"{key}={text}"]), key) for text in ("", "~", "null")] == [None] * 3


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", [True, False, "20", "1e3", "yes", "", " 1"])
def test_true_and_text_are_no_numbers(key, value):
    message = refusal(lambda: parse_sweep(nested(key, value)))
    expected = "refuse, 0 or median" if key == "data.fits.nan" and isinstance(value, str) else "a"
    assert f"sweep: {key}: found {value!r}; expected {expected}" in message


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("text", ["true", '"20"', "many", "1,5", "20 # twenty", "2 3", "0x_"])
def test_set_takes_numbers_alone_for_numbers(key, text):
    assert refusal(lambda: parse_overrides([f"{key}={text}"])).startswith(f"--set {key}")


@pytest.mark.parametrize("key", SWITCHES)
@pytest.mark.parametrize("value", [1, 0, 1.0, "true", "yes", "on", "1", ""])
def test_numbers_and_text_are_not_true_or_false(key, value):
    message = refusal(lambda: parse_sweep(nested(key, value)))
    assert message.startswith(f"sweep: {key}: found {value!r}; expected true or false")


@pytest.mark.parametrize("key", NUMBER_LISTS)
@pytest.mark.parametrize("value", [True, "1"])
def test_lists_of_numbers_hold_numbers_alone(key, value):
    assert f"{key}: found {value!r}; expected a valid integer" in refusal(
        lambda: parse_sweep(nested(key, [0, 1, value]))
    )


@pytest.mark.parametrize("text", ["20", "20.0", "2e1", " 20 ", "0x14", "+20", "020", "2_0"])
def test_a_whole_number_may_be_written_in_any_way(text, tmp_path):
    (tmp_path / "s.yaml").write_text(f"training: {{epochs: {text}}}")
    for config in (parse_overrides([f"training.epochs={text}"]), load_sweep(tmp_path / "s.yaml")):
        assert (config.training.epochs, type(config.training.epochs)) == (20, int)


@pytest.mark.parametrize("text", ["1:30", "12:30:45", "0b11", "0o17", "2__0", "_20", "20_"])
def test_what_only_old_yaml_takes_for_a_number_is_text(text, tmp_path):
    (tmp_path / "s.yaml").write_text(f"data: {{options: {{a: {text}}}}}")
    assert load_sweep(tmp_path / "s.yaml").data.options == {"a": text}
    assert parse_overrides([f"data.options.a={text}"]).data.options == {"a": text}
    assert f"found {text!r}; expected" in refusal(lambda: parse_overrides([f"training.epochs={text}"]))


def test_a_key_of_old_yaml_is_an_unknown_key(tmp_path):
    (tmp_path / "s.yaml").write_text("training:\n  =: 3\n")
    assert "training.=: unknown key" in refusal(lambda: load_sweep(tmp_path / "s.yaml"))


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.class_names=[a, 'b #1']", ("a", "b #1")),
        ("search.objective=[val_loss, -flops]", ("val_loss", "-flops")),
        ("search.objective=val_loss", "val_loss"),
        ("search.enqueue=[{units: 3}]", ({"units": 3},)),
        ("search.constraints={flops: '<= 1e6'}", {"flops": "<= 1e6"}),
        ("search.constraints.flops=<= 1e6", {"flops": "<= 1e6"}),
        ("data.options.path=set #1.h5", {"path": "set #1.h5"}),
        ("data.options.size=[1, 2]", {"size": [1, 2]}),
        ("data.options.rate=1e-3", {"rate": 1e-3}),
        ("space.augmentation=no #", {"augmentation": "no #"}),
        ("space.units=64", {"units": 64}),
        ("execution.workers=auto", "auto"),
        ("execution.workers=2", 2),
        ("execution.workers=2.0", 2),
        ("training.deterministic=true", True),
        ("search.max_hours=", None),
    ],
)
def test_set_reads_lists_sections_and_numbers_where_they_belong(override, value):
    key = override.partition("=")[0]
    top = next(known for known in FIELDS if key == known or key.startswith(f"{known}."))
    assert value_at(parse_overrides([override]), top) == value


def test_a_step_may_be_as_long_as_the_range():
    """In floating point, 0.3 - 0.1 is less than 0.2."""
    entry = parse_sweep({"space": {"dropout_2": {"min": 0.1, "max": 0.3, "step": 0.2}}}).space["dropout_2"]
    assert entry.step == 0.2


@pytest.mark.parametrize("key", ["name", "data.source", "data.split.column", "hypermodel", "tracking.uri"])
def test_text_that_no_file_can_hold_is_refused(key):
    for text in ("a\udcff", "a\0b"):
        assert "a character that no file can hold" in refusal(lambda text=text: parse_overrides([f"{key}={text}"]))


@pytest.mark.parametrize("value", [object(), {"b": object()}])
def test_options_that_the_journal_cannot_store_are_refused(value):
    message = refusal(lambda: parse_sweep({"data": {"options": {"a": value}}}))
    assert message.startswith("sweep: data.options: Unable to serialize unknown type: <class ")
    assert message.endswith("; expected numbers, text, true or false, null, lists and mappings")


def test_objects_of_python_mean_what_a_sweep_file_would_say():
    space = {"a": np.int64(4), "b": {"values": np.array([4, 8])}, "c": {"min": np.float64(1), "max": np.float64(2)}}
    options = {"path": Path("x.npz"), "pair": (np.float32(0.5), 2)}
    config = parse_sweep({"data": {"source": Path("a.h5"), "options": options}, "space": space})
    assert dump_sweep(config) == dump_sweep(
        parse_sweep(
            {
                "data": {"source": "a.h5", "options": {"path": "x.npz", "pair": [0.5, 2]}},
                "space": {"a": 4, "b": {"values": [4, 8]}, "c": {"min": 1.0, "max": 2.0}},
            }
        )
    )


def test_a_section_may_be_made_alone_with_a_path():
    assert DataConfig(source=Path("a.h5"), image_folder=Path("b")) == DataConfig(source="a.h5", image_folder="b")


@pytest.mark.parametrize(
    "content",
    [
        {"data": {"class_names": {"b", "a"}}},
        {"space": {"units": {"values": frozenset((1, 2))}}},
        {"data": {"options": {"a": [{1, 2}]}}},
    ],
)
def test_sets_are_refused_as_they_have_no_order(content):
    assert refusal(lambda: parse_sweep(content)).endswith(": found a set, which has no order; expected a list")


@pytest.mark.parametrize("key", ["search.max_hours", "data.crop"])
def test_null_is_named_to_those_who_write_none(key):
    assert refusal(lambda: parse_overrides([f"{key}=none"])).endswith(", or null")


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "null", "~", "---\n# nothing\n..."])
def test_an_empty_sweep_file_is_refused(tmp_path, text):
    (tmp_path / "s.yaml").write_text(text)
    message = refusal(lambda: load_sweep(tmp_path / "s.yaml"))
    assert message == f"{tmp_path / 's.yaml'}: is empty; expected a sweep file, such as galaxy-exp init writes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "found list at the top"),
        ("- a", "found list at the top"),
        ("quickstart", "found str at the top"),
        ("3", "found int at the top"),
        ("true", "found bool at the top"),
        ("name: a\n---\nname: b", "not valid YAML: but found another document"),
        ("data:\n\tsource: a", "not valid YAML: found character '\\t' that cannot start any token"),
        ("name: a\nname: b", "key 'name' appears twice"),
        ("data: *a", "found undefined alias"),
        ("data:", "data: found None; expected a section of keys"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(tmp_path, text, message):
    (tmp_path / "s.yaml").write_text(text)
    assert message in refusal(lambda: load_sweep(tmp_path / "s.yaml"))
