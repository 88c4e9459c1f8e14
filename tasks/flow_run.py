"""Name the current flow run by its preset and data, and warn if its code is not that of its deployment.

Send events about a registered model to Prefect's server, which trigger alerts and deployments.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from typing import Any

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.runtime import deployment

from core.config.run_config import RunConfig
from core.services.model_events import (
    DRIFT_SEEN,
    DRIFTED,
    INGESTED,
    OVERDUE,
    PROMOTED,
    REFUSED,
    RETRAINED,
    SET_ASIDE,
    resource_of,
)
from core.services.pools import deployed_code

OTHER_CODE = "code: not that of the deployment"
OURS = re.compile(r"(no commit|[0-9a-f]{12}) (?P<digest>[0-9a-f]{12})")
"""Version of a deployment of `services start`. `prefect deploy` alone takes a digest of the flow's file instead."""
log = logging.getLogger(__name__)

__all__ = ["DRIFTED", "DRIFT_SEEN", "INGESTED", "OVERDUE", "PROMOTED", "REFUSED", "RETRAINED", "SET_ASIDE", "announce"]


def describe_flow_run(config: RunConfig) -> None:
    """Give the current flow run in Prefect a name and tags that say preset and data; outside a flow do nothing."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run = context.flow_run
    if run.name != config.title:
        run.name = config.title
        tags = {f"preset: {config.preset}", f"data: {config.source.title}", *other_code()}
        run.tags = sorted({*run.tags, *tags})
        with suppress(Exception), get_client(sync_client=True) as client:  # a name is no reason to fail
            client.update_flow_run(run.id, name=run.name, tags=run.tags)


def other_code() -> set[str]:
    """Return a tag, and warn, if this run of a deployment runs other code than there was when it was deployed.

    Deployments of `services start` name a copy of their code, and Jobs of Kubernetes run that of their image, which
    may be another. The commit alone does not tell: what counts is the digest.
    """
    made, here = OURS.fullmatch(deployment.version or ""), deployed_code()
    if made is None or here.endswith(made["digest"]):
        return set()
    log.warning(
        "this run uses other code (%s) than its deployment (%s); `reviewlm services start` deploys the present code",
        here, made[0],
    )  # fmt: skip
    return {OTHER_CODE}


def announce(event: str, config: RunConfig, payload: dict[str, Any]) -> None:
    """Emit an event about the registered model of a configuration; outside a flow run nobody would get it.

    Args:
        event: One of the names in `core/services/model_events.py`.
        payload: JSON values; alerts show `sentence`.
    """
    if FlowRunContext.get() is not None:
        emit_event(event, resource=resource_of(config.promotion.model_name), payload=payload)
