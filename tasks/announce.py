"""Send events about a registered model to Prefect's server, which trigger alerts and deployments."""

from __future__ import annotations

from typing import Any

from prefect.context import FlowRunContext
from prefect.events import emit_event

from core.config.run_config import RunConfig
from core.services.model_events import (
    DRIFT_SEEN,
    DRIFTED,
    INGESTED,
    OVERDUE,
    PROMOTED,
    REFUSED,
    RETRAINED,
    SET_ASIDE,
    resource_of,
)

__all__ = ["DRIFTED", "DRIFT_SEEN", "INGESTED", "OVERDUE", "PROMOTED", "REFUSED", "RETRAINED", "SET_ASIDE", "announce"]


def announce(event: str, config: RunConfig, payload: dict[str, Any]) -> None:
    """Emit an event about the registered model of a configuration; outside a flow run nobody would get it.

    Args:
        event: One of the names in `core/services/model_events.py`.
        payload: JSON values; alerts show `sentence`.
    """
    if FlowRunContext.get() is not None:
        emit_event(event, resource=resource_of(config.promotion.model_name), payload=payload)
