"""Compile a numeric kernel with numba; nothing else is imported, so a data stage does not wait for torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}
"""The compiler may reorder sums, always in the same way. `nnan` is not set: with it the compiler may drop a NaN in its
vector loop and keep it in the remainder, so training that has diverged would look healthy on one CPU and not on
another. numpy's division (`error_model`) has no branch; with a branch, a loop with a quotient would not be vectorised.
"""


def kernel(function: Callable[..., Any], fast: set[str] | bool = FAST, nogil: bool = True) -> Any:
    """Compile a kernel at its first call, and cache it for other processes if there is a writable folder for it.

    numba looks for it in NUMBA_CACHE_DIR, next to the kernel's file and below the user's home. *fast* may change
    rounding. *nogil*: other threads run meanwhile. A kernel of a few microseconds keeps them waiting instead, because
    to get the interpreter back from a busy thread takes up to 5 ms.
    """
    try:
        return njit(fastmath=fast, error_model="numpy", nogil=nogil, cache=True)(function)
    except RuntimeError:  # no writable folder: a read-only installation
        return njit(fastmath=fast, error_model="numpy", nogil=nogil)(function)
