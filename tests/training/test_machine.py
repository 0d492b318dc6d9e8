import keras
import pytest
from written_records import RecordWriter

from galaxy_exp.execution.trials import trial_spec
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import EpochReported, TrialEnded
from galaxy_exp.records import EpochReport, TrialResult, TrialState
from galaxy_exp.training import machine, resolve_precision


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "gpu_capability", lambda: None)
    monkeypatch.setattr(machine.sys, "platform", "linux")
    path = tmp_path / "cpuinfo"

    def write(flags):
        path.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
        return path

    return write


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_named_policy_is_kept(name):
    assert resolve_precision(name) == name


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu amx_bf16 sse", "mixed_bfloat16"),
        ("fpu avx512_bf16", "mixed_bfloat16"),
        ("fpu avx512f amx_tile", "float32"),
        ("", "float32"),
    ],
)
def test_auto_asks_the_processor(cpuinfo, flags, expected):
    assert resolve_precision("auto", cpuinfo(flags)) == expected


def test_auto_elsewhere_is_float32(cpuinfo, tmp_path, monkeypatch):
    assert resolve_precision("auto", tmp_path / "none") == "float32"
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    assert resolve_precision("auto", cpuinfo("amx_bf16")) == "float32"


@pytest.mark.parametrize(
    ("capability", "expected"), [((9, 0), "mixed_bfloat16"), ((8, 0), "mixed_bfloat16"), ((7, 5), "float32")]
)
def test_a_gpu_decides_before_the_processor(cpuinfo, monkeypatch, capability, expected):
    monkeypatch.setattr(machine, "gpu_capability", lambda: capability)
    assert resolve_precision("auto", cpuinfo("amx_bf16")) == expected


def test_this_machine_gets_a_policy_that_keras_knows():
    assert keras.dtype_policies.DTypePolicy(resolve_precision("auto")).compute_dtype in ("float32", "bfloat16")


@pytest.mark.parametrize("known", ["reported", "ended", "ended before it was reported"])
def test_later_trials_get_what_the_first_came_to(tmp_path, known):
    """Also in a journal of an earlier version, whose reports do not say it."""
    writer = RecordWriter()
    first = writer.start()

    def precision():
        return trial_spec(writer.record, SweepFolder(tmp_path), None, writer.record.trials[0], 1).precision

    assert precision() == "auto"
    if known == "reported":
        writer.apply(EpochReported(report=EpochReport(first, 1, 1, {}, "mixed_bfloat16"), go_on=True))
    if known == "ended":
        writer.trial(0.5, precision="mixed_bfloat16")
    else:
        result = TrialResult(first, 1, TrialState.FAILED, "because", precision="mixed_bfloat16")
        writer.apply(TrialEnded(result=result))
    writer.trial(0.5, precision="float32")
    assert precision() == "mixed_bfloat16"
