"""Read byte ranges that are scattered over a file larger than memory."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

AT_ONCE = 32
"""Stretches after which the mapped pages are given back: the system maps up to 2 MB around each of them."""


def read_scattered(file: Path, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the bytes from each *begin* (K,) to its *end*, one stretch after another.

    Other threads can work meanwhile; with a call of `os.pread` for each stretch they would wait for Python's lock.
    """
    from corpus.duplicates import pair_kernels  # here, because numba's import takes half a second

    bounds = np.concatenate([[0], np.cumsum(end - begin)])
    found = np.empty(bounds[-1], np.uint8)
    if not len(found):
        return found  # an empty file cannot be mapped
    with file.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    # Not closed here: a kernel that is compiled in its first call keeps its arguments for a while.
    data = np.frombuffer(mapped, np.uint8)
    for first in range(0, len(begin), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        pair_kernels.gather(data, begin[some], end[some], found[bounds[first] :])
        if hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
    return found
