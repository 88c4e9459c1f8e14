"""Keep some processes for works with models, so that this one holds neither torch nor a model.

The process of a run has the libraries of Prefect, MLflow and Great Expectations; these have torch and one model each.
A process does one work after the other, because its start takes seconds of processor time. Unlike threads, several of
them do not wait for one interpreter's lock.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import subprocess
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
from tasks.measuring.model_work import ModelWork, Report

WORKER = "tasks.measuring.worker"
LEAST_TOKENS = 200_000
"""Tokens to score, of all models together, from which processes are used: some ten seconds of evaluation. Below it,
starting them would take longer than it saves, and the models are small."""
_processes: ContextVar[ModelProcesses | None] = ContextVar("processes", default=None)


class ModelProcess:
    """One process that does one work at a time."""

    def __init__(self) -> None:
        limit_operations()
        self.model, self._waits = Path(), True
        self._folder = tempfile.TemporaryDirectory()
        self._errors = Path(self._folder.name) / "stderr"
        with self._errors.open("wb") as stderr:
            self._child: subprocess.Popen[str] = start_child(
                ["-m", WORKER], fed=True, stdout=subprocess.PIPE, stderr=stderr, text=True,
                env=environment(),
            )  # fmt: skip

    def do(self, work: ModelWork, report: Report) -> dict[str, Any]:
        """Return the facts of a work.

        Raises:
            ModelError, ReviewLMError, OSError: What the work raised.
            OutOfMemory, RankFailed: The process ended without a message.
        """
        self.model, self._waits = work.model, False
        try:
            self._feed(work)
            last = self._listen(work, report)
        except BrokenPipeError:
            last = {}
        self._waits = bool(last)
        if "summary" in last:
            return dict(last["summary"])
        if "raised" in last:
            raise pickle.loads(base64.b64decode(last["raised"]))
        if "kind" in last:  # the stage says where, as for a model in this process
            raise ModelError(last["error"], last["kind"])
        ended = Ended(last, None if last else self._child.wait(), self._errors)
        raise_failure(work.name, EVALUATE, "give it more memory", ended)

    def _feed(self, work: ModelWork) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(work.to_json() + "\n")
        self._child.stdin.flush()

    def _listen(self, work: ModelWork, report: Report) -> dict[str, Any]:
        """Pass on progress and log messages; return the message that ends the work, {} if the process ended."""
        for line in self._child.stdout or ():
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

    @property
    def runs(self) -> bool:
        """Whether the process can do another work: it lives, and its last work was heard to its end."""
        return self._waits and self._child.poll() is None

    def end(self) -> None:
        """End the process at once."""
        with suppress(BrokenPipeError):  # it ended before it read its work
            end_child(self._child)
        if self._child.stdout:
            self._child.stdout.close()
        self._folder.cleanup()


def environment() -> dict[str, str]:
    """Return the variables of a process: few heaps, and numpy as it is here.

    A command sets numpy's features for its children after it has imported numpy itself. With them, exp and log would
    differ in the last bit from those of this process.
    """
    late = numpy_features().items()
    return {**FEW_HEAPS, **{name: value for name, value in os.environ.items() if (name, value) not in late}}


class ModelProcesses:
    """Processes that are started when a work finds none free; as many as works that are done at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[ModelProcess] = []
        self._free: list[ModelProcess] = []

    def do(self, work: ModelWork, report: Report) -> dict[str, Any]:
        """Return the facts of a work; errors as for `ModelProcess.do`."""
        process = self._taken(work.model)
        try:
            return process.do(work, report)
        finally:
            with self._lock:
                self._free += [process] if process.runs else []

    def _taken(self, model: Path) -> ModelProcess:
        """Return a free process, rather the one that has the model open."""
        with self._lock:
            self._free = [one for one in self._free if one.runs]
            if self._free:
                chosen = next((one for one in self._free if one.model == model), self._free[-1])
                self._free.remove(chosen)
                return chosen
        started = ModelProcess()
        with self._lock:
            self._all.append(started)
        return started

    def end(self) -> None:
        """End all processes."""
        for process in self._all:
            process.end()


@contextmanager
def model_processes(config: RunConfig, held_out: int) -> Iterator[None]:
    """Do the works with models of this block in processes of their own, if they are worth it; a block in it joins it.

    On a GPU and with Dask they are done here: the one has room for one model, the other has processes already.

    Args:
        config: Names device and engine.
        held_out: Tokens that the models are scored on, all together.
    """
    here = config.execution.engine != "threads" or chosen_device(config.execution.device) != "cpu"
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
    """Return the facts of a single work, done in a process of its own; with a GPU or Dask here."""
    with model_processes(config, LEAST_TOKENS), OpenBundle(config, work.model) as opened:
        return with_model(work, opened)


def in_processes() -> bool:
    """Return whether works are done in processes of a surrounding `model_processes`."""
    return _processes.get() is not None


def with_model(work: ModelWork, opened: OpenBundle, report: Report = lambda done: None) -> dict[str, Any]:
    """Return the facts of a work, done in a process of the surrounding `model_processes`, else here with *opened*."""
    processes = _processes.get()
    if processes is None:
        return work(opened(), report)
    return processes.do(work, report)
