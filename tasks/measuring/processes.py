"""Keep some processes for works with models, so that this one holds neither torch nor a model.

The process of a run has the libraries of Prefect, MLflow and Great Expectations; these have torch and one model each.
They are forked from one process that has imported torch (`fork_server.py`). A forked process serves one model, one work
after the other. Unlike threads, several of them do not wait for one interpreter's lock.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.environment import chosen_device, numpy_features
from core.processes.children import end_child, start_child
from core.processes.memory import FEW_HEAPS, limit_operations
from models.base import ModelError
from tasks.fitting.fit_process import Ended, raise_failure
from tasks.fitting.job import EVALUATE
from tasks.gpus import OpenBundle
from tasks.measuring import fork_server
from tasks.measuring.model_work import ModelWork, Report

PROGRAM = fork_server.__name__
FORKS = sys.platform == "linux"
"""Whether processes are forked: the system libraries of macOS do not allow it to a process that has used them."""
LEAST_TOKENS = 200_000
"""Tokens to score, of all models together, from which processes are used: some ten seconds of evaluation. Below it,
the start of the fork server would take longer than it saves, and the models are small."""
PATIENCE = 5.0
"""Seconds to wait for the end of a process. A fork server may still import libraries."""
_processes: ContextVar[ModelProcesses | None] = ContextVar("processes", default=None)


class ForkServer:
    """The process that forks others; outside Linux it does the works of one itself."""

    def __init__(self) -> None:
        limit_operations()
        self._folder = tempfile.TemporaryDirectory()
        self._started = 0
        self._control, theirs = socket.socketpair()
        with theirs, self._file().open("wb") as errors:
            self._child: subprocess.Popen[bytes] = start_child(
                ["-m", PROGRAM, str(theirs.fileno()), *([] if FORKS else [fork_server.ALONE])], group=True,
                stdout=subprocess.DEVNULL, stderr=errors, env=environment(), pass_fds=[theirs.fileno()],
            )  # fmt: skip

    @property
    def forks(self) -> bool:
        """Whether it can start another process."""
        return self._child.poll() is None and (FORKS or not self._started)

    def started(self) -> tuple[socket.socket, Path]:
        """Start a process; return the connection to it, and the file of its errors."""
        self._started += 1
        connection, theirs = socket.socketpair()
        with theirs, self._file().open("wb") as errors, suppress(BrokenPipeError):  # then the connection is closed, too
            socket.send_fds(self._control, [b"+"], [theirs.fileno(), errors.fileno()])
        return connection, self._file()

    def ended(self) -> tuple[int | None, Path]:
        """Return the exit code if it has ended itself, and the file of its errors."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(PATIENCE)
        return self._child.returncode, self._file(0)

    def end(self) -> None:
        """End it and the processes that it has forked, and wait for their end."""
        self._control.close()  # then it ends its processes itself, and waits for them, as only their parent can
        if FORKS:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(PATIENCE)
        end_child(self._child)
        self._folder.cleanup()

    def _file(self, number: int | None = None) -> Path:
        return Path(self._folder.name) / f"stderr.{self._started if number is None else number}"


class ModelProcess:
    """One process that does one work at a time."""

    def __init__(self, server: ForkServer) -> None:
        self.model, self._server, self._waits = Path(), server, True
        self._connection, self._errors = server.started()
        self._said = self._connection.makefile("r", encoding="utf-8")

    def do(self, work: ModelWork, report: Report) -> dict[str, Any]:
        """Return the facts of a work.

        Raises:
            ModelError, ReviewLMError, OSError: What the work raised.
            OutOfMemory, RankFailed: The process ended without a message.
        """
        self.model, self._waits = work.model, False
        with suppress(BrokenPipeError):
            self._connection.sendall((work.to_json() + "\n").encode())
        last = self._listen(work, report)
        self._waits = bool(last) and "ended" not in last
        if "summary" in last:
            return dict(last["summary"])
        if "raised" in last:
            raise pickle.loads(base64.b64decode(last["raised"]))
        if "kind" in last:  # the stage says where, as for a model in this process
            raise ModelError(last["error"], last["kind"])
        raise_failure(work.name, EVALUATE, "give it more memory", self._ended(last))

    def _ended(self, last: dict[str, Any]) -> Ended:
        """Return how the process ended: with a message, with one of the fork server, or together with that."""
        if last:
            code = last.pop("ended", None)
            return Ended(last, code, self._errors)
        code, errors = self._server.ended()
        has_output = self._errors.exists() and self._errors.stat().st_size
        return Ended({}, code, self._errors if has_output else errors)

    def _listen(self, work: ModelWork, report: Report) -> dict[str, Any]:
        """Pass on progress and log messages; return the message that ends the work, {} if no process is left."""
        while line := self._line():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if not isinstance(entry, dict):  # a library has printed it
                continue
            if "step" in entry:
                report(entry["step"])
            elif "log" in entry:
                logging.getLogger(entry["logger"]).log(entry["level"], "%s: %s", work.name, entry["log"])
            else:
                return dict(entry)
        return {}

    def _line(self) -> str:
        """Return the next line that the process says; "" if all ends of the connection are closed."""
        try:
            return self._said.readline()
        except ConnectionResetError:
            return ""

    @property
    def runs(self) -> bool:
        """Whether the process can do another work: it lives, and its last work was heard to its end."""
        return self._waits and not select.select([self._connection], [], [], 0)[0]

    def close(self) -> None:
        """Close the connection, so that the process ends when it waits, and wait until it has ended."""
        with suppress(OSError):  # it has ended before
            self._connection.settimeout(PATIENCE)
            self._connection.shutdown(socket.SHUT_WR)
            self._connection.recv(4096)
        self._said.close()
        self._connection.close()
        if not FORKS:
            self._server.end()


