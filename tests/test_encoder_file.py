"""The card of an encoder's file and the classes in its configuration: what is damaged or runs code is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from galaxy_exp.encoder_file import PACKAGED, check_classes, describe_encoder, pack_encoder, read_card
from galaxy_exp.errors import ConfigError

DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}, "registered_name": None}


def file_with(path: Path, member: str, content: bytes | str, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(member, content)
    return path


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[1]", "its card.json is a list; expected an object with keys"),
        ("null_", "not a .keras file: Extra data"),
        ("[" * 200_000, "its card.json is nested too deep"),
        (b'{"a": "' + b" " * 2**21 + b'"}', "its card.json is too large; expected at most 1,048,576 bytes"),
        ('{"trained_on": 3}', "trained_on in its card.json: expected one printable line of at most 200 characters"),
        ('{"trained_on": "a\\nb"}', "expected one printable line"),
        ('{"trained_on": "\\u001b[2J"}', "expected one printable line"),
        (json.dumps({"trained_on": "a" * 201}), "expected one printable line"),
    ],
)
def test_a_bad_card_is_one_line(tmp_path: Path, content: bytes | str, reason: str) -> None:
    path = file_with(tmp_path / "e.keras", "card.json", content)
    for reader in (read_card, describe_encoder):
        with pytest.raises(ConfigError) as caught:
            reader(path)
        (line,) = caught.value.problems
        assert line.startswith(f"start: {path}: ")
        assert reason in line
        assert len(line) < 500


def test_a_card_that_cannot_be_unpacked_is_one_line(tmp_path: Path) -> None:
    good = file_with(tmp_path / "e.keras", "card.json", '{"trained_on": "galaxies"}').read_bytes()
    assert read_card(tmp_path / "e.keras") == {"trained_on": "galaxies"}
    directory = good.index(b"PK\x01\x02")
    start = 30 + len("card.json")
    changes = {
        "invalid block type": (start, b"\x07"),
        "password required": (directory + 8, b"\x01"),
        "compressed in an unusual way": (directory + 10, b"\x63"),
    }
    for reason, (at, changed) in changes.items():
        content = bytearray(good)
        content[at : at + 1] = changed
        if reason == "password required":
            content[6:7] = changed
        (tmp_path / "damaged.keras").write_bytes(content)
        with pytest.raises(ConfigError, match=reason):
            read_card(tmp_path / "damaged.keras")


def test_a_card_that_gives_a_wrong_size_is_not_unpacked_further(tmp_path: Path) -> None:
    content = bytearray(file_with(tmp_path / "e.keras", "card.json", b" " * 2**27).read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (100).to_bytes(4, "little")
    (tmp_path / "e.keras").write_bytes(content)
    with pytest.raises(ConfigError, match=r"not a \.keras file"):
        read_card(tmp_path / "e.keras")


def test_a_card_is_checked_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trained_on in its card\.json: expected one printable line"):
        pack_encoder(PACKAGED, tmp_path / "e.keras", {"trained_on": "a\nb"})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        *(
            ({**DENSE, "class_name": name}, f"has a {name}, which runs code that is not Keras's")
            for name in ("TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "Lambda")
        ),
        ({**DENSE, "module": "keras", "class_name": "layers.TFSMLayer"}, "has a layers.TFSMLayer, which runs code"),
        ({**DENSE, "module": "keras.src.export.tfsm_layer", "class_name": "TFSMLayer"}, "has a TFSMLayer"),
        ({"module": "builtins", "class_name": "function", "config": "TFSMLayer"}, "has a TFSMLayer"),
        ({"class_name": "__lambda__", "config": {"value": "x"}}, "has a __lambda__"),
        ({**DENSE, "module": "os", "class_name": "system"}, "has 'system' of the module 'os'"),
        ({**DENSE, "module": "keras_evil.layers"}, "has 'Dense' of the module 'keras_evil.layers'"),
        ({**DENSE, "module": None, "registered_name": "Custom>Mine"}, "has the class 'Custom>Mine' of another package"),
        ({**DENSE, "class_name": ["Lambda"]}, "has a class whose name is not text"),
    ],
)
def test_a_class_that_could_run_code_is_refused_by_its_name(tmp_path: Path, part: dict[str, Any], reason: str) -> None:
    wrapped = {"module": "keras.layers", "class_name": "TimeDistributed", "config": {"layer": part}}
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "Lambda", "layers": [DENSE, wrapped]}}
    path = file_with(tmp_path / "e.keras", "config.json", json.dumps(config))
    with pytest.raises(ConfigError) as caught:
        check_classes(path)
    assert str(caught.value).startswith(f"start: {path}: {reason}")


def test_layers_of_keras_and_of_galaxy_exp_are_accepted(tmp_path: Path) -> None:
    check_classes(PACKAGED)
    own = {**DENSE, "module": "galaxy_exp.hypermodel.augmentation", "registered_name": "galaxy_exp>Shift"}
    relu = {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "function"}
    check_classes(file_with(tmp_path / "e.keras", "config.json", json.dumps([own, relu, {"name": "Lambda"}])))


def test_a_configuration_nested_too_deep_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"its config\.json is nested too deep"):
        check_classes(file_with(tmp_path / "e.keras", "config.json", "[" * 200_000))
