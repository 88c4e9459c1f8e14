"""Notice silent runs of our deployments and try crashed ones again: `python -m core.services.lost_runs ADDRESS`.

Prefect's server waits for the next heartbeat of a run after each one (`flows/server/automations.py`). So it never
notices a run that was killed before its first, nor one that it has forgotten in a restart. And it judges by events
alone: it cannot know that a crashed run was cancelled before, was tried again already, or lives after all. The process
beside the server looks every half minute (`core/processes/keep_running.py`), without Prefect, whose import takes
seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from core.credentials import prefect_client
from core.services.heartbeat import (
    CANCELLED,
    CANCELLING,
    EVENTS,
    FREQUENCY,
    HEARTBEAT_SECONDS,
    PENDING,
    RUNNING,
    SECONDS,
    SILENT,
    TRIED_AGAIN,
    send_one,
    set_cancelled,
    set_state,
)
from core.services.prefect_api import ask

SILENT_SECONDS = 240.0
"""Time without a heartbeat after which a run is silent; twice as long as the server waits for the next one."""
FIRST_SECONDS = 2.0 * HEARTBEAT_SECONDS
"""Time in which a run that is Running sends its first heartbeat, however slowly it starts.

The child that sends ours is started before the flow's module is imported, so before the run is Running
(`flows/__init__.py`), and Prefect's thread sends its first one at once. One that comes later, while the server waits
for it, is in time, too.
"""
PENDING_SECONDS = 900.0
"""Time within which the process of a run begins it after a worker took it, on however busy a machine."""
ATTEMPT_SECONDS = 2.0 * HEARTBEAT_SECONDS
"""Time from the crash of a run and its last heartbeat to the second attempt: a process that lives sends one in it.

