"""The flow `retrain` holds the home's one place while it runs, and is Completed at once where it is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reviewlm.flows import retrain as module
from reviewlm.flows.retrain import retrain
from reviewlm.tasks.execution.limits import SameRetrainWaits


@pytest.mark.parametrize("deployed", [True, False])
def test_only_a_deployments_run_ends_because_an_equal_one_waits(
    prefect_server: None,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    deployed: bool,
) -> None:
    given: list[Mapping[str, Any] | None] = []

    def pipeline(
        config: Any,
        request: Any,
        asked: Mapping[str, Any] | None,
        until: Any,
    ) -> Any:
        given.append(asked)
        raise SameRetrainWaits("One waits already")

    monkeypatch.setattr(module, "run_pipeline", pipeline)
    if deployed:
        monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "a deployment's")
    state = retrain("demo", overrides=["seed=2"], return_state=True)
    assert (state.is_completed(), state.name, state.message) == (
        True,
        "Skipped",
        "One waits already",
    )
    asked = {
        "preset": "demo",
        "input": None,
        "overrides": ["seed=2"],
        "minutes": None,
    }
    assert given == [asked if deployed else None]
