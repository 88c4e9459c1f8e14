"""End a command's Prefect flow runs as Crashed when their process ends, because the server does not notice that.

A Prefect worker handles the runs that it starts. Runs of the command line carry a tag with the name of their process
instead. An interrupted process ends its own runs. The next run ends those of a killed process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from prefect import tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

from core.processes import interrupts
from core.processes.leftovers import is_gone, this_process

PREFIX = "process: "
OPEN = [StateType.RUNNING, StateType.PENDING]
log = logging.getLogger(__name__)


@contextmanager
def ended_with_process() -> Iterator[None]:
    """Tag the flow runs of the block with this process, and end them if the process is interrupted."""
    process_of_block = this_process()
    interrupts.at_interrupt(lambda: end_runs(lambda process: process == process_of_block, "Interrupted"))
    with tags(f"{PREFIX}{process_of_block}"):
        yield


def end_left_runs() -> None:
    """End the flow runs whose process is gone. If the server does not answer, the next run does it."""
    with suppress(Exception):
        if ended := end_runs(is_gone, "Killed: the process that made this run is gone"):
            log.info("%d unfinished flow runs of killed processes were ended in Prefect", ended)


def end_runs(concerns: Callable[[str], bool], why: str) -> int:
    """Set the open flow runs of all processes that *concerns* selects to Crashed, and return their number."""
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=OPEN))
    with get_client(sync_client=True) as client:
        left = [run for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=state)) if concerns(_of(run))]
        for run in left:
            client.set_flow_run_state(run.id, Crashed(message=why), force=True)
    return len(left)


def _of(run: Any) -> str:
    """Return the name of the process that made a flow run; empty if the run has no such tag."""
    return next((tag.removeprefix(PREFIX) for tag in run.tags if tag.startswith(PREFIX)), "")
