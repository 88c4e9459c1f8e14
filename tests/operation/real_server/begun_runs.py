"""Begin runs of flows on a Prefect server in processes that a test may kill."""

from __future__ import annotations

import subprocess
import sys
import time

from core.processes.keep_running import EVERY_SECONDS
from core.services.lost_runs import ATTEMPT_SECONDS
from tests.operation.real_server.asked_server import until

LOST = """
import os, sys
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
@flow(name=sys.argv[1])
def lost():
    import time
    if not {"mute", "foreign"} & set(sys.argv):
        from tasks.flow_run import keep_alive
        keep_alive(flow_run.id)
    print("begun", flush=True)
    time.sleep(900)
if "deployed" in sys.argv:
    asked = {} if "unasked" in sys.argv else {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(lost)
        deployment = client.create_deployment(flow_id, "deployed", work_pool_name=None, job_variables=asked)
        run = client.create_flow_run_from_deployment(deployment)
    from prefect.flow_engine import run_flow
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if "mute" in sys.argv else {}):
        run_flow(lost, flow_run=run)
elif "again" in sys.argv:
    from prefect.flow_engine import run_flow
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(sys.argv[-1])
    run_flow(lost, flow_run=run)
else:
    lost()
"""


def begin_a_run(environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    """Run the flow of this name, of a deployment or not; return its process.

    It sends our heartbeats and Prefect's, as our flows do; only Prefect's if it is "foreign", none if it is "mute".
    With "again" and the id of a run, it begins that one, as the process of a second attempt does.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", LOST, *words], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    until(lambda stdout=process.stdout: "begun" in stdout.readline())
    return process


def kill_in_a_run(server: dict[str, str], *words: str) -> None:
    """Run the flow of this name, of a deployment or not, and kill its process after the first heartbeat."""
    process = begin_a_run(server, *words)
    time.sleep(5)  # its first heartbeat is on its way
    process.kill()
    process.wait()


NOTICED = 15 + ATTEMPT_SECONDS + 2 * EVERY_SECONDS + 90
"""Seconds until the second attempt of a run that `set_up` lets be lost after 15, on a busy machine."""
