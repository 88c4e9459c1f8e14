"""Freeze long-lived objects (`gc.freeze`), so that garbage collections need not scan a million library objects.

The libraries of a run leave a million objects. Each full collection would look through all of them, and so would the
last one, at the end of the process.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lasting_objects() -> Iterator[None]:
    """Import libraries in the block without collections; what then exists is never looked at again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
