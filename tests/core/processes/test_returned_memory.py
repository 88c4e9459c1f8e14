"""Memory that is freed goes back to the system, in a process of its own since the settings hold for all of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import psutil
from contextlib import nullcontext
from core.processes.memory import returned_memory
me = psutil.Process()
resident = lambda: me.memory_info().rss >> 20

def work():
    kept = []
    for _ in range(3):
        pieces = []
        for _ in range(10):  # a piece that stays behind each larger one that goes
            pieces.append(bytearray(8 << 20))
            kept.append(bytearray(100_000))
        del pieces
    return kept

before = resident()
with %s:
    kept = work()
    within = resident() - before
print(within, resident() - before)
"""


@pytest.mark.parametrize("there", [True, False])
def test_the_settings_are_tight_within_and_wide_after_and_left_alone_where_there_are_none(
    there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.processes import memory

    class Library:
        def mallopt(self, name: int, value: int) -> None:
            calls.append((name, value))

    calls: list[object] = []
    monkeypatch.setattr(memory, "_glibc", lambda: Library() if there else None)
    monkeypatch.setattr(memory, "return_freed", lambda: calls.append("returned"))
    with memory.returned_memory():
        calls.append("work")
    tight, wide = [*memory.TIGHT.items()], [*memory.WIDE.items()]
    assert calls == ([*tight, "work", *wide, "returned"] if there else ["work", "returned"])


def test_a_block_within_a_block_ends_with_the_settings_of_the_outer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.processes import memory

    now: dict[int, int] = {}
    monkeypatch.setattr(memory, "_set", now.update)
    with memory.returned_memory():
        with memory.kept_memory():
            assert now[memory.M_TRIM_THRESHOLD] == memory.KEPT[memory.M_TRIM_THRESHOLD]
        assert now == memory.WIDE | memory.TIGHT
    assert now == memory.WIDE


HEAPS = """
import ctypes, threading
from core.processes.memory import limit_heaps
%s
together, kept = threading.Barrier(8), []

def allocate():
    together.wait()
    kept.append(bytearray(10_000))
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
library = ctypes.CDLL(None)
library.fdopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(library.fdopen(1, b"w"))
library.malloc_info(0, file)
library.fflush(file)
"""


def heaps(before: str, **variables: str) -> int:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", HEAPS % before], capture_output=True, text=True, check=True, env={**plain, **variables}
    )
    return done.stdout.count("<heap nr=")


SHAPES = """
import psutil, torch
from core.processes.memory import limit_operations
from models.threads import return_freed
%s
lstm, me = torch.nn.LSTM(64, 128, batch_first=True), psutil.Process()

def read(lengths):
    with torch.inference_mode():
        for length in lengths:
            lstm(torch.zeros(2, length, 64))
    return_freed()
    return me.memory_info().rss >> 20

before = read([1, 2])
print(read(range(3, 120)) - before)
"""
