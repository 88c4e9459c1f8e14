"""Run a job of another machine: take it from the remote store, fit or score its network, upload the result.

What a killed worker leaves behind here is deleted by the next job of that name; the remote store has its checkpoints.

Delete from a worker's home the results that it downloaded for earlier jobs, so that its disk does not fill up.

Map each kind of pool job to its job class, its code version and its number of processes.
"""

from __future__ import annotations

import logging
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.environment import available_cores, chosen_device, visible_gpus
from core.errors import ArtifactError, ConfigError, PoolFailed, ReviewLMError, disk_errors
from core.manifest import MANIFEST
from core.provenance import git_commit, made_with
from core.store import Store
from core.storing.job_exchange import JobExchange
from core.storing.removal import Removal, build_lock, one_collection
from core.storing.uses import Uses
from evaluation.reports.run_record import REPORTS
from tasks.classification.fit import classifier_version
from tasks.classification.job import ClassifierJob
from tasks.evaluation.score_job import ScoreJob, score_version
from tasks.fitting.fit import fit_version, ranks_of, remove
from tasks.fitting.fit_process import run_job
from tasks.fitting.job import Job, LanguageModelJob
from tasks.fitting.pool_link import JobLink, insist
from tasks.fitting.pool_protocol import NAME, received, remote_errors, remote_of
from tasks.gpus import gpu_slot
from tasks.progress import progress
from tasks.stage import RESOURCES, stage
from tracking.runs.record import known_stores

FOLDER = "jobs"
"""Folder of the home with one folder for each job that is being fitted."""

KEPT_DAYS = 7
"""Days after its last use in which an input is kept: a run's next fits, and its next evaluation, read the same ones."""
DAY = 24 * 3600 * 1_000_000_000
log = logging.getLogger(__name__)


def places() -> int:
    """Return how many fits this machine takes at the same time: one for each GPU it may use."""
    return max(1, visible_gpus()) if chosen_device("auto") == "cuda" else 1


