"""Work that child processes share: its order, its end, and what happens when one of them is killed."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from core.errors import ReviewLMError
from corpus.processes import in_processes
from corpus.reading import jsonlines
from corpus.schema import Limits

pytestmark = pytest.mark.slow  # processes are started


def doubled(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def killed_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_the_order_of_the_items_and_from_other_processes() -> None:
    values, pids = zip(*in_processes(doubled, range(20), 2), strict=True)
    assert values == tuple(range(0, 40, 2))
    assert os.getpid() not in pids


def test_items_are_taken_only_a_few_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_processes(doubled, items(), 2)
    next(results)
    assert len(taken) <= 5
    results.close()  # type: ignore[attr-defined]


def test_the_processes_end_when_the_caller_stops() -> None:
    results = in_processes(doubled, range(100), 2)
    pids = {next(results)[1] for _ in range(4)}
    results.close()  # type: ignore[attr-defined]
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_an_error_of_the_items_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the file is gone")

    results = in_processes(doubled, items(), 2)
    assert next(results)[0] == 2
    with pytest.raises(OSError, match="the file is gone"):
        next(results)


def test_a_killed_process_is_a_clear_error() -> None:
    with pytest.raises(ReviewLMError, match="A worker process ended before its work was done") as error:
        list(in_processes(killed_at_three, range(10), 2))
    assert "goes on after what is finished" in error.value.__str__()


def test_with_one_worker_no_process_is_started() -> None:
    assert {pid for _, pid in in_processes(doubled, range(3), 1)} == {os.getpid()}


@pytest.mark.parametrize("border", [0, 700, 1 << 40])
def test_a_long_file_gives_the_same_blocks_wherever_the_processes_take_over(
    border: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [b'{"review_id": "r%d", "text": "number %d", "stars": 4}' % (n, n) for n in range(60)]
    lines[7], lines[33] = b'{"text": "\xff"}', b"502 Bad Gateway"
    content, limits = b"\n".join(lines) + b"\n", Limits(block_bytes=300)

    def blocks() -> list[tuple[list[Any], list[Any], int | None]]:
        stream: Any = io.BufferedReader(io.BytesIO(content))
        return [(block.good.rows(), block.bad.rows(), block.end)
                for block in jsonlines.read_json_lines(stream, "x.jsonl", limits)]

    monkeypatch.setattr(jsonlines, "BY_THREADS", 1 << 40)
    by_threads = blocks()
    monkeypatch.setattr(jsonlines, "BY_THREADS", border)
    assert blocks() == by_threads
    assert [row[1] for _, bad, _ in by_threads for row in bad] == [8, 34]
    assert sum(len(good) for good, _, _ in by_threads) == 58
