"""Do works in a process of their own, which another process has started with one end of a connection.

A process per job has its own threads and memory, lets several jobs use several cores, and turns a kill by the
operating system into an error message instead of the end of the whole flow. What it says are pickled objects: how far
it is (`FitProgress`), log records, and an `Answer` at the end of each work. `tasks/fitting/fit_process.py` listens.

`python -m reviewlm.tasks.fitting.worker MODULE NUMBER NAME` does jobs of fits. NUMBER is that of the connection's socket; the
names of the job's module and of the model are for lists of processes.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

from safetensors import SafetensorError

from reviewlm.core.errors import FULL, REFUSED, ReviewLMError
from reviewlm.core.processes.crash_log import MEMORY_ADVICE, first_line
from reviewlm.models.base import ModelError, is_out_of_memory
from reviewlm.models.threads import return_freed
from reviewlm.tasks.fitting.job import Answer, FitJob, Report

LOGGERS = tuple(
    f"reviewlm.{room}" for room in ("models", "training", "evaluation", "corpus", "tasks")
)
"""Loggers whose messages the parent process gets."""


@contextmanager
def logged_to(send: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """Send all messages of `LOGGERS` to another process within the block."""
    handler: logging.Handler = QueueHandler(SimpleNamespace(put_nowait=send))  # type: ignore[arg-type]
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)

    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


def serve(
    connection: Connection,
    do: Callable[[Any, Report], Mapping[str, Any]],
    *,
    log: bool = True,
) -> None:
    """Do the works of a connection, one after the other, until it is closed or brings None."""
    lock = threading.Lock()

    def send(message: object) -> None:
        with lock:
            connection.send(message)

    with logged_to(send) if log else nullcontext():
        while (work := connection.recv()) is not None:
            answer = answer_of(do, work, send)
            return_freed()  # the next work does not fit into the gaps that this one left
            send(answer)


def answer_of(
    do: Callable[[Any, Report], Mapping[str, Any]],
    work: Any,
    report: Report,
) -> Answer:
    """Do a work, and return how it ended."""
    try:
        return Answer(dict(do(work, report)))
    except (ModelError, ReviewLMError) as error:
        return Answer(error=error)
    except BaseException as error:  # panics of Rust libraries are not an Exception
        if is_out_of_memory(error):
            return Answer(
                error=ModelError(
                    f"not enough memory ({first_line(error)}); {MEMORY_ADVICE}", "memory"
                )
            )
        number = _errno_of(error)
        if number is not None:
            return Answer(error=OSError(number, str(error)))
        return Answer(crash=traceback.format_exc())


def _errno_of(error: BaseException) -> int | None:
    """Return the errno of a disk error, else None; safetensors gives the number only in its text."""
    if not isinstance(error, OSError | SafetensorError):
        return None
    match = re.search(r"os error (\d+)", str(error))
    number = None
    if match:
        number = int(match[1])

    if isinstance(error, OSError):
        number = error.errno
    return number if number in FULL + REFUSED else None


def serve_job(connection: Connection, *, log: bool = True) -> None:
    """Do the jobs of a connection, each by the function `run` of its own module."""

    def do(job: FitJob, report: Report) -> Mapping[str, Any]:
        run: Callable[[FitJob, Report], Mapping[str, Any]] = importlib.import_module(job.WORKER).run
        return run(job, report)

    serve(connection, do, log=log)


def main() -> None:
    """Do the job that the connection named on the command line brings."""
    _, number, _ = sys.argv[1:]
    leads = os.environ.get("RANK", "0") == "0"  # other ranks would log the same
    os.set_inheritable(int(number), False)
    serve_job(Connection(int(number)), log=leads)


if __name__ == "__main__":
    main()
