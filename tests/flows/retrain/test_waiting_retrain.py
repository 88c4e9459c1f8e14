"""The flow `retrain` holds the home's one place while it runs, and is Completed at once where it is not needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from flows import retrain as module
from flows.retrain import retrain
from tasks.limits import FOLDER, RUNNING, SameRetrainWaits


def test_the_place_of_the_home_is_held_from_before_the_run_in_mlflow_begins(
    prefect_server: None, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def parent_run(*_: Any) -> Iterator[str]:
        with pytest.raises(Timeout):
            FileLock(own_home / FOLDER / RUNNING).acquire(timeout=0)
        raise KeyError("held")
        yield ""

    monkeypatch.setattr(module, "parent_run", parent_run)
    with pytest.raises(KeyError, match="held"):
        retrain("demo")
    FileLock(own_home / FOLDER / RUNNING).acquire(timeout=0).lock.release()


@pytest.mark.parametrize("deployed", [True, False])
def test_only_a_deployments_run_ends_because_an_equal_one_waits(
    prefect_server: None, own_home: Path, monkeypatch: pytest.MonkeyPatch, deployed: bool
) -> None:
    given: list[Mapping[str, Any] | None] = []

    def pipeline(config: Any, request: Any, asked: Mapping[str, Any] | None, until: Any) -> Any:
        given.append(asked)
        raise SameRetrainWaits("One waits already")

    monkeypatch.setattr(module, "run_pipeline", pipeline)
    if deployed:
        monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "a deployment's")
    state = retrain("demo", overrides=["seed=2"], return_state=True)
    assert (state.is_completed(), state.name, state.message) == (True, "Skipped", "One waits already")
    asked = {"preset": "demo", "input": None, "overrides": ["seed=2"], "minutes": None}
    assert given == [asked if deployed else None]
