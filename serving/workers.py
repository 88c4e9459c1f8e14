"""Supervise worker processes that share one listening socket: start, restart after a crash, stop all together."""

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
"""After this number of crashes within so many seconds, starting again does not help."""
FAILURES = range(1, 70)
"""Exit codes of a worker that has said why it cannot answer."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before the next start where a start did not help and another worker answers; they double each time."""
log = logging.getLogger(__name__)


class WorkerFailed(ReviewLMError):
    """A worker process could not answer, or crashed again and again, and none was left that answers."""


def share(
    command: Sequence[str], count: int, listener: socket.socket, drain: float, ready: Callable[[dict[str, Any]], None]
) -> None:
    """Answer with *count* processes until this one is ended.

    As long as a worker answers, others that cannot start again do not end it: a damaged new version, or a registry that
    is away, does not disturb a worker that has the old champion open.

    Args:
        command: A module's name after `-m` and its arguments; `--inherited SOCKET,PIPE` is added. The worker listens on
            the socket. When it answers, it writes to the pipe what `ready` is given, with its `pid`: one line of JSON.
        count: Number of workers.
        listener: A listening socket. It is closed before the workers are stopped, so that new connections are refused.
        drain: Seconds that requests in progress get at the end.
        ready: Called once, when the first worker answers.
    """
    reading, writing = os.pipe()
    listener.set_inheritable(True)
    stopping, begun = Event(), Event()
    with tempfile.TemporaryDirectory() as figures, os.fdopen(reading, encoding="utf-8") as lines:
        pool = _Pool(command, (listener.fileno(), writing), Path(figures))
        try:
            with interrupts.drained(stopping.set, drain):
                pool.fill(1)  # the others start when it answers: if it cannot, one message is enough
                Thread(target=_listen, args=(lines, ready, begun, pool.answering), daemon=True).start()
                while not stopping.wait(LOOK):
                    pool.mend()
                    pool.fill(count if begun.is_set() else 1)
                listener.close()  # while one process has it open, the kernel accepts connections that nobody answers
                pool.stop(drain)
        finally:
            pool.kill()
            os.close(writing)


def _listen(lines: IO[str], ready: Callable[[dict[str, Any]], None], begun: Event, answering: set[int]) -> None:
    with suppress(ValueError, OSError):
        while line := lines.readline():
            message = json.loads(line)
            answering.add(message.pop("pid"))
            if not begun.is_set():
                begun.set()
                ready(message)


class _Pool:
    """The workers.

    Attributes:
        answering: Process ids of those that have said that they answer.
    """

    def __init__(self, command: Sequence[str], inherited: tuple[int, int], figures: Path) -> None:
        self._command = [*command, "--inherited", ",".join(map(str, inherited))]
        self._inherited, self._figures = inherited, figures
        self._workers: list[subprocess.Popen[Any]] = []
        self.answering: set[int] = set()
        self._crashes: deque[float] = deque(maxlen=CRASHES)
        self._pause, self._next_start = FIRST_PAUSE, 0.0

    def fill(self, count: int) -> None:
        """Start the workers that are missing, unless the next start has to wait."""
        if time.monotonic() < self._next_start:
            return
        environment = {**os.environ, FOLDER_VARIABLE: str(self._figures)}
        for _ in range(count - len(self._workers)):
            self._workers.append(start_child(self._command, pass_fds=self._inherited, env=environment))

    def mend(self) -> None:
        """Forget the workers that have ended, and decide when others take their places.

        Raises:
            WorkerFailed: See there.
        """
        for worker in [one for one in self._workers if one.poll() is not None]:
            self._workers.remove(worker)
            self.answering.discard(worker.pid)
            for file in self._figures.glob(f"gauge_live*_{worker.pid}.db"):
                file.unlink()
            self._crashes.append(now := time.monotonic())
            often = len(self._crashes) == CRASHES and now - self._crashes[0] < WITHIN
            if worker.returncode not in FAILURES and not often:
                self._pause = FIRST_PAUSE
                log.warning("a worker process ended with code %d; starting another one", worker.returncode)
                continue
            if not any(one.pid in self.answering and one.poll() is None for one in self._workers):
                failed = WorkerFailed("A worker process failed", cause="its message is above")
                failed.exit_code = max(1, worker.returncode)
                raise failed
            message = "a worker process ended with code %d, others still answer; starting another one in %g s"
            log.warning(message, worker.returncode, self._pause)
            self._next_start, self._pause = now + self._pause, min(2 * self._pause, LONGEST_PAUSE)

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
