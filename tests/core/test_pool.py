"""Processes that apply a function to a stream: results in order, bounded look-ahead, and an end with the parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from core.errors import OutOfMemory
from core.processes.pool import ProcessPool


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    found = ProcessPool(2)
    yield found
    found.close()


def slow_first(item: int) -> tuple[int, int]:
    time.sleep(0.3 if item == 0 else 0)
    return item, os.getpid()


def divide(numerator: int, item: int) -> float:
    return numerator / item


def end_this_process(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_in_the_order_of_the_items_from_other_processes(pool: ProcessPool) -> None:
    found = list(pool(slow_first, range(8)))
    assert [item for item, _ in found] == list(range(8))
    assert os.getpid() not in {process for _, process in found}


def test_a_later_function_is_not_mistaken_for_an_earlier_one(pool: ProcessPool) -> None:
    assert [list(pool(partial(divide, numerator), [1, 2])) for numerator in (4, 6, 8, 10)] == [
        [4, 2], [6, 3], [8, 4], [10, 5],
    ]  # fmt: skip


def test_an_error_comes_after_the_results_before_it(pool: ProcessPool) -> None:
    found = pool(partial(divide, 1), [1, 2, 0, 4])
    assert [next(found), next(found)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_items_are_taken_only_as_far_ahead_as_there_are_processes(pool: ProcessPool) -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(1, 100):
            taken.append(item)
            yield item

    found = pool(partial(divide, 1), items())
    next(found)
    assert len(taken) <= 3


def test_a_process_that_was_ended_is_an_error_with_a_remedy() -> None:
    pool = ProcessPool(1)
    with pytest.raises(OutOfMemory, match=r"execution\.engine=threads"):
        list(pool(end_this_process, [1]))
    pool.close()


PARENT = """
import os, signal, sys, time
from core.processes.pool import ProcessPool
from tests.core.test_pool import slow_first
if __name__ == "__main__":
    print(next(ProcessPool(1)(slow_first, [1, 2]))[1], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_processes_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False,
                         env=os.environ | {"PYTHONPATH": str(root)})  # fmt: skip
    worker = int(ran.stdout)
    until = time.monotonic() + 20
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "the worker is still there"
        time.sleep(0.1)
