"""Run cases in a worker process and report the outcome of each, including crashes and timeouts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any

import psutil

CPU_SECONDS = 20.0
"""Most CPU time of a case; on an idle machine a case takes tens of milliseconds."""
WALL_SECONDS = 300.0
POLL = 0.5
ROOT = Path(__file__).resolve().parent.parent.parent


class Supervisor:
    """Owner of one worker process, which is restarted after it has ended."""

    def __init__(
        self,
        folder: Path,
        cpu_seconds: float = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
    ) -> None:
        self.folder = folder
        self.cpu_seconds = cpu_seconds
        self.wall_seconds = wall_seconds
        self.process: subprocess.Popen[str] | None = None
        self.answers: Queue[str] = Queue()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *rest: object) -> None:
        self.stop()

    @property
    def said(self) -> Path:
        """File with the worker's standard error."""
        return self.folder / "said.txt"

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the worker's answer with its CPU time as `seconds`; "error" if the worker ended or took too long."""
        process = self._worker()
        about = psutil.Process(process.pid)
        before = _cpu(about)
        began = time.monotonic()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"folder": str(self.folder), **job}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._gone(process)

        while True:
            try:
                answer = json.loads(self.answers.get(timeout=POLL))
                return {**answer, "seconds": _cpu(about) - before}
            except Empty:
                if process.poll() is not None:
                    return self._gone(process)
                if (
                    _cpu(about) - before > self.cpu_seconds
                    or time.monotonic() - began > self.wall_seconds
                ):
                    self.stop()
                    return {
                        "error": f"it took more than {self.cpu_seconds:g} s of processor time",
                        "key": "too slow",
                    }

    def _worker(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            self.answers = Queue()
            with self.said.open("wb") as said:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.fuzz.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    text=True,
                    cwd=ROOT,
                )
            Thread(
                target=_forward,
                args=(self.process.stdout, self.answers),
                daemon=True,
            ).start()

        return self.process

    def _gone(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        code = process.wait()
        last = self.said.read_bytes()[-3_000:].decode("utf-8", "replace")
        self.stop()
        return {
            "error": f"the process ended with code {code}\n{last}",
            "key": f"process ended with {code}",
        }

    def stop(self) -> None:
        """End the worker."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _forward(lines: IO[str], queue: Queue[str]) -> None:
    for line in lines:
        queue.put(line)


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
