"""Create the automations of our Prefect server: alerts, and what happens to flow runs whose process is gone.

    python -m flows.server.automations HOME

`make ui` runs this after the deployments. Prefect's server carries the automations out, so an alert needs no worker.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.blocks.notifications import AbstractAppriseNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.events import emit_event
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from pydantic import Field, SecretStr

from core.config.sections.evaluation import DEMO_MODEL
from core.services.join import HEARTBEAT, RETRAINED, SET_ASIDE
from core.services.pools import POOLS
from flows.server.alert_addresses import AlertSettings, read_alerts

BLOCK = "reviewlm-alerts"
PREFIX = "reviewlm: "
LOST_SECONDS = 600.0
"""A run that has sent no heartbeat for this long is lost: more than three times the distance of two."""
RETRY_SECONDS = 60.0
"""Time from a crash to the second attempt. A worker reports the end of a killed process twice, seconds apart; the later
report would make an attempt that had been scheduled meanwhile crash, too."""
REPORTED_AGAIN = timedelta(minutes=15)
"""Time in which another report of the same end of the same attempt is no news."""
OVERDUE_SECONDS = 86_400.0
"""Time for which a run of our pools may be running before it is told."""
WITHOUT_WORKER_SECONDS = 300.0
"""Time that a pool may have no worker before it is told. After a start of the services, workers come last."""
RUN = "{{ flow.name }} ({{ flow_run.name }})"
MODEL = "{{ event.resource.name }}"
PARTS = (
    "ingest", "prepare", "fit-models", "evaluate", "promote", "fit-trials", "evaluate-classifiers",
    "fit-job",
)
"""Flows that only other flows run. They fail together with the run that called them, and that one is told."""
ENDS = ("Completed", "Skipped", "Failed", "Cancelling", "Cancelled", "Crashed", "TimedOut", "AwaitingRetry")
"""States in which a run may be without heartbeats."""
SECOND_ATTEMPT = "Second attempt, the last one: the process of the first one is gone"
TOLD_ITS_END = "Execution was "
"""How Prefect's message begins if the process of a crashed run could still say why it ended. Mostly it got SIGTERM:
from somebody who stops the services, or because the run was cancelled while its worker did not listen."""


class AlertAddresses(AbstractAppriseNotificationBlock):
    """The addresses of alerts. The server must import this class, because it sends the alerts."""

    _block_type_name = "ReviewLM alerts"
    _block_type_slug = "reviewlm-alerts"
    url: SecretStr = Field(description="Addresses of Apprise, separated by commas.")


def alerts(
    settings: AlertSettings, worker_seconds: float = WITHOUT_WORKER_SECONDS
) -> Iterator[tuple[str, EventTrigger, str, str]]:
    """Yield name, trigger, subject and text of each alert; docs/runbook/alerts.md has a section for each."""
    failed = EventTrigger(
        expect={f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")},
        match={"prefect.resource.id": "prefect.flow-run.*"}, match_related=_not_a_part(),
        for_each={"prefect.resource.id", "prefect.run-count"}, within=REPORTED_AGAIN,
    )
    yield (
        "failure", failed, f"{RUN}: {{{{ flow_run.state.name }}}}",
        "{{ flow_run.state.message }}\n{{ flow_run|ui_url or '' }}\nThe next run resumes from what is finished.",
    )
    for name, sentence in (
        ("promoted", "version {{ event.payload.version }} is the new champion"),
        ("refused", "version {{ event.payload.version }} was refused; the champion stays"),
        ("rolled-back", "version {{ event.payload.version }} is the champion again"),
    ):
        yield name, _of_model(f"reviewlm.model.{name}"), f"{MODEL}: {sentence}", "{{ event.payload.sentence }}"
    yield (
        "drift", _of_model("reviewlm.drift.flagged", "reviewlm.drift.seen"), f"{MODEL}: the new reviews differ",
        "{{ event.payload.sentence }}\n{{ event.payload.report }}",
    )
    yield (
        "set aside", _of_model(SET_ASIDE), "A file of reviews cannot be read",
        "{{ event.payload.sentence }}\nThe run goes on without it: `reviewlm data quarantine show`.",
    )
    yield (
        "overdue", _wait(_states("Running"), _states(*ENDS), OVERDUE_SECONDS, related=_of_pools(POOLS)),
        "A run has been running for a day", "{{ flow.name }} ({{ flow_run.name }})\n{{ flow_run|ui_url or '' }}",
    )
    yield _silence(settings.silence_days)
    yield _no_worker(worker_seconds)


def _silence(days: float) -> tuple[str, EventTrigger, str, str]:
    silent = EventTrigger(
        expect={RETRAINED},
        match={"prefect.resource.id": "reviewlm.model.*", "prefect.resource.name": f"!{DEMO_MODEL}"},
        posture=Posture.Proactive, within=timedelta(days=days),
    )
    return (
        "silence", silent, f"No retrain has finished for {days:g} days",
        "See whether the schedule is switched on and a worker runs: `reviewlm doctor`.",
    )


def _no_worker(seconds: float) -> tuple[str, EventTrigger, str, str]:
    # As for heartbeats: an event that is in both sets starts the wait anew, so the end of a worker that had just come
    # counts, too.
    gone = "prefect.work-pool.not-ready"
    idle = EventTrigger(
        after={gone}, expect={gone, "prefect.work-pool.ready"},
        match={"prefect.resource.id": "prefect.work-pool.*", "prefect.resource.name": list(POOLS)},
        for_each={"prefect.resource.id"}, posture=Posture.Proactive, within=timedelta(seconds=seconds),
    )
    return (
        "no worker", idle, "The pool {{ event.resource.name }} has no worker",
        f"No worker has sent a heartbeat for over {seconds / 60:g} minutes, so scheduled runs wait.\n"
        "`make status` says what runs; `make ui` starts the worker again; its log is in `logs` of the home folder.",
    )


def _not_a_part() -> list[ResourceSpecification | dict[str, str | list[str]]]:
    """Match the events of runs that no other run has called.

    An event names the task run of its parent, but a trigger cannot ask that something is not there: it matches if one
    of the related resources does. So the flow, of which an event has one, must have another name than each part.
    """
    return [{"prefect.resource.role": "flow", "prefect.resource.name": f"!{name}"} for name in PARTS]


def _of_model(*events: str) -> EventTrigger:
    return EventTrigger(expect=set(events), match={"prefect.resource.id": "reviewlm.model.*"})


def lost_runs(
    lost: float = LOST_SECONDS, retry: float = RETRY_SECONDS
) -> Iterator[tuple[str, EventTrigger, ChangeFlowRunState]]:
    """Yield name, trigger and action of what happens to runs whose process is gone.

    A run without heartbeats becomes Crashed, also one that another run has called or that a command has started. A
    crashed run of our pools gets a second attempt, the last one; none if its process could say why it ended.

    Args:
        lost: Seconds without a heartbeat after which a run is lost.
        retry: Seconds from a crash to the second attempt.
    """
    crash = f"No heartbeat for {lost:g} s: the process that made this run is gone"
    yield (
        "lost runs", _wait({HEARTBEAT}, {HEARTBEAT, *_states(*ENDS)}, lost),
        ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=crash, force=False),
    )
    queued = _states("Scheduled", "Late", "AwaitingConcurrencySlot", "AwaitingRetry")
    again = _wait(
        _states("Crashed"), (_states("Pending", "Running", *ENDS) | queued) - _states("Crashed"), retry,
        run={"prefect.run-count": "1", "prefect.state-message": f"!{TOLD_ITS_END}*"}, related=_of_pools(POOLS),
    )  # fmt: skip
    attempt = ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message=SECOND_ATTEMPT, force=False)
    yield "second attempt", again, attempt


def _states(*names: str) -> set[str]:
    return {f"prefect.flow-run.{name}" for name in names}


def _of_pools(names: Sequence[str]) -> dict[str, str | list[str]]:
    return {"prefect.resource.role": "work-pool", "prefect.resource.name": list(names)}


def _wait(
    after: set[str], expect: set[str], seconds: float, run: dict[str, str] | None = None,
    related: dict[str, str | list[str]] | None = None,
) -> EventTrigger:
    """Return a trigger that fires if none of the expected events of a run follows another one in time."""
    return EventTrigger(
        after=after, expect=expect, match={"prefect.resource.id": "prefect.flow-run.*", **(run or {})},
        match_related=related or {}, for_each={"prefect.resource.id"}, posture=Posture.Proactive, threshold=1,
        within=timedelta(seconds=seconds),
    )  # fmt: skip


def set_up(
    settings: AlertSettings, lost_seconds: float = LOST_SECONDS, retry_seconds: float = RETRY_SECONDS,
    worker_seconds: float = WITHOUT_WORKER_SECONDS,
) -> list[str]:  # fmt: skip
    """Create or update the automations of the server that is named by the environment; return their names.

    Without addresses, the alerts of before are removed. An automation that the server has already is left alone: an
    update gives its trigger a new id, under which the server counts anew, so that the days of silence would begin again
    at each start of the services. New addresses change only the block that the alerts name.

    Args:
        settings: Where alerts go.
        lost_seconds, retry_seconds: As in `lost_runs`.
        worker_seconds: Seconds without a worker after which a pool is told.
    """
    with get_client(sync_client=True) as client:
        actions_of: dict[str, tuple[EventTrigger, Sequence[Any]]] = {
            name: (trigger, [action])
            for name, trigger, action in lost_runs(lost_seconds, retry_seconds)
        }
        if settings.addresses:
            block = block_of(settings)
            actions_of |= {
                name: (trigger, [SendNotification(block_document_id=block, subject=f"ReviewLM: {subject}", body=body)])
                for name, trigger, subject, body in alerts(settings, worker_seconds)
            }
        present = {one.name: one for one in client.read_automations() if one.name.startswith(PREFIX)}
        for name, (trigger, actions) in actions_of.items():
            plain = AutomationCore(name=PREFIX + name, trigger=trigger, actions=list(actions))
            # An update sends only what was set, not the defaults.
            automation = AutomationCore(**plain.model_dump(exclude={"owner_resource"}))
            before = present.pop(automation.name, None)
            if before is None:
                client.create_automation(automation)
            elif _content(before) != _content(automation):
                client.update_automation(before.id, automation)
        for left in present.values():
            client.delete_automation(left.id)
        await_heartbeats(client)
    return list(actions_of)


def _content(automation: AutomationCore) -> dict[str, Any]:
    """Return what we decide of an automation: no ids, and no times of the server."""
    return automation.model_dump(include=set(AutomationCore.model_fields) - {"owner_resource"})


def await_heartbeats(client: SyncPrefectClient) -> None:
    """Wait anew for a heartbeat of each Running run, so that those that ended in a reboot become Crashed.

    Prefect's server forgets a wait that ended more than a minute before it started. A process that lives sends its next
    heartbeat in time.
    """
    running = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])))
    for run in client.read_flow_runs(flow_run_filter=running):
        emit_event(HEARTBEAT, resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"})


def block_of(settings: AlertSettings) -> UUID:
    """Save the addresses on the server, encrypted as it keeps all secrets, and return the id of their block."""
    return cast(UUID, AlertAddresses(url=SecretStr(",".join(settings.addresses))).save(BLOCK, overwrite=True))


if __name__ == "__main__":
    set_up(read_alerts(Path(sys.argv[1])))
