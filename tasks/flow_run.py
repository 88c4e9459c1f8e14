"""Name the current flow run by its preset and data, send its heartbeats, end it if it was cancelled.

A run of other code than that of its deployment gets a warning.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import threading
from contextlib import suppress
from typing import Any

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.runtime import deployment

from core.config.run_config import RunConfig
from core.processes import interrupts
from core.processes.children import end_child, start_child
from core.services.heartbeat import FREQUENCY, HEARTBEAT_SECONDS, IS_CANCELLED, IS_REPLACED, send_heartbeats
from core.services.pools import deployed_code
from tasks.limits import is_shared

OTHER_CODE = "code: not that of the deployment"
OURS = re.compile(r"(no commit|[0-9a-f]{12}) (?P<digest>[0-9a-f]{12})")
"""Version of a deployment that `ui start` made. `prefect deploy` alone takes a digest of the flow's file instead."""
log = logging.getLogger(__name__)
_alive: dict[str, tuple[str, subprocess.Popen[Any]]] = {}
"""Of each flow run whose heartbeats a child of this process sends: the state in which it was begun, and the child."""


def describe_flow_run(config: RunConfig) -> None:
    """Give the current flow run in Prefect a name and tags that say preset and data; outside a flow do nothing.

    From here on a child process sends the run's heartbeats, if its server waits for them.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run = context.flow_run
    keep_alive(str(run.id))
    if run.name != config.title:
        run.name = config.title
        tags = {f"preset: {config.preset}", f"data: {config.source.title}", *other_code()}
        run.tags = sorted({*run.tags, *tags})
        with suppress(Exception), get_client(sync_client=True) as client:  # a name is no reason to fail
            client.update_flow_run(run.id, name=run.name, tags=run.tags)


def keep_alive(run: str) -> None:
    """Let a child send the heartbeats of a flow run until this process ends; on a command's own server do nothing.

    If the run is cancelled in Prefect, and no worker ends this process, it ends itself. So it does if another process
    has begun the run again; only a process that has begun it can tell, so the child of one that has not (it imports the
    flow's module) is replaced.
    """
    begun, child = _alive.get(run, ("", None))
    state = _begun_in(run)
    if not os.environ.get(FREQUENCY) or not is_shared() or (child is not None and (begun or not state)):
        return
    with suppress(OSError):  # then Prefect's own heartbeats must do
        words = [run, str(HEARTBEAT_SECONDS), *([state] if state else [])]
        new = start_child(["-m", send_heartbeats.__module__, *words])
        threading.Thread(target=_end_if_told, args=(new,), name="cancellation", daemon=True).start()
        _alive[run] = state, new
        if child is not None:
            end_child(child)


def _begun_in(run: str) -> str:
    """Return the id of the state in which this process began a flow run, or "" if it has not."""
    context = FlowRunContext.get()
    ours = context.flow_run if context is not None else None
    return str(ours.state.id) if ours is not None and str(ours.id) == run and ours.state is not None else ""


def _end_if_told(child: subprocess.Popen[Any]) -> None:
    """End this process, as SIGTERM ends a run, when the child ends because the run is cancelled or another's now.

    With exit code 0 if it is another's: the worker that started this process would report any other as a crash of the
    run, which goes on.
    """
    code = child.wait()
    if code == IS_CANCELLED:
        interrupts.end_run("Cancelled in Prefect; run the same command to resume")
    elif code == IS_REPLACED:
        interrupts.end_run("Taken for lost: another process has begun this run again, and goes on with it", 0)


def other_code() -> set[str]:
    """Return a tag, and warn, if this run of a deployment runs other code than there was when it was deployed.

    Deployments of `ui start` name a copy of their code, and Jobs of Kubernetes run that of their image, which may be
    another. The commit alone does not tell: what counts is the digest.
    """
    made, here = OURS.fullmatch(deployment.version or ""), deployed_code()
    if made is None or here.endswith(made["digest"]):
        return set()
    log.warning(
        "this run uses other code (%s) than its deployment (%s); `reviewlm ui start` deploys the present code",
        here, made[0],
    )  # fmt: skip
    return {OTHER_CODE}
