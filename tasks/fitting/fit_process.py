"""Run a job in child processes, stream their progress, stop them when the parent exits.

Several processes ("ranks") can train one network together (`training/neural/data_parallel.py`). They get
torchrun's environment variables but are started here, not by torchrun, for three reasons. Each rank has its own
standard input, output and error, so it is known what each rank wrote and how it ended. Lifeline and progress messages
work as for a single process. And there is no agent process, which would take a second and 220 MiB to import torch. The
ranks meet in a file, so no free port is needed.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

from core.environment import VISIBLE, visible_gpu_names
from core.errors import OutOfMemory, RankFailed, RanksLost, converted_errors
from core.processes import interrupts
from core.processes.children import end_child, start_child
from core.processes.crash_log import LOWER, says_out_of_memory, write_crash_log
from core.processes.memory import OPERATIONS
from models.base import ModelError
from tasks.fitting.job import Job

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}
"""Settings of glibc's allocator; other C libraries ignore them. By default glibc takes blocks over 32 MiB from the
system and returns them at once, so gradients of that size would be allocated again, page by page, at every update. That
took 12 of the 95 ms of an update with 20,000 entries of 650 features. Values set by the user win."""
KILLED = -9
"""Exit code of a process that was killed by SIGKILL."""
PATIENCE = 5.0
"""Seconds to wait for a lost rank's own error after another rank reported the loss."""
_interrupted = threading.Event()
_running: set[subprocess.Popen[str]] = set()


@dataclass(eq=False)
class _Rank:
    """One process of a fit, the file with its standard error, and its last message (empty if there was none)."""

    number: int
    process: subprocess.Popen[str]
    errors: Path
    last: dict[str, Any] = field(default_factory=dict)


