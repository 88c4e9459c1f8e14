"""Run a job in child processes, stream their progress, stop them when the parent exits.

Several processes ("ranks") can train one network together (`training/neural/data_parallel.py`). They get
torchrun's environment variables but are started here, not by torchrun, for three reasons. Each rank has its own
connection and standard error, so it is known what each rank said and how it ended. Lifeline and progress messages work
as for a single process. And there is no agent process, which would take a second and 220 MiB to import torch. The ranks
meet in a file, so no free port is needed.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from reviewlm.core.environment import VISIBLE, visible_gpu_names
from reviewlm.core.errors import OutOfMemory, RankFailed, RanksLost, converted_errors
from reviewlm.core.processes import interrupts
from reviewlm.core.processes.children import Child, end_child, start_child
from reviewlm.core.processes.crash_log import MEMORY_ADVICE, write_crash_log
from reviewlm.core.processes.fork_server import KILLED, ForkOrder, ForkServer
from reviewlm.core.processes.forks import can_fork
from reviewlm.core.processes.memory import OPERATIONS
from reviewlm.models.base import ModelError, says_out_of_memory
from reviewlm.tasks.fitting.job import Answer, FitJob, Report
from reviewlm.training.context import FitProgress

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}
"""Settings of glibc's allocator; other C libraries ignore them. By default glibc takes blocks over 32 MiB from the
system and returns them at once, so gradients of that size would be allocated again, page by page, at every update. That
took 12 of the 95 ms of an update with 20,000 entries of 650 features. Values set by the user win."""
FORKED = "reviewlm.tasks.fitting.worker:serve_job"
PATIENCE = 5.0
"""Seconds to wait for a lost rank's own error after another rank reported the loss."""
_interrupted = threading.Event()
_running: set[Child] = set()
_fork_servers: ContextVar[ForkServers | None] = ContextVar("fork_servers", default=None)


@dataclass(eq=False)
class Worker:
    """A process that does one work at a time, at the other end of a connection."""

    connection: Connection
    answer: Answer | None = None

    def hears(self, name: str, report: Report) -> bool:
        """Receive a message; return False if the process has ended.

        Progress is reported, log messages are passed on with the *name* of the model, and the answer is kept.
        """
        try:
            message = self.connection.recv()
        except (EOFError, OSError):  # also in the middle of a message
            return False

        if isinstance(message, Answer):
            self.answer = message
        elif isinstance(message, FitProgress):
            report(message)
        else:
            pass_on(message, f"{name}: ")

        return True


def pass_on(record: logging.LogRecord, prefix: str = "") -> None:
    """Log here what another process has logged."""
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        record.msg = f"{prefix}{record.msg}"
        logger.handle(record)


@dataclass(eq=False, kw_only=True)
class _Rank(Worker):
    """One process of a fit, and the file with its standard error."""

    number: int
    process: Child
    errors: Path


