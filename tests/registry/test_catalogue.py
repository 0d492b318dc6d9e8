"""Listing and showing registered versions, and moving the champion alias by hand."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from galaxy_exp.errors import ModelError
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.catalogue import list_history, list_models, show_model
from galaxy_exp.registry.champion import promote, rollback
from galaxy_exp.registry.packaging import ModelVersionRef
from galaxy_exp.tracking.registry_file import open_registry_file

from .conftest import Store

TABLES = {
    "registered_models": "name, workspace",
    "registered_model_tags": "name, key, value",
    "registered_model_aliases": "name, alias, version",
    "model_versions": "name, version, creation_time, description, run_id, current_stage",
    "model_version_tags": "name, version, key, value",
}
"""The tables and columns of MLflow's that are read."""


@pytest.fixture
def three(register: Callable[..., ModelVersionRef], store: Store, request: pytest.FixtureRequest) -> str:
    """A name with three versions, the first being champion."""
    name = re.sub(r"\W", "-", request.node.name)
    for _ in range(3):
        register(name)
    store.client.set_registered_model_alias(name, "champion", "1")
    return name


def test_list_is_sorted_newest_first(three: str, store: Store, registered: ModelVersionRef) -> None:
    records = list_models(store.uri)
    keys = [(record["name"], -record["version"]) for record in records]
    assert keys == sorted(keys)
    assert [(r["version"], r["aliases"]) for r in records if r["name"] == three] == [
        (3, []),
        (2, []),
        (1, ["champion"]),
    ]
    (first,) = list_models(store.uri, "galaxy10-cnn")
    assert first["test"] == {"macro_f1": 0.8125}
    assert first["data_source"] == "galaxy10-sdss"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", first["created"])
    assert first["reason"] == ""


def test_promote_by_hand_and_roll_back(three: str, store: Store) -> None:
    store.client.set_registered_model_alias(three, "challenger", "3")
    against = "not comparable: the held-out test predictions of version 1 are missing"
    with pytest.raises(ModelError, match=f"{three} version 3 is not promoted: {against}; to promote .* 3 --force"):
        promote(three, 3, store.uri)
    assert promote(three, 3, store.uri, force=True, reason="looks better") == 1
    (third, _, first) = list_models(store.uri, three)
    assert (third["aliases"], first["aliases"]) == (["champion"], [])
    forced = f"promoted by hand in place of version 1, against the evidence ({against}); the reason given: looks better"
    assert (third["promotion"], third["reason"]) == ("by hand", forced)
    assert promote(three, 3, store.uri) is None
    assert rollback(three, store.uri) == 1
    (third, _, first) = list_models(store.uri, three)
    assert (third["aliases"], first["aliases"]) == ([], ["champion"])
    assert first["reason"] == "rolled back from version 3"
    history = list_history(three, store.uri)
    assert [(entry["version"], entry["previous"]) for entry in history] == [(3, 1), (1, 3)]
    assert [entry["reason"] for entry in history] == [forced, "rolled back from version 3"]
    assert show_model(f"{three}/3", store.uri)["card"].endswith(f"## Promotion\n\nby hand: {forced}\n")
    with pytest.raises(ModelError, match="version 1 replaced no champion; there is none to go back to"):
        rollback(three, store.uri)


