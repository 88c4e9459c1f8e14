"""Stages under Prefect: a direct call returns the result, and a flow runs as many at once as it has workers."""

from __future__ import annotations

import threading
from pathlib import Path

from prefect import flow

from reviewlm.core.store import Artifact, Built
from reviewlm.flows.server.parameters import on_workers
from reviewlm.tasks.execution.stage import result_as_task_state, stage

BUILT = Artifact("score", "abc", "somewhere", {})
_running: list[int] = []
_most = 0
_both = threading.Barrier(2)


@stage("score", run_name="score {number}")
def score(number: int, reused: bool) -> tuple[int, Path]:
    return result_as_task_state(Built(BUILT, reused), (number, Path("x")))


@stage("measure")
def measure(number: int, together: bool = False) -> int:
    global _most
    _running.append(number)
    _most = max(_most, len(_running))
    if together:
        _both.wait(timeout=30)
    assert score(number, reused=True) == (number, Path("x"))
    _running.remove(number)
    return number


@flow(name="measure all", persist_result=False)
def measure_all(numbers: list[int], together: bool) -> list[int]:
    futures = [measure.submit(number, together) for number in numbers]
    return [future.result() for future in futures]


def test_a_flow_runs_as_many_stages_at_once_as_it_has_workers_and_returns_them_in_order(
    prefect_server: None,
) -> None:
    global _most
    assert on_workers(measure_all, 1)([3, 1, 2], together=False) == [3, 1, 2]
    assert _most == 1
    assert on_workers(measure_all, 2)([3, 1, 2, 4], together=True) == [3, 1, 2, 4]
    assert _most == 2
