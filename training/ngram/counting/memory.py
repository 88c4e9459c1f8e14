"""Keep a fit within a memory limit: plan its work; allocate its arrays in memory or in temporary files.

The rule, for a limit of L bytes, n-grams of N words, and a text of any length:

    standing   memory of the process at the start + 24 bytes per word of the vocabulary
    working    110 bytes per window that is being sorted, per thread; as many tokens are read as one block
    batch      4 N + 32 bytes per window of a batch (`window_counts.py`), at least those of the most frequent word
    windows    sorted at a time: at most 262,144; threads: as many as the rest allows
    ranges     of rows, where a step needs them in any order: three quarters of the memory that is left

If 16,384 windows and those of the most frequent word do not fit, the limit is refused, and the error names the
smallest possible limit. Without a limit, no temporary files are used, 262,144 windows are sorted at a time, and a batch
has four million: a single batch of all windows would need a seventh more memory for an order of 3, and as much time.

With a limit, the text, its windows and the counts are in temporary files; all smoothing methods and pruning by count
write their tables to temporary files and read them as memory maps. Pruning by entropy works in memory, and is refused
if it does not fit.

The temporary files of `ArrayAllocator` have no name: the system removes them when nothing refers to them any more,
even if the process is killed. The space of an array of known length is reserved when it is created, so a full disk is
an error message at once.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil

from reviewlm.models.atomic_files import ScratchMap
from reviewlm.models.base import ModelError
from reviewlm.models.threads import THREADS, return_freed

BYTES_PER_WORD = 24
BYTES_PER_WINDOW = 110
BYTES_IN_BATCH = 32
BYTES_PER_CODE = 4
MOST_WINDOWS = 1 << 18
FEWEST_WINDOWS = 1 << 14
BATCH = 1 << 22
BLOCK = 1 << 20


class ArrayAllocator:
    """An allocator of arrays.

    Args:
        folder: Folder of the files; None keeps arrays in memory.
        limit: Memory limit of the whole process in bytes; None for no limit.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = folder
        self.limit = limit
        self._maps: weakref.WeakSet[ScratchMap] = weakref.WeakSet()

    @classmethod
    def within(cls, limit: int | None, folder: Path | None = None) -> ArrayAllocator:
        """Return an allocator for a limit of the whole process in bytes: of files in *folder* (default: `TMPDIR`)."""
        if limit is None:
            return cls()
        return cls(folder or Path(tempfile.gettempdir()), limit)

    @classmethod
    def for_text(
        cls,
        tokens: int,
        order: int,
        folder: Path,
    ) -> ArrayAllocator:
        """Return an allocator in memory; of files in *folder* if a text's windows would fill half of what is free."""
        free = psutil.virtual_memory().available // 2
        needed = tokens * (BYTES_PER_CODE * order + BYTES_IN_BATCH)
        return cls.within(resident() + free if needed > free else None, folder)

    def empty(self, length: int, dtype: Any) -> np.ndarray:
        """Return a new array of one dimension with undefined values.

        Raises:
            ModelError: The folder cannot be written or has no space; kind "disk".
        """
        kind = np.dtype(dtype)
        if self.folder is None or length == 0:
            return np.empty(length, kind)
        size = length * kind.itemsize
        with self._name_disk_errors(size), tempfile.TemporaryFile(dir=self.folder) as file:
            _reserve(file.fileno(), size)
            return self._map(file.fileno(), length, kind)

    def growing(self, dtype: Any) -> GrowingArray:
        """Return an array that is written from its beginning to an end that is not known yet."""
        return GrowingArray(self, np.dtype(dtype))

    @contextmanager
    def _name_disk_errors(self, size: int) -> Iterator[None]:
        """Name the folder and the remedy in an error of the disk."""
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            if full:
                what = f"no room for {size / 2**20:,.0f} MiB more"
            else:
                what = str(error)

            advice = "make room there, use a folder with more room, or lower the order"
            raise ModelError(
                f"temporary files in {self.folder}: {what}; {advice}", kind="disk"
            ) from error

    def _map(
        self,
        file: int,
        length: int,
        kind: np.dtype[Any],
    ) -> np.ndarray:
        mapped = ScratchMap(file, length * kind.itemsize)
        self._maps.add(mapped)
        return np.frombuffer(mapped, kind, length)

    def release(self) -> None:
        """Free the memory of the files' contents; written data stays in the files."""
        for mapped in list(self._maps):
            mapped.madvise(mmap.MADV_DONTNEED)


