"""Prefect's server, a worker and the deployments of prefect.yaml: a deployment's run does its work, and shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

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
    assert limits == {"gpu": max(1, len(visible_gpu_names())), "promotion": 1, "retrain": 1}


def test_a_deployed_ingest_is_completed_by_the_worker_and_shows_its_results(
    services: Services, tmp_path: Path
) -> None:
    ingest = services.ask("GET", "/deployments/name/ingest-only/ingest")["id"]

    with pytest.raises(httpx.HTTPStatusError) as refused:
        services.ask(
            "POST", f"/deployments/{ingest}/create_flow_run", {"parameters": {"preset": "smal"}}
        )
    assert refused.value.response.status_code in (409, 422)
    assert "preset" in refused.value.response.text

    file = tmp_path / "reviews.jsonl"
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
    run = services.ask(
        "POST", f"/deployments/{ingest}/create_flow_run", {"parameters": parameters}
    )["id"]
    services.wait_for(run, "Completed", "Failed", "Crashed", seconds=240)
    assert services.state(run) == "Completed", services.log()

    [dataset] = Store(services.home / "store").all("ingest")
    assert dataset.facts["rows"] == 40
    told = services.ask("GET", f"/flow_runs/{run}")
    assert told["name"].endswith(", small, reviews.jsonl")
    assert set(told["tags"]) >= {"preset: small", "data: reviews.jsonl"}
    assert not any("code" in tag for tag in told["tags"])
    of_this = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200}
    names = {one["name"] for one in services.ask("POST", "/logs/filter", of_this)}
    ours = {name for name in names if name.startswith("reviewlm.")}
    assert ours, "the lines of the terminal, also those of the flow's parts"
    of_run = {"event": {"name": [HEARTBEAT]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    beats = services.ask("POST", "/events/filter", {"filter": of_run, "limit": 50})["events"]
    assert beats, "without them nobody would notice that its process is gone"
    found = services.ask("POST", "/artifacts/filter", {"limit": 200})
    assert {one["key"] for one in found} >= {"results"}
