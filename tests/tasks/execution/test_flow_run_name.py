"""The name of a flow run: what Prefect has called it before stays findable."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.tasks.execution import stage


@pytest.mark.parametrize("deployment", ["weekly", None], ids=["deployment", "command"])
def test_the_first_name_of_a_deployments_run_can_still_be_found(
    deployment: str | None,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = SimpleNamespace(
        id="1",
        name="cherubic-pigeon",
        tags=["schedule"],
    )
    context = SimpleNamespace(flow=SimpleNamespace(name="retrain"), flow_run=run)
    updates: list[dict[str, Any]] = []
    client = SimpleNamespace(update_flow_run=lambda _, **fields: updates.append(fields))
    monkeypatch.setattr(stage, "FlowRunContext", SimpleNamespace(get=lambda: context))
    monkeypatch.setattr(stage, "get_client", lambda sync_client: nullcontext(client))
    monkeypatch.setattr(stage, "deployment", SimpleNamespace(id=deployment))
    config = load_config("demo")
    with caplog.at_level(logging.INFO, logger=stage.log.name):
        stage.describe_flow_run(config.title, config.preset, config.source)
        # A part of the run describes it again.
        stage.describe_flow_run(config.title, config.preset, config.source)

    (update,) = updates
    assert update["name"].startswith("retrain: ")
    assert ("created as: cherubic-pigeon" in update["tags"]) == bool(deployment)
    assert sum("cherubic-pigeon" in message for message in caplog.messages) == bool(deployment)
