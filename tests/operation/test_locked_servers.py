"""Attacks of a web page on the real Prefect and MLflow servers, and on the one that a command starts for itself."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.credentials import credentials_of, password_of
from reviewlm.core.services import launch, service_list
from reviewlm.core.services.service_list import keep_ports
from tests.programs import command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
]  # tests/core/test_web_guard.py checks the guard itself
EVIL = "http://evil.example"
READ = {
    "prefect": ("POST", "/api/flow_runs/filter", b'{"limit": 1}'),
    "mlflow": ("POST", "/api/2.0/mlflow/experiments/search", b'{"max_results": 1}'),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, int]]]:
    """Both servers, as `reviewlm services start` starts them, and their ports."""
    home, started = tmp_path_factory.mktemp("served"), {}
    before = {
        name: os.environ.pop(name, None) for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
    }
    os.environ["PREFECT_HOME"], prefect_home = str(home / "prefect"), os.environ["PREFECT_HOME"]
    try:
        keep_ports(home, {"prefect": 4300, "mlflow": 5100})
        for name in launch.SERVERS:
            (starter := launch.Starter(home, started)).serve(name)
            starter.wait(name)
        yield (
            home,
            {name: int(service.address.rpartition(":")[2]) for name, service in started.items()},
        )
    finally:
        service_list.stop(home)
        os.environ.update(
            {name: value for name, value in before.items() if value}, PREFECT_HOME=prefect_home
        )


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    **headers: str,
) -> tuple[int, dict[str, str]]:
    """Send exactly these headers; return the status and the answer's headers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, path, skip_host=True)
    sent = {
        "Host": f"127.0.0.1:{port}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    for name, value in sent.items() | ({"Content-Length": str(len(body))} if body else {}).items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def basic(home: Path) -> str:
    return "Basic " + base64.b64encode(credentials_of(home).encode()).decode()


BOTH = pytest.mark.parametrize("name", ["prefect", "mlflow"])


@BOTH
def test_a_client_with_the_password_is_served(
    servers: tuple[Path, dict[str, int]], name: str
) -> None:
    home, port = servers[0], servers[1][name]
    method, path, body = READ[name]
    known = {"Authorization": basic(home), "Content_Type": "application/json"}
    assert (
        ask(
            port,
            method,
            path,
            body,
            **known,
        )[0]
        == 200
    )
    assert (
        ask(
            port,
            method,
            path,
            body,
            **known,
            Origin=f"http://127.0.0.1:{port}",
        )[0]
        == 200
    )


@BOTH
def test_a_client_without_the_password_is_refused(
    servers: tuple[Path, dict[str, int]], name: str
) -> None:
    method, path, body = READ[name]
    port = servers[1][name]
    assert (
        ask(
            port,
            method,
            path,
            body,
            Content_Type="application/json",
        )[0]
        == 401
    )


@BOTH
def test_another_page_is_refused(servers: tuple[Path, dict[str, int]], name: str) -> None:
    home, port = servers[0], servers[1][name]
    method, path, body = READ[name]
    known = {"Authorization": basic(home), "Content_Type": "application/json"}
    asked = {
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "content-type",
    }
    for origin in (EVIL, "null", f"http://127.0.0.1:{port + 1}"):
        for status, headers in (
            ask(
                port,
                "OPTIONS",
                path,
                **asked,
                Origin=origin,
            ),
            ask(
                port,
                method,
                path,
                body,
                Content_Type="text/plain",
                Origin=origin,
            ),
            ask(
                port,
                method,
                path,
                body,
                **known,
                Origin=origin,
            ),
        ):
            assert status == 403
            assert not [header for header in headers if header.startswith("access-control")]


@BOTH
def test_another_name_of_the_server_is_refused(
    servers: tuple[Path, dict[str, int]], name: str
) -> None:
    home, port = servers[0], servers[1][name]
    other = {"Host": f"rebound.example:{port}", "Authorization": basic(home)}
    for path in ("/", READ[name][1], "/health", "/api/health"):
        assert ask(port, "GET", path, **other)[0] == 403


@pytest.mark.parametrize(
    ("name", "opened"),
    [
        (
            "prefect",
            {"/api/health", "/api/ready", "/", "/ui-settings", "/docs", "/redoc", "/openapi.json"},
        ),
        ("mlflow", {"/health"}),
    ],
)
def test_without_the_password_only_the_addresses_of_the_page_on_security_answer(
    servers: tuple[Path, dict[str, int]],
    name: str,
    opened: set[str],
) -> None:
    others = {
        "/api/metrics",
        "/api/flow_runs/health",
        "/api/variables/name/ready",
        "/api/openapi.json",
        "/api/docs",
        "/api/admin/version",
        "/version",
        "/api/2.0/mlflow/experiments/search",
        "/get-artifact",
    }
    asked = {path: ask(servers[1][name], "GET", path)[0] for path in opened | others}
    answered = {path for path, status in asked.items() if status != 401}
    # Addresses of the app of Prefect's pages.
    pages = {"/version", "/get-artifact"} if name == "prefect" else set()
    assert answered - pages == opened


def test_mlflow_s_page_is_served(servers: tuple[Path, dict[str, int]]) -> None:
    home, port = servers[0], servers[1]["mlflow"]
    status, headers = ask(port, "GET", "/", Authorization=basic(home))
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_mlflow_s_assistant_is_not_served(servers: tuple[Path, dict[str, int]]) -> None:
    home, port = servers[0], servers[1]["mlflow"]
    path = "/ajax-api/3.0/mlflow/assistant/config"
    assert ask(port, "GET", path, Authorization=basic(home))[0] == 404


def test_the_password_is_in_no_log_argument_or_list_of_services(
    servers: tuple[Path, dict[str, int]],
) -> None:
    home, _ = servers
    password = password_of(home).encode()
    holders = [
        path.name for path in home.rglob("*") if path.is_file() and password in path.read_bytes()
    ]
    assert holders == ["ui-password"]
    arguments = [
        Path(f"/proc/{service.pid}/cmdline").read_bytes() for service in service_list.running(home)
    ]
    assert len(arguments) == 2
    assert not any(password in given for given in arguments)


@pytest.fixture(scope="module")
def private_server(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a flow on the server of a single command tells, and whom the server answers."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")
    }
    done = subprocess.run(
        command("ask_private_server", tmp_path_factory.mktemp("private")),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_server_of_a_single_command_is_closed_to_pages(private_server: dict[str, Any]) -> None:
    assert private_server["stranger"] == private_server["page"] == [401, None]
    assert private_server["named to children"] is False


def test_the_server_of_a_single_command_is_open_to_its_flow(private_server: dict[str, Any]) -> None:
    assert private_server["flow"] == 42
    assert private_server["heartbeat"] is None
    assert re.fullmatch(r"http://127\.0\.0\.1:42\d\d", private_server["links"])


def test_a_flow_of_a_single_command_has_no_tags(private_server: dict[str, Any]) -> None:
    """Prefect asks the server for each tag of a task run."""
    assert private_server["tags of a flow run"] == []
    assert private_server["tags of a stage"] == []
