"""Run a Python program that ends with its parent: `python child.py [-m MODULE | FILE] ARGUMENTS`.

Its standard input is the lifeline: a pipe whose other end only the parent holds. When the parent ends, even by SIGKILL,
the operating system closes that end, and this process exits at once. Linux could send a signal instead
(PR_SET_PDEATHSIG). But no other system can, and Linux sends it already when the parent's *thread* ends, as the thread
of a task does.

The program gets an empty standard input. Only the standard library is imported, because the smoke test of a model must
not see the project. A program that returns, or ends with an exit code, ends at once: to take torch's modules apart one
by one takes a second of the processor (of the 4 seconds of a small fit), and the memory goes back in any case.
"""

from __future__ import annotations

import atexit
import os
import runpy
import sys
import threading
from collections.abc import Callable


def main() -> None:
    """Run the program named on the command line in this process, as `python` would."""
    lifeline, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_end_with, args=(lifeline,), name="lifeline", daemon=True).start()
    first, *rest = sys.argv[1:]
    if first != "-m":
        sys.argv = [first, *rest]
        _end_after(lambda: runpy.run_path(first, run_name="__main__"))
        return
    if not sys.flags.isolated:
        sys.path[0] = os.getcwd()  # instead of this file's folder, whose modules would hide others
    sys.argv = rest
    _end_after(lambda: runpy.run_module(rest[0], run_name="__main__", alter_sys=True))


def _end_after(run: Callable[[], object]) -> None:
    """Run the program; then wait for its threads, call what it registered with `atexit`, and end at once.

    Any other end, as by an error, is left to Python, which writes the trace.
    """
    code: object = 0
    try:
        run()
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):
            raise
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_with(lifeline: int) -> None:
    while os.read(lifeline, 4096):
        pass
    os._exit(1)  # at once: a second process may already work in the same folder


if __name__ == "__main__":
    main()
