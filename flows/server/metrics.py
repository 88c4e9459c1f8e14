"""Export metrics of runs, workers, stages and the home to Prometheus, on Prefect's own metrics page.

Prefect's page `/api/metrics` shows what its process has registered; of itself that is only the traffic with workers.
`PREFECT_CLIENT_METRICS_ENABLED` is no way: each process would open the same port, on all addresses, without a password.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterable

import sqlalchemy
from prefect.client.schemas.objects import StateType, WorkerStatus
from prefect.server.database import PrefectDBInterface, provide_database_interface
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncSession

from core.config.sections.source import EMBEDDED
from core.environment import home_folder
from core.services.model_events import HEARTBEAT, SKIPPED
from core.web_guard import Application, Message, Receive, Send
from tasks.upkeep.home_figures import HomeFigures, MeasuredHome

PAGE = "/api/metrics"
FRESH_SECONDS = 5.0
"""Age at which figures are read again; however many ask, the database is asked this often at most."""
ABOUT = {
    "reviewlm_flow_runs": ("Flow runs that Prefect knows, without runs inside of others.", ["flow", "state"]),
    "reviewlm_last_success_timestamp_seconds": ("End of the flow's last run that did its work (Unix time).", ["flow"]),
    "reviewlm_last_success_duration_seconds": ("Seconds that this run ran.", ["flow"]),
    "reviewlm_last_heartbeat_timestamp_seconds": (
        "Last heartbeat of a run in progress, or its start if it has sent none (Unix time).", ["flow", "run"]),
    "reviewlm_stage_duration_seconds": ("Longest build of the stage on the day of its newest one.", ["stage", "model"]),
    "reviewlm_workers_online": ("Workers of the pool that send heartbeats.", ["pool"]),
    "reviewlm_limit_slots": ("Size of a global concurrency limit.", ["limit"]),
    "reviewlm_limit_slots_free": ("Free places of a global concurrency limit.", ["limit"]),
    "reviewlm_home_disk_bytes": ("Size of the disk that the home folder is on.", []),
    "reviewlm_home_disk_free_bytes": ("Bytes of that disk that are free for us.", []),
    "reviewlm_home_bytes": ("Bytes of the files of the home folder.", ["folder"]),
    "reviewlm_gpu_memory_bytes": ("Memory of a GPU of the machine of the Prefect server.", ["gpu"]),
    "reviewlm_gpu_memory_used_bytes": ("Bytes of it that are in use.", ["gpu"]),
}
OF_DEPLOYMENT = "deployment:"
"""Prefix of the limits that Prefect keeps for `concurrency_limit` of deployments; they are named by their id."""
OF_RUN = "prefect.flow-run."
"""Prefix of a flow run's id where an event names it."""
STATES = ("Completed", "Skipped", "Running", "Scheduled", "Late", "AwaitingRetry", "Failed", "Crashed", "TimedOut",
          "Cancelled")
"""States with a figure for each flow, also 0: of a series that begins with the first failure no rise can be seen."""
Rows = Iterable[tuple[list[str], float]]
"""Values of the labels, and the figure."""


