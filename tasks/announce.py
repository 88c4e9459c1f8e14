"""Send events about a registered model to Prefect's server, where alerts and deployments wait for them."""

from __future__ import annotations

from typing import Any

from prefect.context import FlowRunContext
from prefect.events import emit_event

from core.config.run_config import RunConfig

PROMOTED, REFUSED, DRIFTED = "reviewlm.model.promoted", "reviewlm.model.refused", "reviewlm.drift.flagged"
OVERDUE = "reviewlm.stage.overdue"


def announce(event: str, config: RunConfig, payload: dict[str, Any]) -> None:
    """Emit an event about the registered model of a configuration; outside a flow run nobody would get it.

    Args:
        event: One of the names above.
        config: Names the registered model.
        payload: JSON values; alerts show `sentence`.
    """
    if FlowRunContext.get() is not None:
        name = config.promotion.model_name
        resource = {"prefect.resource.id": f"reviewlm.model.{name}", "prefect.resource.name": name}
        emit_event(event, resource=resource, payload=payload)