A worker reports the end of a killed process twice, seconds apart. After a second attempt at once, its later report
would make the run crash again.
"""
FORGOTTEN = timedelta(hours=1)
"""Time after which a crash is old news, as when the services start again."""
SEARCHED = timedelta(days=1)
"""Age of the crashes that are looked at: a process may have lived on for hours after its run was taken for lost."""
CRASHED = "CRASHED"
PROCESS = "process"
"""Type of the pools whose workers start processes, at once. A Job of Kubernetes may wait for its node for hours."""
NEWEST = 50
"""Heartbeats to look at. The newest by the clocks of their machines need not be the last that came."""
GONE = "Cancelled in Prefect; the process that made this run is gone"
AGAIN = f"{TRIED_AGAIN}, the last one: the first one crashed, and its process sends no heartbeats"


def notice_silent() -> list[str]:
    """Tell the server of each silent run, set those that are Cancelling to Cancelled, and return their ids.

    From then on the server waits for a heartbeat: a process that lives sends it in time, and the run of one that is
    gone becomes Crashed. The environment names the server.

    Raises:
        OSError, ValueError: The server does not answer.
    """
    found = []
    for run in _runs_of_deployments([PENDING, RUNNING, CANCELLING]):
        with suppress(OSError, ValueError, KeyError, TypeError):  # it was deleted just now: the next look will tell
            if _is_silent(run, datetime.now(UTC)):
                cancelled = run["state"]["type"] == CANCELLING
                if set_cancelled(run["id"], GONE) if cancelled else send_one(run["id"], SILENT):
                    found.append(str(run["id"]))
    return found


def try_again() -> list[str]:
    """Schedule the second attempt of each run that has crashed and is not known to live, and return their ids.

    A run gets one, also if its first process was killed while it imported the flow, and none if it was ever cancelled:
    somebody decided that it should end.

    Raises:
        OSError, ValueError: The server does not answer.
    """
    found = []
    for run in _runs_of_deployments([CRASHED], end_time={"after_": (datetime.now(UTC) - SEARCHED).isoformat()}):
        with suppress(OSError, ValueError, KeyError, TypeError):
            again = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": AGAIN}
            if _wants_another(run, datetime.now(UTC)) and set_state(run["id"], again, force=False):
                found.append(str(run["id"]))
    return found


def sends_heartbeats(of_deployment: Mapping[str, Any] | None, of_run: Mapping[str, Any] | None) -> bool:
    """Return whether a run must send heartbeats as often as ours, by the job variables of its deployment and its own.

    All other runs are left alone. Prefect lets each flow send heartbeats, of itself every 180 seconds, so that they
    come says nothing about when the next one must.
    """
    variables = {**(of_deployment or {}), **(of_run or {})}
    return str((variables.get("env") or {}).get(FREQUENCY)) == str(HEARTBEAT_SECONDS)


def _runs_of_deployments(states: list[str], **wanted: Any) -> Iterator[dict[str, Any]]:
    """Yield the runs of deployments, the last that ended first: the server gives 200 at most."""
    of_deployments = {"state": {"type": {"any_": states}}, "deployment_id": {"is_null_": False}, **wanted}
    asked = {"flow_runs": of_deployments, "sort": "END_TIME_DESC"}
    yield from ask(os.environ, "POST", "/flow_runs/filter", asked, SECONDS)


def _is_silent(run: Mapping[str, Any], now: datetime) -> bool:
    """Return whether a run should have sent a heartbeat long ago, and has not.

    Heartbeats from before its present state may be those of an earlier attempt.
    """
    kind, since = run["state"]["type"], _seconds(run["state"]["timestamp"], now)
    if since < {PENDING: PENDING_SECONDS, RUNNING: FIRST_SECONDS}.get(kind, SILENT_SECONDS):
        return False
    if kind == PENDING and _get(f"/work_pools/{run['work_pool_name']}")["type"] != PROCESS:
        return False
    return _is_ours(run) and all(seconds >= min(since, SILENT_SECONDS) for seconds in _silence(run["id"], now))


def _wants_another(run: Mapping[str, Any], now: datetime) -> bool:
    """Return whether a crashed run is to be tried again: once, soon after its last sign of life, never if cancelled."""
    crashed = _seconds(run["state"]["timestamp"], now)
    if run["run_count"] > 1 or crashed < ATTEMPT_SECONDS or not _is_ours(run):
        return False
    for state in _get(f"/flow_run_states/?flow_run_id={run['id']}"):
        if state["type"] in (CANCELLING, CANCELLED) or (state["message"] or "").startswith(TRIED_AGAIN):
            return False
    heartbeats = _silence(run["id"], now)
    if not run["run_count"] and not heartbeats:  # no process of it ever lived: another would not, either
        return False
    return ATTEMPT_SECONDS <= min([crashed, *heartbeats]) <= FORGOTTEN.total_seconds()


def _is_ours(run: Mapping[str, Any]) -> bool:
    deployment = _get(f"/deployments/{run['deployment_id']}")
    return sends_heartbeats(deployment.get("job_variables"), run.get("job_variables"))


def _silence(run: str, now: datetime) -> list[float]:
    """Return the seconds since the server received the newest heartbeats of a run, by its own clock."""
    of_run = {"event": {"name": list(EVENTS)}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    wanted = {"filter": of_run | {"occurred": {"until": "9999-01-01T00:00:00Z"}}, "limit": NEWEST}
    events = ask(os.environ, "POST", "/events/filter", wanted, SECONDS)["events"]
    return [_seconds(event["received"], now) for event in events]


def _get(path: str) -> Any:
    return ask(os.environ, "GET", path, None, SECONDS)


def _seconds(since: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(since)).total_seconds()


if __name__ == "__main__":
    client = prefect_client(os.environ["PREFECT_SERVER_API_AUTH_STRING"])
    os.environ.update({**client, "PREFECT_API_URL": f"{sys.argv[1]}/api"})
    with suppress(OSError, ValueError):  # the server is away, and is asked again in half a minute
        for one in notice_silent():
            print(f"The flow run {one} sends no heartbeats", flush=True)
        for one in try_again():
            print(f"The flow run {one} has crashed, and is scheduled once more", flush=True)
