"""Limit how many submitted stages of a flow run at the same time."""

from __future__ import annotations

from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.task_runners import ThreadPoolTaskRunner

from core.environment import available_cores

AT_A_TIME = 2
"""Stages other than fits that run at the same time, where `execution.workers` does not ask for more.

Much of them is Python of one thread, so two of them keep two cores busy. A third would need memory too.
"""
P = ParamSpec("P")
R = TypeVar("R")


def on_workers(flow: Flow[P, R], workers: int) -> Flow[P, R]:
    """Return the flow so that at most *workers* of its submitted stages run at once.

    Its stages must call other stages directly: if every worker waited for a submitted stage, none would ever start.
    """
    runner: Any = ThreadPoolTaskRunner(max_workers=workers)
    return flow.with_options(task_runner=runner)


def beside_each_other(workers: int) -> int:
    """Return how many stages other than fits run at once; *workers* is `execution.workers`."""
    return max(workers, min(AT_A_TIME, available_cores()))
