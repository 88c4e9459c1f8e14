"""Submit a fit to a Prefect work pool as a run of the deployment `fit-job`; watch the run, and cancel it if need be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
from core.errors import ConfigError, PoolFailed, TrackingUnavailable
from tasks.fitting.fit_process import interrupted
from tasks.limits import is_shared

FLOW = "fit-job"
"""Name of the flow; its deployment has the name of the pool."""
Word = Literal["waiting", "running", "completed", "failed", "crashed", "cancelled"]
WORDS: dict[StateType, Word] = {
    StateType.SCHEDULED: "waiting", StateType.PENDING: "waiting", StateType.PAUSED: "waiting",
    StateType.RUNNING: "running", StateType.CANCELLING: "cancelled", StateType.CANCELLED: "cancelled",
    StateType.COMPLETED: "completed", StateType.FAILED: "failed", StateType.CRASHED: "crashed",
}
ORDER: tuple[Word, ...] = ("cancelled", "crashed", "failed", "waiting", "running", "completed")
"""States of runs that fit together: the first of them is that of all."""
_several_workers = threading.Lock()
UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING]


@dataclass(frozen=True)
class RunState:
    """State of a run, and what its worker said about it."""

    word: Word
    message: str = ""


class Clock(Protocol):
    """Where the seconds of a wait come from; a test has its own."""

    def monotonic(self) -> float:
        """Return seconds."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds.

    Args:
        poll: Between two looks.
        untaken: Until a warning says that no worker has taken the fit.
        crashed: For the second attempt of a run that crashed, before another run is asked for.
        cause: For the worker that others lost to tell its error.
        ended: From the end of a run until its result must be seen; network disks show new files late.
        silent: Without a heartbeat of a run that Prefect believes to run.
        away: Without an answer of the remote store or of Prefect.
    """

    poll: float = 3.0
    untaken: float = 60.0
    crashed: float = 120.0
    cause: float = 10.0
    ended: float = 120.0
    silent: float = 900.0
    away: float = 1800.0


def members_of(run: str) -> tuple[str, ...]:
    """Return the ids of the runs that fit a job together, the leading one first; of a run that is alone, its own."""
    return tuple(run.split(","))


class PoolRuns:
    """Runs of a Prefect work pool. Several that fit a job together are one, whose id holds theirs (`members_of`).

    Args:
        pool: Name of the pool.
        machines: Number of runs that fit a job together.
    """

    def __init__(self, pool: str, machines: int = 1) -> None:
        self.pool, self._machines = pool, machines

    def submit(self, job: str, title: str) -> str:
        """Ask for a run that does a job, and return its id. *title* is the name of the run."""
        return ",".join(self._submit(job, title, place) for place in range(self._machines))

    def _submit(self, job: str, title: str, place: int) -> str:
        asked: Any = run_deployment(
            f"{FLOW}/{self.pool}", parameters={"job": job} | ({"place": place} if place else {}), timeout=0,
            flow_run_name=title + (f", machine {place + 1}" if place else ""), tags=[_tag(job)],
        )
        return str(asked.id)

    def unfinished(self, job: str, wanted: str) -> str | None:
        """Return the id of a run of this job that waits or runs; None if there is none.

        *wanted* is the run for which its workers were last told to work. Of several runs that fit together, one may be
        gone, or as many as now were not asked for: what is left of them is cancelled.
        """
        waiting = FlowRunFilter(
            tags=FlowRunFilterTags(all_=[_tag(job)]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)),
        )
        with get_client(sync_client=True) as client:
            runs = [str(run.id) for run in client.read_flow_runs(flow_run_filter=waiting)]
        members = members_of(wanted)
        if len(members) == self._machines and set(members) <= set(runs):
            self.cancel(",".join(set(runs) - set(members)))
            return wanted
        if self._machines == len(members) == 1 and runs:  # whoever asked was killed before it said so
            return runs[0]
        self.cancel(",".join(runs))
        return None

    def state(self, run: str) -> RunState:
        """Return the state of a run; of several that fit together, that of the one that keeps them from going on."""
        with get_client(sync_client=True) as client:
            states = [client.read_flow_run(UUID(member)).state for member in members_of(run)]
        told = [RunState("waiting") if one is None else RunState(WORDS[one.type], one.message or "") for one in states]
        return min(told, key=lambda state: ORDER.index(state.word))

    def cancel(self, run: str) -> None:
        """End a run, also one that waits or has crashed; do nothing if it has ended. Its worker kills it."""
        for member in filter(None, members_of(run)):
            self._cancel(member)

    def _cancel(self, run: str) -> None:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(run)).state
            if state is None or state.type in (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED):
                return
            runs = state.type in (StateType.RUNNING, StateType.PENDING)
            # A run that waits has no process; a crashed one gets a second attempt unless it is cancelled.
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
            "--minutes plans with the speed of this machine, but execution.fit_pool fits the networks on another one",
            where=where, value=pool, remedy="use either --minutes or execution.fit_pool",
        )
    if not is_shared():
        raise ConfigError(
            "A pool of other machines needs a Prefect server that they can reach", where=where, value=pool,
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


@contextmanager
def in_turn(name: str, poll: float) -> Iterator[None]:
    """Let fits of this process that need several workers go in turn: each could get one of them, and wait for ever.

    Args:
        poll: Seconds between two looks.

    Raises:
        PoolFailed: This process was interrupted.
    """
    while not _several_workers.acquire(timeout=poll):
        if interrupted():
            raise PoolFailed(f"The fit of '{name}' was interrupted before it began")
    try:
        yield
    finally:
        _several_workers.release()


@contextmanager
def prefect_errors(pool: str) -> Iterator[None]:
    """Turn the errors of any layer of Prefect's client into TrackingUnavailable."""
    try:
        yield
    except Exception as error:
        raise TrackingUnavailable(
            "Prefect's server does not answer", where=f"pool {pool}", cause=str(error),
            remedy="check that it runs (`services status`); the same command continues from the last checkpoint",
        ) from error
