"""`compose.services.yaml` names programs, variables, ports and databases that exist. No container is started here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from reviewlm.cli import app
from reviewlm.core.environment import HOME_VARIABLE, TRACKING_VARIABLE
from reviewlm.core.services import launch
from reviewlm.core.services.launch import SERVERS
from reviewlm.core.services.service_list import DEFAULT_PORTS
from reviewlm.core.web_guard import HOSTS_VARIABLE

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.services.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "postgres"}
OF_LIBPQ, OF_IMAGE = {"PGPASSWORD"}, {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
OURSELVES = {TRACKING_VARIABLE, HOSTS_VARIABLE, "REVIEWLM_MLFLOW_URL"}


@pytest.mark.parametrize("name", [name for name in OURS if name != "serve"])
def test_every_container_runs_a_service_that_there_is(name: str) -> None:
    service = OURS[name]
    assert service["entrypoint"] == ["python", "-m", launch.__name__]
    assert {*service["command"]} < {*SERVERS, *launch.WORKERS}


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


def test_ports_are_open_on_this_machine_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {name: [f"127.0.0.1:{port}:{port}"] for name, port in DEFAULT_PORTS.items()}


def test_pages_answer_to_the_names_that_are_used() -> None:
    environment = OURS["worker"]["environment"]
    hosts = environment[HOSTS_VARIABLE].split(",")
    assert hosts == [f"{name}:{DEFAULT_PORTS[name]}" for name in SERVERS]
    assert environment["PREFECT_API_URL"] == f"http://prefect:{DEFAULT_PORTS['prefect']}/api"


def test_the_health_of_a_server_is_asked_at_its_page() -> None:
    for name, (_, _, page) in SERVERS.items():
        asked = OURS[name]["healthcheck"]["test"][-1]
        assert f'"http://127.0.0.1:{DEFAULT_PORTS[name]}{page}"' in asked


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights(name: str) -> None:
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


def test_all_containers_share_one_home() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    [folder] = re.findall(rf"{HOME_VARIABLE}=(\S+)", dockerfile)
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["volumes"][0].endswith(f":{folder}")


def test_the_image_has_the_deployments_that_a_worker_creates() -> None:
    assert "prefect.yaml" in (DEPLOY / "Dockerfile").read_text()


class Replaced(BaseException):
    """This process would have been replaced by the service."""


@pytest.fixture
def replaced(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[list[str], dict[str, str]]]:
    """A function that runs a service in the foreground, and returns its program and environment."""

    def run(name: str) -> tuple[list[str], dict[str, str]]:
        def replace(program: str, words: list[str]) -> None:
            raise Replaced(*words)

        addresses = {
            "PREFECT_API_URL": "http://prefect:4200/api",
            "PREFECT_UI_URL": "http://127.0.0.1:4200",
        }
        monkeypatch.setattr(os, "execv", replace)
        monkeypatch.setattr(os, "environ", dict(os.environ) | addresses)
        monkeypatch.setattr(launch, "deploy", lambda *_: None)
        monkeypatch.chdir(own_home.parent)
        with pytest.raises(Replaced) as ended:
            launch.run_in_foreground(name)
        return list(ended.value.args)[1:], dict(os.environ)

    return run


Run = Callable[[str], tuple[list[str], dict[str, str]]]


def test_the_service_of_a_container_takes_its_process(replaced: Run) -> None:
    words, worker = replaced("worker-cpu-pool")
    assert words[:4] == ["-m", "prefect", "worker", "start"]
    assert worker["PREFECT_API_URL"] == "http://prefect:4200/api"
    words, _ = replaced("prefect")
    assert {"uvicorn", "0.0.0.0", str(DEFAULT_PORTS["prefect"])} < {*words}
    words, _ = replaced("mlflow")
    assert "reviewlm.tracking.mlflow_server:application" in words


def test_the_server_of_a_container_asks_for_what_the_worker_sends(replaced: Run) -> None:
    _, worker = replaced("worker-cpu-pool")
    _, server = replaced("prefect")
    assert server["PREFECT_SERVER_API_AUTH_STRING"] == worker["PREFECT_API_AUTH_STRING"]


def test_the_server_of_a_container_is_open_to_its_own_page(replaced: Run) -> None:
    _, server = replaced("prefect")
    origins = server["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]
    assert server["PREFECT_UI_URL"] == origins == "http://127.0.0.1:4200"
