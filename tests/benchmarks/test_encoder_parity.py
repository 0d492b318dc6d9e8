"""The comparison of converted encoders with timm measures what it says."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors_files import write_safetensors

from benchmarks.encoder_parity import main
from benchmarks.encoder_reference import random_weights

TIMM = np.load(Path(__file__).parents[1] / "encoders" / "timm_outputs.npz")


@pytest.mark.parametrize(("shift", "status"), [(0.0, 0), (0.01, 1)])
def test_compares_with_the_stored_outputs(tmp_path, capsys, shift, status):
    weights = random_weights(json.loads(str(TIMM["efficientnet_b0/shapes"])))
    write_safetensors(tmp_path / "efficientnet_b0.pth", weights)
    np.savez(tmp_path / "efficientnet_b0.npz", features64=TIMM["efficientnet_b0/features64"] + shift)
    assert main([str(tmp_path)]) == status
    printed = capsys.readouterr().out
    assert "efficientnet_b0              features  64 px: largest difference" in printed
    assert "relative to the output's largest value if that is above 1, else absolute" in printed
    assert ("1.0e-02" in printed) == bool(shift)
