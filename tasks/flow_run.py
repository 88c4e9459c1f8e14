"""Name the current flow run by its preset and data.

Send events about a registered model to Prefect's server, which trigger alerts and deployments.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.events import emit_event

from core.config.run_config import RunConfig
from core.services.join import (
    DRIFT_SEEN,
    DRIFTED,
    INGESTED,
    PROMOTED,
    REFUSED,
    RETRAINED,
    SET_ASIDE,
    resource_of,
)

__all__ = ["DRIFTED", "DRIFT_SEEN", "INGESTED", "PROMOTED", "REFUSED", "RETRAINED", "SET_ASIDE", "announce"]


def describe_flow_run(config: RunConfig) -> None:
    """Give the current flow run in Prefect a name and tags that say preset and data; outside a flow do nothing."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run = context.flow_run
    if run.name != config.title:
        run.name = config.title
        tags = {f"preset: {config.preset}", f"data: {config.source.title}"}
        run.tags = sorted({*run.tags, *tags})
        with suppress(Exception), get_client(sync_client=True) as client:  # a name is no reason to fail
            client.update_flow_run(run.id, name=run.name, tags=run.tags)


def announce(event: str, config: RunConfig, payload: dict[str, Any]) -> None:
    """Emit an event about the registered model of a configuration; outside a flow run nobody would get it.

    Args:
        event: One of the names in `core/services/join.py`.
        payload: JSON values; alerts show `sentence`.
    """
    if FlowRunContext.get() is not None:
        emit_event(event, resource=resource_of(config.promotion.model_name), payload=payload)
