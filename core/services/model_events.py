"""Define the events about a registered model, and send one to a home's Prefect server without importing Prefect."""

from __future__ import annotations

import logging
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.services.join import join
from core.services.pools import ask

PROMOTED, REFUSED, ROLLED_BACK = "reviewlm.model.promoted", "reviewlm.model.refused", "reviewlm.model.rolled-back"
DRIFTED, DRIFT_SEEN = "reviewlm.drift.flagged", "reviewlm.drift.seen"
"""DRIFTED starts the deployment `on-drift`. DRIFT_SEEN comes from a run that retrains anyway, and only tells."""
INGESTED = "reviewlm.ingest.new"
"""The flow `ingest-only` has read new files. Starts the deployment `on-ingest` where its automation is switched on."""
SET_ASIDE = "reviewlm.ingest.set-aside"
"""A file was found that cannot be read; sent once for each content of it."""
RETRAINED = "reviewlm.retrain.finished"
"""The flow `retrain` has gone to its end, the gate's decision included; one that ended as not needed sends none."""
HEARTBEAT = "prefect.flow-run.heartbeat"
"""Prefect's event that the process of a flow run lives, by default every 180 seconds."""
SKIPPED = "Skipped"
"""Name of the state of a run that was not needed: Prefect takes it as completed, our figures and alerts do not."""
SECONDS = 5.0
log = logging.getLogger(__name__)


def resource_of(model: str) -> dict[str, str]:
    """Return the Prefect resource of a registered model."""
    return {"prefect.resource.id": f"reviewlm.model.{model}", "prefect.resource.name": model}


def send_event(home: Path, event: str, model: str, payload: dict[str, Any]) -> None:
    """Send an event to the Prefect server in use; without one, do nothing. A failure is a warning.

    Args:
        home: Home folder of the services.
        event: One of the names above.
        model: Name of the registered model.
        payload: JSON values; alerts show `sentence`.
    """
    join(home)
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        return
    body = {
        "id": str(uuid.uuid4()), "occurred": datetime.now(UTC).isoformat(), "event": event,
        "resource": resource_of(model), "payload": payload,
    }
    try:
        ask(os.environ, "POST", "/events", [body], SECONDS)
    except (OSError, ValueError) as error:
        log.warning("no alert is sent, because Prefect's server at %s did not take the event: %s", address, error)
