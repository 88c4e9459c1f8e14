"""Send the heartbeats of a flow run from a process of its own: `python -m core.services.heartbeat RUN SECONDS [STATE]`.

Prefect sends them from a thread of the run, which needs the interpreter thirty times for each. A run whose calls keep
it for seconds at a time (a sort of a large list, a collection of garbage) sends them too late, and would be taken for
lost although it works. This process is a child of the run, so it ends with it in whatever way that ends. It is silent
about a run that is stuck for good: threads that wait for each other use no processor time at all.

It also looks whether the run was cancelled. Prefect's worker hears of that itself, but no longer once its server was
away for half a minute: the worker's listener gives up then, for the rest of the run, and no setting changes that. And
it takes its run back if that was taken for lost, and waits for a second attempt that no worker has begun yet. Once
another process has begun it, the run is that one's, and this process is to end: the other goes on from its checkpoint.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise

import psutil

from core.services.prefect_api import ask

HEARTBEAT_SECONDS = 30
"""Seconds between two heartbeats of a flow run; Prefect's minimum."""
HEARTBEAT, OF_PREFECT = "reviewlm.flow-run.heartbeat", "prefect.flow-run.heartbeat"
"""Our heartbeats, and those that Prefect sends from a thread of any flow, at whatever rate its settings say.

Only a want of ours makes a run lost: a healthy run of somebody else's deployment sends one every 180 seconds or none.
"""
EVENTS = (HEARTBEAT, OF_PREFECT)
"""Either says that the process of a run lives."""
SILENT = "reviewlm.flow-run.silent"
"""Says that a run should have sent a heartbeat long ago; from then on the server waits for one (`lost_runs.py`)."""
FREQUENCY = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
SECONDS, AGAIN_SECONDS = 10.0, 5.0
"""Time that the server has to answer; time until the next heartbeat after one that it did not take."""
STUCK_SECONDS = 1800.0
"""Time without any processor time after which a process is stuck. One that waits for a fit wakes every second."""
PENDING, RUNNING = "PENDING", "RUNNING"
CANCELLING, CANCELLED = "CANCELLING", "CANCELLED"
"""States of Prefect. Crashed is none of them: after an outage of the server it may be a false alarm."""
SCHEDULED, TRIED_AGAIN = "SCHEDULED", "Second attempt"
"""State of a run that waits for a worker, and how its message begins if that is because it has crashed."""
LIVES = {"type": "RUNNING", "name": "Running", "message": "The first process lives after all; no second attempt"}
ACCEPTED = "ACCEPT"
"""Prefect's answer about a new state that it has taken."""
IS_CANCELLED, IS_REPLACED = 3, 4
"""Exit codes of this process: the run is cancelled, or another process makes it now. The run's process is to end."""
BY_ITSELF = "Cancelled in Prefect; the process ended itself"


def send_heartbeats(run: str, seconds: float, begun: str = "") -> int:
    """Send a heartbeat of the parent's flow run every so many seconds; sooner after the server was away.

    None is sent of a run that is Cancelling: its process is about to end, and it must not become Crashed then, which
    means "try it again". A run that the worker ends is over, or killed, within 30 seconds of its cancellation. So one
    that is found cancelled twice, so many seconds apart, is left to us.

    Args:
        run: Id of the run.
        seconds: Time between two heartbeats.
        begun: Id of the state in which the parent began the run; "": it has not begun it yet.

    Returns:
        Why the parent is to end: IS_CANCELLED or IS_REPLACED.
    """
    parent = psutil.Process(os.getppid())
    used, moved = parent.cpu_times(), time.monotonic()
    since: float | None = None
    while True:
        if (now := parent.cpu_times()) != used:
            used, moved = now, time.monotonic()
        pause, state = seconds, _state(run)
        if (kind := state.get("type")) in (CANCELLING, CANCELLED):
            since = time.monotonic() if since is None else since
            if time.monotonic() - since >= seconds and (kind == CANCELLED or set_cancelled(run, BY_ITSELF)):
                return IS_CANCELLED
        elif begun and _is_begun_elsewhere(run, begun, state):
            return IS_REPLACED
        else:
            since, moves = None, time.monotonic() - moved < STUCK_SECONDS
            if moves and not send_one(run):
                pause = min(seconds, AGAIN_SECONDS)
            elif moves and kind == SCHEDULED and (state["message"] or "").startswith(TRIED_AGAIN):
                set_state(run, LIVES)
        time.sleep(pause)


def send_one(run: str, event: str = HEARTBEAT) -> bool:
    """Send one heartbeat of a flow run, or another event, and return whether the server took it."""
    told = {
        "id": str(uuid.uuid4()), "occurred": datetime.now(UTC).isoformat(), "event": event,
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
    }
    with suppress(OSError, ValueError):
        ask(os.environ, "POST", "/events", [told], SECONDS)
        return True
    return False


def _state(run: str) -> dict[str, str | None]:
    """Return id, type and message of a run's state; nothing if the server does not say them."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        state = ask(os.environ, "GET", f"/flow_runs/{run}", None, SECONDS)["state"]
        return {key: state[key] for key in ("id", "type", "message")}
    return {}


def _is_begun_elsewhere(run: str, begun: str, state: Mapping[str, str | None]) -> bool:
    """Return whether a process that a worker has started for it has begun a run, after the one that began it before.

    Such a Running follows Pending, in which the worker took the run. One that a user sets does not, nor one in which a
    flow tries again in the same process.

    Args:
        run: Id of the run.
        begun: Id of the state in which the earlier process began it.
        state: Its present state.
    """
    if state.get("type") != RUNNING or state["id"] == begun or state["message"] == LIVES["message"]:
        return False
    with suppress(OSError, ValueError, KeyError, TypeError):
        states = ask(os.environ, "GET", f"/flow_run_states/?flow_run_id={run}", None, SECONDS)
        return any(one["type"] == PENDING and later["id"] == state["id"] for one, later in pairwise(states))
    return False


def set_cancelled(run: str, why: str) -> bool:
    """Set a run that is Cancelling to Cancelled, as its worker would, and return whether the server took it."""
    return set_state(run, {"type": CANCELLED, "name": "Cancelled", "message": why})


def set_state(run: str, state: Mapping[str, str], force: bool = True) -> bool:
    """Set the state of a run, and return whether the server took it.

    Args:
        run: Id of the run.
        state: Its type, name and message.
        force: Also where Prefect's rules forbid it.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = {"state": dict(state), "force": force}
        answer = ask(os.environ, "POST", f"/flow_runs/{run}/set_state", told, SECONDS)
        return bool(answer["status"] == ACCEPTED)
    return False


if __name__ == "__main__":
    sys.exit(send_heartbeats(sys.argv[1], float(sys.argv[2]), *sys.argv[3:]))
