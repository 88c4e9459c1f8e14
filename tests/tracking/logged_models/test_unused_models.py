"""The files of logged models that nobody needs: removed after MLflow deleted the model, never those of a version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import ReviewLMError
from tracking.client import ABSENT, error_code
from tracking.logged_models import unused
from tracking.logged_models.unused import (
    LoggedFiles,
    all_versions,
    models_of,
    registered_models,
    remove_model,
    runs_of,
)
from tracking.registry.decisions import MANUAL

pytestmark = pytest.mark.usefixtures("light_models")


def listed(store: Any) -> dict[str, LoggedFiles]:
    found = models_of(store.tracker, registered_models(store.tracker, all_versions(store.tracker)))
    return {f"models:/{model.id}": model for model in found}


def is_deleted(store: Any, address: str) -> bool:
    try:
        store.tracker.ask(lambda client: client.get_logged_model(address.removeprefix("models:/")))
    except ReviewLMError as error:
        return error_code(error) in ABSENT
    return False


def test_the_models_of_versions_are_known_as_such(store: Any) -> None:
    store.version("registered")
    free = store.model("free")
    found = listed(store)
    assert {address: model.registered for address, model in found.items()} == {
        address: address != free for address in found
    }
    assert len(found) == 2
    assert {model.run_id for model in found.values()} == {store.run_id}


def test_a_removed_model_is_deleted_in_mlflow_too_and_the_metrics_of_its_run_stay(store: Any) -> None:
    address = store.model("free")
    store.tracker.log_metrics(store.run_id, {"nats": 2.0})
    model = listed(store)[address]
    assert remove_model(store.tracker, model)
    assert not model.folder.exists()
    assert is_deleted(store, address)
    assert store.tracker.metrics(store.run_id) == {"nats": 2.0}
    assert listed(store) == {}


def test_a_model_that_was_registered_meanwhile_stays(store: Any) -> None:
    address = store.model("free")
    model = listed(store)[address]
    store.registry.register(address, store.run_id)
    assert not remove_model(store.tracker, model)
    assert model.folder.is_dir()
    assert not is_deleted(store, address)


@pytest.mark.parametrize("deleted", [False, True], ids=["before-mlflow-deletes", "after-mlflow-deletes"])
def test_a_killed_removal_is_finished_by_the_next(store: Any, deleted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    address = store.model("free")
    model = listed(store)[address]

    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if deleted:
            patched.setattr(unused, "_remove_marked", killed)
        else:
            patched.setattr(type(store.tracker.client), "delete_logged_model", lambda client, model_id: killed(Path()))
        with pytest.raises(KeyboardInterrupt):
            remove_model(store.tracker, model)
    assert is_deleted(store, address) == deleted
    left = listed(store)[address]
    assert left.deleted == deleted
    assert remove_model(store.tracker, left)
    assert not model.folder.exists()


def test_files_of_a_model_that_another_store_has_stay(store: Any) -> None:
    """The folder may hold files of models in another database, which this one does not know."""
    foreign = store.tracker.artifact_root / "models" / "m-0123"
    foreign.mkdir(parents=True)
    (foreign / unused.MARK).write_text("postgresql://elsewhere")
    (store.tracker.artifact_root / "models" / "m-4567").mkdir()
    assert listed(store) == {}


def test_entries_of_the_decision_log_are_no_versions(store: Any) -> None:
    store.version("registered")
    store.registry.promote(1, None, why="test")
    assert [(version.name, version.version) for version in all_versions(store.tracker)] == [("reviewlm", 1)]
    assert [event.action for event in store.registry.events()] == [MANUAL]


def test_runs_are_listed_with_what_decides_about_them(store: Any) -> None:
    flow = store.tracker.start_run("retrain, demo", {"reviewlm.flow": "retrain"})
    child = store.tracker.start_run("lstm", {"reviewlm.fit": "0123"}, flow)
    store.tracker.end_run(child, "KILLED")
    found = {run.id: run for run in runs_of(store.tracker)}
    assert (found[flow].flow, found[flow].status, found[flow].fit) == ("retrain", "RUNNING", "")
    assert (found[child].flow, found[child].status, found[child].fit) == ("", "KILLED", "0123")
    assert found[child].files == store.tracker.artifact_root / child / "artifacts"
