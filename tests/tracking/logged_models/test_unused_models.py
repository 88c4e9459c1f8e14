"""The files of logged models that nobody needs: removed after MLflow deleted the model, never those of a version."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from reviewlm.tracking.client import Absent
from reviewlm.tracking.logged_models.unused import (
    LoggedFiles,
    all_versions,
    models_of,
    remove_model,
)

pytestmark = pytest.mark.usefixtures("light_models")


def listed(store: Any) -> dict[str, LoggedFiles]:
    found = models_of(store.tracker, all_versions(store.tracker))
    return {f"models:/{model.id}": model for model in found}


def is_deleted(store: Any, address: str) -> bool:
    try:
        store.tracker.ask(lambda client: client.get_logged_model(address.removeprefix("models:/")))
    except Absent:
        return True
    return False


def test_a_removed_model_is_deleted_in_mlflow_too(store: Any) -> None:
    address = store.model("free")
    model = listed(store)[address]
    remove_model(store.tracker, model, shutil.rmtree)
    assert not model.folder.exists()
    assert is_deleted(store, address)
    assert listed(store) == {}


def test_the_metrics_of_the_run_of_a_removed_model_stay(store: Any) -> None:
    address = store.model("free")
    store.tracker.log_metrics(store.run_id, {"nats": 2.0})
    remove_model(store.tracker, listed(store)[address], shutil.rmtree)
    assert store.tracker.metrics(store.run_id) == {"nats": 2.0}


def test_the_versions_of_a_removed_model_are_deleted_with_it(store: Any) -> None:
    number = store.version("registered")
    other = store.version("other")
    [model] = [one for one in listed(store).values() if ("reviewlm", number) in one.versions]
    remove_model(store.tracker, model, shutil.rmtree)
    assert [version.version for version in store.registry.versions()] == [other]
    assert {one.versions for one in listed(store).values()} == {frozenset({("reviewlm", other)})}


@pytest.mark.parametrize(
    "removed", [False, True], ids=["before-the-files-go", "after-the-files-went"]
)
def test_a_killed_removal_is_finished_by_the_next(store: Any, removed: bool) -> None:
    address = store.model("free")
    model = listed(store)[address]

    def killed(folder: Path) -> None:
        if removed:
            shutil.rmtree(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove_model(store.tracker, model, killed)
    remove_model(store.tracker, listed(store)[address], shutil.rmtree)
    assert (model.folder.exists(), is_deleted(store, address), listed(store)) == (False, True, {})


def test_files_of_a_model_that_another_store_has_stay(store: Any) -> None:
    """The folder may hold files of models in another database, which this one does not know."""
    (store.tracker.artifact_root / "models" / "m-4567").mkdir(parents=True)
    assert listed(store) == {}
