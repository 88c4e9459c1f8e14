"""How much memory a fit may take, and what follows from it.

The rule, for a limit of L bytes and a text of T tokens (begins and ends included):

    standing   what the process holds already + 12 T            rows of n-grams at the text's positions, then p
               + 45 times the occurrences of the most frequent word
    working    110 bytes per window that is being sorted, per thread
    windows    sorted at a time: (L − standing) / 110, at most 262,144; then threads: as many as the rest allows

If not even 16,384 windows fit, the limit is refused, with the least that would do. Without a limit nothing is put into
files, and 262,144 windows are sorted at a time. Tables are written to files as they are made, and read as maps: by all
smoothing methods, and pruned by count. Pruning by entropy works in memory, and is refused where it would not fit.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...base import ModelError
from .array_allocator import Shelf
from .threads import THREADS

BYTES_PER_TOKEN = 12
BYTES_PER_OCCURRENCE = 45
BYTES_PER_WINDOW = 110
MOST_WINDOWS = 1 << 18
FEWEST_WINDOWS = 1 << 14


@dataclass(frozen=True)
class Plan:
    """How to count.

    Args:
        windows: So many are sorted at a time.
        threads: Shards that are worked on at the same time.
        shelf: Where arrays of one entry per n-gram or window go.
    """

    windows: int
    threads: int
    shelf: Shelf


def memory_plan(
    tokens: int, most_frequent: int, limit: int | None, folder: Path | None = None, threads: int | None = None
) -> Plan:
    """Return how to count a text within a limit; the rule is that of this module.

    Args:
        tokens: T.
        most_frequent: Occurrences of the most frequent word.
        limit: Bytes for the whole process; None for as many as it takes.
        folder: For temporary files.
        threads: At most so many; None for `threads.THREADS`.

    Raises:
        ModelError: The limit is too low.
    """
    threads = threads or THREADS
    give_back()
    if limit is None:
        return Plan(MOST_WINDOWS, threads, Shelf())
    standing = resident() + BYTES_PER_TOKEN * tokens + BYTES_PER_OCCURRENCE * most_frequent
    least = standing + FEWEST_WINDOWS * BYTES_PER_WINDOW
    if least > limit:
        raise ModelError(
            f"a memory limit of {limit / 2**20:,.0f} MiB is too low for {tokens:,} tokens; the least is "
            f"{least / 2**20:,.0f} MiB",
            kind="input",
        )
    room = (limit - standing) // BYTES_PER_WINDOW
    windows = min(MOST_WINDOWS, room)
    shelf = Shelf(Path(tempfile.gettempdir()) if folder is None else folder, limit)
    return Plan(windows, min(threads, room // windows), shelf)


def require_memory(limit: int | None, needed: int, what: str) -> None:
    """Refuse what cannot be done within a limit, before it is begun.

    Args:
        limit: Bytes for the whole process; None for as many as it takes.
        needed: Bytes that will be needed beside what the process holds.
        what: Is named in the error.

    Raises:
        ModelError: Both together are beyond the limit.
    """
    if limit is not None and resident() + needed > limit:
        raise ModelError(
            f"{what} takes some {(resident() + needed) / 2**20:,.0f} MiB, which is beyond the memory limit of "
            f"{limit / 2**20:,.0f} MiB; raise the limit, or leave it out",
            kind="input",
        )


def give_back() -> None:
    """Give back memory that is free but still held; many small pieces of a text leave as much as the text itself.

    Arrow's own pool, where text was read, and the heap of the C library where that is glibc.
    """
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def resident() -> int:
    """Return the bytes of memory that this process holds now; where the system does not say, the most it has held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
