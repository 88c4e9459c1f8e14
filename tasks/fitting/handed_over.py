"""Describe a fit that another machine runs: the objects by which two machines speak about one job.

`job` says what to fit and where its inputs are, `progress` that the worker lives and how far it is, the folder `work`
has checkpoints and journals, later the fitted model, and `end` the summary or the error
(`core/storing/job_exchange.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import (
    ArtifactError,
    Diverged,
    FitError,
    InputError,
    NotWritable,
    OutOfMemory,
    RankFailed,
    ReviewLMError,
    StoreFull,
)
from core.store import Store
from core.storing.job_exchange import JobExchange
from core.storing.objects import RemoteError
from core.storing.remote import RemoteStore
from tasks.fitting.job import FitJob

JOB, PROGRESS, WORK, END, START = "job", "progress", "work", "end", "start"
ERRORS = {
    kind.__name__: kind for kind in (Diverged, FitError, InputError, NotWritable, OutOfMemory, RankFailed, StoreFull)
}
"""Errors that keep their kind on the way."""


@contextmanager
def remote_errors(address: str) -> Iterator[None]:
    """Turn an error of the remote store into ArtifactError: without it, two machines cannot fit together."""
    try:
        yield
    except RemoteError as error:
        raise ArtifactError(
            "The remote store does not work, by which this machine hands over fits", where=address, cause=str(error),
            remedy="see `reviewlm doctor`; a rerun continues from the last checkpoint that arrived there",
        ) from error


def described(job: FitJob, store: Store, exchange: JobExchange, code: str, ranks: int) -> dict[str, Any]:
    """Return the description of a job; its inputs are in the remote store afterwards.

    Args:
        job: The job, with paths of this machine.
        store: The store that its inputs come from, with its remote store.
        exchange: The job's objects.
        code: Version of the code that fits.
        ranks: `execution.ranks` of the run.

    Raises:
        RemoteError: The remote store does not take the inputs.
    """
    values = json.loads(job.to_json())
    inputs = {name: _input(path, store, exchange) for name, path in job.inputs.items()}
    return {"job": values, "inputs": inputs, "code": code, "ranks": ranks}


def _input(path: Path, store: Store, exchange: JobExchange) -> dict[str, Any]:
    """Return where the other machine finds an input: a result of a stage, or a folder of the job."""
    root, path = store.root.resolve(), path.resolve()
    if not path.is_relative_to(root):  # start weights, which lie in the registry
        folder = path if path.is_dir() else path.parent
        exchange.send_folder(START, folder, store.root / ".work" / f"once-{exchange.name}-copies")
        return {"folder": START, "path": "" if path.is_dir() else path.name}
    stage, digest, *rest = path.relative_to(root).parts
    remote, artifact = store.remote, store.open(stage, digest)
    if remote is not None:
        remote.offer(artifact, built=False)
        if not remote.has(stage, digest):
            remote.offer(artifact, built=True)
    if remote is None or not remote.has(stage, digest):
        raise RemoteError(f"the result {digest} of '{stage}' could not be uploaded")
    return {"stage": stage, "digest": digest, "path": "/".join(rest)}


def received(description: Mapping[str, Any], store: Store, exchange: JobExchange, folder: Path) -> FitJob:
    """Return a described job with its inputs on this machine, and its work folder with what was fitted so far.

    Args:
        description: What `described` returned on the other machine.
        store: The store of this machine; results that it lacks come from the remote store.
        exchange: The job's objects.
        folder: Empty folder for the job.

    Raises:
        RemoteError: An input is not there, or not as it was sent.
    """
    work = folder / WORK
    work.mkdir(parents=True)
    places = {name: _place(entry, store, exchange, folder / START) for name, entry in description["inputs"].items()}
    exchange.receive_folder(WORK, work)
    return FitJob.from_json(json.dumps(description["job"])).moved(places, work)


def _place(entry: Mapping[str, Any], store: Store, exchange: JobExchange, start: Path) -> Path:
    if "stage" not in entry:
        if not exchange.receive_folder(START, start):
            raise RemoteError(f"the start weights of the job {exchange.name} are gone")
        return start / entry["path"]
    artifact = store.find(entry["stage"], entry["digest"])
    if artifact is None:
        raise RemoteError(f"the result {entry['digest']} of '{entry['stage']}' is not in the remote store")
    return artifact.folder / entry["path"]


def error_of(told: Mapping[str, Any], name: str) -> ReviewLMError:
    """Return the error that ended a fit on another machine, as `ReviewLMError.to_dict` told it there."""
    kind = ERRORS.get(told["kind"], FitError)
    where = f"{told['where']}, on {name}" if told["where"] else f"on {name}"
    return kind(told["what"], where=where, value=told["value"], cause=told["cause"], remedy=told["remedy"])


def remote_of(store: Store) -> RemoteStore:
    """Return the remote store. Raise ArtifactError without one."""
    if store.remote is None:
        raise ArtifactError(
            "Fits cannot be handed over without a remote store", remedy="set execution.remote_store, or give --store"
        )
    return store.remote
