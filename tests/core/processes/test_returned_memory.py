"""Memory that is freed goes back to the system, in a process of its own since the settings hold for all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.processes.memory import OPERATIONS, limit_operations
from core.provenance import SOURCE
from core.services.deployed_code import PLACE_VARIABLE, RUN_VARIABLE
from models.threads import peak_resident

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


def growth(block: str) -> tuple[int, int]:
    # Dask leaves settings of the C library in the environment of who started workers.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", CODE % block]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=plain)
    within, after = done.stdout.split()
    return int(within), int(after)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the settings are those of glibc")
def test_pieces_that_were_freed_are_not_kept() -> None:
    kept, _ = growth("nullcontext()")
    within, after = growth("returned_memory()")
    assert kept >= 50  # the C library by itself
    assert within <= 10
    assert after <= 10


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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is that of glibc")
def test_threads_share_two_heaps_or_as_many_as_the_user_says() -> None:
    assert heaps("") > 4  # the C library by itself
    assert heaps("limit_heaps()") == 2
    assert heaps("limit_heaps()", MALLOC_ARENA_MAX="3") == 3


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


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="freed memory is returned with glibc")
def test_operations_on_texts_of_many_lengths_are_not_all_kept() -> None:
    torch = pytest.importorskip("torch")
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    plain = {name: value for name, value in os.environ.items() if name != OPERATIONS[0]}
    grown = {}
    for limited in (True, False):
        command = [sys.executable, "-c", SHAPES % ("limit_operations()" if limited else "")]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**plain, "OMP_NUM_THREADS": "1"}
        )
        grown[limited] = int(done.stdout)
    assert grown[False] > 1.5 * max(1, grown[True])


def test_the_users_number_of_operations_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    name, own = OPERATIONS
    monkeypatch.delenv(name, raising=False)
    limit_operations()
    assert os.environ[name] == own
    monkeypatch.setenv(name, "500")
    limit_operations()
    assert os.environ[name] == "500"


RUN_OF_A_DEPLOYMENT = """
import flows
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is that of glibc")
def test_the_process_of_a_deployments_run_has_few_heaps_too(tmp_path: Path) -> None:
    variables = {PLACE_VARIABLE: str(tmp_path), RUN_VARIABLE: "a run", "PYTHONPATH": str(SOURCE)}
    assert heaps(RUN_OF_A_DEPLOYMENT, **variables) == 2


@pytest.mark.long
def test_the_most_memory_held_does_not_fall_when_memory_is_given_back() -> None:
    """The kernel counts pages in batches, so a reading may be a little below an earlier one."""
    before = peak_resident()
    block = np.ones(before // 8 + (8 << 20))
    held = peak_resident()
    assert held > block.nbytes > before
    del block
    assert peak_resident() > 0.99 * held
