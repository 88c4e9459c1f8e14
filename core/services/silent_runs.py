"""Notice the runs of deployments that send no heartbeats: `python -m core.services.silent_runs ADDRESS`.

Prefect's server waits for the next heartbeat of a run after each one (`flows/server/automations.py`). So it never
notices a run that was killed before its first, nor one that it has forgotten in a restart. The process beside the
server looks for them every few minutes (`core/processes/keep_running.py`), without Prefect, whose import takes seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from core.credentials import prefect_client
from core.services.heartbeat import CANCELLING, EVENT, FREQUENCY, SECONDS, send_one, set_cancelled
from core.services.prefect_api import ask

SILENT_SECONDS = 240.0
"""Time without a heartbeat after which a run is silent; twice as long as the server waits for the next one."""
PENDING_SECONDS = 900.0
"""Time within which the process of a run begins it after a worker took it, on however busy a machine."""
PENDING, RUNNING = "PENDING", "RUNNING"
PROCESS = "process"
"""Type of the pools whose workers start processes, at once. A Job of Kubernetes may wait for its node for hours."""
NEWEST = 50
"""Heartbeats to look at. The newest by the clocks of their machines need not be the last that came."""
GONE = "Cancelled in Prefect; the process that made this run is gone"


def notice_silent() -> list[str]:
    """Send one heartbeat for each silent run, set those that are Cancelling to Cancelled, and return their ids.

    After that heartbeat the server waits for the next one: a process that lives sends it in time, and the run of one
    that is gone becomes Crashed. Runs that may live without heartbeats are left alone: those without a deployment, and
    those whose deployment does not ask for heartbeats. The environment names the server.

    Raises:
        OSError, ValueError: The server does not answer.
    """
    states = {"type": {"any_": [PENDING, RUNNING, CANCELLING]}}
    wanted = {"state": states, "deployment_id": {"is_null_": False}}
    found = []
    for run in ask(os.environ, "POST", "/flow_runs/filter", {"flow_runs": wanted}, SECONDS):
        with suppress(OSError, ValueError, KeyError, TypeError):  # it was deleted just now: the next look will tell
            if _is_silent(run, datetime.now(UTC)):
                cancelled = run["state"]["type"] == CANCELLING
                if set_cancelled(run["id"], GONE) if cancelled else send_one(run["id"]):
                    found.append(str(run["id"]))
    return found


def sends_heartbeats(of_deployment: Mapping[str, Any] | None, of_run: Mapping[str, Any] | None) -> bool:
    """Return whether a worker lets a run send heartbeats, by the job variables of its deployment and its own."""
    variables = {**(of_deployment or {}), **(of_run or {})}
    return FREQUENCY in (variables.get("env") or {})


def _is_silent(run: Mapping[str, Any], now: datetime) -> bool:
    """Return whether a run should have sent a heartbeat long ago, and has not."""
    pending = run["state"]["type"] == PENDING
    if _seconds(run["state"]["timestamp"], now) < (PENDING_SECONDS if pending else SILENT_SECONDS):
        return False
    if pending and _get(f"/work_pools/{run['work_pool_name']}")["type"] != PROCESS:
        return False
    deployment = _get(f"/deployments/{run['deployment_id']}")
    if not sends_heartbeats(deployment.get("job_variables"), run.get("job_variables")):
        return False
    return all(_seconds(received, now) >= SILENT_SECONDS for received in _heartbeats(run["id"]))


def _heartbeats(run: str) -> list[str]:
    """Return when the server received the newest heartbeats of a run, by its own clock."""
    of_run = {"event": {"name": [EVENT]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    wanted = {"filter": of_run | {"occurred": {"until": "9999-01-01T00:00:00Z"}}, "limit": NEWEST}
    return [event["received"] for event in ask(os.environ, "POST", "/events/filter", wanted, SECONDS)["events"]]


def _get(path: str) -> Any:
    return ask(os.environ, "GET", path, None, SECONDS)


def _seconds(since: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(since)).total_seconds()


if __name__ == "__main__":
    client = prefect_client(os.environ["PREFECT_SERVER_API_AUTH_STRING"])
    os.environ.update({**client, "PREFECT_API_URL": f"{sys.argv[1]}/api"})
    with suppress(OSError, ValueError):  # the server is away, and is asked again in some minutes
        for silent in notice_silent():
            print(f"The flow run {silent} has sent no heartbeat for {SILENT_SECONDS:g} s", flush=True)
