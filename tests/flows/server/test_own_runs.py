"""Flow runs of the command line end with their process; those of others are left alone."""

from __future__ import annotations

from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.states import Running

from reviewlm.core.processes import interrupts
from reviewlm.flows.server.own_runs import ended_with_process


def state_of(run: UUID) -> str:
    with get_client(sync_client=True) as client:
        return str(client.read_flow_run(run).state_type.value)


@flow(name="whole", persist_result=False)
def whole() -> list[str]:
    return [*part(), own_state()]


@flow(name="part", persist_result=False)
def part() -> list[str]:
    interrupts._process.clean_ups.pop()()
    return [own_state()]


def own_state() -> str:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    assert not context.flow_run.tags
    return state_of(context.flow_run.id)


def test_a_command_s_flow_run_and_what_it_calls_end_together_and_no_other(
    prefect_server: None,
) -> None:
    with get_client(sync_client=True) as client:
        other = client.create_flow_run(whole, state=Running()).id
    assert ended_with_process(whole)() == ["CRASHED", "CRASHED"]
    assert state_of(other) == "RUNNING"