def run_job(job: Job, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run a job in its child processes; return its summary.

    If one process fails, the others are ended at once.

    Args:
        report: Gets the progress messages of the leading rank.

    Raises:
        FitError, InputError: The error of the model itself.
        OSError: An error of the operating system in the process, e.g. that the disk is full.
        OutOfMemory: The memory did not suffice.
        RankFailed: A process died without a message, e.g. killed for lack of memory, or the ranks lost each other.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job"
        if job.rank is None:
            job = replace(job, init_method=f"file://{folder}/meeting")
        file.write_bytes(pickle.dumps(job))
        with _started(job, file) as ranks:
            failed = _listen(job.name, ranks, report)
        if failed is not None:
            errors = failed.errors.read_text(encoding="utf-8", errors="replace").strip()
            ended = Ended(failed.last, failed.process.returncode, errors)
            raise_failure(job.name, job.DEED, job.remedy, ended, failed.number, job.ranks)
        return ranks[0].last["summary"]


def environment_of(
    threads: int, ranks: int = 1, rank: int = 0, device: str = "cpu", gpus: Sequence[int] = (), alone: bool = False
) -> dict[str, str]:  # fmt: skip
    """Return the environment of a fit's process: threads, rank, an allocator that keeps freed memory, few operations.

    *alone*: the other ranks are on other machines.

    On a GPU also set the cuBLAS workspace size that makes cuDNN's recurrent layers and matrix products deterministic,
    and show only the GPUs that the fit holds.
    """
    # Where all ranks are on this machine, its host name may be unknown to DNS, so gloo uses the loopback interface.
    network = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" and not alone else {}
    buffers = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if device == "cuda" else {}
    here, size = (0, 1) if alone else (rank, ranks)
    place = {"RANK": str(rank), "LOCAL_RANK": str(here), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(size)}
    return {
        **KEEP_MEMORY, **dict([OPERATIONS]), **network, **buffers, **os.environ, **shown(gpus),
        **place, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
    }  # fmt: skip


def shown(gpus: Sequence[int]) -> dict[str, str]:
    """Return the variables that show a process some of the visible GPUs; none for no choice."""
    if not gpus:
        return {}
    # Without the user's own list, indices count as the device files do, not from the fastest GPU on.
    order = {} if VISIBLE in os.environ else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    names = visible_gpu_names()
    return order | {VISIBLE: ",".join(names[index] for index in gpus)}


@contextmanager
def interruptible_fits() -> Iterator[None]:
    """Kill the running fits if the block is interrupted, because the flow waits for their uninterruptible threads."""
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
    """Return whether fits are being ended because the flow or the process was interrupted."""
    return _interrupted.is_set() or interrupts.pending()


@contextmanager
def _started(job: Job, file: Path) -> Iterator[list[_Rank]]:
    """Start the processes of a job; end all of them after the block."""
    ranks: list[_Rank] = []
    try:
        for number in range(job.ranks) if job.rank is None else [job.rank]:
            errors = file.with_name(f"stderr.{number}")
            with errors.open("wb") as stderr:
                process = start_child(
                    ["-m", "tasks.fitting.worker", job.WORKER, str(file)],
                    stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment_of(
                        job.threads, job.ranks, number, job.device, job.gpus, alone=job.rank is not None
                    ),
                )  # fmt: skip
            ranks.append(_Rank(number, process, errors))
            _running.add(process)
        if _interrupted.is_set():
            _kill(ranks)
        yield ranks
    finally:
        _kill(ranks)
        for rank in ranks:
            _running.discard(rank.process)
            end_child(rank.process)


def _kill(ranks: list[_Rank]) -> None:
    for rank in ranks:
        rank.process.kill()


def _listen(name: str, ranks: list[_Rank], report: Callable[[dict[str, Any]], None]) -> _Rank | None:
    """Forward progress until all ranks have ended or one has failed; return a failed rank or None.

    Log messages are passed on with the *name* of the model. A rank that only lost another rank is returned only if the
    other one reports no failure within `PATIENCE` seconds.
    """
    news: SimpleQueue[tuple[_Rank, dict[str, Any] | None]] = SimpleQueue()
    for rank in ranks:
        threading.Thread(target=_read, args=(rank, news), daemon=True).start()
    running, bereft = len(ranks), None
    while running:
        try:
            rank, entry = news.get(timeout=PATIENCE)
        except Empty:
            if bereft:
                break
            continue
        if entry is None:
            running -= 1
            if rank.last.get("kind") == "peer":
                bereft = bereft or rank
            elif "summary" not in rank.last:
                return rank
        elif "step" in entry:
            report(entry)
        else:
            logging.getLogger(entry["logger"]).log(entry["level"], "%s: %s", name, entry["log"])
    return bereft


def _read(rank: _Rank, news: SimpleQueue[tuple[_Rank, dict[str, Any] | None]]) -> None:
    """Put a process's messages into the queue, and None at its end; keep its final message in *rank*."""
    with rank.process.stdout or open(os.devnull) as stdout:
        for line in stdout:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and ("step" in entry or "log" in entry):
                news.put((rank, entry))
            elif isinstance(entry, dict):
                rank.last = entry
    rank.process.wait()
    news.put((rank, None))


@dataclass(frozen=True)
class Ended:
    """How a process ended: its last message, its exit code, and its standard error."""

    last: dict[str, Any]
    code: int | None
    errors: str


def raise_failure(name: str, deed: str, remedy: str, ended: Ended, rank: int = 0, size: int = 1) -> NoReturn:
    """Raise the error that a failed process reported, or an error that it reported none.

    Args:
        deed: What was done with it.
        remedy: What to do where the process was killed, most likely for lack of memory.
        ended: How the process ended.
        rank: Its number.
        size: Number of processes that did it together.
    """
    last, which = ended.last, f"rank {rank} of {size}"
    if "errno" in last:
        raise OSError(last["errno"], last["error"])
    if last.get("kind") == "peer":
        what = f"The processes of the {deed} of '{name}' lost their connection"
        raise RanksLost(what, where=which, cause=last["error"])
    if "error" in last:
        # All ranks diverge together, so do not name a single rank.
        message = last["error"] if size == 1 or last["kind"] == "diverged" else f"{last['error']} ({which})"
        with converted_errors(name):
            raise ModelError(message, last["kind"])
    code, message = ended.code, ended.errors.strip()
    where, words = which if size > 1 else "", message.splitlines()[-1] if message else ""
    if code != KILLED and says_out_of_memory(message):  # some libraries abort the process
        what = f"There is not enough memory for the {deed} of '{name}'"
        raise OutOfMemory(what, where=where, cause=words, remedy=LOWER)
    if code != KILLED and message:
        log = write_crash_log(RuntimeError(f"the process of the {deed} of '{name}' said:\n{message}"), sys.argv[1:])
        words = f"{words} (crash log: {log})"
    cause = "killed by the system, most likely because memory ran out" if code == KILLED else words
    what = f"The process of the {deed} of '{name}' ended with exit code {code}"
    raise RankFailed(what, where=where, cause=cause, remedy=remedy)
