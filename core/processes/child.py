"""Run a Python program that ends with its parent: `python child.py [--group] [-m MODULE | FILE] ARGUMENTS`.

Its standard input is the lifeline: a pipe whose other end only the parent holds. When the parent ends, even by SIGKILL,
the operating system closes that end, and this process exits at once. Linux could send a signal instead
(PR_SET_PDEATHSIG). But no other system can, and Linux sends it already when the parent's *thread* ends, as the thread
of a task does.

The program gets an empty standard input. With `--group`, all that it has started in its process group ends with the
parent, too. Only the standard library is imported, because the smoke test of a model must not see the project.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

ROOMS = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PROJECT = ROOMS if os.path.isdir(os.path.join(ROOMS, "reviewlm")) else os.path.dirname(ROOMS)
"""Folder from which `reviewlm` is imported: the checkout, or site-packages."""


def main() -> None:
    """Run the program named on the command line in this process, as `python` would.

    But a module is looked for in this project first, not in the working directory: a folder `tasks` or `models` of the
    user's must not take the place of ours.
    """
    group = sys.argv[1] == "--group"
    lifeline = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    threading.Thread(
        target=end_with_parent,
        args=(lifeline, group),
        name="lifeline",
        daemon=True,
    ).start()
    first, *rest = sys.argv[1 + group :]
    if first != "-m":
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")
        return

    if not sys.flags.isolated:
        sys.path[0] = PROJECT  # instead of this file's folder, whose modules would hide others

    sys.argv = rest
    runpy.run_module(rest[0], run_name="__main__", alter_sys=True)


def end_with_parent(lifeline: int, group: bool = False) -> None:
    """Wait until the parent ends, then end this process at once."""
    while os.read(lifeline, 4096):
        pass  # nobody writes: it ends with the parent
    if group and os.getpgrp() == os.getpid():  # else it is the group of whoever started this one
        os.killpg(0, signal.SIGKILL)
    os._exit(1)  # at once: a second process may already work in the same folder


if __name__ == "__main__":
    main()
