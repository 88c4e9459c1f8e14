"""Sum a vector over the processes of one machine (all-reduce) in shared memory, because Gloo copies more.

Gloo sends vectors through sockets even within a machine, which copies them more often. Here each process writes its
vector into its own row. When all have written, each adds up one part of all rows. When all parts are ready, each copies
the whole sum into its row. All get the same bits: the rows are added in the order of the ranks.

Shapes: R ranks, N numbers.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

MEMORY = Path("/dev/shm")
"""Folder whose files are in memory (Linux)."""


class SharedSum:
    """One process's view of the shared memory.

    Args:
        path: Of the file; it may be unlinked once all processes have opened it.
        rank: Of this process.
        size: R.
        length: N.
        meet: Returns when all processes have called it.

    Attributes:
        own_N: This process's row (float32): write into it before `add_up`, read from it afterwards.
    """

    def __init__(self, path: str, rank: int, size: int, length: int, meet: Callable[[], None]) -> None:
        self.meet = meet
        *self.rows_RN, self.sum_N = torch.from_file(path, shared=True, size=(size + 1) * length).view(size + 1, length)
        self.own_N = self.rows_RN[rank]
        self.part = slice(length * rank // size, length * (rank + 1) // size)

    @torch.no_grad()
    def add_up(self) -> None:
        """Replace every process's row by the sum of all; until the next call the process may change its row."""
        self.meet()
        first, *others = (row_N[self.part] for row_N in self.rows_RN)
        total = self.sum_N[self.part].copy_(first)
        for other in others:
            total.add_(other)
        self.meet()
        self.own_N.copy_(self.sum_N)


def reserve(size: int, length: int) -> str:
    """Return the path of a new file with space for the vectors of *size* ranks and their sum; "" if there is none.

    The space is allocated at once: a process that writes to shared memory without space is killed.
    """
    try:
        number, path = tempfile.mkstemp(prefix="reviewlm-", dir=MEMORY)
    except OSError:
        return ""
    try:
        os.posix_fallocate(number, 0, (size + 1) * length * torch.float32.itemsize)
    except OSError:
        os.unlink(path)
        return ""
    finally:
        os.close(number)
    return path
