"""Weight files: every format that PyTorch writes is read, anything else is refused in one line, nothing is executed.

The files beside this test were written by PyTorch 2.13: a checkpoint as Lightning writes it, a state dictionary in the
format before PyTorch 1.6, one with pickle's protocol 4, and a whole module.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors_files import to_bfloat16, write_safetensors

from galaxy_exp.encoders.tensor_pickle import RefusedWeightsError, find_tensors, read_tensor_pickle
from galaxy_exp.encoders.weight_files import open_weights
from galaxy_exp.errors import BadInputError, DataError

FILES = Path(__file__).parent / "files"
NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize(
    ("file", "prefix"), [("checkpoint.ckpt", "state_dict."), ("legacy.pth", ""), ("protocol4.pth", "")]
)
def test_reads_what_pytorch_wrote(file: str, prefix: str) -> None:
    weights = open_weights(FILES / file)
    assert sorted(weights.tensors) == sorted(
        prefix + name for name in ("a.weight", "half", "brain", "double", "turned", "part", "steps")
    )
    expected = {
        "a.weight": NUMBERS,
        "half": NUMBERS / 4,
        "brain": NUMBERS / 4,
        "double": NUMBERS,
        "turned": NUMBERS.T,
        "part": NUMBERS[1:, ::2],
    }
    for name, values in expected.items():
        found = weights.read(prefix + name)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values)


def test_reads_safetensors(tmp_path: Path) -> None:
    tensors: dict[str, NDArray[Any]] = {
        "a": NUMBERS,
        "half": (NUMBERS / 4).astype(np.float16),
        "double": NUMBERS.astype(float),
    }
    path = write_safetensors(tmp_path / "w.safetensors", {**tensors, "brain": to_bfloat16(NUMBERS)})
    weights = open_weights(path)
    assert weights.tensors["a"].shape == (3, 4)
    for name, values in (tensors | {"brain": NUMBERS}).items():
        np.testing.assert_array_equal(weights.read(name), values.astype(np.float32))


def test_a_module_is_refused_by_the_name_of_its_class() -> None:
    with pytest.raises(BadInputError, match=r"it names torch\.nn\.modules\.linear\.Linear, which is not part of a te"):
        open_weights(FILES / "module.pth")


class _Command:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_in_a_pickle_is_not_executed(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    pickled = pickle.dumps({"state_dict": _Command(made)}, protocol)
    with pytest.raises(BadInputError, match=r"it names (posix|nt)\.mkdir|which no tensor needs"):
        open_weights(_zip_of(tmp_path / "evil.pth", pickled))
    assert not made.exists()
    pickle.loads(pickled)
    assert made.is_dir()  # the same bytes, with Python's own unpickler


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"\x80\x02cos\nsystem\n.", r"it names os\.system"),
        (b"\x80\x02ctorch\nload\n.", r"it names torch\.load"),
        (b"\x80\x02ccollections\nOrderedDict\n(K\x01tR.", "in an unusual way"),
        (b"\x80\x02K\x01K\x02R.", "in an unusual way"),
        (b"\x80\x02}", "damaged or truncated"),
        (b"\x80\x02(K\x01", "damaged or truncated"),
        (b"\x80\x02u.", "damaged"),
        (b"\x80\x02]K\x01K\x02s.", "something that is not a dictionary"),
        (b"\x80\x02})K\x01s.", "keys that are neither text"),
        (b"\x80\x02K\x01Q.", "damaged or truncated"),
        (b"\x80\x02h\x05.", "damaged or truncated"),
        (b"\x80\x02X\xff\xff\xff\x7fab.", "larger than 16 MiB"),
        (b"\x80\x02Ptext\n.", "PERSID, which no tensor needs"),
    ],
)
def test_a_pickle_of_something_else_is_refused(pickled: bytes, reason: str) -> None:
    with pytest.raises(RefusedWeightsError, match=reason):
        read_tensor_pickle(io.BytesIO(pickled))


def test_a_tuple_nested_very_deep_ends_nothing() -> None:
    pickled = b"\x80\x02)" + b"\x85" * 200_000
    with pytest.raises(RefusedWeightsError, match="keys that are neither text"):
        read_tensor_pickle(io.BytesIO(b"\x80\x02}" + pickled[2:] + b"K\x01s."))


def test_dictionaries_within_themselves_have_no_tensors(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="has no tensors"):
        open_weights(_zip_of(tmp_path / "own.pth", b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s."))


@pytest.mark.parametrize("cut", [1, 10, 100, 400])
@pytest.mark.parametrize("file", ["checkpoint.ckpt", "legacy.pth", "protocol4.pth"])
def test_a_truncated_file_is_refused(tmp_path: Path, file: str, cut: int) -> None:
    content = (FILES / file).read_bytes()
    path = tmp_path / file
    path.write_bytes(content[:-cut])
    with pytest.raises(BadInputError, match=f"{file}: .*(zip|truncated|damaged)"):
        open_weights(path)


def test_a_truncated_safetensors_file_names_the_tensor(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "w.safetensors", {"first": NUMBERS, "last": NUMBERS})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadInputError, match="truncated: tensor last ends at byte 96 of 95"):
        open_weights(path)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (
            '{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}',
            r"is not what shape \(3,\) needs",
        ),
        ('{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}', "impossible shape"),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}', "has -8 bytes"),
        ('{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}', "dtype F8_E4M3"),
        ('{"a":{"dtype":"F32","shape":[2]}}', "header is damaged"),
        ('{"a":7}', "header is damaged"),
        ("{" + "[" * 40, "header is damaged"),
        ("{}", "has no tensors"),
    ],
)
def test_a_damaged_safetensors_header_is_refused(tmp_path: Path, header: str, reason: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(8))
    with pytest.raises(BadInputError, match=reason):
        open_weights(path)


def test_a_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes((2**40).to_bytes(8, "little") + b"{}")
    with pytest.raises(BadInputError, match="longer than the file"):
        open_weights(path)


@pytest.mark.parametrize("content", [b"", b"some text, no weights", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"neither a safetensors file nor one that torch\.save wrote"):
        open_weights(path)


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 21355344\n")
    with pytest.raises(BadInputError, match="it is only Git LFS's pointer to the file, which git lfs pull downloads"):
        open_weights(path)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "no weights")
    with pytest.raises(BadInputError, match=r"torch\.save did not write"):
        open_weights(tmp_path / "a.zip")


def test_a_compressed_member_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(10_000_000))
    with pytest.raises(BadInputError, match=r"bomb/data\.pkl is compressed"):
        open_weights(tmp_path / "bomb.pth")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    rebuild += b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    for shape, stride in ((b"J\xff\xff\xff\x7f\x85", b"K\x00\x85"), (b"K\x04\x85", b"K\x02\x85")):
        pickled = b"\x80\x02}X\x01\x00\x00\x00a" + rebuild + b"K\x00" + shape + stride + b"\x89}tRs."
        weights = open_weights(_zip_of(tmp_path / "large.pth", pickled, {"0": bytes(16)}))
        with pytest.raises(BadInputError, match="does not fit into its 16 bytes"):
            weights.read("a")


def test_an_enormous_stride_of_an_axis_of_one_is_refused(tmp_path: Path) -> None:
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    rebuild += b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    enormous = pickle.dumps(2**80, 2)[2:-1]
    for offset, stride in ((b"K\x00", enormous), (enormous, b"K\x01")):
        pickled = b"\x80\x02}X\x01\x00\x00\x00a" + rebuild + offset + b"K\x01\x85" + stride + b"\x85\x89}tRs."
        with pytest.raises(BadInputError, match="a tensor of an impossible shape or place"):
            open_weights(_zip_of(tmp_path / "large.pth", pickled, {"0": bytes(16)}))
    with pytest.raises(BadInputError, match="impossible shape"):
        header = json.dumps({"a": {"dtype": "F32", "shape": [0, 2**80], "data_offsets": [0, 0]}})
        (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode())
        open_weights(tmp_path / "w.safetensors")


def test_containers_that_share_containers_are_read_once(tmp_path: Path) -> None:
    level = b"(" * 8 + b"K\x01" * 100
    for depth in range(7):  # each a tuple of 100 times the tuple before: 100 ** 8 entries
        level += b"tq%c" % depth + b"h%c" % depth * 99
    level += b"t"
    with pytest.raises(BadInputError, match="has no tensors"):
        open_weights(_zip_of(tmp_path / "shared.pth", b"\x80\x02" + level + b"."))


def test_more_entries_than_any_checkpoint_has_are_refused() -> None:
    with pytest.raises(RefusedWeightsError, match="more than 1,000,000 entries"):
        find_tensors([[0] * 600_000, [0] * 600_000])


@pytest.mark.parametrize("n_levels", [60, 200_000])
def test_a_name_that_is_no_text_is_refused(n_levels: int) -> None:
    shared = b"".join(b"q%ch%c\x86" % (level, level) for level in range(60))  # 2 ** 60 names, as text
    nested = b")" + (shared if n_levels == 60 else b"\x85" * n_levels)
    for module, name in ((nested, b"X\x01\x00\x00\x00a"), (b"X\x01\x00\x00\x00a", nested)):
        with pytest.raises(RefusedWeightsError, match="names something with a value that is not text"):
            read_tensor_pickle(io.BytesIO(b"\x80\x04" + module + name + b"\x93."))


def test_a_long_key_is_refused() -> None:
    with pytest.raises(RefusedWeightsError, match="a key of more than 1,000 characters"):
        read_tensor_pickle(io.BytesIO(pickle.dumps({"a" * 1001: 1}, 2)))


def test_a_storage_called_by_a_nested_tuple_ends_nothing(tmp_path: Path) -> None:
    content = (FILES / "legacy.pth").read_bytes()
    keys = next(at for at in range(len(content)) if content[at : at + 3] == b"\x80\x02]")
    path = tmp_path / "legacy.pth"
    path.write_bytes(content[:keys] + b"\x80\x02])" + b"\x85" * 200_000 + b"a." + bytes(100))
    with pytest.raises(BadInputError, match="it lists a storage that no tensor has"):
        open_weights(path)


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "w.safetensors", {"a": np.full(3, np.nan, np.float32), "n": np.arange(3)})
    with pytest.raises(BadInputError, match="tensor a: has values that are not finite"):
        open_weights(path).read("a")
    with pytest.raises(BadInputError, match="tensor n: has the dtype <i8, expected floating point"):
        open_weights(path).read("n")


def test_a_missing_file_and_a_folder_are_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            open_weights(path)


def _zip_of(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
    return path
