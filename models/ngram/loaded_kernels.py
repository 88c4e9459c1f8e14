"""Load the compiled look-ups (`step_kernels.py`) where they pay: numba takes 0.3 s to import."""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import Any

from .lookup import SHORT

_SHORT_CALLS = 2_000
"""Number of short texts after which compiled look-ups are loaded, which takes about as long as they then have saved."""
_short_calls = count(1)


@cache
def step_kernels() -> Any:
    """Return the module `step_kernels.py`; None if numba is not installed, as where a stranger opens a model."""
    try:
        from . import step_kernels
    except ImportError:
        return None
    return step_kernels


def short_kernels(tokens: int) -> Any:
    """Return the module `step_kernels.py` for reading so many tokens; None where numpy is to do it.

    The results are equal to the bit. A process that only reads a few short texts does not wait until numba is imported.
    """
    if tokens > SHORT:
        return None
    loaded = step_kernels.cache_info().currsize > 0
    return step_kernels() if loaded or next(_short_calls) > _SHORT_CALLS else None
