"""Run a flow on the private server of a command in a home, and print what it tells and whom it answers, as JSON."""

from __future__ import annotations

import json
import os
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from reviewlm.core.environment import prepare_environment

prepare_environment(Path(sys.argv[1]))

from prefect import flow  # noqa: E402
from prefect.client.orchestration import get_client  # noqa: E402
from prefect.context import TaskRunContext  # noqa: E402
from prefect.settings import get_current_settings  # noqa: E402

from reviewlm.flows.server.own_runs import ended_with_process  # noqa: E402
from reviewlm.flows.server.private_server import private_server  # noqa: E402
from reviewlm.tasks.execution.stage import stage_task  # noqa: E402

HEADERS: dict[str, dict[str, str]] = {
    "stranger": {},
    "page": {"Origin": "http://evil.example", "Content-Type": "text/plain"},
}
found: dict[str, Any] = {}


@stage_task("double")
def double(number: int) -> int:
    context = TaskRunContext.get()
    assert context is not None
    found["tags of a stage"] = context.task_run.tags
    return 2 * number


@flow
def doubled() -> int:
    return int(double.submit(21).result())


with private_server() as wait, get_client(sync_client=True) as client:
    wait()
    settings = get_current_settings()
    found["named to children"] = "PREFECT_API_URL" in os.environ
    found["heartbeat"] = settings.flows.heartbeat_frequency
    found["links"] = settings.ui_url
    found["flow"] = ended_with_process(doubled)()
    [run] = client.read_flow_runs()
    found["tags of a flow run"] = [tag.partition(":")[0] for tag in run.tags]
    for name, headers in HEADERS.items():
        connection = HTTPConnection("127.0.0.1", client.api_url.port, timeout=60)
        connection.request("POST", "/api/flow_runs/filter", b"{}", headers)
        answer = connection.getresponse()
        answer.read()
        found[name] = [answer.status, answer.getheader("Access-Control-Allow-Origin")]

print(json.dumps(found))
