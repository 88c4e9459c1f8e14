"""What becomes of memory that was freed: given back to the system at once, or kept for what comes next.

The C library keeps what Python, numpy and pyarrow free. Its threshold for pieces that come from the system directly
grows with every such piece that is freed, up to 32 MiB, so the columns of a batch end on its heaps, one heap a thread,
in whose gaps the next batch does not fit. Cleaning 300,000 reviews took 691 MiB that way and 397 MiB with a fixed
threshold and one heap, in the same CPU time.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3)."""
TIGHT = {M_MMAP_THRESHOLD: 128 << 10, M_TRIM_THRESHOLD: 128 << 10, M_ARENA_MAX: 1}
WIDE = {M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 64 << 20, M_ARENA_MAX: 8 * (os.cpu_count() or 1)}
"""What the C library comes to by itself, and what suits tensors that are made and freed in every step."""
KEPT = {M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 256 << 20}
"""Blocks of a few megabytes come and go: what one gave back, the next gets without the system's clearing it first."""

_in_force: list[dict[int, int]] = []
"""The settings of the blocks that are being run, the innermost last."""


@contextmanager
def returned_memory() -> Iterator[None]:
    """Give freed memory back at once within the block, and all that is left of it at its end.

    Without effect where the C library is not glibc. Holds for the whole process.
    """
    with _settings(TIGHT):
        yield


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory within the block for what comes next, and give back all that is left of it at its end.

    For work whose pieces are few and alike: reading 60 MB of reviews took 0.10 s of system time instead of 0.17 s.
    Without effect where the C library is not glibc. Holds for the whole process.
    """
    with _settings(KEPT):
        yield


@contextmanager
def _settings(options: dict[int, int]) -> Iterator[None]:
    _in_force.append(options)
    _set(options)
    try:
        yield
    finally:
        _in_force.remove(options)
        _set(WIDE | (_in_force[-1] if _in_force else {}))
        if (library := _glibc()) is not None:
            library.malloc_trim(0)


def _set(options: dict[int, int]) -> None:
    if (library := _glibc()) is not None:
        for name, value in options.items():
            library.mallopt(name, value)


@functools.cache
def _glibc() -> Any:
    """Return the C library, or None where it has no such settings."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
    except OSError:
        return None
