"""Stages under Prefect: a direct call returns the result, and a flow runs as many at once as it has workers."""

from __future__ import annotations

import threading
from pathlib import Path

from prefect import flow

from reviewlm.core.store import Artifact, Built
from reviewlm.flows.server.parameters import on_workers
from reviewlm.tasks.execution.stage import result_as_task_state, stage_task

BUILT = Artifact("score", "abc", "somewhere", {})
_running: list[int] = []
_most = 0
_both = threading.Barrier(2)


@stage_task("score", run_name="score {number}")
def score(number: int, reused: bool) -> tuple[int, Path]:
    return result_as_task_state(Built(BUILT, reused), (number, Path("x")))


@stage_task("measure")
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


def test_a_flow_with_one_worker_runs_one_stage_at_once(prefect_server: None) -> None:
    assert most_at_once(workers=1) == 1


def test_a_flow_with_two_workers_runs_two_stages_at_once(prefect_server: None) -> None:
    assert most_at_once(workers=2) == 2


def most_at_once(workers: int) -> int:
    """Run a flow of four stages, whose results come in order; return how many ran at once."""
    global _most
    _most = 0
    numbers = [3, 1, 2, 4]
    assert on_workers(measure_all, workers)(numbers, together=workers == 2) == numbers
    return _most
