"""Send the heartbeats of a flow run from a process of its own: `python -m core.services.heartbeat RUN SECONDS`.

Prefect sends them from a thread of the run, which needs the interpreter thirty times for each. A run whose calls keep
it for seconds at a time (a sort of a large list, a collection of garbage) sends them too late, and would be taken for
lost although it works. This process is a child of the run, so it ends with it in whatever way that ends. It is silent
about a run that is stuck for good: threads that wait for each other use no processor time at all.

It also looks whether the run was cancelled. Prefect's worker hears of that itself, but no longer once its server was
away for half a minute: the worker's listener gives up then, for the rest of the run, and no setting changes that.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime

import psutil

from core.services.prefect_api import ask

EVENT = "prefect.flow-run.heartbeat"
FREQUENCY = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
SECONDS, AGAIN_SECONDS = 10.0, 5.0
"""Time that the server has to answer; time until the next heartbeat after one that it did not take."""
STUCK_SECONDS = 1800.0
"""Time without any processor time after which a process is stuck. One that waits for a fit wakes every second."""
CANCELLING, CANCELLED = "CANCELLING", "CANCELLED"
"""States of Prefect. Crashed is none of them: after an outage of the server it may be a false alarm."""
IS_CANCELLED = 3
"""Exit code of this process: the run is cancelled, so its process is to end."""
BY_ITSELF = "Cancelled in Prefect; the process ended itself"


def send_heartbeats(run: str, seconds: float) -> None:
    """Send a heartbeat of the parent's flow run every so many seconds; sooner after the server was away.

    Return when the run is Cancelled and its process still there. A run that the worker ends is over, or killed, within
    30 seconds of its cancellation. So one that is found cancelled twice, so many seconds apart, is left to us.
    """
    parent = psutil.Process(os.getppid())
    used, moved = parent.cpu_times(), time.monotonic()
    since: float | None = None
    while True:
        if (now := parent.cpu_times()) != used:
            used, moved = now, time.monotonic()
        pause = seconds
        if time.monotonic() - moved < STUCK_SECONDS and not send_one(run):
            pause = min(seconds, AGAIN_SECONDS)
        if (state := _state(run)) not in (CANCELLING, CANCELLED):
            since = None
        elif since is None:
            since = time.monotonic()
        elif time.monotonic() - since >= seconds and (state == CANCELLED or set_cancelled(run, BY_ITSELF)):
            return
        time.sleep(pause)


def send_one(run: str) -> bool:
    """Send one heartbeat of a flow run, and return whether the server took it."""
    told = {
        "id": str(uuid.uuid4()), "occurred": datetime.now(UTC).isoformat(), "event": EVENT,
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
    }
    with suppress(OSError, ValueError):
        ask(os.environ, "POST", "/events", [told], SECONDS)
        return True
    return False


def _state(run: str) -> str:
    """Return the type of a run's state; empty if the server does not say it."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(ask(os.environ, "GET", f"/flow_runs/{run}", None, SECONDS)["state"]["type"])
    return ""


def set_cancelled(run: str, why: str) -> bool:
    """Set a run that is Cancelling to Cancelled, as its worker would, and return whether the server took it."""
    state = {"type": CANCELLED, "name": "Cancelled", "message": why}
    with suppress(OSError, ValueError):
        ask(os.environ, "POST", f"/flow_runs/{run}/set_state", {"state": state, "force": True}, SECONDS)
        return True
    return False


if __name__ == "__main__":
    send_heartbeats(sys.argv[1], float(sys.argv[2]))
    sys.exit(IS_CANCELLED)
