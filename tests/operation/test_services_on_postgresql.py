"""The services on PostgreSQL: Prefect's and MLflow's tables are there, and a deployed retrain promotes a champion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reviewlm.core.services import service_list
from tests.flows.first_run import ROOT, TINY, user_environment
from tests.postgresql import Cluster, cluster_of_services
from tests.programs import command

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
pytest.importorskip(
    "psycopg", reason="psycopg is not installed: pip install -c constraints.txt -e '.[postgres]'"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_of_services() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def environment(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The environment of a user whose services run on PostgreSQL."""
    home = tmp_path_factory.mktemp("postgresql") / "home"
    environment = user_environment(home) | {
        "PREFECT_API_DATABASE_CONNECTION_URL": cluster.address("prefect", "postgresql+asyncpg"),
        "REVIEWLM_TRACKING_URI": cluster.address("mlflow"),
    }
    try:
        reviewlm(environment, "services", "start")
        yield environment
    finally:
        service_list.stop(home)


def reviewlm(environment: Mapping[str, str], *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "reviewlm.cli", *words, "--json"]
    done = subprocess.run(
        command,
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_all_deployments_are_applied(cluster: Cluster, environment: dict[str, str]) -> None:
    wanted = {
        entry["name"]
        for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    }
    found = {name for (name,) in cluster.ask("prefect", "SELECT name FROM deployment")}
    assert found == wanted - {"gpu"} or found == wanted
    states = {
        row["service"]: row["state"]
        for row in reviewlm(environment, "services", "status")["services"]
    }
    assert states == {
        "prefect": "answers",
        "mlflow": "answers",
        "worker-cpu-pool": "runs",
    }


def test_a_deployed_retrain_promotes_a_champion_that_every_command_finds(
    cluster: Cluster, environment: dict[str, str]
) -> None:
    folder = Path(environment["REVIEWLM_HOME"])
    [prefect] = [one for one in service_list.running(folder) if one.name == "prefect"]
    client = environment | {"PREFECT_API_URL": f"{prefect.address}/api", **_password(environment)}
    subprocess.run(
        command("run_demo_deployment", TINY),
        env=client,
        check=True,
        cwd=ROOT,
    )
    until = time.monotonic() + 900
    while not (ended := cluster.ask("prefect", ENDED)):
        assert time.monotonic() < until, (folder / "logs" / "worker-cpu-pool.log").read_text()[
            -3_000:
        ]
        time.sleep(1)
    assert ended == [("COMPLETED",)]
    [(name, version)] = cluster.ask("mlflow", CHAMPION)
    history = reviewlm(environment, "history")
    assert [(event["decision"], event["version"]) for event in history["events"]] == [
        ("promoted", version)
    ]
    assert history["model"] == name
    for file in ("mlflow.db", "prefect/prefect.db"):
        assert not (folder / file).exists(), "everything is in PostgreSQL"


CHAMPION = "SELECT name, version FROM registered_model_aliases WHERE alias = 'champion'"
ENDED = """
SELECT state_type FROM flow_run
WHERE deployment_id IS NOT NULL AND state_type IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')
"""


def _password(environment: Mapping[str, str]) -> dict[str, str]:
    found = reviewlm(environment, "services", "password")
    return {"PREFECT_API_AUTH_STRING": found["for Prefect"]}


def test_a_tracking_database_cannot_change_under_running_services(
    environment: dict[str, str],
) -> None:
    command = [
        sys.executable,
        "-m",
        "reviewlm.cli",
        "services",
        "start",
        "--set",
        "execution.tracking_uri=",
    ]
    done = subprocess.run(
        command,
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert "The running services use another tracking database" in done.stderr
    assert os.path.exists(Path(environment["REVIEWLM_HOME"]) / service_list.STATE)
