"""Turn an abort of the process by a library into a message and an exit code.

Rust libraries abort the process (SIGABRT) if an allocation fails. No exception reaches Python. Python's own signal
handlers run only after the library returns, which never happens. So the handler here is a C function that calls into
Python.

C libraries abort for other reasons too (a damaged heap, a failed assertion). If the C library names the reason, the
abort is reported as a crash with a log.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from core.errors import Crash, OutOfMemory, ReviewLMError
from core.processes import standard_streams
from core.processes.crash_log import write_crash_log
from core.processes.out_of_memory import LOWER

STANDARD_ERROR = 2
_kept: list[Any] = []
"""Active handlers, kept here so that Python does not delete them."""


@contextmanager
def aborts_told() -> Iterator[None]:
    """Report an abort within this block, and end with the exit code of `OutOfMemory` or `Crash`.

    The handler waits for Python's global interpreter lock, which libraries release while they work.
    """
    if os.name != "posix":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
    cause = "most likely memory ran out: the library's message is above"
    refused = OutOfMemory("A library has ended the process", cause=cause, remedy=LOWER)  # made while memory is left

    def handler(number: int) -> None:
        error: ReviewLMError = refused
        with suppress(BaseException):
            error = _crash(said) if (said := said_by_libc()) else refused
            os.write(STANDARD_ERROR, f"error: {error}\n".encode("utf-8", "replace"))
            standard_streams.end_with(error.to_dict())
        os._exit(error.exit_code)

    function = ctypes.CFUNCTYPE(None, ctypes.c_int)(handler)
    _kept.append(function)
    before = libc.signal(signal.SIGABRT, ctypes.cast(function, ctypes.c_void_p))
    try:
        yield
    finally:
        libc.signal(signal.SIGABRT, before)
        _kept.remove(function)


def said_by_libc() -> str:
    """Return why the C library aborts (a damaged heap, an assertion that failed); empty where another library does."""
    try:
        place = ctypes.POINTER(_AbortMessage).in_dll(ctypes.CDLL(None), "__abort_msg")  # of glibc alone
    except ValueError:
        return ""
    return place.contents.text.decode("utf-8", "replace").strip() if place else ""


class _AbortMessage(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint), ("text", ctypes.c_char * 200))


def _crash(said: str) -> Crash:
    """Write a crash log with the stacks of all threads, and return the error that names it."""
    cause = f"a library ended the process (SIGABRT): {said}"
    file = write_crash_log(RuntimeError(cause), sys.argv[1:])
    if file is not None:
        with suppress(OSError), file.open("a", encoding="utf-8") as log:
            faulthandler.dump_traceback(log)
    return Crash(cause, file)
