"""`compose.services.yaml` names programs, variables, ports and databases that exist. No container is started here."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from core.environment import HOME_VARIABLE, TRACKING_VARIABLE
from core.services import foreground
from core.services.launch import SERVERS
from core.services.service_list import DEFAULT_PORTS
from core.web_guard import HOSTS_VARIABLE
from reviewlm.cli import app

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.services.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "postgres"}
OF_LIBPQ, OF_IMAGE = {"PGPASSWORD"}, {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
OURSELVES = {TRACKING_VARIABLE, HOSTS_VARIABLE, "REVIEWLM_MLFLOW_URL"}


@pytest.mark.parametrize("name", [name for name in OURS if name != "serve"])
def test_every_container_runs_a_service_that_there_is(name: str) -> None:
    service = OURS[name]
    assert service["entrypoint"] == ["python", "-m", foreground.__name__]
    [word] = service["command"]
    command = foreground.command_of(word)
    assert command[0] == "-m"
    assert ("0.0.0.0" in command) is (name in SERVERS)


def test_the_champion_is_served_at_its_usual_port() -> None:
    words = OURS["serve"]["command"]
    given = get_command(app).commands["serve"].make_context("serve", words[1:]).params  # type: ignore[attr-defined]
    assert (given["host"], given["port"]) == ("0.0.0.0", DEFAULT_PORTS["serve"])


def test_every_variable_is_known_to_us_to_prefect_or_to_the_database() -> None:
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_settings_fields

    known = set(_get_settings_fields(Settings)) | OURSELVES | OF_LIBPQ
    for service in OURS.values():
        assert service["environment"].keys() - known == set()
    assert SERVICES["postgres"]["environment"].keys() == OF_IMAGE


def test_ports_are_open_on_this_machine_only_and_pages_answer_to_the_names_that_are_used() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {name: [f"127.0.0.1:{port}:{port}"] for name, port in DEFAULT_PORTS.items()}
    environment = OURS["worker"]["environment"]
    assert environment[HOSTS_VARIABLE].split(",") == [f"{name}:{DEFAULT_PORTS[name]}" for name in SERVERS]
    assert environment["PREFECT_API_URL"] == f"http://prefect:{DEFAULT_PORTS['prefect']}/api"
    for name, (_, _, page) in SERVERS.items():
        assert f'"http://127.0.0.1:{DEFAULT_PORTS[name]}{page}"' in OURS[name]["healthcheck"]["test"][-1]


def test_all_are_without_rights_and_share_one_home() -> None:
    for name, service in SERVICES.items():
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    [folder] = re.findall(rf"{HOME_VARIABLE}=(\S+)", dockerfile)
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["volumes"][0].endswith(f":{folder}")
    assert "prefect.yaml" in dockerfile  # a worker creates the deployments


def variables(name: str, home: Path, **given: str) -> dict[str, Any]:
    return foreground.variables_of(name, home, given)


def test_the_server_asks_for_the_password_that_the_worker_sends(tmp_path: Path) -> None:
    server = variables("prefect", tmp_path, PREFECT_UI_URL="http://127.0.0.1:4200")
    worker = variables("worker-cpu-pool", tmp_path, PREFECT_API_URL="http://prefect:4200/api")
    assert server["PREFECT_SERVER_API_AUTH_STRING"] == worker["PREFECT_API_AUTH_STRING"]
    assert server["PREFECT_UI_URL"] == server["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4200"
    assert worker["PREFECT_API_URL"] == "http://prefect:4200/api"
    assert variables("mlflow", tmp_path) == {}


class Replaced(BaseException):
    """This process would have been replaced by the service."""


@pytest.mark.parametrize("name", ["prefect", "mlflow", "worker-cpu-pool"])
def test_the_service_of_a_container_takes_its_process_and_so_gets_its_signals(
    name: str, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(program: str, words: list[str]) -> None:
        raise Replaced(*words)

    monkeypatch.setattr(os, "execv", replace)
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"PREFECT_API_URL": "http://prefect:4200/api"})
    monkeypatch.setattr(foreground, "deploy", lambda *_: None)
    monkeypatch.chdir(own_home.parent)
    with pytest.raises(Replaced) as replaced:
        foreground.run(name)
    assert list(replaced.value.args)[1:] == list(foreground.command_of(name))
