"""End a command's Prefect flow runs as Crashed when their process ends, because the server does not notice that.

A Prefect worker handles the runs that it starts. Runs of the command line have a label with the name of their process
instead. An interrupted process ends its own runs. The next run ends those of a killed process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Crashed

from core.processes import interrupts
from core.processes.leftovers import is_gone, this_process

LABEL = "reviewlm.process"
"""Label of a flow run with the name of the process that made it; Prefect's pages do not show labels."""
OPEN = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
log = logging.getLogger(__name__)


def ended_with_process(flow: Flow[..., Any]) -> Flow[..., Any]:
    """Return a flow whose runs have the name of this process and end if the process is interrupted."""
    process = this_process()
    interrupts.at_interrupt(lambda: end_runs(lambda other: other == process, "Interrupted"))

    def label(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
        with get_client(sync_client=True) as client:
            client.update_flow_run_labels(flow_run.id, {LABEL: process})

    return flow.with_options(on_running=[label])


def end_left_runs() -> None:
    """End the flow runs whose process is gone. If the server does not answer, the next run does it."""
    with suppress(Exception):
        if ended := end_runs(is_gone, "Killed: the process that made this run is gone"):
            log.info("%d unfinished flow runs of killed processes were ended in Prefect", ended)


def end_runs(concerns: Callable[[str], bool], why: str) -> int:
    """Set the open flow runs of all processes that *concerns* selects, with their parts, to Crashed; count them."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=OPEN))
        if left := [run for run in runs if concerns(str(run.labels.get(LABEL, "")))]:
            called = FlowRunFilterParentFlowRunId(any_=[run.id for run in left])
            parts = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=OPEN, parent_flow_run_id=called))
            for run in [*parts, *left]:
                client.set_flow_run_state(run.id, Crashed(message=why), force=True)
    return len(left)
