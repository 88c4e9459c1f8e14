"""A scrape of the Prefect server has the figures of runs, workers, limits and the home, and needs the password."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
import sqlalchemy
import yaml
from prefect.client.schemas.objects import WorkerStatus
from prefect.server.api.server import create_app
from prefect.server.database import dependencies, provide_database_interface
from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.settings import PREFECT_API_ENABLE_METRICS, PREFECT_SERVER_API_AUTH_STRING, temporary_settings
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.schema import CreateTable

from core.config.sections.source import EMBEDDED
from core.services.model_events import HEARTBEAT
from flows.server import metrics
from flows.server.automations import LOST_SECONDS
from tasks.upkeep.home_figures import MeasuredHome

ROOT = Path(__file__).resolve().parents[3]
LOGIN = ("reviewlm", "a-password-of-the-test")
DEMO = [f"data: {EMBEDDED}", "preset: demo"]
END = datetime(2026, 11, 23, 3, 20, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Any]:
    """Prefect's tables, empty, in a file of their own."""
    configured = AioSqliteConfiguration(connection_url=f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}")
    with dependencies.temporary_database_config(configured):
        made = provide_database_interface()

        async def create() -> None:
            engine = await made.engine()
            async with engine.begin() as connection:
                for table in made.Base.metadata.sorted_tables:  # without indexes, which only migrations can make
                    await connection.execute(CreateTable(table))
            await engine.dispose()

        asyncio.run(create())
        yield made


@pytest.fixture
def server(database: Any, own_home: Path) -> Iterator[Any]:
    """Prefect's own server on that database, with a password and the figures of a home with one file."""
    own_home.mkdir()
    (own_home / "mlflow.db").write_bytes(b"x" * 300)
    settings = {PREFECT_API_ENABLE_METRICS: True, PREFECT_SERVER_API_AUTH_STRING: ":".join(LOGIN)}
    with temporary_settings(settings):
        measured = metrics.ServerFigures(create_app(ephemeral=True, ignore_cache=True))  # type: ignore[arg-type]
        yield measured
    REGISTRY.unregister(measured)


async def fill(database: Any) -> None:
    """Five retrains that ended and one that waits too long, a deployment without a run, two pools, three limits."""
    ended, inside, drift = (database.Flow(name=name) for name in ("retrain", "prepare", "drift"))
    pools = [database.WorkPool(name=name, type="process") for name in ("cpu-pool", "gpu-pool")]
    parent = database.TaskRun(task_key="part", dynamic_key="0")

    def run(flow: Any, state: str, name: str, hours: float, **more: Any) -> Any:
        times = {"end_time": END - timedelta(hours=hours), "total_run_time": timedelta(seconds=hours)} if hours else {}
        return database.FlowRun(flow_id=flow.id, state_type=state, state_name=name, **times, **more)

    async with database.session_context(begin_transaction=True) as session:
        session.add_all([ended, inside, drift, *pools, parent])
        await session.flush()
        session.add_all([
            run(ended, "COMPLETED", "Completed", 50), run(ended, "COMPLETED", "Completed", 2),
            run(ended, "FAILED", "Failed", 1), run(ended, "SCHEDULED", "Late", 0),
            run(ended, "COMPLETED", "Skipped", 0.5), run(ended, "COMPLETED", "Completed", 0.2, tags=DEMO),
            database.Deployment(name="daily", flow_id=drift.id),
            run(inside, "COMPLETED", "Completed", 1, parent_task_run_id=parent.id),
            database.Worker(work_pool_id=pools[0].id, name="one", status=WorkerStatus.ONLINE),
            database.Worker(work_pool_id=pools[0].id, name="gone", status=WorkerStatus.OFFLINE),
            database.ConcurrencyLimitV2(name="gpu", limit=2, active_slots=1),
            database.ConcurrencyLimitV2(name="promotion", limit=1, active_slots=0),
            database.ConcurrencyLimitV2(name="deployment:4711", limit=1, active_slots=1),
        ])  # fmt: skip
    await (await database.engine()).dispose()


