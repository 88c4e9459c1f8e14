"""Fork processes for works with models from one that has the libraries: `python -m tasks.measuring.fork_server N`.

The libraries are imported once, and what they hold in memory exists once: two processes that score Kaggle's reviews had
597 MiB with their fork server, 802 MiB when each imported them itself. N is the number of a Unix socket. For each
process the parent sends two files over it: a connection, and where its errors go. The process reads its works from the
connection and answers there (`worker.py`). If it ends, this one writes {"ended": exit code} to the connection.
With `--alone` this process forks none, but does the works of the first connection itself.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

from tasks.measuring import worker

ALONE = "--alone"
LIBRARIES = (
    "models.neural.recurrent", "models.mixture.lm", "models.ngram.lm", "tasks.measuring.observed",
    "tasks.measuring.observed", "tasks.measuring.observed", "tasks.measuring.samples", "models.sampling",
    "scipy.stats", "pyarrow.compute",
)  # fmt: skip
"""Modules that import what most works need, and libraries that these import only when they use them. None of them may
compute with torch or polars while it is imported: the threads for that do not exist in a forked process, where polars
would wait for them without end."""
PR_SET_PDEATHSIG = 1
"""Option of prctl(2): the signal that a process gets when its parent ends."""
Running = dict[int, socket.socket]
"""The connections of processes, by their number."""


def main() -> NoReturn:
    """Fork a process for each pair of files that the parent sends; end all when it closes the socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    load_libraries()
    gc.collect()
    gc.freeze()  # else the first collection in each process would copy the pages of all objects
    sys.stdout.flush()  # else each process would write again what a library has printed
    server, running, child_ended = os.getpid(), Running(), told_of_ended_children()
    while True:
        if child_ended in select.select([control, child_ended], [], [])[0]:
            child_ended.recv(4096)
            tell_ended(running)
            continue
        _, files, _, _ = socket.recv_fds(control, 1, 2)
        if not files:
            end(running)
        connection, errors = socket.socket(fileno=files[0]), files[1]
        try:
            process = 0 if ALONE in sys.argv else os.fork()
        except OSError as error:  # the system allows no other process
            os.write(errors, str(error).encode())
            say_ended(connection, 1)
        else:
            if not process:
                become_worker(connection, errors, server, [control, child_ended, *running.values()])
            running[process] = connection
        os.close(errors)


def load_libraries() -> None:
    """Import what most works need, and call a kernel: numba loads 250 modules at the first call, 0.6 CPU seconds."""
    for module in LIBRARIES:
        importlib.import_module(module)
    import numpy as np  # here: the process of a run imports this module, too, but not numba

    from models.neural.inference.log_kernels import add_to_log_sum

    total_NV, logp_NPV, log_weight_NP = (np.zeros(shape, np.float32) for shape in ((1, 1), (1, 1, 1), (1, 1)))
    add_to_log_sum(total_NV, logp_NPV, 0, log_weight_NP)


def become_worker(connection: socket.socket, errors: int, server: int, others: list[socket.socket]) -> NoReturn:
    """Do the works of a connection, then end at once: what was imported before the fork is not taken apart.

    Args:
        server: Number of the fork server's process: this one ends with it.
        others: Copies of connections, whose other ends would not see them close.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if os.getpid() != server:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            os._exit(1)
    for other in others:
        other.close()
    for stream, file in enumerate((connection.fileno(), connection.fileno(), errors)):
        os.dup2(file, stream)
    connection.close()
    os.close(errors)
    try:
        code = worker.main()
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


def told_of_ended_children() -> socket.socket:
    """Return a socket that can be read from when a child has ended."""
    receiver, tells = socket.socketpair()
    tells.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(tells.detach())
    return receiver


def tell_ended(running: Running) -> None:
    """Tell the parent of processes that have ended; remove them from *running*."""
    while running:
        process, status = os.waitpid(-1, os.WNOHANG)
        if not process:
            return
        say_ended(running.pop(process), os.waitstatus_to_exitcode(status))


def say_ended(connection: socket.socket, code: int) -> None:
    """Tell the parent the exit code of a process, in a line of its own whatever the process wrote last."""
    with suppress(OSError), connection:  # the parent has closed its end, or no longer listens
        connection.send(f"\n{json.dumps({'ended': code})}\n".encode(), socket.MSG_DONTWAIT)


def end(running: Mapping[int, socket.socket]) -> NoReturn:
    """End all processes, wait for their end as only their parent can, and end."""
    for process in running:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    os._exit(0)


if __name__ == "__main__":
    main()
