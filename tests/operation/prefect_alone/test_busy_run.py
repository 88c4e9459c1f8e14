"""On a real Prefect server: a run that keeps the interpreter, or whose process ends late, is not taken for lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.first_run import ROOT
from tests.operation.started_services import Services, running_prefect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LOST_SECONDS, BUSY_SECONDS = 20, 36
SET_UP = f"""
from flows.server.alert_addresses import AlertSettings
from flows.server.automations import set_up
set_up(AlertSettings((), 8), lost_seconds={LOST_SECONDS})
"""
RUN = f"""
import ctypes, sys, time
import tasks.flow_run
from prefect import flow
from core.config.presets import load_config

kind = sys.argv[1]
tasks.flow_run.HEARTBEAT_SECONDS = 2

@flow(name=kind)
def run():
    tasks.flow_run.describe_flow_run(load_config("demo"))
    if kind == "late":
        return
    time.sleep(5)  # the first heartbeats are on their way
    for _ in range({BUSY_SECONDS} // 4):
        ctypes.PyDLL(None).sleep(4)  # keeps the interpreter, as a sort of a large list does

run()
if kind == "late":
    time.sleep({BUSY_SECONDS})
"""


def states(services: Services) -> dict[str, set[str]]:
    """Return the states that the run of each flow has had."""
    flows = {flow["id"]: flow["name"] for flow in services.ask("POST", "/flows/filter", {})}
    had = {}
    for run in services.ask("POST", "/flow_runs/filter", {}):
        found = services.ask("GET", f"/flow_run_states/?flow_run_id={run['id']}")
        had[flows[run["flow_id"]]] = {state["name"] for state in found}
    return had


@pytest.mark.drill(
    "worker and flow killed together", "the opposite: calls that keep the interpreter, and a process that ends late",
    "not taken for lost: Completed",
)  # fmt: skip
def test_a_run_that_keeps_the_interpreter_or_ends_late_is_not_taken_for_lost(tmp_path: Path) -> None:
    """Prefect's own heartbeats alone come late: their thread needs the interpreter thirty times for each."""
    with running_prefect(tmp_path / "home") as (services, environment):
        environment = {**environment, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", SET_UP], env=environment, cwd=ROOT, check=True, timeout=300)
        runs = {
            kind: subprocess.Popen([sys.executable, "-c", RUN, kind], env=environment, cwd=ROOT)
            for kind in ("busy", "late")
        }
        assert [run.wait(300) for run in runs.values()] == [0, 0]
        had = states(services)
    assert had["busy"] == had["late"] == {"Pending", "Running", "Completed"}
