"""Fork processes for works with models from one that has the libraries: `python -m tasks.measuring.fork_server N`.

The libraries are imported once, and what they hold in memory exists once: two processes that score Kaggle's reviews had
597 MiB with their fork server, 802 MiB when each imported them itself. N is the number of a Unix socket. For each
process the parent sends two files over it: a connection, and where its errors go. The process reads its works from the
connection and answers there (`worker.py`). If it ends, this one writes {"ended": exit code} to the connection.

With `--alone` this process forks none, but does the works of the first connection itself.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress

from tasks.measuring import worker

ALONE = "--alone"
LIBRARIES = (
    "models.neural.recurrent", "models.mixture.lm", "models.ngram.lm", "tasks.measuring.scored",
    "tasks.measuring.observed", "tasks.measuring.audited", "tasks.measuring.samples",
)  # fmt: skip
"""Modules that import what most works need. None of them may compute with torch or polars while it is imported: the
threads for that do not exist in a forked process."""


def main() -> int:
    """Fork a process for each pair of files that the parent sends; end all when it closes the socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in LIBRARIES:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # else the first collection in each process would copy the pages of all objects
    running: dict[int, int] = {}
    child_ended = told_of_ended_children()
    while True:
        if child_ended in select.select([control, child_ended], [], [])[0]:
            child_ended.recv(4096)
            tell_ended(running)
            continue
        _, files, _, _ = socket.recv_fds(control, 1, 2)
        if not files:
            for process in running:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
            return 0
        connection, errors = files
        if ALONE not in sys.argv and (process := os.fork()):
            running[process] = connection
            os.close(errors)
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for other in (control.detach(), *running.values()):  # else their other ends would not see them close
            os.close(other)
        for stream, file in enumerate((connection, connection, errors)):
            os.dup2(file, stream)
        os.close(connection)
        os.close(errors)
        os._exit(worker.main())  # without the seconds in which an interpreter takes its objects apart


def told_of_ended_children() -> socket.socket:
    """Return a socket that can be read from when a child has ended."""
    told, tells = socket.socketpair()
    tells.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(tells.detach())
    return told


def tell_ended(running: dict[int, int]) -> None:
    """Tell the parent of processes that have ended, by number with their connections; remove them from *running*."""
    while running:
        process, status = os.waitpid(-1, os.WNOHANG)
        if not process:
            return
        connection = running.pop(process)
        message = json.dumps({"ended": os.waitstatus_to_exitcode(status)}) + "\n"
        with suppress(OSError):  # the parent has closed its end
            os.write(connection, message.encode())
        os.close(connection)


if __name__ == "__main__":
    raise SystemExit(main())