def scraped(server: Any, auth: tuple[str, str] | None = LOGIN) -> dict[tuple[str, ...], float]:
    """Return the figures of the page by name and values of labels."""
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://127.0.0.1:4200") as client:
            return await client.get(metrics.PAGE, auth=auth)

    answer = asyncio.run(ask()).raise_for_status()
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_a_scrape_has_runs_successes_workers_limits_and_disk(database: Any, server: Any) -> None:
    asyncio.run(fill(database))
    found = {name: value for name, value in scraped(server).items() if name[0].startswith("reviewlm_")}
    disk = {name for name in found if name[0].startswith("reviewlm_home_disk")}
    zeros = {name for name, value in found.items() if name[0] == "reviewlm_flow_runs" and value == 0}
    assert {name[1:] for name in zeros} >= {("drift", "Failed"), ("drift", "Completed"), ("retrain", "Crashed")}
    assert {name: value for name, value in found.items() if name not in disk | zeros} == {
        ("reviewlm_flow_runs", "retrain", "Completed"): 3, ("reviewlm_flow_runs", "retrain", "Skipped"): 1,
        ("reviewlm_flow_runs", "retrain", "Failed"): 1,
        ("reviewlm_flow_runs", "retrain", "Late"): 1,
        ("reviewlm_last_success_timestamp_seconds", "retrain"): (END - timedelta(hours=2)).timestamp(),
        ("reviewlm_last_success_duration_seconds", "retrain"): 2,
        ("reviewlm_workers_online", "cpu-pool"): 1, ("reviewlm_workers_online", "gpu-pool"): 0,
        ("reviewlm_limit_slots", "gpu"): 2, ("reviewlm_limit_slots_free", "gpu"): 1,
        ("reviewlm_limit_slots", "promotion"): 1, ("reviewlm_limit_slots_free", "promotion"): 1,
        ("reviewlm_home_bytes", "files"): 300,
    }  # fmt: skip
    assert disk == {("reviewlm_home_disk_bytes",), ("reviewlm_home_disk_free_bytes",)}
    assert 0 < found[("reviewlm_home_disk_free_bytes",)] < found[("reviewlm_home_disk_bytes",)]
    assert {name[0] for name in found} == set(metrics.ABOUT) - NOT_HERE


NOT_HERE = {
    "reviewlm_last_heartbeat_timestamp_seconds", "reviewlm_stage_duration_seconds",
    "reviewlm_gpu_memory_bytes", "reviewlm_gpu_memory_used_bytes",
}  # fmt: skip
"""Figures of what that test does not have: runs in progress, results, GPUs."""


async def begin(database: Any, beats: dict[str, list[timedelta]]) -> dict[str, str]:
    """Let runs begin at END, each with heartbeats so long after it; return their ids."""
    flow, parent = database.Flow(name="retrain"), database.TaskRun(task_key="part", dynamic_key="0")
    ids = {name: str(uuid.uuid4()) for name in beats}
    async with database.session_context(begin_transaction=True) as session:
        session.add_all([flow, parent])
        await session.flush()
        for name, after in beats.items():
            part = {"parent_task_run_id": parent.id} if name == "part" else {}
            state = "COMPLETED" if name == "ended" else "RUNNING"
            run = {"id": uuid.UUID(ids[name]), "flow_id": flow.id, "start_time": END, **part}
            session.add(database.FlowRun(state_type=state, state_name=state.title(), **run))
            resource = f"prefect.flow-run.{ids[name]}"
            for kind, late in [*((HEARTBEAT, one) for one in after), ("prefect.flow-run.Running", timedelta(hours=9))]:
                times = dict.fromkeys(["occurred", "received", "recorded"], END + late)
                session.add(database.Event(
                    id=uuid.uuid4(), event=kind, resource_id=resource, resource={"prefect.resource.id": resource},
                    payload={}, **times,
                ))  # fmt: skip
    await (await database.engine()).dispose()
    return ids