def test_a_rollback_that_was_killed_is_completed_by_repeating_it(
    three: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each of its writes, until there are no more."""
    writing = [name for name in vars(MlflowClient) if re.match("set_|delete_|update_", name)]
    promote(three, 2, store.uri, force=True)
    for n_writes in count():
        promote(three, 3, store.uri, force=True)
        written: list[str] = []
        with monkeypatch.context() as patch:
            for name in writing:
                patch.setattr(MlflowClient, name, killed_after(n_writes, written, getattr(MlflowClient, name)))
            with suppress(KeyboardInterrupt):
                rollback(three, store.uri)
                break
        assert rollback(three, store.uri) == 2
        (_, second, _) = list_models(store.uri, three)
        assert (second["aliases"], second["reason"]) == (["champion"], "rolled back from version 3")
        assert second["promotion"] == "by hand"
        history = list_history(three, store.uri)
        assert (history[-1]["version"], history[-2]["version"]) == (2, 3), "no entry is there twice"
    assert n_writes > 4


def test_a_promotion_that_was_killed_is_completed_by_repeating_it(
    three: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each of its writes, until there are no more; version 3 was a challenger before."""
    writing = [name for name in vars(MlflowClient) if re.match("set_|delete_|update_", name)]
    for n_writes in count():
        promote(three, 2, store.uri, force=True)
        store.client.set_model_version_tag(three, "3", version_tags.PROMOTION, "challenger")
        store.client.set_registered_model_alias(three, "challenger", "3")
        n_entries, written = len(list_history(three, store.uri)), list[str]()
        with monkeypatch.context() as patch:
            for name in writing:
                patch.setattr(MlflowClient, name, killed_after(n_writes, written, getattr(MlflowClient, name)))
            with suppress(KeyboardInterrupt):
                promote(three, 3, store.uri, force=True)
                break
        assert promote(three, 3, store.uri, force=True) == 2
        (third, _, _) = list_models(store.uri, three)
        assert (third["aliases"], third["promotion"]) == (["champion"], "by hand")
        assert third["reason"].startswith("promoted by hand in place of version 2, against the evidence")
        assert show_model(f"{three}/3", store.uri)["card"].endswith(f"by hand: {third['reason']}\n")
        history = list_history(three, store.uri)[n_entries:]
        assert [(entry["version"], entry["previous"]) for entry in history] == [(3, 2)]
        assert promote(three, 3, store.uri, force=True) is None
    assert n_writes > 5


def killed_after(n_writes: int, written: list[str], method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, until `n_writes` were made; then it interrupts."""

    def write(client: MlflowClient, *arguments: Any, **options: Any) -> Any:
        if len(written) == n_writes:
            raise KeyboardInterrupt
        written.append(method.__name__)
        return method(client, *arguments, **options)

    return write


def test_an_alias_that_was_moved_without_galaxy_exp_is_rolled_back_too(three: str, store: Store) -> None:
    promote(three, 2, store.uri, force=True)
    store.client.set_registered_model_alias(three, "champion", "3")
    assert rollback(three, store.uri) == 2
    store.client.set_registered_model_alias(three, "champion", "3")
    assert promote(three, 2, store.uri, force=True, reason="again") == 3
    history = list_history(three, store.uri)
    assert [(entry["version"], entry["previous"]) for entry in history] == [(2, 1), (2, 3), (2, 3)]
    assert history[1]["reason"] == "rolled back from version 3"
    assert history[2]["reason"].endswith("the reason given: again")


def test_an_alias_that_was_set_without_galaxy_exp_is_recorded_by_promote(
    three: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each of its writes, until there are no more."""
    writing = [name for name in vars(MlflowClient) if re.match("set_|delete_|update_", name)]
    for n_writes in count():
        promote(three, 2, store.uri, force=True)
        n_entries, written = len(list_history(three, store.uri)), list[str]()
        store.client.set_model_version_tag(three, "3", version_tags.PROMOTION, "challenger")
        store.client.set_model_version_tag(three, "3", version_tags.PROMOTION_REASON, "not comparable")
        for alias in ("challenger", "champion"):
            store.client.set_registered_model_alias(three, alias, "3")
        with monkeypatch.context() as patch:
            for name in writing:
                patch.setattr(MlflowClient, name, killed_after(n_writes, written, getattr(MlflowClient, name)))
            with suppress(KeyboardInterrupt):
                assert promote(three, 3, store.uri, reason="seen") == 2
                break
        promote(three, 3, store.uri, reason="seen")
        (third, _, _) = list_models(store.uri, three)
        assert (third["aliases"], third["promotion"]) == (["champion"], "by hand")
        recorded = "promoted by hand (the alias was set without galaxy_exp); the reason given: seen"
        assert third["reason"] == recorded
        assert show_model(three, store.uri)["card"].endswith(f"by hand: {recorded}\n")
        history = list_history(three, store.uri)[n_entries:]
        assert [(entry["version"], entry["previous"], entry["reason"]) for entry in history] == [(3, 2, recorded)]
        assert promote(three, 3, store.uri) is None
    assert n_writes > 5
    assert rollback(three, store.uri) == 2


def test_a_tag_that_was_edited_by_hand_is_left_out(three: str, store: Store) -> None:
    promote(three, 2, store.uri, force=True)
    for tag in ("galaxy_exp.test.accuracy", version_tags.PROMOTION_OPENING, version_tags.PREVIOUS_CHAMPION):
        store.client.set_model_version_tag(three, "2", tag, "0.61 (checked by Ann)")
    store.client.set_model_version_tag(three, "2", "galaxy_exp.test.macro_f1", "0.5")
    for key, text in {
        "note": "see wiki",
        "version": '{"version": "2", "time": "", "previous": 1, "reason": ""}',
    }.items():
        store.client.set_registered_model_tag(three, f"{version_tags.HISTORY}{key}", text)
    (_, second, _) = list_models(store.uri, three)
    assert (second["test"], second["test_opening"]) == ({"macro_f1": 0.5}, None)
    assert [entry["version"] for entry in list_history(three, store.uri)] == [2]
    with pytest.raises(ModelError, match="version 2 replaced no champion"):
        rollback(three, store.uri)
    assert promote(three, 3, store.uri, force=True) == 2
    assert promote(three, 2, store.uri, force=True) == 3


def test_a_version_that_was_deleted_cannot_be_rolled_back_to(three: str, store: Store) -> None:
    promote(three, 2, store.uri, force=True)
    store.client.delete_model_version(three, "1")
    deleted = f"{three} version 1, the champion before version 2, was deleted; make another one champion: galaxy-exp "
    with pytest.raises(ModelError, match=f"{deleted}models promote {three} VERSION --uri"):
        rollback(three, store.uri)


def test_an_alias_that_was_removed_by_hand_is_no_first_version(three: str, store: Store) -> None:
    promote(three, 2, store.uri, force=True)
    store.client.delete_registered_model_alias(three, "champion")
    assert promote(three, 2, store.uri) is None
    shown = show_model(three, store.uri)
    assert shown["reason"] == "promoted by hand (there is no champion now; the last was version 2)"
    assert version_tags.PREVIOUS_CHAMPION not in shown["tags"]
    assert [(entry["version"], entry["previous"]) for entry in shown["history"]] == [(2, 1), (2, None)]


def test_a_name_without_versions_is_not_an_empty_list(three: str, store: Store) -> None:
    with pytest.raises(ModelError, match=r'no version is registered as "nobody"; galaxy-exp models list .*shows them'):
        list_models(store.uri, "nobody")
    for version in ("1", "2", "3"):
        store.client.delete_model_version(three, version)
    with pytest.raises(ModelError, match=f'no version is registered as "{three}"'):
        list_models(store.uri, three)


def test_promote_names_the_versions_there_are(three: str, store: Store) -> None:
    with pytest.raises(ModelError, match=f"{three} has no version 7; versions: 1, 2, 3"):
        promote(three, 7, store.uri)
    with pytest.raises(ModelError, match="nobody has no champion to roll back"):
        rollback("nobody", store.uri)


def test_a_version_is_shown_by_alias_and_number(three: str, store: Store) -> None:
    for reference in (three, f"{three}@champion", f"{three}/1", f"models:/{three}/1"):
        shown = show_model(reference, store.uri)
        assert (shown["version"], shown["aliases"]) == (1, ["champion"])
        assert shown["card"] == "A tiny network for tests."
    for reference, message in {
        f"{three}/9": "has no version 9; versions: 1, 2, 3",
        f"{three}/x": "names no version; expected NAME, NAME@ALIAS or NAME/VERSION",
        f"{three}@best": f"has no version with the alias 'best'; expected one of {three}/1, {three}/2, {three}/3",
        "nobody": 'no version is registered as "nobody"',
    }.items():
        with pytest.raises(ModelError, match=message):
            show_model(reference, store.uri)


def test_a_file_is_read_without_mlflow_and_gives_the_same(
    three: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.client.delete_model_version(three, "2")
    promote(three, 3, store.uri, force=True, reason="for the history")
    script = """
import json, sys
from galaxy_exp.registry.catalogue import list_history, list_models, show_model
name, uri = sys.argv[1:]
found = [list_models(uri), list_models(uri, name), show_model(name, uri), show_model(f"{name}/1", uri)]
print(json.dumps([*found, list_history(name, uri)]))
assert "mlflow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script, three, store.uri], capture_output=True, text=True, check=True)
    monkeypatch.setattr("galaxy_exp.registry.catalogue.open_registry_file", lambda _: None)
    uri = store.uri
    found = [list_models(uri), list_models(uri, three), show_model(three, uri), show_model(f"{three}/1", uri)]
    assert json.loads(done.stdout) == [*found, list_history(three, uri)]
    assert [record["version"] for record in found[1]] == [3, 1]


@pytest.mark.parametrize("variable", ["MLFLOW_REGISTRY_URI", "MLFLOW_WORKSPACE"])
def test_a_registry_elsewhere_is_left_to_mlflow(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        for table, columns in TABLES.items():
            database.execute(f"CREATE TABLE {table} ({columns})")
    found = open_registry_file(uri)
    assert found is not None
    assert found.search_registered_models() == []
    monkeypatch.setenv(variable, "elsewhere")
    assert open_registry_file(uri) is None


def test_tables_of_another_form_are_left_to_mlflow(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"no database" * 100)
    assert open_registry_file(f"sqlite:///{path}") is None
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE registered_models (name)")
    assert open_registry_file(f"sqlite:///{path}") is None
    assert open_registry_file("http://127.0.0.1:5000") is None


def test_test_metrics_survive_the_tags() -> None:
    metrics = {"accuracy": 0.1 + 0.2, "n_images": 456}
    tags = version_tags.build_test_tags(metrics)
    assert tags == {"galaxy_exp.test.accuracy": "0.30000000000000004", "galaxy_exp.test.n_images": "456"}
    assert version_tags.parse_test_tags({**tags, version_tags.TEST_DIGEST: "abc"}, "tiny version 1") == metrics


def test_a_tag_that_cannot_be_read_is_named(caplog: pytest.LogCaptureFixture) -> None:
    tags = {"galaxy_exp.test.accuracy": "0.61 (checked by Ann)", "galaxy_exp.test.macro_f1": "0.5"}
    assert version_tags.parse_test_tags(tags, "tiny version 2") == {"macro_f1": 0.5}
    assert caplog.messages == [
        "tiny version 2: tag galaxy_exp.test.accuracy: found '0.61 (checked by Ann)'; expected a number; "
        "it is left out; correct or delete the tag in the MLflow UI"
    ]
