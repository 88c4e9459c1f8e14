"""A fit's process: started, listened to, and ended with whoever wanted it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.base import ModelError
from reviewlm.errors import RankFailed
from tasks.stage import converted_errors

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}
"""Of the C library's allocator (glibc; others do not look at it). By itself it takes blocks over 32 MiB from the system
and gives them back at once: gradients of that size would be fetched anew, page by page, at every update. That took 12
of the 95 ms of an update with 20,000 entries of 650 features. Who sets these variables is obeyed."""
_interrupted = threading.Event()
_running: set[subprocess.Popen[str]] = set()


def run_job(job: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> dict[str, float]:
    """Run a job of `tasks.fit_worker` in a process of its own and return the fit's summary.

    Raises:
        FitError, InputError: What the model itself said.
        OSError: What the operating system said to it, e.g. that the disk is full.
        RankFailed: The process died without a word, e.g. killed for want of memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, errors = Path(folder) / "job.json", Path(folder) / "stderr"
        file.write_text(json.dumps(job), encoding="utf-8")
        environment = environment_of(job)
        command = [sys.executable, "-m", "tasks.fit_worker", str(file)]
        with errors.open("wb") as stderr:
            # The worker ends when its standard input does: no fit outlives the process that wanted it.
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
            )
            _running.add(process)
            try:
                if _interrupted.is_set():
                    process.kill()
                last = _listen(process, report)
            finally:
                _running.discard(process)
                process.kill()
                process.communicate()
        if "errno" in last:
            raise OSError(last["errno"], last["error"])
        if "error" in last:
            with converted_errors(job["spec"]["name"]):
                raise ModelError(last["error"], last["kind"])
        if "summary" not in last:
            raise _died(job, process.returncode, errors.read_text(encoding="utf-8", errors="replace"))
        return last["summary"]


def environment_of(job: dict[str, Any]) -> dict[str, str]:
    """Return the environment of a fit's process: its threads, and an allocator that keeps what it has."""
    threads = str(job["threads"])
    return {**KEEP_MEMORY, **os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


@contextmanager
def interruptible_fits() -> Iterator[None]:
    """End the fits where the block is interrupted: their threads cannot be, and the flow would wait for them."""
    _interrupted.clear()
    try:
        yield
    except Exception:
        raise
    except BaseException:
        _interrupted.set()
        for process in tuple(_running):
            process.kill()
        raise


def interrupted() -> bool:
    """Return whether fits are being ended because someone interrupted what wanted them."""
    return _interrupted.is_set()


def _listen(process: subprocess.Popen[str], report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Pass on progress and log messages until the process ends; return its last word, empty if it said none."""
    last: dict[str, Any] = {}
    for line in process.stdout or ():
        try:
            news = json.loads(line)
        except ValueError:
            continue
        if not isinstance(news, dict):
            continue
        if "step" in news:
            report(news)
        elif "log" in news:
            logging.getLogger(news["logger"]).log(news["level"], "%s", news["log"])
        else:
            last = news
    process.wait()
    return last


def _died(job: dict[str, Any], code: int, said: str) -> RankFailed:
    cause = "killed by the system, most likely for want of memory" if code == -9 else "\n".join(said.splitlines()[-12:])
    return RankFailed(
        f"The process that fitted '{job['spec']['name']}' ended with exit code {code}", cause=cause,
        remedy="give it more memory, or a smaller batch (models.N.training.batch); a rerun goes on from the checkpoint",
    )
