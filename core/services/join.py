"""Connect commands and workers to running services by environment variables: addresses and passwords."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from core.credentials import PASSWORD_FILE, USER, credentials_of, password_of, prefect_client
from core.services.pools import PROJECT, automate
from core.services.service_list import Service, running

OF_TERMINAL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
"""Silences Prefect on the terminal of a command; the log file of a service must show errors."""
log = logging.getLogger(__name__)


def environment_of(home: Path, services: Mapping[str, Service]) -> dict[str, str]:
    """Return the environment of workers, and of the commands that set up the Prefect server."""
    addresses = {"PREFECT_API_URL": services["prefect"].address + "/api"}
    if "mlflow" in services:
        addresses["REVIEWLM_MLFLOW_URL"] = services["mlflow"].address
    variables = {**addresses, **prefect_client(credentials_of(home)), "REVIEWLM_PROJECT": str(PROJECT)}
    # The page of a run in Prefect shows our log messages; on a terminal, the command line shows them itself.
    environment = {**os.environ, **variables, "PREFECT_LOGGING_LEVEL": "INFO"}
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
    if services and _is_anothers(home / PASSWORD_FILE):
        log.warning("the services in %s belong to another user: continuing without them. For your own: "
                    "`reviewlm services start` with another REVIEWLM_HOME", home)
        return
    for service in services:
        if service.name == "prefect":
            if os.environ.setdefault("PREFECT_API_URL", service.address + "/api") == service.address + "/api":
                for name, value in prefect_client(credentials_of(home)).items():
                    os.environ.setdefault(name, value)
        elif service.name == "mlflow" and tracking_uri.rstrip("/") in (service.address, service.tracking):
            os.environ.setdefault("REVIEWLM_MLFLOW_URL", service.address)
            if tracking_uri.rstrip("/") == service.address:
                os.environ.setdefault("MLFLOW_TRACKING_USERNAME", USER)
                os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", password_of(home))


def _is_anothers(file: Path) -> bool:
    """Return whether a file belongs to another user."""
    try:
        return file.stat().st_uid != os.geteuid()
    except OSError:
        return False
