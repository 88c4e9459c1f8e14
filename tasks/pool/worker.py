"""Fit a network for another machine: take its job from the remote store, give back progress, checkpoints, the model.

What a killed worker leaves behind here is deleted by the next job of that name; the remote store has its checkpoints.
"""

from __future__ import annotations

import logging
import platform
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.environment import available_cores, chosen_device, visible_gpus
from core.errors import ConfigError, PoolFailed, ReviewLMError, disk_errors
from core.provenance import git_commit, made_with
from core.store import Store
from core.storing.job_exchange import JobExchange
from core.storing.objects import RemoteError
from core.storing.removal import build_lock
from tasks.fitting.fit import remove
from tasks.fitting.fit_process import run_job
from tasks.fitting.job import Job
from tasks.fitting.pool_protocol import (
    CLAIM,
    END,
    JOB,
    NAME,
    PROGRESS,
    WANTED,
    WORK,
    received,
    remote_errors,
    remote_of,
)
from tasks.gpus import gpu_slot
from tasks.pool.kinds import KINDS, Kind
from tasks.progress import progress
from tasks.stage import RESOURCES, stage

FOLDER = "jobs"
"""Folder of the home with one folder for each job that is being fitted."""
BEAT_SECONDS, LIST_SECONDS = 5.0, 30.0
"""Seconds between two signs of life, and between two uploads of checkpoints and journals."""
WANTED_SECONDS, LOOK_SECONDS = 30.0, 0.5
"""Time for whoever asks to say which run is wanted, after it has asked for the run; and between two looks."""
LAST_TRIES, LAST_PAUSE = 60, 30.0
"""Attempts to give back a fitted model, and seconds between two."""
log = logging.getLogger(__name__)


def places() -> int:
    """Return how many fits this machine takes at the same time: one for each GPU it may use."""
    return max(1, visible_gpus()) if chosen_device("auto") == "cuda" else 1


@stage("fit", run_name="{name}")
def fit_for_pool(config: RunConfig, name: str, run: str) -> str:
    """Fit the model of a job that another machine has put into the remote store; return the model's name.

    Args:
        config: Names home, device and remote store of this machine.
        name: Name of the job.
        run: Id of this run, for which the other machine waits.

    Raises:
        ConfigError: No such name, or this machine has other code than the one that asks.
        ArtifactError: The remote store fails.
        PoolFailed: Another worker has taken over, or the fit is no longer wanted.
        ReviewLMError: The error of the fit; the other machine gets it, too.
    """
    if not NAME.fullmatch(name):
        raise ConfigError("No job has such a name", where="job", value=name, remedy="let `execution.fit_pool` name it")
    store = Store.of(config)
    remote = remote_of(store)
    exchange, folder = JobExchange(remote.objects, name), config.home / FOLDER / name
    link = _Link(exchange, run)
    lock = build_lock(store.root, name)
    with remote_errors(remote.address), lock, _emptied(folder), link.signs_of_life() as description:
        about = {"run": run, "worker": link.worker, "machine": platform.node(), "code": description["code"]}
        try:
            kind = _kind_of(description)
            with remote_errors(remote.address), disk_errors(folder):
                job = received(description, kind.job, store, exchange, folder)
                with link.uploads(job.work, folder / "copies"):
                    summary, resources = _fitted(config, kind, job, description, link.tell)
                for checkpoints in job.work.glob("checkpoint*"):  # the model is finished
                    remove(checkpoints)
                made_by = {**made_with(), "git_commit": git_commit(), RESOURCES: resources}
                end = {**about, "summary": dict(summary), "made_by": made_by}
                _insist(lambda: link.give(job.work, folder / "copies", end))
        except PoolFailed:
            raise
        except Exception as error:
            said = error if isinstance(error, ReviewLMError) else PoolFailed(f"{type(error).__name__}: {error}")
            _insist(lambda: link.fail({**about, "error": said.to_dict()}))
            raise
        return job.spec.name


def _kind_of(description: Mapping[str, Any]) -> Kind:
    if (kind := KINDS.get(stage := description.get("stage", ""))) is None:
        raise ConfigError(
            "This worker does not know such fits", where=platform.node(), value=stage,
            remedy="bring both machines to the same commit",
        )
    return kind


