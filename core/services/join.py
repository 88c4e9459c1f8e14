"""Connect commands and workers to running services by environment variables, and send events to Prefect."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reviewlm.core.credentials import (
    PASSWORD_FILE,
    USER,
    credentials_of,
    password_of,
    prefect_client,
)
from reviewlm.core.services.pools import PROJECT_VARIABLE, ask, automate, working_folder
from reviewlm.core.services.service_list import Service, running

OF_TERMINAL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
"""Silences Prefect on the terminal of a command; the log file of a service must show errors."""
MLFLOW_VARIABLE = "REVIEWLM_MLFLOW_URL"
"""Address of MLflow's pages for links; set where they run."""
QUIET_TASKS = "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL"
"""Level of Prefect's own lines about tasks: "Finished in state Completed()" fifty times would hide ours in a run's log."""
log = logging.getLogger(__name__)
PROMOTED = "reviewlm.model.promoted"
REFUSED = "reviewlm.model.refused"
ROLLED_BACK = "reviewlm.model.rolled-back"
DRIFTED = "reviewlm.drift.flagged"
DRIFT_SEEN = "reviewlm.drift.seen"
"""DRIFTED starts the deployment `on-drift`. DRIFT_SEEN comes from a command, or a run that retrains, and only tells."""
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
EVENT_SECONDS = 5.0


def environment_of(home: Path, services: Mapping[str, Service]) -> dict[str, str]:
    """Return the environment of workers, and of the commands that set up the Prefect server."""
    addresses = {"PREFECT_API_URL": services["prefect"].address + "/api"}
    if "mlflow" in services:
        addresses[MLFLOW_VARIABLE] = services["mlflow"].address

    variables = {
        **addresses,
        **prefect_client(credentials_of(home)),
        PROJECT_VARIABLE: str(working_folder(home)),
    }
    # The page of a run in Prefect shows our log messages; on a terminal, the command line shows them itself.
    environment = {
        QUIET_TASKS: "WARNING",
        **os.environ,
        **variables,
        "PREFECT_LOGGING_LEVEL": "INFO",
    }
    environment.pop(OF_TERMINAL, None)
    return environment


def renew_alerts(home: Path) -> bool:
    """Let a running Prefect server of this home take over changed alerts; return False if none runs."""
    services = {service.name: service for service in running(home)}
    if "prefect" not in services:
        return False
    automate(environment_of(home, services), home)
    return True


def join(home: Path, tracking_uri: str = "") -> None:
    """Let this process use the running services: one Prefect server per database, and links that lead to its pages.

    The password is set only for our own servers: Prefect and MLflow would send it to any other server, too.

    Args:
        tracking_uri: Server or database that runs are written to; empty for the home's own database.
    """
    services = running(home)
    password = home / PASSWORD_FILE
    if services and password.exists() and password.stat().st_uid != os.geteuid():
        log.warning(
            "the services in %s belong to another user: continuing without them. For your own: "
            "`reviewlm services start` with another REVIEWLM_HOME",
            home,
        )
        return

    for service in services:
        if service.name == "prefect":
            if (
                os.environ.setdefault("PREFECT_API_URL", service.address + "/api")
                == service.address + "/api"
            ):
                for name, value in prefect_client(credentials_of(home)).items():
                    os.environ.setdefault(name, value)
        elif service.name == "mlflow" and tracking_uri.rstrip("/") in (
            service.address,
            service.tracking,
        ):
            os.environ.setdefault(MLFLOW_VARIABLE, service.address)
            if tracking_uri.rstrip("/") == service.address:
                os.environ.setdefault("MLFLOW_TRACKING_USERNAME", USER)
                os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", password_of(home))


def resource_of(model: str) -> dict[str, str]:
    """Return the Prefect resource of a registered model."""
    return {"prefect.resource.id": f"reviewlm.model.{model}", "prefect.resource.name": model}


def send_event(
    home: Path,
    event: str,
    model: str,
    payload: dict[str, Any],
) -> None:
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
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": event,
        "resource": resource_of(model),
        "payload": payload,
    }
    import httpx

    try:
        ask(
            os.environ,
            "POST",
            "/events",
            [body],
            EVENT_SECONDS,
        )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        log.warning(
            "no alert is sent, because Prefect's server at %s did not take the event: %s",
            address,
            error,
        )
