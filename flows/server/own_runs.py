"""End a command's Prefect flow runs as Crashed when their process is interrupted, because the server cannot notice it.

A Prefect worker handles the runs that it starts. A run of a process that was killed sends no heartbeat any more: the
server of `services start` ends it, as all lost runs (`automations.yaml`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Crashed

from reviewlm.core.processes import interrupts

OPEN = {"type": {"any_": ["RUNNING", "PENDING"]}}


def ended_with_process(flow: Flow[..., Any]) -> Flow[..., Any]:
    """Return a flow whose runs end if this process is interrupted."""
    begun: list[UUID] = []
    interrupts.at_interrupt(lambda: end_runs(begun))

    def note(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
        begun.append(flow_run.id)

    return flow.with_options(on_running=[note])


def end_runs(ids: Sequence[UUID]) -> None:
    """Set open flow runs with these ids, and their parts, to Crashed."""
    with get_client(sync_client=True) as client:
        for related in ("parent_flow_run_id", "id"):
            chosen = FlowRunFilter.model_validate({"state": OPEN, related: {"any_": [*ids]}})
            for run in client.read_flow_runs(flow_run_filter=chosen):
                client.set_flow_run_state(run.id, Crashed(message="Interrupted"), force=True)
