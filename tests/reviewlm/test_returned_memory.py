"""Memory that is freed goes back to the system, in a process of its own since the settings hold for all of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import psutil, numpy
from contextlib import nullcontext
from reviewlm.memory import returned_memory
me = psutil.Process()
resident = lambda: me.memory_info().rss >> 20

def work():
    kept = []
    for size in range(1, 30):  # pieces of up to 30 MiB, of which a few bytes between them stay
        pieces = [numpy.ones(size << 20, numpy.uint8) for _ in range(4)]
        kept += [bytearray(2_000) for _ in range(50)]
        del pieces
    return kept

before = resident()
with %s:
    kept = work()
    within = resident() - before
print(within, resident() - before)
"""


def growth(block: str) -> tuple[int, int]:
    done = subprocess.run([sys.executable, "-c", CODE % block], capture_output=True, text=True, check=True)
    within, after = done.stdout.split()
    return int(within), int(after)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the settings are those of glibc")
def test_pieces_that_were_freed_are_not_kept() -> None:
    within, after = growth("returned_memory()")
    assert within <= 10
    assert after <= 10


def test_a_library_without_these_settings_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from reviewlm import memory

    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with memory.returned_memory():
        pass
