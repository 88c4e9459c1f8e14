"""Ask the workers of a Prefect work pool for a fit: submit a run of the deployment `fit-job`, watch it, cancel it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, FlowRunFilterTags
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling

from core.config.run_config import RunConfig
from core.errors import ConfigError
from tasks.limits import is_shared

FLOW = "fit-job"
"""Name of the flow; its deployment has the name of the pool."""
Word = Literal["waiting", "running", "completed", "failed", "crashed", "cancelled"]
WORDS: dict[StateType, Word] = {
    StateType.SCHEDULED: "waiting", StateType.PENDING: "waiting", StateType.PAUSED: "waiting",
    StateType.RUNNING: "running", StateType.CANCELLING: "cancelled", StateType.CANCELLED: "cancelled",
    StateType.COMPLETED: "completed", StateType.FAILED: "failed", StateType.CRASHED: "crashed",
}
UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING]


@dataclass(frozen=True)
class RunState:
    """State of a run, and what its worker said about it."""

    word: Word
    message: str = ""


class Runs(Protocol):
    """Runs of one pool."""

    pool: str

    def submit(self, job: str, model: str) -> str:
        """Ask for a run that fits a job, and return its id."""

    def unfinished(self, job: str) -> str | None:
        """Return the id of a run of this job that waits or runs; None if there is none."""

    def state(self, run: str) -> RunState:
        """Return the state of a run."""

    def cancel(self, run: str) -> None:
        """End a run, also one that waits or has crashed; do nothing if it has ended."""


class PoolRuns:
    """Runs of a Prefect work pool.

    Args:
        pool: Name of the pool.
    """

    def __init__(self, pool: str) -> None:
        self.pool = pool

    def submit(self, job: str, model: str) -> str:
        """Ask for a run that fits a job, and return its id."""
        asked: Any = run_deployment(
            f"{FLOW}/{self.pool}", parameters={"job": job}, timeout=0, flow_run_name=f"fit {model}",
            tags=[_tag(job)],
        )
        return str(asked.id)

    def unfinished(self, job: str) -> str | None:
        """Return the id of a run of this job that waits or runs; None if there is none."""
        wanted = FlowRunFilter(
            tags=FlowRunFilterTags(all_=[_tag(job)]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)),
        )
        with get_client(sync_client=True) as client:
            runs = client.read_flow_runs(flow_run_filter=wanted)
        return str(runs[0].id) if runs else None

    def state(self, run: str) -> RunState:
        """Return the state of a run."""
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(run)).state
        return RunState("waiting") if state is None else RunState(WORDS[state.type], state.message or "")

    def cancel(self, run: str) -> None:
        """End a run, also one that waits or has crashed; do nothing if it has ended. Its worker kills it."""
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(run)).state
            if state is None or state.type in (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED):
                return
            runs = state.type in (StateType.RUNNING, StateType.PENDING)
            # A run that waits has no process; a crashed one gets a second attempt from Prefect unless it is cancelled.
            client.set_flow_run_state(UUID(run), cast(Any, Cancelling() if runs else Cancelled()), force=not runs)


def _tag(job: str) -> str:
    return f"job: {job}"


def require_pool(config: RunConfig, minutes: bool = False) -> None:
    """Refuse, at the start of a run, a pool that cannot fit its networks; without `execution.fit_pool` do nothing.

    Args:
        config: Names the pool.
        minutes: The run has a time budget.

    Raises:
        ConfigError: The command has a server for itself alone, no worker of the pool has ever joined this server, or
            the budget is planned by this machine's speed.
    """
    if not (pool := config.execution.fit_pool):
        return
    where = "execution.fit_pool"
    if minutes:
        raise ConfigError(
            "A time budget is planned by the speed of this machine, and the networks are to be fitted elsewhere",
            where=where, value=pool, remedy="choose --minutes, or a preset with execution.fit_pool",
        )
    if not is_shared():
        raise ConfigError(
            "Fits are handed over through a Prefect server that other machines reach", where=where, value=pool,
            cause="this command starts a server for itself alone",
            remedy="start the services (`make up`), or name a server in PREFECT_API_URL",
        )
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(f"{FLOW}/{pool}")
        except ObjectNotFound as error:
            raise ConfigError(
                "No worker of this pool has joined the Prefect server", where=where, value=pool,
                remedy=f"on the machine that is to fit: reviewlm worker start --pool {pool}",
            ) from error
