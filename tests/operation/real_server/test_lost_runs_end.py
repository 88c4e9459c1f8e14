"""On a real Prefect server: a run whose process is gone is noticed and tried again, one that lives goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from core.processes.keep_running import EVERY_SECONDS
from core.services.heartbeat import HEARTBEAT_SECONDS
from core.services.lost_runs import ATTEMPT_SECONDS, FIRST_SECONDS, SILENT_SECONDS
from flows.server.automations import LOST_SECONDS
from tests.operation.real_server.asked_server import post, run, runs_of, set_up, states, until
from tests.operation.real_server.begun_runs import NOTICED, begin_a_run, kill_in_a_run
from tests.operation.real_server.received import with_title

pytestmark = [pytest.mark.slow, pytest.mark.long]  # a server of its own, and waits of half a minute


@pytest.mark.drill(
    "worker and flow killed together", "kill -9 of a flow without a worker",
    "Crashed; the deployment's run is scheduled again",
)  # fmt: skip
def test_a_run_whose_process_is_gone_becomes_crashed_and_that_of_a_deployment_is_tried_again(
    server: dict[str, str]
) -> None:
    """Without the heartbeats nothing else would ever end these runs."""
    for words in ([], ["deployed"]):
        kill_in_a_run(server, "lost", *words)
    assert until(lambda: states(server, "lost") == ["False Crashed", "True AwaitingRetry"], NOTICED)


def test_a_process_that_lives_keeps_its_run_although_it_was_taken_for_lost(
    server: dict[str, str], addresses: list[str]
) -> None:
    """No second process is started beside it, and an attempt that waits for a worker is called off."""
    set_up(server, addresses, lost=LOST_SECONDS)
    process = begin_a_run(server, "alive", "deployed")
    try:
        [made] = runs_of(server, "alive")
        of_run = f"flow_runs/{made['id']}/set_state"
        post(server, of_run, {"state": {"type": "CRASHED", "message": "No heartbeat"}, "force": True})
        time.sleep(ATTEMPT_SECONDS + 2 * EVERY_SECONDS)
        assert states(server, "alive") == ["True Crashed"]
        waits = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Second attempt"}
        post(server, of_run, {"state": waits, "force": True})
        until(lambda: states(server, "alive") == ["True Running"], 60)
    finally:
        process.kill()
        process.wait()


@pytest.mark.drill(
    "worker and flow killed together", "the opposite: a process that was only cut off until its second attempt began",
    "it ends itself; the second attempt goes on",
)  # fmt: skip
def test_a_process_that_was_cut_off_ends_itself_once_another_one_has_begun_its_run_again(
    server: dict[str, str], addresses: list[str], record_property: Callable[[str, object], None]
) -> None:
    set_up(server, addresses, lost=LOST_SECONDS)
    first = begin_a_run(server, "cut-off", "deployed")
    processes = [first]
    try:
        [made] = runs_of(server, "cut-off")
        for state in ("CRASHED", "SCHEDULED", "PENDING"):  # taken for lost, scheduled again, taken by a worker
            of_run = f"flow_runs/{made['id']}/set_state"
            post(server, of_run, {"state": {"type": state, "message": "No heartbeat"}, "force": True})
        processes.append(begin_a_run(server, "cut-off", "again", made["id"]))
        began = time.monotonic()
        assert first.wait(2 * HEARTBEAT_SECONDS + 30) == 0, "another exit code makes its worker report a crash"
        record_property("seconds until it has ended", round(time.monotonic() - began, 1))
        time.sleep(HEARTBEAT_SECONDS + 5)  # the second one has looked at the run, too
        assert processes[1].poll() is None
        assert runs_of(server, "cut-off")[0]["run_count"] == 2
        assert states(server, "cut-off") == ["True Running"]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_crash_that_is_reported_twice_is_told_once_and_followed_by_the_second_attempt(server: dict[str, str]) -> None:
    """As a worker does: the watcher of the process reports its end, and seconds later the worker itself."""
    made = run(server, """
import time
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Crashed, Running
@flow(name="twice")
def twice():
    pass
