"""Create the automations of our Prefect server: alerts, and what happens to flow runs whose process is gone.

    python -m reviewlm.flows.server.automations HOME

`make ui` runs this after the deployments. The automations are in `automations.yaml`; Prefect's server carries them out,
so an alert needs no worker.
"""

from __future__ import annotations

import sys
from pathlib import Path
from string import Template
from typing import Any, cast
from uuid import UUID

import yaml
from prefect.blocks.notifications import AbstractAppriseNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.events import emit_event
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore
from pydantic import Field, SecretStr

from reviewlm.core.config.sections.evaluation import DEMO_MODEL
from reviewlm.core.services.join import HEARTBEAT
from reviewlm.core.services.pools import POOLS
from reviewlm.flows.server.alert_addresses import AlertSettings, read_alerts

AUTOMATIONS = Path(__file__).with_suffix(".yaml")
BLOCK = "reviewlm-alerts"
PREFIX = "reviewlm: "
WAITS = {
    "lost_seconds": 600.0,
    "retry_seconds": 60.0,
    "worker_seconds": 300.0,
}
"""Seconds without a heartbeat after which a run is lost (more than three times the distance of two); from a crash to
the second attempt; without a worker after which a pool is told."""
DAY = 86_400
ENDS = (
    "Completed",
    "Skipped",
    "Failed",
    "Cancelling",
    "Cancelled",
    "Crashed",
    "TimedOut",
    "AwaitingRetry",
)
"""States in which a run may be without heartbeats."""


class AlertAddresses(AbstractAppriseNotificationBlock):
    """The addresses of alerts. The server must import this class, because it sends the alerts."""

    _block_type_name = "ReviewLM alerts"
    _block_type_slug = "reviewlm-alerts"
    url: SecretStr = Field(description="Addresses of Apprise, separated by commas.")


def automations(settings: AlertSettings, **seconds: float) -> list[AutomationCore]:
    """Return the automations; without addresses, those without an alert. Saves the addresses on the server.

    Args:
        settings: Where alerts go, and the days of silence.
        seconds: Waits other than those in `WAITS`.
    """
    waits = WAITS | seconds
    ends = [f"prefect.flow-run.{state}" for state in ENDS]
    ends_but_crashed = [end for end in ends if not end.endswith("Crashed")]
    values: dict[str, Any] = {name: f"{wait:g}" for name, wait in waits.items()}
    values["ends"] = ", ".join(ends)
    values["ends_but_crashed"] = ", ".join(ends_but_crashed)
    values["pools"] = ", ".join(POOLS)
    values["demo_model"] = DEMO_MODEL
    values["worker_minutes"] = f"{waits['worker_seconds'] / 60:g}"
    values["silence_days"] = f"{settings.silence_days:g}"
    values["silence_seconds"] = settings.silence_days * DAY
    text = Template(AUTOMATIONS.read_text(encoding="utf-8")).substitute(values)
    entries: list[dict[str, Any]] = yaml.safe_load(text)
    block = None
    if settings.addresses:
        block = block_of(settings)

    chosen = []
    for entry in entries:
        if alert := entry.pop("alert", None):
            if block is None:
                continue
            body = alert["body"]
            subject = f"ReviewLM: {alert['subject']}"
            entry["actions"] = [
                SendNotification(
                    block_document_id=block,
                    subject=subject,
                    body=body,
                )
            ]
        plain = AutomationCore(**{**entry, "name": PREFIX + entry["name"]})
        # An update sends only what was set, not the defaults.
        chosen.append(AutomationCore(**plain.model_dump(exclude={"owner_resource"})))

    return chosen


def set_up(settings: AlertSettings, **seconds: float) -> list[str]:
    """Create or update the automations of the server that is named by the environment; return their names.

    Without addresses, the alerts of before are removed. An automation that the server has already is left alone: an
    update gives its trigger a new id, under which the server counts anew, so that the days of silence would begin again
    at each start of the services. New addresses change only the block that the alerts name. One that was switched off in
    Prefect's pages stays off.

    Args:
        settings: Where alerts go.
        seconds: Waits other than those in `WAITS`.
    """
    wanted = automations(settings, **seconds)
    with get_client(sync_client=True) as client:
        present = {
            one.name: one for one in client.read_automations() if one.name.startswith(PREFIX)
        }
        for automation in wanted:
            before = present.pop(automation.name, None)
            if before is None:
                client.create_automation(automation)
                continue
            automation.enabled = before.enabled  # somebody may have switched it off
            if _content(before) != _content(automation):
                client.update_automation(before.id, automation)
        for left in present.values():
            client.delete_automation(left.id)
        await_heartbeats(client)

    return [automation.name.removeprefix(PREFIX) for automation in wanted]


def _content(automation: AutomationCore) -> dict[str, Any]:
    """Return the settings of an automation that we decide: no ids, and no times of the server."""
    return automation.model_dump(include=set(AutomationCore.model_fields) - {"owner_resource"})


def await_heartbeats(client: SyncPrefectClient) -> None:
    """Wait anew for a heartbeat of each Running run, so that those that ended in a reboot become Crashed.

    Prefect's server forgets a wait that ended more than a minute before it started. A process that lives sends its next
    heartbeat in time.
    """
    running = FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING"]}}})
    for run in client.read_flow_runs(flow_run_filter=running):
        emit_event(HEARTBEAT, resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"})


def block_of(settings: AlertSettings) -> UUID:
    """Save the addresses on the server, encrypted as it keeps all secrets, and return the id of their block."""
    return cast(
        UUID,
        AlertAddresses(url=SecretStr(",".join(settings.addresses))).save(BLOCK, overwrite=True),
    )


if __name__ == "__main__":
    set_up(read_alerts(Path(sys.argv[1])))
