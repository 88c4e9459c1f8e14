"""How much memory a fit may take, and what follows from it.

The rule, for a limit of L bytes and a text of T tokens (begins and ends included):

    standing   what the process holds already + 17 T          the text, and rows of n-grams at its positions
    working    110 bytes per window that is being sorted, per thread
    windows    per shard: (L − standing) / 110, at most 1,048,576; then threads: as many as that many windows allow

The windows of one first word are always sorted together, so a shard may have as many as the most frequent word has
occurrences, whatever the limit. If not even that fits into L − standing, the limit is refused, with the least that
would do. Without a limit nothing is put into files and shards have 1,048,576 windows.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..base import ModelError
from .shelf import Shelf
from .window_counts import cores

BYTES_PER_TOKEN = 17
BYTES_PER_WINDOW = 110
MOST_WINDOWS = 1 << 20
FEWEST_WINDOWS = 1 << 14


@dataclass(frozen=True)
class Plan:
    """How to count.

    Args:
        windows: At most so many in a shard, unless their first word is the same.
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
        threads: At most so many; None for the number of cores.

    Raises:
        ModelError: The limit is too low.
    """
    threads = threads or cores()
    if limit is None:
        return Plan(MOST_WINDOWS, threads, Shelf())
    standing = resident() + BYTES_PER_TOKEN * tokens
    fewest = max(FEWEST_WINDOWS, most_frequent)
    least = standing + fewest * BYTES_PER_WINDOW
    if least > limit:
        raise ModelError(
            f"a memory limit of {limit / 2**20:,.0f} MiB is too low for {tokens:,} tokens; the least is "
            f"{least / 2**20:,.0f} MiB",
            kind="input",
        )
    room = (limit - standing) // BYTES_PER_WINDOW
    windows = int(min(MOST_WINDOWS, room))
    shelf = Shelf(Path(tempfile.gettempdir()) if folder is None else folder)
    return Plan(windows, int(min(threads, max(1, room // max(windows, fewest)))), shelf)


def resident() -> int:
    """Return the bytes of memory that this process holds now; where the system does not say, the most it has held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
