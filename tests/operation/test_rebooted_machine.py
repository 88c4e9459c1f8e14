"""A machine is rebooted in the middle of a training: the run is tried again, and the schedule goes on.

In a file of its own, because its services are killed.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.services import service_list
from reviewlm.flows.server.automations import WAITS
from tests.operation.started_services import (
    LONG_FIT,
    Record,
    fitted_again,
    kill,
    running_services,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]
BUSY_SECONDS = 120.0
"""Seconds that a worker and a busy machine may take to begin a run that is due."""


@pytest.mark.drill(
    "machine rebooted",
    "kill -9 of servers, worker, flow and fit; then `reviewlm services start`",
    "Crashed; the second attempt makes the same model; the schedule goes on",
)
def test_work_goes_on_after_a_reboot(tmp_path: Path, record_property: Record) -> None:
    with running_services(tmp_path / "home") as ours, fitted_again(ours):
        upkeep = ours.ask("GET", "/deployments/name/upkeep/upkeep")
        [schedule] = ours.ask("GET", f"/deployments/{upkeep['id']}/schedules")
        hourly = {"active": True, "schedule": {"interval": 3600}}
        ours.ask("PATCH", f"/deployments/{upkeep['id']}/schedules/{schedule['id']}", hourly)
        run = ours.run_of("retrain/demo", LONG_FIT)
        ours.wait_for_training()
        kill(ours.processes())
        rebooted = datetime.now(UTC)
        assert service_list.running(ours.home) == []
        began = time.monotonic()
        ours.verb("services", "start")
        record_property("seconds until all services run", round(time.monotonic() - began))
        record_property("seconds until noticed", ours.wait_for(run, "Crashed", "AwaitingRetry"))
        most = WAITS["retry_seconds"] + BUSY_SECONDS
        record_property(
            "seconds until it runs again", ours.wait_for(run, "Running", "Completed", seconds=most)
        )
        ours.wait_for(run, "Completed")
        assert ours.ask("GET", f"/flow_runs/{run}")["run_count"] == 2
        waiting = {
            "flow_runs": {
                "state": {"type": {"any_": ["SCHEDULED"]}},
                "deployment_id": {"any_": [upkeep["id"]]},
            }
        }

        def made_since() -> list[Any]:
            """Return the runs that wait and were not made in advance, before the reboot."""
            found = ours.ask("POST", "/flow_runs/filter", waiting)
            return [one for one in found if datetime.fromisoformat(one["created"]) > rebooted]

        until(made_since, ours.log, 120)
