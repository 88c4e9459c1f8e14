"""Define the protocol between the machine that submits a job and the pool worker: objects in the remote store.

| object | written by | says |
|---|---|---|
| `job` | who asks | what to do with which model, where its inputs are, with which code |
| `wanted` | who asks | for which run it waits, or runs that fit together; a worker of another run stops; empty: none |
| `claim`, `claim-1`, … | each worker, when it begins | who does it; a worker that reads another name here stops |
| `meeting` | the first of several workers | where the ranks of all meet |
| `progress` | the worker, every few seconds | that it lives, and how far it is |
| `work` | who asks, then the worker | the files fitted so far: checkpoints and journals |
| `end` | the worker | the result, e.g. the fitted model, with its files and figures; or the error |

The files of the result belong to `end` itself, so that whoever reads `end` has the whole of it, whatever an earlier
worker that was believed dead still writes (`core/storing/job_exchange.py`).
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from core.errors import (
    ArtifactError,
    ConfigError,
    Damaged,
    Diverged,
    FitError,
    InputError,
    NotWritable,
    OutOfMemory,
    PoolFailed,
    RankFailed,
    RanksLost,
    ReviewLMError,
    StoreFull,
)
from core.store import Store
from core.storing.job_exchange import Differs, JobExchange, inside
from core.storing.objects import NotThere, RemoteError
from core.storing.remote import RemoteStore
from tasks.fitting.job import Job

JOB, WANTED, CLAIM, MEETING, PROGRESS = "job", "wanted", "claim", "meeting", "progress"
WORK, END, START = "work", "end", "start"
NAME = re.compile(r"[a-z]+(-[a-z]+)*-[0-9a-f]{16}")
ERRORS = {
    kind.__name__: kind for kind in (
        ArtifactError, ConfigError, Diverged, FitError, InputError, NotWritable, OutOfMemory, RankFailed, RanksLost,
        StoreFull,
    )
}  # fmt: skip
"""Errors that keep their kind on the way."""
LOST = RanksLost.__name__
"""Kind of the error of ranks that lost the others."""
TRIES = 3
"""Attempts to read a list whose files are being replaced."""
log = logging.getLogger(__name__)


@contextmanager
def remote_errors(address: str) -> Iterator[None]:
    """Turn an error of the remote store into ArtifactError: without it, two machines cannot fit together."""
    try:
        yield
    except RemoteError as error:
        raise ArtifactError(
            "The remote store failed, so no job can be handed over", where=address, cause=str(error),
            remedy="see `reviewlm doctor`; a rerun continues from the last checkpoint that arrived there",
        ) from error


def remote_of(store: Store) -> RemoteStore:
    """Return the remote store. Raise ConfigError without one."""
    if store.remote is None:
        raise ConfigError("No job can be handed over without a remote store", remedy="set execution.remote_store")
    return store.remote


def described(
    job: Job, store: Store, exchange: JobExchange, code: str, ranks: int, machines: int = 1, anew: bool = False
) -> dict[str, Any]:
    """Return the description of a job; its inputs are in the remote store afterwards.

    Args:
        job: The job, with paths of this machine.
        store: The store that its inputs come from.
        exchange: The job's objects.
        code: Version of the code that makes the result.
        ranks: `execution.ranks` of the run.
        machines: Number of workers that fit it together.
        anew: Upload inputs again that are there already, because a worker found them damaged.

    Raises:
        RemoteError: The remote store does not take the inputs.
    """
    inputs = {name: _sent(path, store, exchange, anew) for name, path in job.inputs.items()}
    asked = {"code": code, "ranks": ranks, "machines": machines}
    return {"stage": job.STAGE, "job": json.loads(job.to_json()), "inputs": inputs, **asked}


def _sent(path: Path, store: Store, exchange: JobExchange, anew: bool) -> dict[str, Any]:
    """Upload an input; return where the worker finds it: in a result of a stage, or in a folder of the job."""
    root, path, remote = store.root.resolve(), path.resolve(), remote_of(store)
    if not path.is_relative_to(root):  # start weights or a champion, which lie in the registry
        folder = path if path.is_dir() else path.parent
        exchange.send_folder(START, folder, root / ".work" / f"{exchange.name}-start")
        return {"path": "" if path.is_dir() else path.name}
    stage, digest, *rest = path.relative_to(root).parts
    artifact = store.open(stage, digest)
    remote.offer(artifact, built=anew)
    if not remote.has(stage, digest):  # an earlier upload that this process remembers was removed, or it fails
        raise RemoteError(f"the result {digest} of '{stage}' could not be uploaded")
    return {"stage": stage, "digest": digest, "path": "/".join(rest)}


def received(
    description: Mapping[str, Any], kind: type[Job], store: Store, exchange: JobExchange, folder: Path,
    so_far: bool = True,
) -> Job:  # fmt: skip
    """Return a described job with its inputs on this machine, and its work folder with what was fitted so far.

    Args:
        description: What `described` returned on the other machine.
        kind: The class of the job.
        store: The store of this machine; results that it lacks come from the remote store.
        exchange: The job's objects.
        folder: Empty folder for the job.
        so_far: Also take what was fitted so far.

    Raises:
        RemoteError: An input is not there, or not as it was sent; or the description is none.
    """
    try:
        job = kind.from_json(json.dumps(description["job"]))
        if set(job.inputs) != set(description["inputs"]):  # else it would read a path of the other machine
            raise ValueError("its inputs are not those of the job")
        inputs = {name: _place(entry, store, exchange, folder) for name, entry in description["inputs"].items()}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RemoteError(f"the description of the job {exchange.name} cannot be read: {error!r}") from error
    (folder / WORK).mkdir(parents=True)
    if so_far:
        _fitted_so_far(exchange, folder / WORK)
    return job.moved(inputs, folder / WORK)


def _place(entry: Mapping[str, Any], store: Store, exchange: JobExchange, folder: Path) -> Path:
    if "stage" not in entry:
        if not exchange.receive_folder(START, folder / START):
            raise RemoteError(f"the model that the job {exchange.name} starts with is gone")
        return inside(folder / START, entry["path"]) if entry["path"] else folder / START
    try:
        artifact = store.find(entry["stage"], entry["digest"])
    except Damaged:  # here; the remote store has it whole
        artifact = store.fetch_again(entry["stage"], entry["digest"])
    if artifact is None:
        raise RemoteError(f"the result {entry['digest']} of '{entry['stage']}' is not in the remote store, or damaged")
    return inside(artifact.folder, entry["path"]) if entry["path"] else artifact.folder


def _fitted_so_far(exchange: JobExchange, work: Path) -> None:
    """Download checkpoints and journals; if they stay incomplete, the training starts from its beginning.

    Raises:
        RemoteError: The remote store fails. The checkpoints may be good: nothing must replace them.
    """
    for left in range(TRIES, 0, -1):
        try:
            exchange.receive_folder(WORK, work)
            return
        except (NotThere, Differs) as error:  # the worker before may be replacing them
            if left == 1:
                said = "the checkpoints of job %s cannot be used, so it starts from the beginning: %s"
                log.warning(said, exchange.name, error)
                shutil.rmtree(work)
                work.mkdir()


def told_by_member(exchange: JobExchange, run: str, machines: int) -> dict[str, Any] | None:
    """Return the error that one of several workers told, unless it only lost the others; None if there is none.

    Args:
        exchange: The job's objects.
        run: The runs that fit it together.
        machines: Their number.
    """
    for place in range(1, machines):
        with suppress(RemoteError):
            told = exchange.read(f"{CLAIM}-{place}") or {}
            if told.get("run") == run and told.get("error", {}).get("kind", LOST) != LOST:
                return told
    return None


def error_of(told: Mapping[str, Any], machine: str) -> ReviewLMError:
    """Return the error that ended a job on another machine, as `ReviewLMError.to_dict` told it there."""
    kind = ERRORS.get(told["kind"], PoolFailed)
    where = f"{told['where']}, on {machine}" if told["where"] else f"on {machine}"
    return kind(told["what"], where=where, value=told["value"], cause=told["cause"], remedy=told["remedy"])
