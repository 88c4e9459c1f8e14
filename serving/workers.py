"""Let several processes answer on one port: start them, start again those that crash, end all together."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

from core.errors import ReviewLMError
from core.processes import interrupts
from core.processes.children import end_child, start_child
from serving.metrics import FOLDER_VARIABLE

LOOK = 0.1
CRASHES, WITHIN = 5, 60.0
"""This number of crashes within so many seconds ends the server: starting again does not help."""
log = logging.getLogger(__name__)


class WorkerFailed(ReviewLMError):
    """A worker process ended before it could answer, or crashed again and again."""


def share(
    command: Sequence[str], count: int, listener: socket.socket, drain: float, ready: Callable[[dict[str, Any]], None]
) -> None:
    """Answer with *count* processes until this one is ended.

    Args:
        command: A module's name after `-m` and its arguments; `--inherited SOCKET,PIPE` is added. The worker listens on
            the socket and writes what `ready` is given to the pipe, as one line of JSON.
        count: Number of workers.
        listener: A listening socket.
        drain: Seconds that requests in progress get at the end.
        ready: Called once, when the first worker answers.

    Raises:
        WorkerFailed: See there.
    """
    reading, writing = os.pipe()
    listener.set_inheritable(True)
    stopping, begun = Event(), Event()
    with tempfile.TemporaryDirectory() as figures, os.fdopen(reading, encoding="utf-8") as said:
        pool = _Pool(command, (listener.fileno(), writing), Path(figures))
        try:
            with interrupts.drained(stopping.set, drain):
                pool.start(1)  # the others start when it answers: if it cannot, one message is enough
                Thread(target=_listen, args=(said, ready, begun), daemon=True).start()
                while not stopping.wait(LOOK):
                    pool.mend()
                    if begun.is_set():
                        pool.start(count - len(pool))
                pool.stop(drain)
        finally:
            pool.kill()
            os.close(writing)


def _listen(said: IO[str], ready: Callable[[dict[str, Any]], None], begun: Event) -> None:
    with suppress(ValueError, OSError):
        told = json.loads(said.readline())
        begun.set()
        ready(told)
        while said.readline():
            pass


class _Pool:
    """The workers."""

    def __init__(self, command: Sequence[str], inherited: tuple[int, int], figures: Path) -> None:
        self._command = [*command, "--inherited", ",".join(map(str, inherited))]
        self._inherited, self._figures = inherited, figures
        self._workers: list[subprocess.Popen[Any]] = []
        self._crashes: deque[float] = deque(maxlen=CRASHES)

    def __len__(self) -> int:
        return len(self._workers)

    def start(self, count: int) -> None:
        """Start workers."""
        environment = {**os.environ, FOLDER_VARIABLE: str(self._figures)}
        for _ in range(count):
            self._workers.append(start_child(self._command, pass_fds=self._inherited, env=environment))

    def mend(self) -> None:
        """Start a worker for each one that has ended."""
        for worker in [one for one in self._workers if one.poll() is not None]:
            self._workers.remove(worker)
            for file in self._figures.glob(f"gauge_live*_{worker.pid}.db"):
                file.unlink()
            self._crashes.append(now := time.monotonic())
            if worker.returncode in range(1, 70) or (len(self._crashes) == CRASHES and now - self._crashes[0] < WITHIN):
                failed = WorkerFailed("A worker process failed", cause="its message is above")
                failed.exit_code = max(1, worker.returncode)
                raise failed
            log.warning("a worker process ended with code %d; starting another one", worker.returncode)
            self.start(1)

    def stop(self, drain: float) -> None:
        """Let the workers finish their requests in progress."""
        for worker in self._workers:
            worker.send_signal(signal.SIGTERM)
        until = time.monotonic() + drain + interrupts.GRACE
        for worker in self._workers:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.0, until - time.monotonic()))

    def kill(self) -> None:
        """End what still runs."""
        for worker in self._workers:
            end_child(worker)
