"""Sample memory and CPU seconds of a command: of the pipeline with its workers, and of Prefect's temporary server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from resource import RUSAGE_CHILDREN
from typing import NamedTuple

import numpy as np
import psutil

from benchmarks.processes import MIB, ContenderFailed, cpu_seconds, high_water

SAMPLE_SECONDS = 0.1
EACH = 5
"""Read private memory in every fifth sample: the kernel walks through all pages for it, 3 ms for 550 MiB."""
SERVER_PROGRAM = "reviewlm.flows.server.prefect_server"
SERVER_NAME = "prefect_server"
"""The server is a program, or a fork of the command with this name."""
PIPELINE, SERVER, PRIVATE, CPU, SERVER_CPU, FIRST, FIRST_CPU = 1, 2, 3, 4, 5, 6, 7
"""Places in a sample."""


class Sample(NamedTuple):
    """Resident MiB at a time, and CPU seconds until then.

    Attributes:
        time: Seconds since 1970, as in the manifests of the store.
        pipeline: Of the command and its workers.
        server: Of Prefect's server.
        private: Part of the pipeline's without pages of mapped files, which the system may take back at any time. Pages
            that several processes share since a fork count once. Read in every fifth sample, else the value before.
        cpu: Of the command and its workers, those that have ended included.
        server_cpu: Of Prefect's server.
        first, first_cpu: Private MiB and CPU seconds of the command's own process.
    """

    time: float
    pipeline: float
    server: float
    private: float
    cpu: float = 0.0
    server_cpu: float = 0.0
    first: float = 0.0
    first_cpu: float = 0.0


class Reading(NamedTuple):
    """Counters of one process.

    Attributes:
        created: When it was started; tells it from a later process with the same number.
        parent: Number of its parent.
        own: Its CPU seconds.
        waited: CPU seconds of its children that have ended and that it has waited for, with theirs.
        is_server: It is Prefect's server, or was started by it.
    """

    created: float
    parent: int
    own: float
    waited: float = 0.0
    is_server: bool = False


class CpuAccount:
    """Sum of the CPU seconds of a tree of processes, those included that no sample has seen.

    When a parent waits for a child that has ended, the kernel adds the child's seconds to the parent's `waited`. What
    was not counted there while the child was seen is new: its last moments, or its whole life between two samples.
    The end of a child whose own parent has ended before is not seen; it can have at most one interval of samples. The
    last moments of the server count for the pipeline, whose child it is.

    Attributes:
        pipeline, server: CPU seconds so far.
    """

    def __init__(self) -> None:
        self.pipeline = 0.0
        self.server = 0.0
        self._last: dict[int, Reading] = {}
        self._due: dict[int, float] = {}
        """By number of a process: seconds of its ended children that are counted, and will come in its `waited`."""

    def add(self, readings: Mapping[int, Reading]) -> None:
        """Count what all living processes have used since the last call."""
        gone = {pid: one for pid, one in self._last.items() if not _same(one, readings.get(pid))}
        for pid, one in gone.items():
            heir = one.parent
            while heir in gone:  # a parent that has ended, too, has handed the seconds on
                heir = gone[heir].parent
            self._due[heir] = (
                self._due.get(heir, 0.0) + one.own + one.waited + self._due.pop(pid, 0.0)
            )

        for pid, now in readings.items():
            before = None if pid in gone else self._last.get(pid)
            own = now.own - (before.own if before else 0.0)
            waited = now.waited - (before.waited if before else 0.0)
            counted = min(self._due.get(pid, 0.0), waited)
            self._due[pid] = self._due.get(pid, 0.0) - counted
            self._count(own + waited - counted, now.is_server)

        self._last = dict(readings)

    def close(self, total: float) -> None:
        """Count the rest of *total*, which the kernel has told at the end of the first process: its last moments."""
        self._count(max(0.0, total - self.pipeline - self.server), False)

    def _count(self, seconds: float, is_server: bool) -> None:
        if is_server:
            self.server += seconds
        else:
            self.pipeline += seconds


def _same(before: Reading, now: Reading | None) -> bool:
    return now is not None and now.created == before.created


class ProcessLog(threading.Thread):
    """Samples of a process that this process has started, and of all that it starts, ten times a second.

    Args:
        pid: Number of the process. Call `end` when it was waited for.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.samples = [Sample(time.time(), 0.0, 0.0, 0.0)]
        self._ended = threading.Event()
        self.high_water = 0.0
        self.own_cpu = 0.0
        """CPU seconds of the sampling itself."""
        self._account = CpuAccount()
        self._before = cpu_seconds(RUSAGE_CHILDREN)
        self._known: dict[psutil.Process, bool] = {}
        """All processes that were seen and have not ended, and whether they belong to the server."""

    def run(self) -> None:
        """Take samples until `end` is called."""
        while not self._ended.wait(SAMPLE_SECONDS):
            with suppress(psutil.Error):
                self._sample()
            self.own_cpu = time.thread_time()

    def end(self) -> None:
        """Stop taking samples; add the last moments of the process, which has been waited for."""
        self._ended.set()
        self.join()
        self._account.close(cpu_seconds(RUSAGE_CHILDREN) - self._before)
        last = self.samples[-1]
        self.samples.append(last._replace(time=time.time(), cpu=self._account.pipeline))

    def peak(
        self,
        began: float,
        ended: float,
        what: int = PIPELINE,
    ) -> int | None:
        """Return the highest value between two times, in MiB; None if no sample lies between them."""
        first = bisect_left(self.samples, began, key=itemgetter(0))
        last = bisect_right(self.samples, ended, key=itemgetter(0))
        seen = [one[what] for one in self.samples[first:last]]
        return round(max(seen)) if seen else None

    def at(self, moments: Sequence[float], what: int = CPU) -> list[float]:
        """Return a value at any times; between two samples it grows evenly."""
        times = [one[0] for one in self.samples]
        values = [one[what] for one in self.samples]
        return [float(one) for one in np.interp(moments, times, values)]

    def _sample(self) -> None:
        now = time.time()
        readings: dict[int, Reading] = {}
        pipeline = 0.0
        server = 0.0
        private = 0.0
        walk = len(self.samples) % EACH == 1
        first = 0.0
        first_cpu = 0.0
        for process, is_server in self._family().items():
            with suppress(psutil.Error), process.oneshot():
                used = process.cpu_times()
                held = process.memory_info()
                waited = getattr(used, "children_user", 0.0) + getattr(used, "children_system", 0.0)
                readings[process.pid] = Reading(
                    process.create_time(),
                    process.ppid(),
                    used.user + used.system,
                    waited,
                    is_server,
                )
                if process.pid == self.pid:
                    first = (held.rss - held.shared) / MIB
                    first_cpu = used.user + used.system
                if is_server:
                    server += held.rss / MIB
                else:
                    pipeline += held.rss / MIB
                    private += private_bytes(process) / MIB if walk else 0.0

        self._account.add(readings)
        private = private if walk else self.samples[-1].private
        account = self._account
        self.samples.append(
            Sample(
                now,
                pipeline,
                server,
                private,
                account.pipeline,
                account.server,
                first,
                first_cpu,
            )
        )
        self.high_water = max(self.high_water, high_water(self.pid) / MIB)

    def _family(self) -> dict[psutil.Process, bool]:
        """Return all processes, parents first, and whether each belongs to the server.

        A process whose parent has ended is no longer below the first one, but is known.

        Raises:
            psutil.Error: The first process has ended.
        """
        first = psutil.Process(self.pid)
        found = dict.fromkeys([first, *first.children(recursive=True)], False)
        for one in self._known.keys() - found.keys():
            with suppress(psutil.Error):
                found |= dict.fromkeys(
                    [one, *one.children(recursive=True)] if one.is_running() else [], False
                )

        servers: set[int] = set()
        for process in found:
            with suppress(psutil.Error):  # it may have ended
                if (
                    self._known.get(process)
                    or process.ppid() in servers
                    or SERVER_PROGRAM in process.cmdline()
                    or process.name() == SERVER_NAME
                ):
                    found[process] = True
                    servers.add(process.pid)

        self._known = found
        return found


def private_bytes(process: psutil.Process) -> int:
    """Return the resident memory of a process without pages of mapped files, and its share of what several hold.

    Raises:
        psutil.Error: The process has ended.
    """
    with suppress(OSError, LookupError, ValueError):
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
        return int(rollup.split("Pss_Anon:")[1].split()[0]) << 10
    held = process.memory_info()  # a kernel that does not tell, or a process that has ended
    return held.rss - getattr(held, "shared", 0)


def run_logged(
    words: Sequence[str],
    environment: Mapping[str, str],
    program: str = "reviewlm.cli",
) -> ProcessLog:
    """Run `reviewlm`, or another program, with these words and sample its processes.

    What it prints goes to standard error.

    Raises:
        ContenderFailed: It ended with an error.
    """
    command = [sys.executable, "-m", program, *words]
    with subprocess.Popen(command, stdout=sys.stderr, env={**os.environ, **environment}) as process:
        log = ProcessLog(process.pid)
        log.start()
        process.wait()
        log.end()
    if process.returncode:
        raise ContenderFailed(f"{program} {' '.join(words)} ended with {process.returncode}")
    return log
