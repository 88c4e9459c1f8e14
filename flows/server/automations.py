"""Create the automations of our Prefect server: alerts, and what happens to flow runs whose process is gone.

    python -m flows.server.automations HOME

`make ui` runs this after the deployments. Prefect's server carries the automations out, so an alert needs no worker.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.blocks.notifications import AbstractAppriseNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events import emit_event
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from pydantic import Field, SecretStr

from core.config.sections.promotion import DEMO_MODEL
from core.services.heartbeat import EVENTS, HEARTBEAT, HEARTBEAT_SECONDS, SILENT
from core.services.lost_runs import sends_heartbeats
from core.services.model_events import RETRAINED, SET_ASIDE
from core.services.pools import POOLS
from flows.server.alert_addresses import AlertSettings, read_alerts

BLOCK = "reviewlm-alerts"
PREFIX = "reviewlm: "
LOST_SECONDS = 4 * HEARTBEAT_SECONDS
"""A run that has sent no heartbeat for this long is lost."""
REPORTED_AGAIN = timedelta(minutes=15)
"""Time in which another report of the same end of the same attempt is no news."""
WITHOUT_WORKER_SECONDS = 300.0
"""Time that a pool may have no worker before it is told. After a start of the services, workers come last."""
RUN = "{{ flow.name }} ({{ flow_run.name }})"
MODEL = "{{ event.resource.name }}"
PARTS = (
    "ingest", "replay", "prepare", "prepare-words", "fit-models", "evaluate", "promote", "fit-trials",
    "fit-finalists", "fit-classifiers", "evaluate-classifiers", "fit-job",
)
"""Flows that only other flows run. They fail together with the run that called them, and that one is told."""
UNFINISHED = [StateType.PENDING, StateType.RUNNING]
ENDS = ("Completed", "Skipped", "Failed", "Cancelling", "Cancelled", "Crashed", "TimedOut")
"""States in which a run may be without heartbeats."""


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
        "{{ flow_run.state.message }}\n{{ flow_run|ui_url }}\nThe next run resumes from what is finished.",
    )
    for name, said in (
        ("promoted", "version {{ event.payload.version }} is the new champion"),
        ("refused", "version {{ event.payload.version }} was refused; the champion stays"),
        ("rolled-back", "version {{ event.payload.version }} is the champion again"),
    ):
        yield name, _of_model(f"reviewlm.model.{name}"), f"{MODEL}: {said}", "{{ event.payload.sentence }}"
    yield (
        "drift", _of_model("reviewlm.drift.flagged", "reviewlm.drift.seen"), f"{MODEL}: the new reviews differ",
        "{{ event.payload.sentence }}\n{{ event.payload.report }}",
    )
    yield (
        "set aside", _of_model(SET_ASIDE), "A file of reviews cannot be read",
        "{{ event.payload.sentence }}\nThe run goes on without it: `reviewlm quarantine show`.",
    )
    yield (
        "overdue", _of_model("reviewlm.stage.overdue"), "The stage {{ event.payload.stage }} is overdue",
        "{{ event.payload.sentence }}",
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


def lost_runs(seconds: float = LOST_SECONDS) -> Iterator[tuple[str, EventTrigger, ChangeFlowRunState]]:
    """Yield name, trigger and action of what happens to lost runs: they become Crashed, which frees their place.

    A run is lost if no heartbeat follows one of ours, or the news that it is silent. Heartbeats of Prefect's own
    thread begin no wait: it sends those of each flow on this server, and only the flow's settings say how often.
    `core/services/lost_runs.py` tells which runs are silent, and schedules the second attempt of a deployment's run; a
    run of the command line has nobody who would start it.
    """
    ends = {f"prefect.flow-run.{state}" for state in ENDS}
    message = f"No heartbeat for {seconds:g} s: the process that made this run is gone"
    crash = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message, force=False)
    for name, begins, signs in (("lost runs", HEARTBEAT, {HEARTBEAT}), ("silent runs", SILENT, {*EVENTS})):
        lost = EventTrigger(
            after={begins}, expect=signs | ends, match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"}, posture=Posture.Proactive, threshold=1, within=timedelta(seconds=seconds),
        )
        yield name, lost, crash


def set_up(
    settings: AlertSettings, lost_seconds: float = LOST_SECONDS, worker_seconds: float = WITHOUT_WORKER_SECONDS
) -> list[str]:
    """Create or update the automations of the server that is named by the environment; return their names.

    Without addresses, the alerts of before are removed. An automation that the server has already is left alone: an
    update gives its trigger a new id, under which the server counts anew, so that the days of silence would begin again
    at each start of the services. New addresses change only the block that the alerts name.

    Args:
        settings: Where alerts go.
        lost_seconds: Seconds without a heartbeat after which a run is lost.
        worker_seconds: Seconds without a worker after which a pool is told.
    """
    wanted: dict[str, tuple[EventTrigger, Sequence[Any]]] = {
        name: (trigger, [action]) for name, trigger, action in lost_runs(lost_seconds)
    }
    if settings.addresses:
        block = block_of(settings)
        wanted |= {
            name: (trigger, [SendNotification(block_document_id=block, subject=f"ReviewLM: {subject}", body=body)])
            for name, trigger, subject, body in alerts(settings, worker_seconds)
        }
    with get_client(sync_client=True) as client:
        known = {one.name: one for one in client.read_automations() if one.name.startswith(PREFIX)}
        for name, (trigger, actions) in wanted.items():
            plain = AutomationCore(name=PREFIX + name, trigger=trigger, actions=list(actions))
            # An update sends only what was set, not the defaults.
            automation = AutomationCore(**plain.model_dump(exclude={"owner_resource"}))
            before = known.pop(automation.name, None)
            if before is None:
                client.create_automation(automation)
            elif _content(before) != _content(automation):
                client.update_automation(before.id, automation)
        for left in known.values():
            client.delete_automation(left.id)
        watch_unfinished(client, lost_seconds)
    return list(wanted)


def _content(automation: AutomationCore) -> dict[str, Any]:
    """Return what we decide of an automation: no ids, and no times of the server."""
    return automation.model_dump(include=set(AutomationCore.model_fields) - {"owner_resource"})


def watch_unfinished(client: SyncPrefectClient, seconds: float = LOST_SECONDS) -> list[UUID]:
    """Let the server wait for a heartbeat of each run of our deployments that has not ended, and return their ids.

    The server forgets which runs an automation waits for in two cases: the automation is written again (a new release
    has changed it), or the wait of a run ended more than a minute before the server started, as after a reboot. A run
    whose process ended together with the services would then keep its place for ever. So each run is told to be silent
    from here; a living process sends its next heartbeat in time. Runs whose processes may send none are left out: those
    without a deployment, and those whose deployment does not ask for heartbeats. While the services run, silent runs
    are noticed by `core/services/lost_runs.py`, also those that are Cancelling: they must not become Crashed.

    Args:
        client: A client of the server, which has the automations.
        seconds: Runs that came to their state later than this are not lost yet.
    """
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
    old = datetime.now(UTC) - timedelta(seconds=seconds)
    found = []
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=states)):
        if run.state is None or not _sends_heartbeats(client, run):
            continue
        if run.state.is_running() or run.state.timestamp < old:
            found.append(run.id)
            emit_event(SILENT, resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"})
    return found


def _sends_heartbeats(client: SyncPrefectClient, run: FlowRun) -> bool:
    with suppress(ObjectNotFound):
        of_deployment = client.read_deployment(run.deployment_id) if run.deployment_id else None
        return of_deployment is not None and sends_heartbeats(of_deployment.job_variables, run.job_variables)
    return False


def block_of(settings: AlertSettings) -> UUID:
    """Save the addresses on the server, encrypted as it keeps all secrets, and return the id of their block."""
    return cast(UUID, AlertAddresses(url=SecretStr(",".join(settings.addresses))).save(BLOCK, overwrite=True))


if __name__ == "__main__":
    set_up(read_alerts(Path(sys.argv[1])))
