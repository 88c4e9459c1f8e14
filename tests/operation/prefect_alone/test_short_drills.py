"""A training of a deployment is cut off from Prefect's server, killed with its worker, and cancelled: the short form.

`tests/operation/test_killed_services.py` has the long one, with all services and whole retrains that end with the same
model. Here a run trains one small network for as long as the test needs, and is cancelled at the end.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.services.pools import HEARTBEAT_SECONDS, deploy
from tests.flows.first_run import ROOT
from tests.operation.started_services import (
    Record,
    Services,
    kill,
    running_prefect,
    start_server,
    start_worker,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
POOL = "gpu-pool"
PRESET = str(ROOT / "tests" / "flows" / "killed.toml")
ENDLESS = [
    "models.1.training.epochs=1000", "models.1.training.evaluations=1000", "promotion.model_name=reviewlm-demo",
]  # fmt: skip
SECONDS = 240.0
"""Longest wait for one thing; on a busy machine a run needs most of a minute to begin."""
LOST_SECONDS = 3 * HEARTBEAT_SECONDS  # one heartbeat may come late, and one not at all, on a busy machine
SET_UP = f"""
from flows.server.alert_addresses import AlertSettings
from flows.server.automations import set_up
set_up(AlertSettings((), 8), lost_seconds={LOST_SECONDS})
"""
OPEN = "SELECT name FROM runs WHERE status = 'RUNNING'"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, template_home: Path
) -> Iterator[tuple[Services, dict[str, str]]]:
    """Prefect's server, a worker, and the deployment that trains models."""
    home = tmp_path_factory.mktemp("short") / "home"
    with running_prefect(home, POOL) as (services, environment):
        shutil.copytree(template_home, home, dirs_exist_ok=True)
        deploy(environment, (POOL,), home)
        yield services, {**environment, "PYTHONPATH": str(ROOT)}


def begin(services: Services) -> str:
    """Let the worker begin a training that would go on for hours; return the id of the flow run."""
    deployment = services.ask("GET", "/deployments/name/train/gpu")["id"]
    parameters = {"preset": PRESET, "overrides": ENDLESS}
    run = str(services.ask("POST", f"/deployments/{deployment}/create_flow_run", {"parameters": parameters})["id"])
    until(lambda: services.state(run) not in ("Scheduled", "Pending", "Submitting"), lambda: log(services), SECONDS)
    wait_for_progress(services)
    assert services.state(run) == "Running", log(services)
    return run


def lines(services: Services) -> int:
    """Return the lines of the training's journal."""
    journals = services.home.glob("store/.work/*/metrics.jsonl")
    return max((len(journal.read_bytes().splitlines()) for journal in journals), default=0)


def wait_for_progress(services: Services) -> None:
    """Wait until the training has written a checkpoint, and then some more of its journal."""
    until(lambda: list(services.home.glob("store/.work/*/checkpoints/*.json")), lambda: log(services), SECONDS)
    before = lines(services)
    until(lambda: lines(services) > before, lambda: log(services), SECONDS)


def log(services: Services) -> str:
    return (services.home / "logs" / f"worker-{POOL}.log").read_text()[-3_000:]


def cancel(services: Services, run: str, processes: int) -> float:
    """Cancel a run as Prefect's page does; return the seconds until it is. Nothing of it runs then."""
    services.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    seconds = until(lambda: services.state(run) == "Cancelled", lambda: log(services), SECONDS)
    until(lambda: len(services.processes("worker")) <= processes, lambda: log(services), SECONDS)
    return seconds


@pytest.mark.drill(
    "Prefect server away", "kill -9 and restart of the server in a training, which is then cancelled in its UI",
    "the training goes on; no process is left, the checkpoint is there, MLflow's runs are ended",
)  # fmt: skip
def test_a_training_goes_on_without_the_server_and_is_cancelled_by_the_next_one(
    server: tuple[Services, dict[str, str]], record_property: Record
) -> None:
    services, _ = server
    idle = len(services.processes("worker"))
    run = begin(services)
    kill(services.processes("prefect"))
    wait_for_progress(services)
    start_server(services.home)
    assert services.state(run) == "Running"
    wait_for_progress(services)
    record_property("seconds until cancelled", cancel(services, run, idle))
    assert list(services.home.glob("store/.work/*/checkpoints/*.json"))
    # No command comes: the service that keeps Prefect's server running ends what the process could not end itself.
    ended = until(lambda: services.from_mlflow(OPEN) == [], lambda: str(services.from_mlflow(OPEN)), SECONDS)
    record_property("seconds until MLflow's runs are ended", ended)


@pytest.mark.drill(
    "worker and flow killed together", "kill -9 of worker and flow in a training: whether it goes on",
    "Crashed, MLflow's runs are ended; the second attempt goes on",
)  # fmt: skip
def test_a_training_that_is_killed_with_its_worker_is_gone_on_with_by_the_next_worker(
    server: tuple[Services, dict[str, str]], record_property: Record
) -> None:
    services, environment = server
    subprocess.run([sys.executable, "-c", SET_UP], env=environment, cwd=ROOT, check=True, timeout=300)
    idle = len(services.processes("worker"))
    run = begin(services)
    kept = lines(services)
    kill(services.processes("worker"))
    noticed = until(lambda: services.state(run) in ("Crashed", "AwaitingRetry"), lambda: log(services), SECONDS)
    record_property("seconds until noticed", noticed)
    until(lambda: services.from_mlflow(OPEN) == [], lambda: str(services.from_mlflow(OPEN)), SECONDS)
    start_worker(services.home, POOL, environment)
    until(lambda: services.state(run) == "Running", lambda: log(services), SECONDS)
    assert services.ask("GET", f"/flow_runs/{run}")["run_count"] == 2
    until(lambda: lines(services) > kept, lambda: log(services), SECONDS)
    cancel(services, run, idle)
    services.assert_nothing_doubled()
