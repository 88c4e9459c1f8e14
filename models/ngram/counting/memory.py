"""Plan a fit within a memory limit: windows per sort, threads, and temporary files.

The rule, for a limit of L bytes and a text of T tokens (begins and ends included):

    standing   memory of the process at the start + 12 T        rows of n-grams at the text's positions, then p
               + 45 times the occurrences of the most frequent word
    working    110 bytes per window that is being sorted, per thread
    windows    sorted at a time: (L − standing) / 110, at most 262,144; then threads: as many as the rest allows

If less than 16,384 windows fit, the limit is refused, and the error names the smallest possible limit. Without a limit,
no temporary files are used, and 262,144 windows are sorted at a time. With a limit, all smoothing methods and pruning
by count write their tables to temporary files and read them as memory maps. Pruning by entropy works in memory, and is
refused if it does not fit.
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
from ...threads import THREADS
from .array_allocator import ArrayAllocator

BYTES_PER_TOKEN = 12
BYTES_PER_OCCURRENCE = 45
BYTES_PER_WINDOW = 110
MOST_WINDOWS = 1 << 18
FEWEST_WINDOWS = 1 << 14


@dataclass(frozen=True)
class MemoryPlan:
    """A plan for counting.

    Args:
        windows: Number of windows sorted at a time.
        threads: Number of shards processed at the same time.
        allocator: Allocator of arrays with one entry per n-gram or window.
    """

    windows: int
    threads: int
    allocator: ArrayAllocator


def memory_plan(
    tokens: int, most_frequent: int, limit: int | None, folder: Path | None = None, threads: int | None = None
) -> MemoryPlan:
    """Return the plan for counting a text within a limit, by the rule in this module's docstring.

    Args:
        tokens: T.
        most_frequent: Occurrences of the most frequent word.
        limit: Bytes for the whole process; None for no limit.
        folder: Folder for temporary files; None: the system's.
        threads: Maximum number of threads; None for `threads.THREADS`.

    Raises:
        ModelError: The limit is too low; kind "input".
    """
    threads = threads or THREADS
    give_back()
    if limit is None:
        return MemoryPlan(MOST_WINDOWS, threads, ArrayAllocator())
    standing = resident() + BYTES_PER_TOKEN * tokens + BYTES_PER_OCCURRENCE * most_frequent
    least = standing + FEWEST_WINDOWS * BYTES_PER_WINDOW
    if least > limit:
        raise ModelError(
            f"a memory limit of {limit / 2**20:,.0f} MiB is too low for {tokens:,} tokens; the minimum is "
            f"{least / 2**20:,.0f} MiB",
            kind="input",
        )
    room = (limit - standing) // BYTES_PER_WINDOW
    windows = min(MOST_WINDOWS, room)
    allocator = ArrayAllocator(Path(tempfile.gettempdir()) if folder is None else folder, limit)
    return MemoryPlan(windows, min(threads, room // windows), allocator)


def require_memory(limit: int | None, needed: int) -> None:
    """Raise before a model is pruned by entropy if that needs more memory than the limit.

    Args:
        limit: Bytes for the whole process; None for no limit.
        needed: Bytes that it needs in addition to the current memory of the process.

    Raises:
        ModelError: Current and needed memory together are above the limit; kind "input".
    """
    if limit is not None and resident() + needed > limit:
        raise ModelError(
            f"pruning by entropy takes some {(resident() + needed) / 2**20:,.0f} MiB, which is beyond the memory limit "
            f"of {limit / 2**20:,.0f} MiB; raise the limit, or leave it out",
            kind="input",
        )


def give_back() -> None:
    """Return free memory to the system; many small pieces of a text can leave as much as the text itself.

    This releases the pool of Arrow (if it is loaded) and the heap of the C library (if it is glibc).
    """
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def resident() -> int:
    """Return the current memory of this process in bytes; if the system does not tell it, the peak memory."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