@stage("fit", run_name="{name}")
def do_for_pool(config: RunConfig, name: str, run: str, place: int = 0) -> str:
    """Do a job that another machine has put into the remote store; return its name in messages.

    Args:
        config: Names home, device and remote store of this machine.
        run: Id of this run, for which the other machine waits.
        place: Place of this worker among those that train the network together; only the first gives it back.

    Raises:
        ConfigError: No such name, or this machine has other code than the one that asks, or not all workers came.
        ArtifactError: The remote store fails.
        PoolFailed: Another worker has taken over, or the job is no longer wanted.
        ReviewLMError: The error of the job; the other machine gets it, too.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            "This is not the name of a job", where="job", value=name,
            remedy="do not start `fit-job` by hand: a command with `execution.fit_pool` starts it with a name",
        )
    store, own = Store.of(config), f"{name}-{place}" if place else name
    remote = remote_of(store)
    exchange, folder = JobExchange(remote.objects, name), config.home / FOLDER / own
    link = JobLink(exchange, run, config.home, place)
    lock = build_lock(store.root, own)
    remove_old_inputs(config.home)
    with remote_errors(remote.address), lock, _emptied(folder), link.heartbeats() as description:
        about = {"run": link.team, "worker": link.worker, "machine": platform.node(), "code": description["code"]}
        try:
            kind = _kind_of(description)
            with remote_errors(remote.address), disk_errors(folder):
                job = received(description, kind.job, store, exchange, folder, so_far=not place)
                if place:
                    _done(config, kind, job, description, link)
                    return job.name
                with link.uploads(job.work, folder / "copies"):
                    summary, resources = _done(config, kind, job, description, link)
                for checkpoints in job.work.glob("checkpoint*"):  # the training is finished
                    remove(checkpoints)
                made_by = {**made_with(), "git_commit": git_commit(), RESOURCES: resources}
                end = {**about, "summary": dict(summary), "made_by": made_by}
                insist(lambda: link.give(job.work, folder / "copies", end))
        except PoolFailed:
            raise
        except Exception as error:
            said = error if isinstance(error, ReviewLMError) else PoolFailed(f"{type(error).__name__}: {error}")
            insist(lambda: link.fail(about, said))
            raise
        return job.name


def _kind_of(description: Mapping[str, Any]) -> Kind:
    if (kind := KINDS.get(stage := description.get("stage", ""))) is None:
        raise ConfigError(
            "This worker does not know this kind of job", where=platform.node(), value=stage,
            remedy="bring both machines to the same commit",
        )
    return kind


def _done(
    config: RunConfig, kind: Kind, job: Job, description: Mapping[str, Any], link: JobLink
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Run a job with the devices and threads of this machine; return its summary, and these."""
    if (own := str(kind.version(job))) != description["code"]:
        raise ConfigError(
            f"This worker would {job.DEED.verb} '{job.name}' with other code than the machine that submitted it",
            where=platform.node(), value=own, cause=f"there it is {description['code']}",
            remedy="bring both to the same commit",
        )
    machines = int(description["machines"])
    changed = {"ranks": int(description["ranks"]), "fit_machines": machines}
    asked = config.model_copy(update={"execution": config.execution.model_copy(update=changed)})
    device, ranks = chosen_device(config.execution.device), kind.ranks(asked, job)
    threads = max(1, (config.execution.threads or available_cores() // places()) // ranks)
    if machines > 1:
        link.require_others(device, machines)
    # Prefect's worker counts the fits of this machine, and the locks in the home give each its own GPUs.
    with gpu_slot(device, ranks, limited=False) as gpus, progress(job.name, 1, job.UNIT) as report:

        def heard(news: dict[str, Any]) -> None:
            report(news["step"], news["figures"], total=news["total"])
            link.tell(news)

        meeting = link.meeting(ranks, machines) if machines > 1 else None
        here = replace(job, device=device, ranks=ranks, gpus=gpus, threads=threads)
        summary = run_job(here, heard, meeting, link.require_wanted)
    resources = {"device": device, "ranks": ranks, "threads": threads * ranks}
    return summary, resources if meeting is None else {**resources, "machines": machines, "all_ranks": meeting.ranks}


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


def remove_old_inputs(home: Path) -> int:
    """Remove the results that no job has used for `KEPT_DAYS`, and return their number.

    A home in which runs of its own were made is left alone: `reviewlm home gc` knows what they need.
    """
    if (home / REPORTS).exists() or known_stores(home):
        return 0
    store, removed = home / "store", 0
    uses = Uses(store)
    before = time.time_ns() - KEPT_DAYS * DAY
    if (since := uses.since()) is not None:  # a process may still read what it has opened
        before = min(before, since)
    with suppress(ArtifactError), one_collection(store):  # another worker of this home does the same
        (removal := Removal(store)).finish_earlier()
        for manifest in sorted(store.glob(f"[!.]*/*/{MANIFEST}")):
            stage, digest = manifest.parent.parent.name, manifest.parent.name
            if (used := uses.last(stage, digest)) < before:
                removed += removal.remove(stage, digest, used)
        removal.empty()
    if removed:
        log.info("%d results were removed that no fit has used for %d days", removed, KEPT_DAYS)
    return removed


@dataclass(frozen=True)
class Kind:
    """A kind of job that is handed over.

    Args:
        job: The class of its jobs.
        version: Returns the version of the code that makes the result with a model.
        ranks: Returns the number of processes that do it together, by the configuration.
    """

    job: type[Job]
    version: Callable[[Any], int | str]
    ranks: Callable[[RunConfig, Any], int]


KINDS = {
    LanguageModelJob.STAGE: Kind(
        LanguageModelJob, lambda job: fit_version(job.spec), lambda config, job: ranks_of(config, job.spec)
    ),
    ClassifierJob.STAGE: Kind(ClassifierJob, lambda job: classifier_version(job.spec), lambda config, job: 1),
    ScoreJob.STAGE: Kind(ScoreJob, lambda job: score_version(), lambda config, job: 1),
}
