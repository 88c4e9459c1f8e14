"""Measure runs in new processes: wall seconds, CPU seconds, peak memory."""

from __future__ import annotations

import gc
import os
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

import psutil

from reviewlm.core.environment import numpy_features

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
SAMPLE_SECONDS = 0.02
MIB = 1 << 20

Contender = Callable[[], Any] | Sequence[str]


class ContenderFailed(RuntimeError):
    """A measured run raised an exception, or ended with an exit status other than 0."""


@dataclass(frozen=True)
class Run:
    """One measured run.

    Attributes:
        wall: Seconds from the call to its return. For a function they do not include the start of the interpreter and
            imports at module level; for a command line they do.
        cpu: CPU seconds in the same time, user and system, of all threads and finished child processes.
        peak_mib: Highest resident memory of the process with its children; sampled every 20 ms, and for the process
            itself never less than the kernel's own high-water mark.
        base_mib: Resident memory just before the call; 0 for a command line.
        result: Return value of the function; for a command line its standard output.
    """

    wall: float
    cpu: float
    peak_mib: float
    base_mib: float = 0.0
    result: Any = None


def measure(contender: Contender, threads: int) -> Run:
    """Run a function or a command line in a new process that may use *threads* threads.

    `THREAD_VARIABLES` set this limit for most libraries; for others (DuckDB) the contender itself must set it. The
    settings of the command line for numpy apply to all contenders.

    Raises:
        ContenderFailed: The run failed; the message has the traceback or the end of standard error.
    """
    with environment({**dict.fromkeys(THREAD_VARIABLES, str(threads)), **numpy_features()}):
        return _call(contender) if callable(contender) else _command(list(contender))


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these environment variables for processes that are started within the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Watch(threading.Thread):
    """Watcher of the resident memory of a process and its children; also uses the kernel's high-water mark."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = 0
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            try:
                process = psutil.Process(self.pid)
                family = [process, *process.children(recursive=True)]
                self.peak = max(
                    self.peak, sum(one.memory_info().rss for one in family), high_water(self.pid)
                )
            except (psutil.Error, OSError):
                continue

    def end(self) -> int:
        self._ended.set()
        self.join()
        return self.peak


def high_water(pid: int | str = "self") -> int:
    """Return VmHWM in bytes; unlike ru_maxrss it does not include the process that forked this one."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    marks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(marks[0]) << 10 if marks else 0


def cpu_seconds(*whose: int) -> float:
    """Return CPU seconds to the microsecond; `os.times` counts hundredths, so a short run would take 0."""
    usages = [getrusage(one) for one in whose or (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _call(function: Callable[[], Any]) -> Run:
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_inside, args=(function, theirs))
    process.start()
    theirs.close()
    watch = _Watch(process.pid or 0)
    watch.start()
    try:
        outcome = ours.recv()
    except EOFError:
        outcome = f"the process ended without a result, exit status {process.exitcode}"

    peak = watch.end()
    process.join()
    if isinstance(outcome, str):
        raise ContenderFailed(outcome)

    wall, cpu, high, base, result = outcome
    return Run(
        wall,
        cpu,
        max(peak, high) / MIB,
        base / MIB,
        result,
    )


def _inside(function: Callable[[], Any], answer: Connection) -> None:
    """Call the function in this new process, and send the result."""
    try:
        gc.collect()
        base = psutil.Process().memory_info().rss
        cpu = cpu_seconds()
        started = time.perf_counter()
        result = function()
        wall = time.perf_counter() - started
        cpu = cpu_seconds() - cpu
        answer.send((wall, cpu, high_water(), base, result))
    except BaseException:
        answer.send(traceback.format_exc())


def _command(argv: list[str]) -> Run:
    started = time.perf_counter()
    before = cpu_seconds(RUSAGE_CHILDREN)
    with subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        watch = _Watch(process.pid)
        watch.start()
        out, err = process.communicate()
        peak = watch.end()

    wall = time.perf_counter() - started
    cpu = cpu_seconds(RUSAGE_CHILDREN) - before
    if process.returncode:
        raise ContenderFailed(f"{argv[0]} ended with {process.returncode}: {err[-2000:]}")

    return Run(wall, cpu, peak / MIB, result=out)
