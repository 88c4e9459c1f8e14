"""Limit how many submitted stages of a flow run at the same time."""

from __future__ import annotations

from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.task_runners import ThreadPoolTaskRunner

P = ParamSpec("P")
R = TypeVar("R")


def on_workers(flow: Flow[P, R], workers: int) -> Flow[P, R]:
    """Return the flow so that at most *workers* of its submitted stages run at once.

    Its stages must call other stages directly: if every worker waited for a submitted stage, none would ever start.
    """
    runner: Any = ThreadPoolTaskRunner(max_workers=workers)
    return flow.with_options(task_runner=runner)
