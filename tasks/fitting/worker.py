"""Do a job in a process of its own: `python -m tasks.fitting.worker MODULE FILE`.

FILE is the pickled job, MODULE has the function `run` that does it. A process per job has its own threads and memory,
lets several jobs use several cores, and turns a kill by the operating system into an error message instead of the end
of the whole flow. `tasks/fitting/fit_process.py` starts it as a child that ends with its parent
(`core/processes/child.py`).

Progress, log messages, result or error are written to standard output as JSON lines: {"step", "total", "figures"} and
{"log", "level", "logger"}, then {"summary"} or {"error", "kind" or "errno"}.
"""

from __future__ import annotations

import errno
import importlib
import json
import logging
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from core.processes.crash_log import LOWER, first_line, is_out_of_memory
from models.base import ModelError
from training.context import FitProgress

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)


def report_progress(news: FitProgress) -> None:
    """Tell the parent process how far the fit is."""
    say({"step": news.step, "total": news.total, "figures": dict(news.figures)})


def say(message: dict[str, Any]) -> None:
    """Send a message to the parent process."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class LogToParent(logging.Handler):
    """Handler that sends log messages to the parent process, for the terminal and the Prefect UI."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one log message."""
        self._send({"log": record.getMessage(), "level": record.levelno, "logger": record.name})


@contextmanager
def logged_to_parent(send: Callable[[dict[str, Any]], None], *names: str) -> Iterator[None]:
    """Send all messages of some loggers to the parent process within the block."""
    handler, loggers = LogToParent(send), [logging.getLogger(name) for name in names]
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


def main() -> int:
    """Do the job named on the command line.

    Returns:
        0, or 6 with the error as the last line of output.
    """
    module, file = sys.argv[1:]
    leads = os.environ.get("RANK", "0") == "0"  # other ranks would log the same
    with logged_to_parent(say, *["models", "training"] * leads):
        message = answer(lambda: importlib.import_module(module).run(pickle.loads(Path(file).read_bytes())))
    say(message)
    return 6 if "error" in message else 0


def answer(work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Do the work; return the message that ends it: its summary, or an error that the parent process raises again."""
    try:
        return {"summary": dict(work())}
    except ModelError as error:
        return {"error": str(error), "kind": error.kind}
    except BaseException as error:  # panics of Rust libraries are not an Exception
        if is_out_of_memory(error):
            return {"error": f"not enough memory ({first_line(error)}); {LOWER}", "kind": "memory"}
        if (number := _errno_of(error)) is not None:
            return {"error": str(error), "errno": number}
        raise


def _errno_of(error: BaseException) -> int | None:
    """Return the errno of a disk error, else None; safetensors gives the number only in its text."""
    if not isinstance(error, OSError | SafetensorError):
        return None
    match = re.search(r"os error (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) else int(match[1]) if match else None
    return number if number in DISK_ERRORS else None


if __name__ == "__main__":
    raise SystemExit(main())