class ServerFigures(Collector):
    """An ASGI application that reads the figures before it passes on a request for them.

    Args:
        app: Prefect's server, which checks the password and shows what is registered.
    """

    def __init__(self, app: Application) -> None:
        self.app, self._families, self._read = app, list[GaugeMetricFamily](), -FRESH_SECONDS
        self._home = HomeFigures(home_folder())
        REGISTRY.register(self)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI 3). A database that does not answer is an error of the request: the scrape fails."""
        if scope["type"] == "http" and scope["path"] == PAGE and time.monotonic() >= self._read + FRESH_SECONDS:
            measured = await asyncio.to_thread(self._home.latest)
            self._families, self._read = await read_figures(measured), time.monotonic()
        await self.app(scope, receive, send)

    def collect(self) -> list[GaugeMetricFamily]:
        """Return the figures that were read last (prometheus_client asks)."""
        return self._families


async def read_figures(measured: MeasuredHome) -> list[GaugeMetricFamily]:
    """Return all figures: those of the database as they are now, and what was measured of the home."""
    database, disk = provide_database_interface(), shutil.disk_usage(home_folder())
    async with database.session_context() as session:
        ended = await _last_successes(database, session)
        found: dict[str, Rows] = {
            "reviewlm_flow_runs": await _flow_runs(database, session),
            "reviewlm_last_success_timestamp_seconds": [([flow], at) for flow, at, _ in ended],
            "reviewlm_last_success_duration_seconds": [([flow], seconds) for flow, _, seconds in ended],
            "reviewlm_last_heartbeat_timestamp_seconds": await _heartbeats(database, session),
            "reviewlm_stage_duration_seconds": [([*key], seconds) for key, seconds in measured.seconds.items()],
            "reviewlm_workers_online": await _workers(database, session),
            **await _limits(database, session),
            "reviewlm_home_disk_bytes": [([], disk.total)],
            "reviewlm_home_disk_free_bytes": [([], disk.free)],
            "reviewlm_home_bytes": [([folder], size) for folder, size in measured.bytes.items()],
            "reviewlm_gpu_memory_bytes": [([gpu], total) for gpu, (total, _) in measured.gpus.items()],
            "reviewlm_gpu_memory_used_bytes": [([gpu], used) for gpu, (_, used) in measured.gpus.items()],
        }
    return [_family(name, rows) for name, rows in found.items()]


def _family(name: str, rows: Rows) -> GaugeMetricFamily:
    meaning, labels = ABOUT[name]
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for values, figure in rows:
        family.add_metric(values, figure)
    return family


async def _flow_runs(database: PrefectDBInterface, session: AsyncSession) -> Rows:
    run, flow = database.FlowRun, database.Flow
    query = (
        sqlalchemy.select(flow.name, run.state_name, sqlalchemy.func.count())
        .join(flow, flow.id == run.flow_id)
        .where(run.parent_task_run_id.is_(None))
        .group_by(flow.name, run.state_name)
    )
    found = {(name, state or "none"): count for name, state, count in await session.execute(query)}
    deployed = sqlalchemy.select(flow.name).join(database.Deployment, database.Deployment.flow_id == flow.id)
    names = {name for name, _ in found} | {name for name, in await session.execute(deployed)}
    zeros = {(name, state): 0 for name in sorted(names) for state in STATES}
    return [([*labels], count) for labels, count in (zeros | found).items()]


async def _last_successes(database: PrefectDBInterface, session: AsyncSession) -> list[tuple[str, float, float]]:
    """Return flow, Unix time of its end and seconds of each flow's last run that did its work on data of the user.

    A run that was not needed is completed, too, but its state has another name.
    """
    run, flow = database.FlowRun, database.Flow
    completed = [
        run.parent_task_run_id.is_(None), run.state_type == StateType.COMPLETED, run.state_name != SKIPPED,
        sqlalchemy.cast(run.tags, sqlalchemy.String).not_like(f'%"data: {EMBEDDED}"%'),
    ]
    last = sqlalchemy.select(run.flow_id, sqlalchemy.func.max(run.end_time).label("at"))
    newest = last.where(*completed).group_by(run.flow_id).subquery()
    query = (
        sqlalchemy.select(flow.name, run.end_time, run.total_run_time)
        .join(flow, flow.id == run.flow_id)
        .join(newest, (newest.c.flow_id == run.flow_id) & (newest.c.at == run.end_time))
        .where(*completed)
    )
    found = {name: (end, seconds) for name, end, seconds in await session.execute(query)}  # of two at once: one
    return [(name, end.timestamp(), seconds.total_seconds()) for name, (end, seconds) in found.items()]


async def _heartbeats(database: PrefectDBInterface, session: AsyncSession) -> Rows:
    """Return flow, id and Unix time of the last heartbeat of each run in progress that is no part of another one."""
    run, flow, event = database.FlowRun, database.Flow, database.Event
    query = (
        sqlalchemy.select(run.id, flow.name, run.start_time)
        .join(flow, flow.id == run.flow_id)
        .where(run.parent_task_run_id.is_(None), run.state_type == StateType.RUNNING)
    )
    running = {f"{OF_RUN}{number}": (name, str(number), start) for number, name, start in await session.execute(query)}
    beats = (
        sqlalchemy.select(event.resource_id, sqlalchemy.func.max(event.occurred))
        .where(event.event == HEARTBEAT, event.resource_id.in_(running))
        .group_by(event.resource_id)
    )
    last = {resource: at for resource, at in await session.execute(beats)} if running else {}
    return [
        ([name, number], at.timestamp()) for resource, (name, number, start) in running.items()
        if (at := last.get(resource) or start)
    ]


async def _workers(database: PrefectDBInterface, session: AsyncSession) -> Rows:
    """Return the number of workers of each pool; 0 for a pool without."""
    pool, worker = database.WorkPool, database.Worker
    online = (worker.work_pool_id == pool.id) & (worker.status == WorkerStatus.ONLINE)
    query = sqlalchemy.select(pool.name, sqlalchemy.func.count(worker.id)).outerjoin(worker, online).group_by(pool.name)
    return [([name], count) for name, count in await session.execute(query)]


async def _limits(database: PrefectDBInterface, session: AsyncSession) -> dict[str, Rows]:
    limit = database.ConcurrencyLimitV2
    query = sqlalchemy.select(limit.name, limit.limit, limit.active_slots).where(limit.active.is_(True))
    found = [row for row in await session.execute(query) if not row[0].startswith(OF_DEPLOYMENT)]
    return {
        "reviewlm_limit_slots": [([name], size) for name, size, _ in found],
        "reviewlm_limit_slots_free": [([name], max(0, size - taken)) for name, size, taken in found],
    }
