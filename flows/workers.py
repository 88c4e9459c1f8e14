"""Limit how many submitted stages of a flow run at the same time."""

from __future__ import annotations

from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.task_runners import ThreadPoolTaskRunner

from core.config.run_config import RunConfig

P = ParamSpec("P")
R = TypeVar("R")


def on_workers(flow: Flow[P, R], config: RunConfig) -> Flow[P, R]:
    """Return the flow so that it runs at most `execution.workers` of its submitted stages at once.

    A stage of such a flow must call other stages directly: if all workers waited for stages in the queue, none would
    ever start.
    """
    runner: Any = ThreadPoolTaskRunner(max_workers=config.execution.workers)
    return flow.with_options(task_runner=runner)
