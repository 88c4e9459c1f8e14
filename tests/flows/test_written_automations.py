"""Automations are written to the server only if they differ from what it has; triggers match the right events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.server.events.schemas import automations as of_server

from flows.server import automations
from flows.server.alert_addresses import AlertSettings

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
        return {one.name.removeprefix(automations.PREFIX): one.trigger.id for one in self.kept.values()}


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
    server: PretendedServer
) -> None:
    names = automations.set_up(HOOK)
    before = server.triggers()
    assert set(before) == set(names)
    assert automations.set_up(HOOK) == names
    assert server.triggers() == before


def test_other_days_of_silence_change_only_that_alert(server: PretendedServer) -> None:
    automations.set_up(HOOK)
    before = server.triggers()
    automations.set_up(AlertSettings(HOOK.addresses, silence_days=3.5))
    after = server.triggers()
    assert {name for name in after if after[name] != before[name]} == {"silence"}


def test_other_addresses_are_saved_without_a_new_count_of_anything(server: PretendedServer) -> None:
    automations.set_up(HOOK)
    before = server.triggers()
    automations.set_up(AlertSettings(("json://127.0.0.2/",)))
    assert server.addresses == [HOOK.addresses, ("json://127.0.0.2/",)]
    assert server.triggers() == before


def test_without_addresses_the_alerts_go_and_the_care_for_lost_runs_stays(server: PretendedServer) -> None:
    automations.set_up(HOOK)
    before = server.triggers()
    assert automations.set_up(AlertSettings()) == ["lost runs", "second attempt"]
    assert server.triggers() == {name: before[name] for name in ("lost runs", "second attempt")}


def test_an_alert_that_somebody_switched_off_in_the_page_is_on_again_after_a_start(server: PretendedServer) -> None:
    automations.set_up(HOOK)
    for one in server.kept.values():
        one.enabled = False
    automations.set_up(HOOK)
    assert all(one.enabled for one in server.kept.values())
