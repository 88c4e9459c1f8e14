"""What users change of a deployment in Prefect's pages outlives the next start of the services."""

from __future__ import annotations

import json
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from core.errors import ReviewLMError
from core.services import pools

WEEKLY, DAILY = {"cron": "0 3 * * 1", "timezone": "UTC"}, {"cron": "0 4 * * *", "timezone": "UTC"}

ACTIONS: dict[str, list[dict[str, str]]] = {
    "weekly__automation_1": [{"type": "run-deployment", "deployment_id": "id of weekly"}],
    "reviewlm: drift": [{"type": "send-notification"}],
}


class Server:
    """Prefect's server and file, as far as deployments are concerned."""

    def __init__(self) -> None:
        self.file: dict[str, dict[str, Any]] = {"weekly": deployment(WEEKLY)}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.switches: dict[str, bool] = {}

    def deploy(self) -> None:
        """Overwrite the deployments with the file, as `prefect deploy` does."""
        self.deployments |= json.loads(json.dumps(self.file))
        self.switches = {"weekly__automation_1": False, "reviewlm: drift": True}

    def ask(self, environment: Any, method: str, path: str, body: Any, seconds: float) -> Any:
        if path == "/deployments/filter":
            known = self.deployments.items()
            return [{"name": name, "flow_id": "f", "id": f"id of {name}", **about} for name, about in known]
        if path == "/automations/filter":
            return [{"name": name, "id": name, "enabled": on, "actions": ACTIONS[name]} for name, on in
                    self.switches.items()]
        assert method == "PATCH"
        if path.startswith("/automations/"):
            self.switches[path.removeprefix("/automations/")] = body["enabled"]
            return None
        self.deployments[path.removeprefix("/deployments/id of ")] |= body
        return None


def deployment(schedule: dict[str, Any], active: bool = False, **parameters: Any) -> dict[str, Any]:
    return {
        "schedules": [{"id": 7, "schedule": schedule, "active": active, "parameters": {}}],
        "parameters": {"preset": "small", **parameters}, "paused": False, "tags": [],
    }  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(pools, "ask", server.ask)
    return server


def start(server: Server, home: Path) -> dict[str, Any]:
    """Start the services; return schedule, its switch and the parameters of the weekly retrain."""
    with pools.kept_deployments({}, home):
        server.deploy()
    weekly = server.deployments["weekly"]
    [schedule] = weekly["schedules"]
    return {"cron": schedule["schedule"]["cron"], "active": schedule["active"], **weekly["parameters"]}


def test_a_schedule_that_was_switched_on_stays_on(server: Server, tmp_path: Path) -> None:
    assert start(server, tmp_path) == {"cron": WEEKLY["cron"], "active": False, "preset": "small"}
    server.deployments["weekly"]["schedules"][0]["active"] = True
    for _ in range(3):
        assert start(server, tmp_path) == {"cron": WEEKLY["cron"], "active": True, "preset": "small"}
    server.deployments["weekly"]["schedules"][0]["active"] = False
    assert start(server, tmp_path)["active"] is False


def test_an_automation_that_was_switched_on_stays_on_and_off_when_it_is_switched_off(
    server: Server, tmp_path: Path
) -> None:
    start(server, tmp_path)
    assert server.switches["weekly__automation_1"] is False
    for on in (True, False):
        server.switches["weekly__automation_1"] = on
        for _ in range(2):
            start(server, tmp_path)
            assert server.switches == {"weekly__automation_1": on, "reviewlm: drift": True}


def test_a_new_time_in_the_file_reaches_a_schedule_unless_a_user_has_changed_it(server: Server, tmp_path: Path) -> None:
    start(server, tmp_path)
    server.file["weekly"] = deployment(DAILY, wide=True)
    for _ in range(2):
        assert start(server, tmp_path) == {"cron": DAILY["cron"], "active": False, "preset": "small", "wide": True}
    server.deployments["weekly"]["schedules"][0]["active"] = True
    server.file["weekly"] = deployment(WEEKLY)
    for _ in range(2):
        assert start(server, tmp_path) == {"cron": DAILY["cron"], "active": True, "preset": "small"}


def test_a_start_that_is_killed_before_it_wrote_them_back_loses_no_changes(server: Server, tmp_path: Path) -> None:
    start(server, tmp_path)
    server.deployments["weekly"]["schedules"][0]["active"] = True
    killed = pools.kept_deployments({}, tmp_path)
    killed.__enter__()
    server.deploy()
    del killed
    assert server.deployments["weekly"]["schedules"][0]["active"] is False
    assert start(server, tmp_path)["active"] is True


def test_a_server_that_does_not_answer_is_an_error_that_names_it(tmp_path: Path) -> None:
    address = "http://127.0.0.1:9/api"
    with pytest.raises(ReviewLMError, match="cannot be read or written") as caught:
        pools.kept_deployments({"PREFECT_API_URL": address}, tmp_path).__enter__()
    assert caught.value.where == address


def busy(times: int, server: Server) -> Any:
    """Answer 503 to the first requests, as Prefect does while its database is locked."""
    left = iter(range(times))

    def ask(*request: Any) -> Any:
        if next(left, None) is None:
            return server.ask(*request)
        raise HTTPError("http://server", 503, "Service Unavailable", Message(), None)

    return ask
