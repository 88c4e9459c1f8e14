"""Turn an abort of the process by a library into a message and an exit code.

Rust libraries end the process (SIGABRT) where an allocation fails: no exception reaches Python, whose own handlers run
only once the library returns, which it never does. So the handler is one of C that calls into Python.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from core.errors import OutOfMemory
from core.processes import standard_streams
from core.processes.out_of_memory import LOWER

STANDARD_ERROR = 2
_kept: list[Any] = []
"""Handlers in force, which Python must not throw away."""


@contextmanager
def aborts_told() -> Iterator[None]:
    """Tell of an abort within this block, and end with the exit code of `OutOfMemory`: no other cause is common.

    The handler waits for Python's lock, which libraries give up while they work.
    """
    if os.name != "posix":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
    cause = "most likely an allocation failed: its own words are above"
    error = OutOfMemory("A library has ended the process", cause=cause, remedy=LOWER)  # now: memory may lack later
    message, told = f"error: {error}\n".encode("utf-8", "replace"), error.to_dict()

    def handler(number: int) -> None:
        with suppress(BaseException):
            os.write(STANDARD_ERROR, message)
            standard_streams.end_with(told)
        os._exit(OutOfMemory.exit_code)

    function = ctypes.CFUNCTYPE(None, ctypes.c_int)(handler)
    _kept.append(function)
    before = libc.signal(signal.SIGABRT, ctypes.cast(function, ctypes.c_void_p))
    try:
        yield
    finally:
        libc.signal(signal.SIGABRT, before)
        _kept.remove(function)
