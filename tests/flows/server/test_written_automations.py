"""Automations are written to the server only if they differ from what it has; triggers match the right events."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.server.events.schemas import automations as of_server
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings.models.flows import FlowsSettings

from reviewlm.core.config.sections.evaluation import DEMO_MODEL
from reviewlm.core.services.join import RETRAINED, resource_of
from reviewlm.core.services.pools import POOLS
from reviewlm.flows.server import automations
from reviewlm.flows.server.alert_addresses import AlertSettings

FLOWS = Path(automations.__file__).parents[1]
HOOK = AlertSettings(("json://127.0.0.1/",))


@dataclass
class PretendedServer:
    """Keeps automations as Prefect's server does: each one that is written gets new ids of its triggers."""

    kept: dict[UUID, of_server.Automation] = field(default_factory=dict)
    addresses: list[tuple[str, ...]] = field(default_factory=list)

    def _keep(self, key: UUID, automation: AutomationCore) -> None:
        sent = of_server.AutomationUpdate(**automation.model_dump(mode="json", exclude_unset=True))
        sent.trigger.reset_ids()
        self.kept[key] = of_server.Automation(id=key, **sent.model_dump())

    def create_automation(self, automation: AutomationCore) -> None:
        self._keep(uuid4(), automation)

    def update_automation(self, key: UUID, automation: AutomationCore) -> None:
        assert key in self.kept
        self._keep(key, automation)

    def delete_automation(self, key: UUID) -> None:
        del self.kept[key]

    def read_automations(self) -> list[Automation]:
        return [Automation.model_validate_json(one.model_dump_json()) for one in self.kept.values()]

    def read_flow_runs(self, **_: Any) -> list[Any]:
        return []

    def triggers(self) -> dict[str, UUID]:
        return {
            one.name.removeprefix(automations.PREFIX): one.trigger.id for one in self.kept.values()
        }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> PretendedServer:
    server, block = PretendedServer(), uuid4()

    @contextmanager
    def client(sync_client: bool) -> Iterator[PretendedServer]:
        yield server

    def keep_block(settings: AlertSettings) -> UUID:
        server.addresses.append(settings.addresses)
        return block

    monkeypatch.setattr(automations, "get_client", client)
    monkeypatch.setattr(automations, "block_of", keep_block)
    return server


def test_a_second_start_leaves_every_automation_alone_so_that_the_days_of_silence_go_on(
    server: PretendedServer,
) -> None:
    names = automations.set_up(HOOK)
    before = server.triggers()
    assert set(before) == set(names)
    assert automations.set_up(HOOK) == names
    assert server.triggers() == before


def test_an_alert_that_somebody_switched_off_stays_off(server: PretendedServer) -> None:
    automations.set_up(HOOK)
    key = next(key for key, one in server.kept.items() if one.name.endswith("failure"))
    server.kept[key].enabled = False
    automations.set_up(AlertSettings(HOOK.addresses, silence_days=3))
    assert [one.name for one in server.kept.values() if not one.enabled] == [server.kept[key].name]


def test_without_addresses_only_the_care_for_lost_runs_stays(
    server: PretendedServer,
) -> None:
    automations.set_up(HOOK)
    before = server.triggers()
    left = ["lost runs", "second attempt"]
    assert automations.set_up(AlertSettings()) == left
    assert server.triggers() == {name: before[name] for name in left}


def test_a_start_of_the_services_waits_anew_for_heartbeats_of_running_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    sent = lambda event, resource: told.append(f"{event} {resource['prefect.resource.id']}")  # noqa: E731
    monkeypatch.setattr(automations, "emit_event", sent)
    server: Any = SimpleNamespace(
        read_flow_runs=lambda flow_run_filter: [SimpleNamespace(id="one")]
    )
    automations.await_heartbeats(server)
    assert told == ["prefect.flow-run.heartbeat prefect.flow-run.one"]


HEARTBEAT = "prefect.flow-run.heartbeat"


@pytest.fixture(autouse=True)
def block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automations, "block_of", lambda settings: UUID(int=7))


def trigger_of(name: str) -> of_server.EventTrigger:
    """Return the trigger of an automation as the server reads it."""
    trigger = next(
        one.trigger
        for one in automations.automations(HOOK)
        if one.name == automations.PREFIX + name
    )
    return of_server.EventTrigger.model_validate_json(trigger.model_dump_json())


def part_of(role: str, name: str = "") -> dict[str, str]:
    """Return what an event says of something that has a part in it."""
    told = {"prefect.resource.id": f"prefect.{role}.{uuid4()}", "prefect.resource.role": role}
    return told | ({"prefect.resource.name": name} if name else {})


def run_event(
    state: str,
    *related: dict[str, str],
    count: int = 1,
    message: str = "",
) -> ReceivedEvent:
    """Return the event of a new state of a run, as the server makes it."""
    resource = {
        "prefect.resource.id": f"prefect.flow-run.{uuid4()}",
        "prefect.run-count": str(count),
        "prefect.state-message": message,
    }
    return ReceivedEvent(
        occurred=datetime.now(UTC),
        event=f"prefect.flow-run.{state}",
        id=uuid4(),
        resource=resource,
        related=list(related),
    )


