"""Fit a network for another machine: take its job from the remote store, give back progress, checkpoints, the model.

What a killed worker leaves behind here is deleted by the next job; the remote store has its checkpoints.
"""

from __future__ import annotations

import logging
import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.environment import chosen_device
from core.errors import ConfigError, ReviewLMError
from core.store import Store
from core.storing.job_exchange import JobExchange
from core.storing.objects import RemoteError
from core.storing.removal import build_lock
from tasks.fitting.fit import fit_version, ranks_of, remove, threads_of
from tasks.fitting.fit_process import run_job
from tasks.fitting.handed_over import END, JOB, PROGRESS, WORK, received, remote_errors, remote_of
from tasks.fitting.job import FitJob
from tasks.gpus import gpu_slot
from tasks.limits import GPU, require_limits
from tasks.progress import progress
from tasks.stage import stage

FOLDER, COPIES = "jobs", "copies"
"""Folder of the home with one folder for each job, and folder there for files that are being uploaded."""
BEAT_SECONDS, LIST_SECONDS = 5.0, 30.0
"""Seconds between two signs of life, and between two uploads of checkpoints and journals."""
LAST_TRIES, LAST_PAUSE = 10, 30.0
"""Attempts to give back a fitted model, and seconds between two."""
log = logging.getLogger(__name__)


@stage("fit", run_name="{name}")
def fit_for_others(config: RunConfig, name: str, run: str) -> str:
    """Fit the model of a job that another machine has put into the remote store; return the model's name.

    Args:
        config: Names home, device and remote store of this machine.
        name: Name of the job.
        run: Id of this run, which the other machine waits for.

    Raises:
        ConfigError: This machine has other code than the one that asks.
        ArtifactError: The remote store does not work.
        ReviewLMError: The error of the fit; the other machine gets it, too.
    """
    store = Store.of(config)
    remote = remote_of(store)
    exchange, folder = JobExchange(remote.objects, name), config.home / FOLDER / name
    with remote_errors(remote.address), build_lock(store.root, name), _emptied(folder):
        if (description := exchange.read(JOB)) is None:
            raise RemoteError(f"there is no job {name}; the machine that asked for it has ended it")
        about = {"run": run, "machine": platform.node(), "code": description["code"]}
        try:
            with _signs_of_life(exchange, folder, run) as tell:
                job = received(description, store, exchange, folder)
                summary = _fitted(config, job, description, tell)
            for checkpoints in job.work.glob("checkpoint*"):  # the model is finished
                remove(checkpoints)
            _insist(lambda: exchange.send_folder(WORK, job.work, folder / COPIES))
        except ReviewLMError as error:
            said = error.to_dict()
            _insist(lambda: exchange.write(END, {"error": said, **about}))
            raise
        _insist(lambda: exchange.write(END, {"summary": dict(summary), **about}))
        return job.spec.name


def _fitted(
    config: RunConfig, job: FitJob, description: Mapping[str, Any], tell: Callable[[dict[str, Any]], None]
) -> Mapping[str, float]:
    """Run a job with the devices and threads of this machine."""
    spec = job.spec
    if (own := str(fit_version(spec))) != description["code"]:
        raise ConfigError(
            f"This worker would fit '{spec.name}' with other code than the machine that asks", where=platform.node(),
            value=own, cause=f"there it is {description['code']}", remedy="bring both to the same commit",
        )
    asked = config.model_copy(
        update={"execution": config.execution.model_copy(update={"ranks": int(description["ranks"])})}
    )
    device, ranks = chosen_device(config.execution.device), ranks_of(asked, spec)
    require_limits([GPU] if device == "cuda" else [])
    with gpu_slot(device, ranks) as gpus, progress(spec.name, 1, "tokens") as report:

        def heard(news: dict[str, Any]) -> None:
            report(news["step"], news["figures"], total=news["total"])
            tell(news)

        threads = max(1, threads_of(config) // ranks)
        return run_job(replace(job, device=device, ranks=ranks, gpus=gpus, threads=threads), heard)


@contextmanager
def _signs_of_life(exchange: JobExchange, folder: Path, run: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Tell the other machine now and then how far the fit is, and upload its checkpoints and journals.

    Yield a function that takes the latest progress message.
    """
    ended, latest = threading.Event(), dict[str, Any]()

    def tell(news: dict[str, Any]) -> None:
        latest.update(news)

    def talk() -> None:
        lists, listed = 0, time.monotonic()
        while True:
            try:
                if time.monotonic() - listed > LIST_SECONDS and (folder / WORK).is_dir():
                    listed = time.monotonic()
                    exchange.send_folder(WORK, folder / WORK, folder / COPIES)
                    lists += 1
                exchange.write(PROGRESS, {"run": run, "time": time.time(), "lists": lists, "news": dict(latest)})
            except (RemoteError, OSError) as error:  # the next one follows; the fit goes on
                log.warning("progress and checkpoints could not be uploaded: %s", error)
            if ended.wait(BEAT_SECONDS):
                return

    thread = threading.Thread(target=talk, daemon=True, name="signs of life")
    thread.start()
    try:
        yield tell
    finally:
        ended.set()
        thread.join()


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Empty a folder before and after the block."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _insist(write: Callable[[], object]) -> None:
    """Write to the remote store; try again for some minutes, because hours of work depend on it."""
    for left in range(LAST_TRIES, 0, -1):
        try:
            write()
            return
        except RemoteError as error:
            if left == 1:
                raise
            log.warning("what was fitted could not be uploaded: %s; trying again in %g s", error, LAST_PAUSE)
            time.sleep(LAST_PAUSE)
