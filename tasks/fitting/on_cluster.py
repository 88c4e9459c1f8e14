"""Run a job on a node of a Ray cluster, survive the loss of the node, and bring the files back here.

`run_job` runs a job in processes of this machine; `ClusterRun` does the same through an actor of the cluster
(`execution.cluster`). Files travel in blocks through Ray's object store, each file with its SHA-256: the inputs to the
node, and checkpoints and journals back as they are written. So the work folder here is as a fit of this machine would
leave it. If the node is lost, another one goes on from there, and so does a later run if this process is killed. A node
needs the same code, and neither MLflow nor Prefect.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import gettempdir
from time import monotonic
from typing import Any, Self
from urllib.parse import urlsplit

from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.environment import chosen_device
from reviewlm.core.errors import (
    ClusterFailed,
    ConfigError,
    OutOfMemory,
    RankFailed,
    RanksLost,
    ReviewLMError,
    disk_errors,
)
from reviewlm.core.processes.leftovers import claimed_folder, remove_abandoned_folders
from reviewlm.core.provenance import git_commit, made_with
from reviewlm.core.store import Stamp, stamp_of
from reviewlm.tasks.execution.cluster import LOOPBACK, connect, has_gpus
from reviewlm.tasks.execution.code_version import running_code
from reviewlm.tasks.execution.node_files import (
    SentFile,
    file_names,
    naming_node,
    receive_files,
    require_code,
    send_files,
)
from reviewlm.tasks.fitting.fit_process import PATIENCE, is_interrupted, pass_on, run_job
from reviewlm.tasks.fitting.job import FitJob, Report, place_of
from reviewlm.tasks.fitting.worker import logged_to
from reviewlm.training.context import FitProgress

ATTEMPTS = 3
"""Nodes that may be lost before a job is given up."""
POLL_SECONDS = 1.0
CLOSE_SECONDS = 2.0
WAIT_POLLS = 60
"""Polls without an answer after which the run says that no node is free."""
LOOKS = 100
"""Attempts to list the files of a fit while its checkpoints change."""
FOLDER = "reviewlm-job-"
"""Prefix of the folder of a job on its node."""
log = logging.getLogger(__name__)


@dataclass
class News:
    """News of an actor: last progress, log messages, files that have changed, and the names of all files."""

    progress: FitProgress | None
    logs: list[logging.LogRecord]
    changed: list[SentFile]
    names: frozenset[str]


class JobActor:
    """Actor that does one job on a node, in child processes of its own.

    It answers `news` while `run` runs, so it needs two threads. It is a plain class, so that a node without Ray's
    decorator can still be tested, and nothing imports Ray before a cluster is used.
    """

    def __init__(self) -> None:
        self._progress: FitProgress | None = None
        self._logs: list[logging.LogRecord] = []
        self._sent: dict[str, Stamp] = {}
        self._folder = self._work = Path()

    def run(
        self,
        job: FitJob,
        code: str,
        inputs: list[SentFile],
        so_far: list[SentFile],
        device: str,
        rank: int | None = None,
        meeting: str = "",
    ) -> dict[str, Any]:
        """Do a job; return its summary, and code, libraries, machine and resources that it was done with.

        Args:
            code: Version of the code of the run.
            inputs: Its input files, by their whole paths on the machine of the run.
            rank: The rank that runs here, if the others are on other nodes.
            meeting: Where they meet, as `meeting` of the leading one returned it.

        Raises:
            ConfigError: This node has other code, or one of several nodes has lost its GPU.
            ReviewLMError: The error of the job, with this node as its place.
        """
        node = platform.node()
        require_code(code)
        remove_abandoned_folders(Path(gettempdir()), FOLDER)
        folder = self._folder = claimed_folder(Path(gettempdir()), FOLDER)[0]
        with naming_node(node), disk_errors(folder), logged_to(self._logs.append):
            receive_files(inputs, folder / "inputs")
            work = folder / "work"
            work.mkdir()
            receive_files(so_far, work)
            if job.device == "cuda" and chosen_device(device) == "cpu":
                if rank is not None:
                    raise ConfigError(
                        f"The GPU of rank {rank} cannot be used",
                        remedy="mend the node or take it away: all ranks of a fit need the same kind of device",
                    )
                log.warning("%s: the GPU of the node %s cannot be used", job.name, node)
                job = replace(job, device="cpu")
            self._work = work
            if rank is not None:
                job = replace(job, rank=rank, init_method=meeting)
                if urlsplit(meeting).hostname == LOOPBACK:
                    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            summary = run_job(job.moved(folder / "inputs", work), self._report)

        resources = {
            "device": job.device,
            "ranks": job.ranks,
            "threads": job.threads * job.ranks,
        }
        made_by = {
            **made_with(),
            "git_commit": git_commit(),
            "resources": resources,
        }
        return {"summary": dict(summary), "made_by": made_by}

    def meeting(self) -> str:
        """Return a free address of this node, where the ranks of a fit can meet."""
        import ray

        host = ray.util.get_node_ip_address()
        with socket.create_server((host, 0)) as free:
            return f"tcp://{host}:{free.getsockname()[1]}"

    def news(self) -> News:
        """Return progress, messages and files since the last call.

        If an older checkpoint vanishes meanwhile, look again: the newer one is there now, and a list with neither would
        have the copy elsewhere deleted. After some vain looks there are no names, and nothing is deleted.
        """
        count = len(self._logs)
        logs, self._logs[:count] = self._logs[:count], []
        news = News(self._progress, logs, [], frozenset())
        for _ in range(LOOKS):
            if self._work == Path():
                break
            states: dict[str, Stamp] = {}
            with suppress(FileNotFoundError):
                for name in file_names(self._work):
                    states[name] = stamp_of(self._work / name)
                    if self._sent.get(name) != states[name]:
                        news.changed += send_files(self._work / name, name)
                        self._sent[name] = states[name]
                news.names = frozenset(states)
                break

        return news

    def close(self) -> None:
        """Remove the files of the job from this node."""
        folder = self._folder
        self._folder = Path()
        self._work = Path()
        if folder != Path():
            shutil.rmtree(folder, ignore_errors=True)

    def _report(self, news: FitProgress) -> None:
        self._progress = news


@contextmanager
def _actors(
    ray: Any,
    resources: dict[str, Any],
    nodes: int,
    node: str = "",
) -> Iterator[list[Any]]:
    """Start the actors of a job, and end them after the block; *node* is the one for a single actor, if given.

    All of several get their places, or none: so two jobs never wait for each other's nodes.
    """
    bundle = {"CPU": resources["num_cpus"], "GPU": resources["num_gpus"]}
    group = None
    if nodes > 1:
        group = ray.util.placement_group([bundle] * nodes)

    strategies = ray.util.scheduling_strategies
    strategy = "DEFAULT"
    if group:
        strategy = strategies.PlacementGroupSchedulingStrategy(group)
    elif node:
        strategy = strategies.NodeAffinitySchedulingStrategy(node, soft=False)

    options = {
        **resources,
        "max_concurrency": 2,
        "scheduling_strategy": strategy,
    }
    actors = [ray.remote(JobActor).options(**options).remote() for _ in range(nodes)]
    try:
        yield actors
    finally:
        with suppress(ray.exceptions.RayError):
            ray.get([actor.close.remote() for actor in actors], timeout=CLOSE_SECONDS)
        for actor in actors:
            ray.kill(actor)
        if group:
            ray.util.remove_placement_group(group)


def _error_among(ray: Any, ready: list[Any]) -> Exception | None:
    """Return the error of an actor that has ended: of a rank that only lost another one, if there is no other."""
    errors = []
    for reference in ready:
        try:
            ray.get(reference)
        except ray.exceptions.RayError as error:
            errors.append(error)
    return min(
        errors, key=lambda error: isinstance(getattr(error, "cause", None), RanksLost), default=None
    )


def _with_less_time(job: FitJob, lost: float) -> FitJob:
    """Return a job whose clock, if it has one, has not stood still for the *lost* seconds since its checkpoint."""
    pace = getattr(job, "pace", None)
    if pace is None:
        return job
    return replace(job, **{"pace": replace(pace, seconds=max(0.0, pace.seconds - lost))})


class NodeTaken(ClusterFailed):
    """A node has no place free within a minute."""


@dataclass
class ClusterRun:
    """A job that a node of the cluster does, called as `run_job` is.

    Args:
        execution: Names the cluster, the device and the share of a GPU.
        node: Name in Ray of the node that has to do it, which must be free within a minute; "": any, when one is free.
        sent: Input files that are on their way already, by their place.

    Attributes:
        made_by: After the job: code, libraries, machine and resources of the node, for the record.
    """

    execution: ExecutionConfig
    node: str = ""
    sent: dict[str, list[SentFile]] = field(default_factory=dict)
    made_by: dict[str, Any] = field(default_factory=dict)
    _saved: float = 0.0
    """When a checkpoint last came."""

    def __call__(self, job: FitJob, report: Report) -> dict[str, Any]:
        """Have a job done; its work folder here then holds what `run_job` would leave.

        Raises:
            ConfigError: No cluster answers, no node has the resources, or a node has other code.
            FitError, InputError, OutOfMemory, …: The error of the job there.
            ClusterFailed: Several nodes were lost, or this process was interrupted.
        """
        ray = connect(self.execution.cluster)
        job, resources, nodes = self._prepare_job(ray, job)
        inputs = self.send_inputs(job)
        code = running_code().whole()
        cause = ""
        failure: type[ReviewLMError] = ClusterFailed
        self._saved = monotonic()
        for attempt in range(ATTEMPTS):
            if attempt:
                job = _with_less_time(job, monotonic() - self._saved)
                log.warning(
                    "%s: its node is lost (%s); it goes on elsewhere from its checkpoint",
                    job.name,
                    cause,
                )
            try:
                with _actors(ray, resources, nodes, self.node) as actors:
                    asked = (job, code, inputs)
                    device = self.execution.device
                    meeting = ""
                    if nodes > 1:
                        meeting = actors[0].meeting.remote()

                    so_far = [
                        send_files(job.work),
                        *([[]] * (nodes - 1)),
                    ]  # rank 0 alone writes and reads checkpoints
                    ends = []
                    for rank, (actor, files) in enumerate(zip(actors, so_far, strict=True)):
                        ends.append(
                            actor.run.remote(
                                *asked,
                                files,
                                device,
                                rank if nodes > 1 else None,
                                meeting,
                            )
                        )

                    outcome = self._follow(
                        ray,
                        actors[0],
                        ends,
                        job,
                        report,
                    )
                self.made_by = outcome["made_by"]
                summary: dict[str, Any] = outcome["summary"]
                return summary
            except ray.exceptions.RayTaskError as error:
                if not isinstance(error.cause, RanksLost):
                    raise self._error_of(error.cause, job) from error
                cause = str(error.cause)
                failure = ClusterFailed
            except ray.exceptions.RayError as error:
                cause = str(error).strip().splitlines()[0]
                memory = any(
                    word in str(error) for word in ("running low on memory", "OOM", "OutOfMemory")
                )
                failure = OutOfMemory if memory else ClusterFailed

        raise failure(
            f"The fit of '{job.name}' has lost {ATTEMPTS} nodes",
            where=self.execution.cluster,
            cause=cause,
            remedy=f"{job.remedy}; without the cluster: --set execution.cluster=",
        )

    def send_inputs(self, job: FitJob) -> list[SentFile]:
        """Put the input files of a job into the object store, those that are not there yet, and return all."""
        for path in job.inputs:
            place = place_of(path)
            if place not in self.sent:
                self.sent[place] = send_files(path, place)
        return [file for path in job.inputs for file in self.sent[place_of(path)]]

    def places(self, job: FitJob) -> list[Self]:
        """Return a run for each node that the job may get; one for any, if it needs several nodes.

        Raises:
            ConfigError: The cluster has not so many GPUs or processors.
        """
        ray = connect(self.execution.cluster)
        _, resources, actors = self._prepare_job(ray, job)
        if actors > 1:
            return [replace(self)]

        needed = {"CPU": resources["num_cpus"], "GPU": resources["num_gpus"]}
        places = []
        for node in ray.nodes():
            has = node["Resources"]
            if node["Alive"] and all(has.get(what, 0) >= number for what, number in needed.items()):
                places.append(replace(self, node=node["NodeID"], made_by={}))
        return places

    def _prepare_job(self, ray: Any, job: FitJob) -> tuple[FitJob, dict[str, Any], int]:
        """Return the job with its device and threads, the resources of an actor, and the number of actors.

        One actor has all ranks if a node is large enough for them; otherwise each rank has its own.

        Raises:
            ConfigError: The cluster has not so many GPUs or processors.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        chosen = self.execution
        on_gpu = has_gpus(ray, self.execution)
        gpus = [node.get("GPU", 0) for node in nodes]
        cores = [node.get("CPU", 0) for node in nodes]
        share: float = 1
        numbers = cores
        if on_gpu:
            share = chosen.gpu_share
            numbers = gpus

        places = sum(int(number / share) for number in numbers)
        if places < job.ranks or (chosen.device == "cuda" and not on_gpu):
            raise ConfigError(
                f"The cluster has no room for the fit of '{job.name}'",
                where=chosen.cluster,
                value=job.ranks,
                cause=f"its nodes have {gpus} GPUs and {cores} processors for these processes",
                remedy="lower execution.ranks, or add a node",
            )

        ranks = job.ranks if job.ranks * share <= max(numbers) else 1  # of each actor
        threads = max(1, min(job.threads, int(max(cores)) // ranks))
        resources = {
            "num_cpus": 1 if on_gpu else threads * ranks,
            "num_gpus": ranks * share if on_gpu else 0,
        }
        job = replace(
            job,
            device="cuda" if on_gpu else "cpu",
            threads=threads,
            gpus=(),
        )
        return job, resources, job.ranks // ranks

    def _follow(
        self,
        ray: Any,
        actor: Any,
        ends: list[Any],
        job: FitJob,
        report: Report,
    ) -> dict[str, Any]:
        """Forward progress and files of an actor until all have ended; return how that one ended."""
        last = None
        polls = 0
        while True:
            ready = ray.wait(ends, num_returns=len(ends), timeout=POLL_SECONDS)[0]
            ended = len(ready) == len(ends) or _error_among(ray, ready) is not None
            pending = actor.news.remote()
            while not (is_interrupted() or ray.wait([pending], timeout=POLL_SECONDS)[0]):
                polls += 1
                if polls != WAIT_POLLS:  # none is at once where an actor has begun: it has its node
                    continue
                if self.node:
                    raise NodeTaken(f"A node has no place free for '{job.name}'", where=self.node)
                log.warning("%s: no node of the cluster is free yet", job.name)
            if is_interrupted():
                raise ClusterFailed(
                    f"The fit of '{job.name}' was interrupted; its node stops it, too"
                )
            news = ray.get(pending)
            polls = WAIT_POLLS
            for record in news.logs:
                pass_on(record)
            receive_files(news.changed, job.work)
            if any(file.name.startswith("checkpoint") for file in news.changed):
                self._saved = monotonic()
            if news.names:
                for name in set(file_names(job.work)) - news.names:
                    if name.startswith("checkpoint"):
                        (job.work / name).unlink()
            if news.progress is not None and news.progress != last:
                last = news.progress
                report(last)
            if ended:
                ready = ray.wait(ends, num_returns=len(ends), timeout=PATIENCE)[0]
                error = _error_among(ray, ready)
                if error is not None:
                    raise error
                outcome: dict[str, Any] = ray.get(ends[0])
                return outcome

    def _error_of(self, cause: BaseException, job: FitJob) -> BaseException:
        if isinstance(cause, ReviewLMError):
            return cause
        return RankFailed(
            f"The fit of '{job.name}' has failed",
            where=self.execution.cluster,
            cause=f"{type(cause).__name__}: {cause}",
            remedy="if a name is unknown there, install the same commit of the project on all machines",
        )
