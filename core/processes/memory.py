"""Tune glibc's malloc: return freed memory to the system at once.

The C library keeps memory that Python, numpy and pyarrow free. Large pieces come directly from the system, but the
threshold for "large" grows with every freed piece, up to 32 MiB, so the columns of a batch end up on the heaps of the
library, one heap per thread, and the next batch does not fit into their gaps. A fixed threshold and few heaps prevent
that; a low threshold costs system time (from 600,000 raw reviews to tokens: 10 s and 1,085 MiB with 4 MiB and two
heaps, 9 s and 1,422 MiB with 32 MiB and any number of heaps).

Freeze long-lived objects (`gc.freeze`): the libraries of a run leave a million, which each full collection would scan.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Flows may import it from here only.
from reviewlm.models.threads import return_freed as return_freed

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
"""Parameters of mallopt(3)."""
TIGHT = {
    M_MMAP_THRESHOLD: 4 << 20,
    M_TRIM_THRESHOLD: 32 << 20,
    M_ARENA_MAX: 2,
}
WIDE = {
    M_MMAP_THRESHOLD: 32 << 20,
    M_TRIM_THRESHOLD: 64 << 20,
    M_ARENA_MAX: 2,
}
"""Thresholds that the C library reaches by itself; they suit tensors that are made and freed in every step. Two heaps,
not one per thread: what one thread has freed, the next one can use."""

FEW_HEAPS = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_ARENA_MAX": "2",
}
"""`WIDE` as the environment of a child process."""

OPERATIONS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64"
"""Setting of oneDNN, which torch computes with. It keeps the code and the buffers of the last 1,024 operations that
were prepared, each for one shape. Texts have many shapes: after six models of the demo, 476 MiB were allocated, with 64
operations 154 MiB, for the same processor time. An update of a network needs about 20, and its rarest entries a few
more for each number of rows (see `models/neural/output/cross_entropy.py`)."""

_open_blocks = 0
_lock = threading.Lock()
"""Blocks that want memory returned at present, in all threads."""


@contextmanager
def returned_memory() -> Iterator[None]:
    """Return freed memory to the system at once within the block, and all remaining freed memory at its end.

    Only glibc supports this; with another C library there is no effect. Applies to the whole process.
    """
    global _open_blocks
    with _lock:
        _open_blocks += 1
        _set_options(TIGHT)

    try:
        yield
    finally:
        with _lock:
            _open_blocks -= 1
            if not _open_blocks:
                _set_options(WIDE)
        return_freed()


def limit_operations() -> None:
    """Let oneDNN keep few operations in this process, unless the user has set a number; call it before torch computes.

    Child processes inherit the setting.
    """
    os.environ.setdefault(*OPERATIONS)


def limit_heaps() -> None:
    """Let the C library make at most two heaps in this process, unless the user has set a number; call it early.

    By itself it makes one for each thread that there is at a time, and what a thread has freed no other can use. After
    the data stages of 10,000 reviews, the process of a run held 390 MiB instead of 490, in the same time. Heaps that
    are there already stay.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        _set_options({M_ARENA_MAX: WIDE[M_ARENA_MAX]})


def _set_options(options: dict[int, int]) -> None:
    """Set parameters of the C library's allocator (`mallopt`), by number; other libraries have none."""
    library = _glibc()
    if library is not None:
        for name, value in options.items():
            library.mallopt(name, value)


@functools.cache
def _glibc() -> Any:
    """Return the C library, or None if it has no such settings."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "mallopt") else None
    except OSError:
        return None


@contextmanager
def lasting_objects() -> Iterator[None]:
    """Import libraries in the block without collections; what then exists is never looked at again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
