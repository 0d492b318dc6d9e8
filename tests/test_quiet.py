"""Keras's backend is checked before Keras is imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from galaxy_exp.errors import BadInputError
from galaxy_exp.quiet import import_keras_quietly


@pytest.mark.parametrize("backend", ["torch", "theano", "numpy"])
def test_another_backend_is_refused_with_what_states_it(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(
        BadInputError,
        match=f"^KERAS_BACKEND: found '{backend}'; expected tensorflow or jax, as in KERAS_BACKEND=tensorflow$",
    ):
        import_keras_quietly()
    (tmp_path / "keras.json").write_text(f'{{"backend": "{backend}"}}')
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND")
    expected = f"^{tmp_path}/keras.json: backend: found '{backend}'; expected tensorflow or jax, as in KERAS_BACKEND="
    with pytest.raises(BadInputError, match=expected):
        import_keras_quietly()


def test_jax_that_is_not_installed_is_refused_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(BadInputError, match=r"'jax', which is not installed; pip install 'galaxy-exp\[jax\]' adds jax"):
        import_keras_quietly()