class ForkServers:
    """Fork servers of fits, one for each environment that their processes have; most runs need one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: list[tuple[dict[str, str], ForkServer]] = []

    def of(self, environment: dict[str, str]) -> ForkServer:
        """Return the server whose processes have an environment."""
        with self._lock:
            for variables, server in self._servers:
                if variables == environment:
                    return server
            server = ForkServer(environment)
            self._servers.append((environment, server))
            return server

    def end(self) -> None:
        """End all servers with their processes."""
        with self._lock:
            for _, server in self._servers:
                server.end()
            self._servers.clear()


def run_job(job: FitJob, report: Report) -> dict[str, Any]:
    """Run a job in its child processes; return its summary.

    If one process fails, the others are ended at once.

    Args:
        report: Gets the progress of the leading rank.

    Raises:
        FitError, InputError: The error of the model itself.
        OSError: An error of the operating system in the process, e.g. that the disk is full.
        OutOfMemory: The memory did not suffice.
        RankFailed: A process died without a message, e.g. killed for lack of memory, or the ranks lost each other.
    """
    with tempfile.TemporaryDirectory() as folder:
        if job.rank is None:
            job = replace(job, init_method=f"file://{folder}/meeting")
        with _start_processes(job, Path(folder)) as ranks:
            failed = _listen(job.name, ranks, report)
        if failed is not None:
            errors = failed.errors.read_text(encoding="utf-8", errors="replace").strip()
            which = ""
            if job.ranks > 1:
                which = f"rank {failed.number} of {job.ranks}"

            with converted_errors(job.name):
                raise failure_of(
                    f"fit of '{job.name}'",
                    job.remedy,
                    failed.answer,
                    which,
                    failed.process.returncode,
                    errors,
                )
        assert ranks[0].answer
        return dict(ranks[0].answer.summary)


def environment_of(
    threads: int,
    ranks: int = 1,
    rank: int = 0,
    device: str = "cpu",
    gpus: Sequence[int] = (),
    alone: bool = False,
) -> dict[str, str]:
    """Return the environment of a fit's process: threads, rank, an allocator that keeps freed memory, few operations.

    *alone*: the other ranks are on other machines.

    On a GPU also set the cuBLAS workspace size that makes cuDNN's recurrent layers and matrix products deterministic,
    and show only the GPUs that the fit holds.
    """
    # Where all ranks are on this machine, its host name may be unknown to DNS, so gloo uses the loopback interface.
    network = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" and not alone else {}
    buffers = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if device == "cuda" else {}
    here, size = (0, 1) if alone else (rank, ranks)
    place = {
        "RANK": str(rank),
        "LOCAL_RANK": str(here),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(size),
    }
    return {
        "OPENBLAS_NUM_THREADS": "1",  # numpy's: on vectors of a fit, a second thread only waits, and doubles the time
        **KEEP_MEMORY,
        **dict([OPERATIONS]),
        **network,
        **buffers,
        **os.environ,
        **gpu_variables(gpus),
        **place,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }


def gpu_variables(gpus: Sequence[int]) -> dict[str, str]:
    """Return the variables that show a process some of the visible GPUs; none for no choice."""
    if not gpus:
        return {}
    # Without the user's own list, indices count as the device files do, not from the fastest GPU on.
    order = {} if VISIBLE in os.environ else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    names = visible_gpu_names()
    return order | {VISIBLE: ",".join(names[index] for index in gpus)}


@contextmanager
def interruptible_fits() -> Iterator[None]:
    """Kill the running fits if the block is interrupted, because the flow waits for their uninterruptible threads.

    The fits of the block have a fork server, if the system can fork.
    """
    _interrupted.clear()
    servers = ForkServers()
    token = _fork_servers.set(servers if can_fork() else None)
    try:
        yield
    except Exception:
        raise
    except BaseException:
        _interrupted.set()
        for process in tuple(_running):
            process.kill()
        raise
    finally:
        _fork_servers.reset(token)
        servers.end()


def is_interrupted() -> bool:
    """Return whether fits are being ended because the flow or the process was interrupted."""
    return _interrupted.is_set() or interrupts.pending()


@contextmanager
def _start_processes(job: FitJob, folder: Path) -> Iterator[list[_Rank]]:
    """Start the processes of a job; end all of them after the block. *folder* is for their standard errors."""
    ranks: list[_Rank] = []
    try:
        numbers = range(job.ranks) if job.rank is None else [job.rank]
        for number in numbers:
            rank = _start_rank(job, number, folder)
            ranks.append(rank)
            _running.add(rank.process)
        if _interrupted.is_set():
            _kill(ranks)
        for rank in ranks:
            with suppress(ConnectionError):  # it has ended, which is heard later
                rank.connection.send(job)
                rank.connection.send(None)
        yield ranks
    finally:
        _kill(ranks)
        for rank in ranks:
            _running.discard(rank.process)
            end_child(rank.process)
            rank.connection.close()


def _start_rank(
    job: FitJob,
    number: int,
    folder: Path,
) -> _Rank:
    """Start one process of a job; *folder* is for its standard error."""
    alone = job.rank is not None
    environment = environment_of(
        job.threads,
        job.ranks,
        number,
        job.device,
        job.gpus,
        alone=alone,
    )
    servers = _fork_servers.get()
    errors = folder / f"stderr.{number}"
    ours, theirs = socket.socketpair()
    process: Child
    with theirs, errors.open("wb") as stderr:
        descriptor = theirs.fileno()
        if servers is not None and job.may_be_forked:
            order = ForkOrder(FORKED, f"fit {job.name}", (job.WORKER, *job.libraries))
            process = servers.of(environment).fork(order, descriptor, stderr.fileno())
        else:
            process = start_child(
                ["-m", "reviewlm.tasks.fitting.worker", job.WORKER, str(descriptor), job.name],
                pass_fds=[descriptor],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=environment,
            )
    return _Rank(
        Connection(ours.detach()),
        number=number,
        process=process,
        errors=errors,
    )


def _kill(ranks: list[_Rank]) -> None:
    for rank in ranks:
        rank.process.kill()


def _listen(
    name: str,
    ranks: list[_Rank],
    report: Report,
) -> _Rank | None:
    """Forward messages until all ranks have ended or one has failed; return a failed rank or None.

    A rank that only lost another rank is returned only if the other one reports no failure within `PATIENCE` seconds.
    """
    running = {rank.connection: rank for rank in ranks}
    bereft = None
    while running:
        ready = wait(list(running), PATIENCE if bereft else None)
        if not ready:
            break
        for connection in ready:
            rank = running[connection]  # type: ignore[index]
            if rank.hears(name, report):
                continue
            del running[rank.connection]
            rank.process.wait()
            if rank.answer is None or rank.answer.crash or rank.answer.error:
                if not _is_bereft(rank.answer):
                    return rank
                bereft = bereft or rank

    return bereft


def _is_bereft(answer: Answer | None) -> bool:
    """Return whether a process only lost another one, whose own error says more."""
    if answer is None or not isinstance(answer.error, ModelError):
        return False
    return answer.error.kind == "peer"


def failure_of(
    work: str,
    remedy: str,
    answer: Answer | None,
    which: str = "",
    code: int | None = None,
    errors: str = "",
) -> Exception:
    """Return the error with which a process answered, or an error that it did not.

    Args:
        work: What it did: "fit of 'lstm'".
        remedy: What to do where the process was killed, most likely for lack of memory.
        which: Its number, if several did it together.
        code: Its exit code, if it is known.
    """
    if _is_bereft(answer):
        assert answer
        return RanksLost(
            f"The processes of the {work} lost their connection",
            where=which,
            cause=str(answer.error),
        )
    if answer and isinstance(answer.error, ModelError):
        # All ranks diverge together, so do not name a single rank.
        message = str(answer.error)
        if which and answer.error.kind != "diverged":
            message = f"{message} ({which})"
        return ModelError(message, answer.error.kind)
    if answer and answer.error:
        return answer.error

    if answer and answer.crash:
        code = 1
        errors = answer.crash.strip()

    killed = code in (KILLED, None)
    cause = ""
    if errors:
        cause = errors.splitlines()[-1]

    if not killed and says_out_of_memory(errors):  # some libraries abort the process
        return OutOfMemory(
            f"There is not enough memory for the {work}",
            where=which,
            cause=cause,
            remedy=MEMORY_ADVICE,
        )

    if killed:
        cause = "killed by the system, most likely because memory ran out"
    elif errors:
        said = RuntimeError(f"the process of the {work} said:\n{errors}")
        log = write_crash_log(said, sys.argv[1:])
        cause = f"{cause} (crash log: {log})"

    end = "without a message" if code is None else f"with exit code {code}"
    return RankFailed(
        f"The process of the {work} ended {end}",
        where=which,
        cause=cause,
        remedy=remedy,
    )