def test_a_run_is_lost_for_want_of_heartbeats_at_whatever_rate_prefect_lets_it_send_them() -> None:
    trigger = trigger_of("lost runs")
    assert trigger.starts_after(HEARTBEAT)
    assert trigger.expects(HEARTBEAT)  # each one begins the wait anew
    rate = FlowsSettings.model_fields["heartbeat_frequency"].default
    assert trigger.within.total_seconds() == automations.WAITS["lost_seconds"] > 3 * rate


def test_a_run_that_is_cancelled_or_has_ended_is_not_lost() -> None:
    trigger = trigger_of("lost runs")
    for state in (
        "Cancelling",
        "Cancelled",
        "Completed",
        "Failed",
        "Crashed",
        "TimedOut",
        "AwaitingRetry",
    ):
        assert trigger.expects(f"prefect.flow-run.{state}")
        assert not trigger.starts_after(f"prefect.flow-run.{state}")
    actions = [one.actions[0] for one in automations.automations(AlertSettings())]
    assert not any(action.force for action in actions)  # Prefect refuses what cannot follow


def test_only_the_first_crash_of_a_run_of_ours_that_nobody_ended_is_followed_by_another_attempt() -> (
    None
):
    trigger = trigger_of("second attempt")
    assert trigger.starts_after("prefect.flow-run.Crashed")
    assert not trigger.expects("prefect.flow-run.Crashed")  # reported twice by a worker
    assert all(
        trigger.expects(f"prefect.flow-run.{state}")
        for state in ("Cancelled", "AwaitingRetry", "Completed")
    )
    ours, theirs = part_of("work-pool", "cpu-pool"), part_of("work-pool", "theirs")
    assert trigger.covers(
        run_event("Crashed", ours, message="Process exited with status code: -9.")
    )
    for pool, count in ((ours, 2), (ours, 0), (theirs, 1)):
        assert not trigger.covers(run_event("Crashed", pool, count=count))


def model_event(event: str, model: str) -> ReceivedEvent:
    return ReceivedEvent(
        occurred=datetime.now(UTC),
        event=event,
        id=uuid4(),
        resource=resource_of(model),
    )


def test_only_a_retrain_of_the_users_reviews_that_went_to_its_end_breaks_the_silence() -> None:
    """A run that ended as not needed has the state Skipped and sends no event; the demo does not count."""
    trigger = trigger_of("silence")
    assert trigger.covers(model_event(RETRAINED, "reviewlm"))
    assert trigger.expects(RETRAINED)
    assert not trigger.covers(model_event(RETRAINED, DEMO_MODEL))
    assert not any(trigger.expects(f"prefect.flow-run.{name}") for name in automations.ENDS)


def parts() -> set[str]:
    """Return the names of flows whose failure is told by the flow that called them."""
    related = trigger_of("failure").match_related
    return {name.removeprefix("!") for one in related for name in one.get("prefect.resource.name")}


def test_the_failure_of_a_part_is_told_once_by_the_run_that_called_it() -> None:
    parent, tag, trigger = part_of("task-run"), part_of("tag"), trigger_of("failure")
    assert not any(
        trigger.covers(run_event("Failed", part_of("flow", part), parent, tag)) for part in parts()
    )
    for whole in ("retrain", "ingest-only", "promote-only", "upkeep", "one of somebody else"):
        assert trigger.covers(run_event("Failed", part_of("flow", whole), tag))


def test_each_flow_that_a_run_of_its_own_cannot_start_is_a_part() -> None:
    """These take a configuration, not the parameters of a deployment, so they name their runs in the decorator."""
    found = set()
    for file in FLOWS.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "flow":
                options = {option.arg: option.value for option in node.keywords}
                run_name = ast.unparse(options.get("flow_run_name", ast.Constant("")))
                if (
                    isinstance(name := options["name"], ast.Constant)
                    and "config.source.title" in run_name
                ):
                    found.add(name.value)
    assert found | {"fit-job"} == parts()


def pool_event(pool: str, word: str) -> ReceivedEvent:
    resource = {
        "prefect.resource.id": f"prefect.work-pool.{uuid4()}",
        "prefect.resource.name": pool,
    }
    return ReceivedEvent(
        occurred=datetime.now(UTC),
        event=f"prefect.work-pool.{word}",
        id=uuid4(),
        resource=resource,
    )


def test_a_pool_of_the_services_is_told_if_no_worker_comes_for_minutes() -> None:
    """So the alert does not come at a start of the services, where the pool has no worker for a while."""
    trigger = trigger_of("no worker")
    for pool in POOLS:
        assert trigger.covers(pool_event(pool, "not-ready"))
        assert trigger.covers(pool_event(pool, "ready"))
    assert not trigger.covers(pool_event("pool of somebody else", "not-ready"))
    assert not trigger.starts_after("prefect.work-pool.ready")
    assert trigger.expects("prefect.work-pool.ready")
    assert trigger.starts_after("prefect.work-pool.not-ready")
    # A worker that ends right after its start begins a new wait.
    assert trigger.expects("prefect.work-pool.not-ready")
    assert (trigger.posture, trigger.meets_threshold(0), trigger.meets_threshold(1)) == (
        "Proactive",
        True,
        False,
    )
    assert trigger.within.total_seconds() == automations.WAITS["worker_seconds"] >= 300