def _fitted(
    config: RunConfig, kind: Kind, job: Job, description: Mapping[str, Any], tell: Callable[[dict[str, Any]], None]
) -> tuple[Mapping[str, float], dict[str, Any]]:
    """Run a job with the devices and threads of this machine; return the fit's summary, and these."""
    spec = job.spec
    if (own := str(kind.version(spec))) != description["code"]:
        raise ConfigError(
            f"This worker would fit '{spec.name}' with other code than the machine that asks", where=platform.node(),
            value=own, cause=f"there it is {description['code']}", remedy="bring both to the same commit",
        )
    asked = config.model_copy(
        update={"execution": config.execution.model_copy(update={"ranks": int(description["ranks"])})}
    )
    device, ranks = chosen_device(config.execution.device), kind.ranks(asked, spec)
    threads = max(1, (config.execution.threads or available_cores() // places()) // ranks)
    # Prefect's worker counts the fits of this machine, and the locks in the home give each its own GPUs.
    with gpu_slot(device, ranks, limited=False) as gpus, progress(spec.name, 1, "tokens") as report:

        def heard(news: dict[str, Any]) -> None:
            report(news["step"], news["figures"], total=news["total"])
            tell(news)

        summary = run_job(replace(job, device=device, ranks=ranks, gpus=gpus, threads=threads), heard)
    return summary, {"device": device, "ranks": ranks, "threads": threads * ranks}


class _Link:
    """What this worker tells the machine that asked for the fit, and whether it is still wanted.

    Args:
        exchange: The job's objects.
        run: Id of the run.

    Attributes:
        worker: Name of this attempt; a second attempt of the same run has another one.
    """

    def __init__(self, exchange: JobExchange, run: str) -> None:
        self.worker = f"{platform.node()}-{secrets.token_hex(4)}"
        self._exchange, self._run = exchange, run
        self._news: dict[str, Any] = {}
        self._lists, self._unwanted = 0, False

    def tell(self, news: dict[str, Any]) -> None:
        """Keep the latest progress message for the next sign of life.

        Raises:
            PoolFailed: Another worker has taken over, or the fit is no longer wanted.
        """
        self._require_wanted()
        self._news = news

    def give(self, work: Path, copies: Path, end: Mapping[str, Any]) -> None:
        """Give back the fitted model. Raise PoolFailed as `tell` does, and RemoteError."""
        self._look()
        self._require_wanted()
        self._exchange.send_folder(END, work, copies, **end)

    def fail(self, end: Mapping[str, Any]) -> None:
        """Give back an error, unless the fit is no longer wanted. Raise RemoteError."""
        self._look()
        if not self._unwanted:
            self._exchange.write(END, end)

    @contextmanager
    def signs_of_life(self) -> Iterator[dict[str, Any]]:
        """Claim the job and yield its description; within the block, tell that this worker lives, and how far it is.

        Raises:
            PoolFailed: The job has ended, or another run is wanted for it.
            RemoteError: The remote store fails.
        """
        until = time.monotonic() + WANTED_SECONDS
        while not self._is_wanted():  # whoever asks may not have written it yet
            if time.monotonic() > until:
                raise PoolFailed("This fit is not wanted: its job has ended, or another run was asked for")
            time.sleep(LOOK_SECONDS)
        if (description := self._exchange.read(JOB)) is None:
            raise PoolFailed("This fit is not wanted: its job has ended")
        _insist(lambda: self._exchange.write(CLAIM, {"worker": self.worker, "run": self._run}))
        with _repeated(self._beat, BEAT_SECONDS):
            yield description

    def _is_wanted(self) -> bool:
        """Return whether this run is the wanted one; a remote store that fails is asked again later."""
        with suppress(RemoteError):
            return (self._exchange.read(WANTED) or {}).get("run") == self._run
        return False

    @contextmanager
    def uploads(self, work: Path, copies: Path) -> Iterator[None]:
        """Within the block, upload checkpoints and journals now and then."""

        def upload() -> None:
            if not self._unwanted:
                self._exchange.send_folder(WORK, work, copies)
                self._lists += 1

        with _repeated(upload, LIST_SECONDS):
            yield

    def _beat(self) -> None:
        self._look()
        news = {"run": self._run, "worker": self.worker, "time": time.time(), "lists": self._lists, "news": self._news}
        if not self._unwanted:
            self._exchange.write(PROGRESS, news)

    def _look(self) -> None:
        claim, wanted = self._exchange.read(CLAIM) or {}, self._exchange.read(WANTED) or {}  # none: the job was removed
        self._unwanted = self._unwanted or claim.get("worker") != self.worker or wanted.get("run") != self._run

    def _require_wanted(self) -> None:
        if self._unwanted:
            raise PoolFailed("This fit is no longer wanted here: another worker has taken over, or it was cancelled")


@contextmanager
def _repeated(work: Callable[[], object], seconds: float) -> Iterator[None]:
    """Call *work* in a thread of its own, every so many seconds; a failure is logged, and the next call follows."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            try:
                work()
            except Exception as error:  # whatever it is, the next one must follow
                log.warning("progress or checkpoints could not be uploaded: %s: %s", type(error).__name__, error)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Empty a folder before and after the block."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()


def _insist(write: Callable[[], object]) -> None:
    """Write to the remote store; try again for half an hour, because hours of work depend on it."""
    for left in range(LAST_TRIES, 0, -1):
        try:
            write()
            return
        except (RemoteError, OSError) as error:
            if left == 1:
                raise
            log.warning("the end of the fit could not be uploaded: %s; trying again in %g s", error, LAST_PAUSE)
            time.sleep(LAST_PAUSE)
