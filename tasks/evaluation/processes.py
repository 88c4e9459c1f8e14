"""Keep some processes for works with models, so that this one holds neither torch nor a model.

The process of a run has the libraries of Prefect, MLflow and Great Expectations; these have torch and one model each.
They are forked from one process that has imported torch (`core/processes/fork_server.py`). A forked process serves one
model, one work after the other. Unlike threads, several of them do not wait for one interpreter's lock. Outside Linux
the system's libraries do not allow a process to fork that has used them: the works are done here.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.environment import chosen_device
from reviewlm.core.processes.fork_server import ForkOrder, ForkServer
from reviewlm.core.processes.memory import FEW_HEAPS, limit_operations
from reviewlm.tasks.evaluation.model_work import ModelWork, Report
from reviewlm.tasks.execution.devices import OpenBundle
from reviewlm.tasks.fitting.fit_process import Worker, failure_of

LEAST_TOKENS = 200_000
"""Tokens to score, of all models together, from which processes are used: some ten seconds of evaluation. Below it,
the start of the fork server would take longer than it saves, and the models are small."""
PATIENCE = 5.0
"""Seconds to wait for the end of a process."""
STANDARD_ERROR = 2
ORDER = ForkOrder(
    "reviewlm.tasks.evaluation.model_work:serve_models",
    "model",
    ("reviewlm.tasks.evaluation.model_work:load_libraries",),
)
_processes: ContextVar[ModelProcesses | None] = ContextVar("processes", default=None)


class ModelProcess(Worker):
    """A process that keeps the model of its last work open."""

    model = Path()

    def do(self, work: ModelWork, report: Report) -> dict[str, Any]:
        """Return the facts of a work.

        Raises:
            ModelError, ReviewLMError, OSError: What the work raised.
            OutOfMemory, RankFailed: The process ended in a crash, or without a message.
        """
        self.model = work.model
        self.answer = None
        with suppress(ConnectionError):
            self.connection.send(work)
            while self.answer is None and self.hears(work.label, lambda news: report(news.step)):
                pass
        if self.answer is None or self.answer.error or self.answer.crash:
            raise failure_of(f"evaluation of '{work.label}'", "give it more memory", self.answer)
        return dict(self.answer.summary)

    @property
    def runs(self) -> bool:
        """Whether the process can do another work: it lives, and its last work was heard to its end."""
        return self.answer is not None and not self.connection.poll()

    def close(self) -> None:
        """End the process if it waits, and wait for its end; else it ends when it reports next."""
        with suppress(OSError, EOFError):
            if self.runs:
                self.connection.send(None)
                if self.connection.poll(PATIENCE):
                    self.connection.recv()
        self.connection.close()


class ModelProcesses:
    """Processes that are started when a work finds none free with its model; as many as works at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: ForkServer | None = None
        self._free: list[ModelProcess] = []

    def do(self, work: ModelWork, report: Report) -> dict[str, Any]:
        """Return the facts of a work; errors as for `ModelProcess.do`."""
        process = self._take_process(work.model)
        try:
            return process.do(work, report)
        finally:
            with self._lock:
                self._free.append(process)

    def _take_process(self, model: Path) -> ModelProcess:
        """Return a free process that has the model open, else a new one in place of a free one.

        What the last model of that one has left behind would be held beside the next one.
        """
        with self._lock:
            self._end([one for one in self._free if not one.runs])
            same = [one for one in self._free if one.model == model]
            if not same:
                self._end(self._free[:1])
                return ModelProcess(self._fork())
            self._free.remove(same[0])
            return same[0]

    def _fork(self) -> Connection:
        """Start a process; return the connection to it, which is closed if it could not be started."""
        if self._server is None:
            limit_operations()
            self._server = ForkServer({**FEW_HEAPS, **os.environ})

        ours, theirs = socket.socketpair()
        with theirs:
            self._server.fork(ORDER, theirs.fileno(), STANDARD_ERROR)

        return Connection(ours.detach())

    def _end(self, processes: list[ModelProcess]) -> None:
        for process in processes:
            self._free.remove(process)
            process.close()

    def end(self) -> None:
        """End all processes, and those at work, too; the next work starts new ones."""
        with self._lock:
            if self._server is not None:
                self._server.end()
            self._end(list(self._free))


@contextmanager
def model_processes(execution: ExecutionConfig, held_out: int) -> Iterator[None]:
    """Do the works with models of this block in processes of their own, if they are worth it; a block in it joins it.

    On a GPU and with a cluster they are done here: the one has room for one model, the other has processes already.

    Args:
        held_out: Tokens that the models are scored on, all together.
    """
    here = bool(execution.cluster) or chosen_device(execution.device) != "cpu"
    if _processes.get() is not None or here or held_out < LEAST_TOKENS or sys.platform != "linux":
        yield
        return

    processes = ModelProcesses()
    token = _processes.set(processes)
    try:
        yield
    finally:
        _processes.reset(token)
        processes.end()


def end_processes() -> None:
    """End those of the surrounding `model_processes`, none of which is at work: another program needs their memory."""
    processes = _processes.get()
    if processes is not None:
        processes.end()


def with_model(
    execution: ExecutionConfig,
    work: ModelWork,
    report: Report = lambda done: None,
) -> dict[str, Any]:
    """Return the facts of a work, done in a process of the surrounding `model_processes`, else here."""
    processes = _processes.get()
    if processes is not None:
        return processes.do(work, report)
    with OpenBundle(execution, work.model) as opened:
        return work(opened(), report)
