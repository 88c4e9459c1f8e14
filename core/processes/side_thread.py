"""Run a loop in a thread beside a block of code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def side_thread(loop: Callable[[threading.Event], object]) -> Iterator[None]:
    """Call *loop* in a thread while the block runs, and wait for its end afterwards.

    Args:
        loop: Gets an event that is set at the end of the block; it must return soon after.
    """
    ended = threading.Event()
    thread = threading.Thread(target=loop, args=(ended,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