class GrowingArray:
    """An array in the making, see `ArrayAllocator.growing`."""

    def __init__(self, allocator: ArrayAllocator, kind: np.dtype[Any]) -> None:
        self.kind = kind
        self.length = 0
        self._allocator = allocator
        self._parts: list[np.ndarray] = []
        with allocator._name_disk_errors(0):
            self._file: IO[bytes] | None = None
            if allocator.folder is not None:
                self._file = tempfile.TemporaryFile(dir=allocator.folder)  # noqa: SIM115

    def append(self, values: np.ndarray) -> None:
        """Write further values.

        Raises:
            ModelError: The disk has no space; kind "disk".
        """
        values = np.ascontiguousarray(values, self.kind)
        self.length += len(values)
        if self._file is None:
            self._parts.append(values)
            return
        with self._allocator._name_disk_errors(values.nbytes):
            self._file.write(values.data)

    def finish(self) -> np.ndarray:
        """Return the whole array; nothing can be appended afterwards."""
        if self._file is None:
            if len(self._parts) == 1:
                whole = self._parts[0]
            else:
                whole = np.concatenate([np.empty(0, self.kind), *self._parts])

            self._parts = []
            return_freed()  # else the parts would stay in memory beside the whole
            return whole

        with (
            self._allocator._name_disk_errors(self.length * self.kind.itemsize),
            self._file as file,
        ):
            file.flush()
            if not self.length:
                return np.empty(0, self.kind)
            return self._allocator._map(file.fileno(), self.length, self.kind)


IN_MEMORY = ArrayAllocator()


def _reserve(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    room = os.fstatvfs(file)  # not Linux
    if room.f_bavail * room.f_frsize < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(file, size)


@dataclass(frozen=True)
class MemoryPlan:
    """A plan for counting.

    Args:
        windows: Number of windows sorted at a time.
        threads: Number of shards processed at the same time.
        allocator: Allocator of arrays with one entry per n-gram or window.
        batch: Number of windows of a batch.
    """

    windows: int
    threads: int
    allocator: ArrayAllocator
    batch: int = BATCH


def memory_plan(
    order: int,
    words: int,
    most_frequent: int,
    allocator: ArrayAllocator = IN_MEMORY,
    threads: int | None = None,
) -> MemoryPlan:
    """Return the plan for counting a text within a limit, by the rule in this module's docstring.

    Args:
        order: N.
        words: Size of the vocabulary.
        most_frequent: Occurrences of the most frequent word.
        allocator: Allocator of the arrays; has the limit.
        threads: Maximum number of threads; None for `threads.THREADS`.

    Raises:
        ModelError: The limit is too low; kind "input".
    """
    threads = threads or THREADS
    limit = allocator.limit
    return_freed()
    if limit is None:
        return MemoryPlan(MOST_WINDOWS, threads, allocator)

    in_batch = BYTES_PER_CODE * order + BYTES_IN_BATCH
    standing = resident() + BYTES_PER_WORD * words
    least = standing + in_batch * most_frequent + FEWEST_WINDOWS * BYTES_PER_WINDOW
    if least > limit:
        raise ModelError(
            f"a memory limit of {limit / 2**20:,.0f} MiB is too low for a text of {words:,} different words, of which "
            f"one occurs {most_frequent:,} times; the minimum is {ceil(least / 2**20):,} MiB",
            kind="input",
        )

    free = limit - standing - in_batch * most_frequent
    # A batch holds at least the windows that the threads sort.
    per_window = BYTES_PER_WINDOW + in_batch
    windows = min(MOST_WINDOWS, max(FEWEST_WINDOWS, free // per_window))
    threads = min(threads, max(1, free // (per_window * windows)))
    room = limit - standing - BYTES_PER_WINDOW * windows * threads
    return MemoryPlan(windows, threads, allocator, max(room // in_batch, 1))


def blocks(length: int) -> Iterator[slice]:
    """Yield slices of at most `BLOCK` rows."""
    yield from (slice(first, min(first + BLOCK, length)) for first in range(0, length, BLOCK))


def ranges_in_memory(
    rows: int,
    bytes_per_row: int,
    limit: int | None,
) -> list[slice]:
    """Cut the rows of a table into ranges that fit into the memory left, with a quarter of it for other work.

    A step that needs rows in any order makes one pass for each range. Without a limit there is one range.
    """
    if limit is None:
        return [slice(0, rows)]
    most = max(FEWEST_WINDOWS, (limit - resident()) * 3 // 4 // bytes_per_row)
    return [slice(first, min(first + most, rows)) for first in range(0, rows, most)] or [
        slice(0, 0)
    ]


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


def resident() -> int:
    """Return the current memory of this process in bytes."""
    return int(psutil.Process().memory_info().rss)
