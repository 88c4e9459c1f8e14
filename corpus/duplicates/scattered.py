"""Read byte ranges that are scattered over a file larger than memory."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np


def read_scattered(file: Path, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the bytes from each *begin* (K,) to its *end*, one stretch after another.

    Other threads can work meanwhile; with a call of `os.pread` for each stretch they would wait for Python's lock. The
    file is not mapped to memory: the system maps up to 2 MB around each stretch, and to unmap them takes longer than
    to read.

    Raises:
        OSError: The file ends before a stretch, or cannot be read.
    """
    from corpus.duplicates import kernels  # here, because numba's import takes half a second

    found = np.empty(int((end - begin).sum()), np.uint8)
    with file.open("rb", buffering=0) as opened:
        count = kernels.read(opened.fileno(), begin, end, found)
    if count < len(found):
        raise OSError(errno.EIO, "a stretch of the file cannot be read", str(file))
    return found


def read_numbers(file: Path, kind: type[np.generic], places: np.ndarray, each: int = 1) -> np.ndarray:
    """Return the numbers of a file at some *places* (K,); with *each*, so many from each place on, (K, each).

    Raises:
        OSError: As for `read_scattered`.
    """
    size = np.dtype(kind).itemsize
    begin = places.astype(np.int64) * size
    found = read_scattered(file, begin, begin + each * size).view(kind)
    return found if each == 1 else found.reshape(-1, each)