def environment() -> dict[str, str]:
    """Return the variables of a process: few heaps, and numpy as it is here.

    A command sets numpy's features for its children after it has imported numpy itself. With them, exp and log would
    differ in the last bit from those of this process.
    """
    late = numpy_features().items()
    return {**FEW_HEAPS, **{name: value for name, value in os.environ.items() if (name, value) not in late}}


class ModelProcesses:
    """Processes that are started when a work finds none free with its model; as many as works at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: list[ForkServer] = []
        self._all: list[ModelProcess] = []
        self._free: list[ModelProcess] = []

    def do(self, work: ModelWork, report: Report) -> dict[str, Any]:
        """Return the facts of a work; errors as for `ModelProcess.do`."""
        process = self._taken(work.model)
        try:
            return process.do(work, report)
        finally:
            with self._lock:
                if process.runs:
                    self._free.append(process)
                else:  # one that is still at work ends when it reports next
                    self._end(process)

    def _taken(self, model: Path) -> ModelProcess:
        """Return a free process that has the model open, else a new one; without forks any free one."""
        with self._lock:
            for ended in [one for one in self._free if not one.runs]:
                self._free.remove(ended)
                self._end(ended)
            if self._free:
                chosen = min(self._free, key=lambda one: one.model != model)
                self._free.remove(chosen)
                if chosen.model == model or not FORKS:
                    return chosen
                self._end(chosen)  # what its last model has left behind would be held beside the next one
            if not (self._servers and self._servers[-1].forks):
                self._servers.append(ForkServer())
            self._all.append(ModelProcess(self._servers[-1]))
            return self._all[-1]

    def end_idle(self) -> None:
        """End the processes that wait for a work; without any, the fork server, too. The next work starts new ones."""
        with self._lock:
            while self._free:
                self._end(self._free.pop())
            if not self._all:
                for server in self._servers:
                    server.end()
                self._servers.clear()

    def _end(self, process: ModelProcess) -> None:
        self._all.remove(process)
        process.close()

    def end(self) -> None:
        """End all processes."""
        for server in self._servers:
            server.end()
        for process in tuple(self._all):  # a thread whose work has just failed may close its process, too
            process.close()


@contextmanager
def model_processes(config: RunConfig, held_out: int) -> Iterator[None]:
    """Do the works with models of this block in processes of their own, if they are worth it; a block in it joins it.

    On a GPU and with a cluster they are done here: the one has room for one model, the other has processes already.

    Args:
        config: Names device and cluster.
        held_out: Tokens that the models are scored on, all together.
    """
    here = bool(config.execution.cluster) or chosen_device(config.execution.device) != "cpu"
    if _processes.get() is not None or here or held_out < LEAST_TOKENS:
        yield
        return
    processes = ModelProcesses()
    token = _processes.set(processes)
    try:
        yield
    finally:
        _processes.reset(token)
        processes.end()


def done_alone(config: RunConfig, work: ModelWork) -> dict[str, Any]:
    """Return the facts of a single work, done in a process of its own; with a GPU or a cluster here."""
    with model_processes(config, LEAST_TOKENS), OpenBundle(config, work.model) as opened:
        return with_model(work, opened)


def in_processes() -> bool:
    """Return whether works are done in processes of a surrounding `model_processes`."""
    return _processes.get() is not None


def end_idle_processes() -> None:
    """End those of the surrounding `model_processes` that wait, before another program needs their memory."""
    processes = _processes.get()
    if processes is not None:
        processes.end_idle()


def with_model(work: ModelWork, opened: OpenBundle, report: Report = lambda done: None) -> dict[str, Any]:
    """Return the facts of a work, done in a process of the surrounding `model_processes`, else here with *opened*."""
    processes = _processes.get()
    if processes is None:
        return work(opened(), report)
    return processes.do(work, report)
