"""A machine is rebooted in the middle of a training: the run is tried again, and the schedule goes on.

In a file of its own, because it waits for a quarter of an hour.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from core.services import service_list
from tests.operation.started_services import LONG_FIT, Record, fitted_again, kill, running_services, until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]
LOOKBACK_SECONDS = 900
"""A server that was restarted waits so long for the event before a crash, if that was less than five minutes ago."""


@pytest.mark.drill(
    "machine rebooted", "kill -9 of servers, worker, flow and fit; then `reviewlm ui start`",
    "Crashed; the second attempt makes the same model; the schedule goes on",
)  # fmt: skip
def test_after_a_reboot_the_run_is_tried_again_and_the_schedule_goes_on(
    tmp_path: Path, record_property: Record
) -> None:
    with running_services(tmp_path / "home") as ours, fitted_again(ours):
        upkeep = ours.ask("GET", "/deployments/name/upkeep/upkeep")
        [schedule] = ours.ask("GET", f"/deployments/{upkeep['id']}/schedules")
        hourly = {"active": True, "schedule": {"interval": 3600}}
        ours.ask("PATCH", f"/deployments/{upkeep['id']}/schedules/{schedule['id']}", hourly)
        run = ours.run_of("retrain/demo", LONG_FIT)
        ours.wait_for_training()
        kill(ours.processes())
        assert service_list.running(ours.home) == []
        began = time.monotonic()
        ours.verb("ui", "start")
        record_property("seconds until all services run", round(time.monotonic() - began))
        record_property("seconds until noticed", ours.wait_for(run, "Crashed", "AwaitingRetry", "Completed"))
        ours.wait_for(run, "Completed", seconds=LOOKBACK_SECONDS + 900)
        waiting = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}, "deployment_id": {"any_": [upkeep["id"]]}}}
        until(lambda: ours.ask("POST", "/flow_runs/filter", waiting), ours.log)
