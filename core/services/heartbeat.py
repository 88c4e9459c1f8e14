"""Send the heartbeats of a flow run from a process of its own: `python -m core.services.heartbeat RUN SECONDS`.

Prefect sends them from a thread of the run, which needs the interpreter thirty times for each. A run whose calls keep
it for seconds at a time (a sort of a large list, a collection of garbage) sends them too late, and would be taken for
lost although it works. This process is a child of the run, so it ends with it in whatever way that ends.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime

from core.services.prefect_api import ask

EVENT = "prefect.flow-run.heartbeat"
FREQUENCY = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
SECONDS, AGAIN_SECONDS = 10.0, 5.0
"""Time that the server has to answer; time until the next heartbeat after one that it did not take."""


def send_heartbeats(run: str, seconds: float) -> None:
    """Send a heartbeat of a flow run every so many seconds, for ever; sooner after the server was away."""
    while True:
        told = {
            "id": str(uuid.uuid4()), "occurred": datetime.now(UTC).isoformat(), "event": EVENT,
            "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        }
        pause = min(seconds, AGAIN_SECONDS)
        with suppress(OSError, ValueError):
            ask(os.environ, "POST", "/events", [told], SECONDS)
            pause = seconds
        time.sleep(pause)


if __name__ == "__main__":
    send_heartbeats(sys.argv[1], float(sys.argv[2]))
