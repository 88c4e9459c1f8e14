"""End a command's Prefect flow runs as Crashed when their process ends before them: the server cannot notice it.

A Prefect worker handles the runs that it starts. After an interrupt, the process ends its runs itself. A process that
was killed cannot: it leaves the locks of its runs in the home, one file each, which the system has released. The next
command that has a server of its own ends those runs. A lasting server does it by itself, because such a run sends no
heartbeat any more (`automations.yaml`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Crashed

from reviewlm.core.environment import home_folder
from reviewlm.core.processes import interrupts
from reviewlm.core.processes.leftovers import hold

LOCKS = Path("prefect", "running")
"""Folder of the home with a lock for each flow run of a command that has a server of its own; its id is the name."""
LOCK = ".lock"
OPEN = {"type": {"any_": ["RUNNING", "PENDING"]}}


def ended_with_process(flow: Flow[..., Any]) -> Flow[..., Any]:
    """Return a flow whose runs end if this process is interrupted, or after it was killed."""
    begun: list[UUID] = []
    locks: dict[UUID, int] = {}
    interrupts.at_interrupt(lambda: end_runs(begun))

    def note(
        flow: Flow[..., Any],
        flow_run: FlowRun,
        state: State[Any],
    ) -> None:
        begun.append(flow_run.id)
        if "PREFECT_API_URL" not in os.environ:
            with suppress(OSError):
                locks[flow_run.id] = _lock(flow_run.id)

    def forget(
        flow: Flow[..., Any],
        flow_run: FlowRun,
        state: State[Any],
    ) -> None:
        if flow_run.id in locks:
            (home_folder() / LOCKS / f"{flow_run.id}{LOCK}").unlink(missing_ok=True)
            os.close(locks.pop(flow_run.id))

    return flow.with_options(
        on_running=[note],
        on_completion=[forget],
        on_failure=[forget],
        on_crashed=[forget],
        on_cancellation=[forget],
    )


def _lock(run: UUID) -> int:
    """Return the descriptor of the lock of a flow run of this process."""
    folder = home_folder() / LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = hold(folder / f"{run}{LOCK}")
    assert descriptor is not None, "the id is new"
    return descriptor


def end_lost_runs() -> None:
    """End the flow runs of this home whose process is gone, on this command's own server."""
    if "PREFECT_API_URL" in os.environ:
        return

    for file in (home_folder() / LOCKS).glob(f"*{LOCK}"):
        with suppress(OSError, ValueError):
            descriptor = hold(file)
            if descriptor is None:
                continue
            try:
                end_runs([UUID(file.stem)], "Its process was killed")
                file.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def end_runs(ids: Sequence[UUID], why: str = "Interrupted") -> None:
    """Set open flow runs with these ids, and their parts, to Crashed."""
    with get_client(sync_client=True) as client:
        for related in ("parent_flow_run_id", "id"):
            chosen = FlowRunFilter.model_validate({"state": OPEN, related: {"any_": [*ids]}})
            for run in client.read_flow_runs(flow_run_filter=chosen):
                client.set_flow_run_state(run.id, Crashed(message=why), force=True)