asked = {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
with get_client(sync_client=True) as client:
    deployment = client.create_deployment(
        client.create_flow(twice), "deployed", work_pool_name=None, job_variables=asked)
    made = client.create_flow_run_from_deployment(deployment, state=Running())
    for message in ("its process was killed", "the infrastructure ended"):
        client.set_flow_run_state(made.id, Crashed(message=message), force=True)
        time.sleep(4)
print(made.id)
""").strip()
    history = f"""
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(*[state.name for state in client.read_flow_run_states({made!r})])
"""
    until(lambda: states(server, "twice") == ["True AwaitingRetry"], NOTICED)
    assert run(server, history).split() == ["Running", "Crashed", "Crashed", "AwaitingRetry"]
    assert len(with_title("ReviewLM: twice")) == 1
    run(server, f"""
from prefect.client.orchestration import get_client
from prefect.states import Crashed, Running
with get_client(sync_client=True) as client:
    for state in (Running(), Crashed(message="its process was killed again")):
        client.set_flow_run_state({made!r}, state, force=True)
""")
    until(lambda: len(with_title("ReviewLM: twice")) == 2)


def test_only_a_crashed_run_of_ours_that_nobody_has_cancelled_is_tried_again(server: dict[str, str]) -> None:
    """Prefect itself says Crashed of a cancelled run whose process gets SIGTERM, as when its machine is shut down."""
    run(server, """
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Cancelling, Completed, Crashed, Running
asked = {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
ends = {
    "crashed": (asked, [Crashed()]), "completed": (asked, [Completed()]),
    "cancelled": (asked, [Cancelling(), Crashed()]), "foreign": ({}, [Crashed()]),
}
with get_client(sync_client=True) as client:
    for name, (variables, states) in ends.items():
        @flow(name=f"ended-{name}")
        def ended():
            pass
        deployment = client.create_deployment(
            client.create_flow(ended), "deployed", work_pool_name=None, job_variables=variables)
        made = client.create_flow_run_from_deployment(deployment, state=Running())
        for state in states:
            client.set_flow_run_state(made.id, state, force=True)
""")
    until(lambda: states(server, "ended-crashed") == ["True AwaitingRetry"], NOTICED)
    time.sleep(EVERY_SECONDS)
    assert states(server, "ended-completed") == ["True Completed"]
    assert states(server, "ended-cancelled") == ["True Crashed"]
    assert states(server, "ended-foreign") == ["True Crashed"]


def test_a_run_that_ended_with_the_services_is_noticed_after_their_next_start(
    server: dict[str, str], addresses: list[str]
) -> None:
    """An automation that has changed is written again, and the server then forgets for which runs it waited."""
    kill_in_a_run(server, "rebooted", "deployed")
    set_up(server, addresses, lost=16)
    assert until(lambda: states(server, "rebooted") == ["True AwaitingRetry"], NOTICED)


@pytest.mark.drill(
    "worker and flow killed together", "kill -9 of a flow of a deployment before its first heartbeat",
    "Crashed and scheduled again without a restart; runs that live go on",
)  # fmt: skip
@pytest.mark.timeout(1200)
def test_a_run_that_was_killed_before_its_first_heartbeat_is_noticed_and_those_that_live_go_on(
    server: dict[str, str], addresses: list[str], record_property: Callable[[str, object], None]
) -> None:
    """The process that keeps Prefect's server running looks for it; all times are those of the product."""
    set_up(server, addresses, lost=LOST_SECONDS)
    slow = server | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "180"}
    living = [
        begin_a_run(server, "beating", "deployed"), begin_a_run(server, "unasked", "deployed", "unasked", "mute"),
        begin_a_run(slow, "slow", "deployed", "unasked", "foreign"),
    ]  # fmt: skip
    try:
        for name, words in {"killed-early": ["mute"], "cancelled-early": ["mute"], "cancelled-late": []}.items():
            process = begin_a_run(server, name, "deployed", *words)
            if name.startswith("cancelled"):
                time.sleep(5)  # a first heartbeat is on its way
                [cancelled] = runs_of(server, name)
                post(server, f"flow_runs/{cancelled['id']}/set_state", {"state": {"type": "CANCELLING"}})
            process.kill()
            process.wait()
        killed, most = time.monotonic(), FIRST_SECONDS + 2 * EVERY_SECONDS + LOST_SECONDS + ATTEMPT_SECONDS + 90
        until(lambda: states(server, "killed-early") == ["True AwaitingRetry"], most)
        record_property("seconds until it is scheduled again", round(time.monotonic() - killed, 1))
        for name in ("cancelled-early", "cancelled-late"):
            until(lambda name=name: states(server, name) == ["True Cancelled"], SILENT_SECONDS + EVERY_SECONDS + 30)
            [cancelled] = runs_of(server, name)
            assert cancelled["run_count"] == 1
        assert [one.poll() for one in living] == [None] * 3
        assert [state for name in ("beating", "unasked", "slow") for state in states(server, name)] == [
            "True Running"
        ] * 3
    finally:
        for one in living:
            one.kill()
            one.wait()