def test_of_each_run_in_progress_there_is_the_time_of_its_last_heartbeat_or_else_its_start(
    database: Any, server: Any
) -> None:
    minutes = [timedelta(minutes=number) for number in range(6)]
    of_others = {"of somebody else": minutes[:2]}
    ids = asyncio.run(begin(database, {"beats": minutes, "silent": [], "ended": minutes, "part": minutes} | of_others))
    name = "reviewlm_last_heartbeat_timestamp_seconds"
    found = {labels: at for labels, at in scraped(server).items() if labels[0] == name}
    assert found == {
        (name, "retrain", ids["beats"]): (END + timedelta(minutes=5)).timestamp(),
        (name, "retrain", ids["of somebody else"]): (END + timedelta(minutes=1)).timestamp(),
        (name, "retrain", ids["silent"]): END.timestamp(),
    }
    assert rule("no heartbeat")["expr"] == f"time() - {name} > {ALLOWED_SECONDS}"
    assert ALLOWED_SECONDS > LOST_SECONDS, "the server should have ended the run before"


ALLOWED_SECONDS = 900


def test_stages_and_gpus_are_figures_with_their_names(database: Any, server: Any) -> None:
    measured = MeasuredHome(seconds={("fit", "lstm"): 700.0, ("tokens", ""): 4.0}, gpus={"0": (80.0, 3.0)})
    server._home = mock.Mock(latest=lambda: measured)
    found = scraped(server)
    assert found[("reviewlm_stage_duration_seconds", "lstm", "fit")] == 700
    assert found[("reviewlm_stage_duration_seconds", "", "tokens")] == 4
    assert found[("reviewlm_gpu_memory_bytes", "0")] == 80
    assert found[("reviewlm_gpu_memory_used_bytes", "0")] == 3


def rule(name: str) -> dict[str, str]:
    [group] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())["groups"]
    [found] = [dict(one) for one in group["rules"] if one["alert"] == name]
    return found


def test_the_first_failure_of_a_flow_is_a_rise_of_a_series_that_was_there(database: Any, server: Any) -> None:
    asyncio.run(fill(database))
    expected = r'max_over_time\(delta\(reviewlm_flow_runs\{state=~"(.+)"\}\[5m\]\)\[1h:1m\]\) > 0'
    states = re.fullmatch(expected, rule("failure")["expr"])
    assert states is not None
    before = scraped(server)

    async def fail() -> None:
        async with database.session_context(begin_transaction=True) as session:
            flow = await session.scalar(sqlalchemy.select(database.Flow).where(database.Flow.name == "drift"))
            session.add(database.FlowRun(flow_id=flow.id, state_type="FAILED", state_name="Failed", end_time=END))
        await (await database.engine()).dispose()

    asyncio.run(fail())
    with mock.patch.object(metrics, "FRESH_SECONDS", 0.0):
        after = scraped(server)
    asked = {name for name in after if name[0] == "reviewlm_flow_runs" and re.fullmatch(states[1], name[2])}
    assert asked <= before.keys(), "delta needs two values of a series"
    assert {name[1:] for name in asked if after[name] - before[name] > 0} == {("drift", "Failed")}


def test_silence_is_seen_from_the_last_retrain_that_did_its_work_and_also_before_the_first(
    database: Any, server: Any
) -> None:
    figure = 'reviewlm_last_success_timestamp_seconds{flow="retrain"}'
    assert rule("silence")["expr"] == f"time() - {figure} > 8 * 86400"
    assert (rule("no retrain yet")["expr"], rule("no retrain yet")["for"]) == (f"absent({figure})", "8d")
    last = ("reviewlm_last_success_timestamp_seconds", "retrain")
    assert last not in scraped(server)
    asyncio.run(fill(database))
    with mock.patch.object(metrics, "FRESH_SECONDS", 0.0):
        assert scraped(server)[last] == (END - timedelta(hours=2)).timestamp()


def test_a_scrape_needs_the_password(server: Any) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        scraped(server, auth=None)


@pytest.mark.slow
def test_figures_are_read_again_when_they_are_old_but_not_for_every_request(database: Any, server: Any) -> None:
    assert ("reviewlm_limit_slots", "gpu") not in scraped(server)
    asyncio.run(fill(database))
    assert ("reviewlm_limit_slots", "gpu") not in scraped(server)
    with mock.patch.object(metrics, "FRESH_SECONDS", 0.0):
        assert scraped(server)[("reviewlm_limit_slots", "gpu")] == 2


def test_every_figure_is_described_with_the_alerts() -> None:
    page = (ROOT / "docs" / "runbook" / "monitoring.md").read_text()
    assert [name for name in metrics.ABOUT if f"`{name}`" not in page] == []
