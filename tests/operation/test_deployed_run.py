"""Prefect's server, a worker and the deployments of prefect.yaml: a deployment's run does its work, and shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from reviewlm.core.environment import visible_gpu_names
from reviewlm.core.services.join import HEARTBEAT
from reviewlm.core.services.pools import LIMITS, POOLS, deploy, deployments_of
from reviewlm.core.store import Store
from tests.operation.started_services import Services, running_prefect

pytestmark = pytest.mark.slow
POOL = "cpu-pool"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    home = tmp_path_factory.mktemp("deployed") / "home"
    with running_prefect(home, POOL) as (services, environment):  # the worker waits for its pool
        deploy(environment, POOLS, home)
        yield services


def test_the_deployments_of_both_pools_are_on_the_server_also_where_no_gpu_is(
    services: Services,
) -> None:
    known = services.ask("POST", "/deployments/filter", {"limit": 200})
    assert sorted(one["name"] for one in known) == sorted(deployments_of(POOLS))
    by_pool = {
        pool: sorted(one["name"] for one in known if one["work_pool_name"] == pool)
        for pool in POOLS
    }
    assert by_pool == {pool: sorted(deployments_of([pool])) for pool in POOLS}
    assert {services.ask("GET", f"/work_pools/{pool}")["type"] for pool in POOLS} == {"process"}

    gpu = services.ask("GET", "/deployments/name/retrain/gpu")
    assert (gpu["work_pool_name"], gpu["entrypoint"]) == (
        "gpu-pool",
        "reviewlm.flows.retrain.retrain",
    )
    assert gpu["parameters"] == {"preset": "gpu", "until": "train"}
    assert gpu["global_concurrency_limit"]["limit"] == 1
    limits = {
        name: services.ask("GET", f"/v2/concurrency_limits/{name}")["limit"] for name in LIMITS
    }
    assert limits == {
        "gpu": max(1, len(visible_gpu_names())),
        "promotion": 1,
        "retrain": 1,
    }


@pytest.fixture(scope="module")
def ingest(services: Services) -> str:
    """The path of the deployment that ingests."""
    return f"/deployments/{services.ask('GET', '/deployments/name/ingest-only/ingest')['id']}"


def test_a_run_with_a_wrong_parameter_is_refused(services: Services, ingest: str) -> None:
    with pytest.raises(httpx.HTTPStatusError) as refused:
        services.ask("POST", f"{ingest}/create_flow_run", {"parameters": {"preset": "smal"}})
    assert refused.value.response.status_code in (409, 422)
    assert "preset" in refused.value.response.text


@pytest.fixture(scope="module")
def ingested(
    services: Services,
    ingest: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """A run of the deployment that the worker has completed."""
    file = tmp_path_factory.mktemp("reviews") / "reviews.jsonl"
    rows = [
        {
            "review_id": f"r{n}",
            "stars": n % 5 + 1,
            "text": f"Meal {n} was fine.",
            "date": "2019-05-01 10:00:00",
        }
        for n in range(40)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    parameters = {"preset": "small", "input": [str(file)]}
    made = services.ask("POST", f"{ingest}/create_flow_run", {"parameters": parameters})
    services.wait_for(
        made["id"],
        "Completed",
        "Failed",
        "Crashed",
        seconds=240,
    )
    assert services.state(made["id"]) == "Completed", services.log()
    return str(made["id"])


@pytest.mark.usefixtures("ingested")
def test_a_deployed_ingest_stores_the_reviews(services: Services) -> None:
    [dataset] = Store(services.home / "store").all("ingest")
    assert dataset.facts["rows"] == 40


def test_a_deployed_run_is_named_by_its_data(services: Services, ingested: str) -> None:
    told = services.ask("GET", f"/flow_runs/{ingested}")
    assert told["name"].endswith(", small, reviews.jsonl")
    assert set(told["tags"]) >= {"preset: small", "data: reviews.jsonl"}
    assert not any("code" in tag for tag in told["tags"])


def test_a_deployed_run_shows_the_lines_of_the_terminal(services: Services, ingested: str) -> None:
    of_this = {"logs": {"flow_run_id": {"any_": [ingested]}}, "limit": 200}
    names = {one["name"] for one in services.ask("POST", "/logs/filter", of_this)}
    assert {name for name in names if name.startswith("reviewlm.")}, "those of its parts, too"


def test_a_deployed_run_has_a_heartbeat(services: Services, ingested: str) -> None:
    """Without it nobody would notice that its process is gone."""
    resource = {"id": [f"prefect.flow-run.{ingested}"]}
    of_run = {"event": {"name": [HEARTBEAT]}, "resource": resource}
    assert services.ask("POST", "/events/filter", {"filter": of_run, "limit": 50})["events"]


@pytest.mark.usefixtures("ingested")
def test_a_deployed_run_shows_its_results(services: Services) -> None:
    found = services.ask("POST", "/artifacts/filter", {"limit": 200})
    assert {one["key"] for one in found} >= {"results"}
