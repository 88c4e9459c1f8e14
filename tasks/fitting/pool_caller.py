"""Submit a job to a worker on another machine, and fetch its result.

`run_job` runs a job in processes of this machine; `Handover` does the same with a run of a Prefect work pool. It puts
the job into the remote store, waits, forwards progress and journals, and returns when the work folder here holds the
result, e.g. the fitted model. If the worker is lost, another one goes on from its last checkpoint that arrived.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.errors import ArtifactError, Diverged, PoolFailed, TrackingUnavailable
from core.processes import interrupts
from core.store import Store
from core.storing.job_exchange import JobExchange
from core.storing.objects import RemoteError
from tasks.fitting.fit_process import interrupted
from tasks.fitting.job import Job
from tasks.fitting.listeners import EnoughSeen
from tasks.fitting.pool_protocol import (
    END,
    JOB,
    LOST,
    PROGRESS,
    WANTED,
    WORK,
    described,
    error_of,
    remote_errors,
    remote_of,
    told_by_member,
)
from tasks.fitting.pool_runs import Clock, Patience, PoolRuns, RunState, in_turn, prefect_errors
from tasks.fitting.resources import SYSTEM_JOURNAL
from tasks.track import JOURNAL

ATTEMPTS = 3
"""Runs that may be lost before the job is given up."""
CHECKPOINTS = "checkpoints"
Listen = Callable[[dict[str, Any]], None]
log = logging.getLogger(__name__)


PATIENCE = Patience()


class Handover:
    """A job that a worker of a pool does.

    Args:
        config: Names the pool and the stores.
        stage: Stage of the job, as in `Job.STAGE`.
        digest: Digest of the result.
        code: Version of the code that makes it; the worker refuses a job of another one.
        machines: Number of workers that train the network together.
        runs: Runs of the pool; None: those of Prefect.
        clock: Seconds.
        patience: How long to wait for what; None: `PATIENCE`.

    Attributes:
        made_by: After the job: code, libraries, machine and resources of the worker, for the record.

    Raises:
        ConfigError: There is no remote store.
    """

    def __init__(
        self, config: RunConfig, stage: str, digest: str, code: str, machines: int = 1, runs: PoolRuns | None = None,
        clock: Clock = time, patience: Patience | None = None,
    ) -> None:  # fmt: skip
        self._config, self._stage, self._code, self._clock = config, stage, code, clock
        self._patience = patience or PATIENCE
        self._store = Store.of(config)
        remote = remote_of(self._store)
        self._address, self._exchange = remote.address, JobExchange(remote.objects, f"{stage}-{digest}")
        self._machines, self._runs = machines, runs or PoolRuns(config.execution.fit_pool, machines)
        self._run = ""
        self.made_by: dict[str, Any] = {}

    def __call__(self, job: Job, report: Listen) -> dict[str, Any]:
        """Have a job done; its work folder here then holds what `run_job` would leave.

        Raises:
            ArtifactError: The remote store fails.
            TrackingUnavailable: Prefect does not answer.
            FitError, InputError, OutOfMemory, …: The error of the job there.
            PoolFailed: The workers were lost or refuse the job, or the run was interrupted or cancelled.
        """
        turn = nullcontext() if self._machines == 1 else in_turn(job.name, self._patience.poll)
        with remote_errors(self._address), turn:
            if self._stage in self._config.execution.rebuild:
                self._stop()
                self._exchange.remove()
            end = self._exchange.read(END)
            if end is not None and "summary" in end and end["code"] == self._code:
                log.info("%s: was already %s on %s", job.name, job.DEED.past, end["machine"])
            else:
                end = self._done(job, report)
            self._take(job.work)
            if not job.result.is_file():
                self.forget()  # so that a rerun makes it
                raise RemoteError(f"the result of the {job.DEED.noun} lacks the file {job.result.name}")
        self.made_by = end["made_by"]
        summary: dict[str, Any] = end["summary"]
        return summary

    def _take(self, work: Path) -> None:
        """Download the result; try again for a while, because hours of work may depend on it."""
        began = self._clock.monotonic()
        while True:
            try:
                self._exchange.receive_folder(END, work)
                return
            except RemoteError as error:
                if self._clock.monotonic() - began > self._patience.away:
                    raise
                log.warning("the result could not be downloaded yet: %s", error)
                self._clock.sleep(self._patience.poll)

    def forget(self) -> None:
        """Delete what is in the remote store, once the result is in the store here; a failure is only a warning."""
        try:
            self._exchange.remove()
        except RemoteError as error:
            name = self._exchange.name
            log.warning("the objects jobs/%s could not be removed from %s: %s", name, self._address, error)

    def _done(self, job: Job, report: Listen) -> dict[str, Any]:
        """Submit runs until one has ended well; return what it said at its end."""
        name, noun = job.name, job.DEED.noun
        if any((job.work / CHECKPOINTS).glob("*.json")):  # trained here so far
            self._exchange.send_folder(WORK, job.work, job.work.with_name(f"{self._exchange.name}-sent"))
            sent = job.work / f"{CHECKPOINTS}-sent"  # one rename, so that a kill leaves no half of them
            (job.work / CHECKPOINTS).rename(sent)
            shutil.rmtree(sent)
        self._describe(job)
        with prefect_errors(self._runs.pool):
            wanted = (self._exchange.read(WANTED) or {}).get("run", "")
            self._run = self._runs.unfinished(self._exchange.name, wanted) or ""
        self._want(self._run or self._submit(job))
        with interrupts.cleaned_up(self._stop):
            try:
                for left in range(ATTEMPTS - 1, -1, -1):
                    end = self._wait(job, report)
                    if end is not None and "error" not in end:
                        return end
                    if end is not None and (end["error"]["kind"] not in self._again or not left):
                        raise error_of(end["error"], end["machine"])
                    if not left:
                        break
                    self._stop()
                    if end is not None and end["error"]["kind"] == ArtifactError.__name__:
                        log.warning("%s: %s; its inputs are uploaded again", name, end["error"]["cause"])
                        self._describe(job, anew=True)
                    else:
                        log.warning("%s: its worker is lost; the next one continues from the last checkpoint", name)
                    self._want(self._submit(job))
                with suppress(RemoteError):
                    self._exchange.receive_folder(WORK, job.work)
                raise PoolFailed(
                    f"The {noun} of '{name}' has lost {ATTEMPTS} workers", where=f"pool {self._runs.pool}",
                    remedy="see the worker's machine and its log, or continue here: --set execution.fit_pool=",
                )
            except BaseException as error:
                self._stop()
                if isinstance(error, Diverged | EnoughSeen):  # going on from there would end the same way
                    with suppress(RemoteError):
                        self._exchange.remove()
                raise

    @property
    def _again(self) -> tuple[str, ...]:
        """Kinds of errors after which another attempt may go well; one of several machines may be gone."""
        return (ArtifactError.__name__, LOST) if self._machines > 1 else (ArtifactError.__name__,)

    def _describe(self, job: Job, anew: bool = False) -> None:
        asked = self._config.execution.ranks, self._machines
        self._exchange.write(JOB, described(job, self._store, self._exchange, self._code, *asked, anew))

    def _want(self, run: str) -> None:
        self._run = run
        self._exchange.write(WANTED, {"run": run})

    def _submit(self, job: Job) -> str:
        with prefect_errors(self._runs.pool):
            run = self._runs.submit(self._exchange.name, f"{job.DEED.verb} {job.name}")
        log.info("%s: handed over to the workers of %s", job.name, self._runs.pool)
        return run

    def _stop(self) -> None:
        """Let no worker go on: want no run, and cancel the one that was wanted."""
        with suppress(RemoteError):
            self._exchange.write(WANTED, {"run": ""})
        with suppress(Exception):  # the error that ended the wait is the one to show
            self._runs.cancel(self._run or self._runs.unfinished(self._exchange.name, "") or "")

    def _wait(self, job: Job, report: Listen) -> dict[str, Any] | None:
        """Forward progress until the run has ended; return what it said at its end, None if its worker is lost.

        Raises:
            PoolFailed: The run ended without a word about the job, or this process was interrupted.
            TrackingUnavailable: Prefect does not answer.
            RemoteError: The remote store does not answer.
        """
        name, run, patience = job.name, self._run, self._patience
        answered = alive = since = self._clock.monotonic()
        word, last, warned = "waiting", dict[str, Any](), False
        while True:
            self._clock.sleep(patience.poll)
            if interrupted():
                raise PoolFailed(f"The {job.DEED.noun} of '{name}' was interrupted; its worker is stopped, too")
            now = self._clock.monotonic()
            try:
                end = self._exchange.read(END)
                if end is not None and end["run"] == run:
                    return self._end_of_team(end, job) if end.get("error", {}).get("kind") == LOST else end
                with prefect_errors(self._runs.pool):
                    state = self._runs.state(run)
                news = self._exchange.read(PROGRESS) or {}
                answered = now
            except (RemoteError, TrackingUnavailable) as error:
                if now - answered > patience.away:
                    raise
                log.debug("%s: %s", name, error)
                continue
            if news.get("run") == run and news != last:
                self._forward(news, last, job.work, report)
                alive, last = now, news
            if state.word != word:
                since, alive, word = now, now, state.word
            if self._is_lost(state, now - since, now - alive, job):
                return told_by_member(self._exchange, run, self._machines)
            if word == "waiting" and now - since > patience.untaken and not warned:
                warned = True
                log.warning(
                    "%s: no worker of the pool '%s' has taken it yet. On the machine that is to %s, run: reviewlm "
                    "worker start --pool %s", name, self._runs.pool, job.DEED.verb, self._runs.pool,
                )

    def _is_lost(self, state: RunState, lasting: float, silent: float, job: Job) -> bool:
        """Return whether the worker of the run is lost, by the seconds that its state lasts and that it is silent.

        Raises:
            PoolFailed: The run has ended in another way, without a word about the job.
        """
        where, patience = f"pool {self._runs.pool}", self._patience
        if state.word == "cancelled":
            raise PoolFailed(f"The {job.DEED.noun} of '{job.name}' was cancelled in Prefect", where=where)
        # An old process of the run may have reported a failure while a second attempt fits: then there is progress.
        # Of several runs that fit together, one has failed while others are alive.
        quiet = lasting if self._machines > 1 else min(lasting, silent)
        if state.word in ("failed", "completed") and quiet > patience.ended:
            if self._machines > 1:
                return True
            raise PoolFailed(
                f"The run that was to {job.DEED.verb} '{job.name}' has ended without a result", where=where,
                cause=state.message, remedy="see the run in Prefect and the worker's log",
            )
        # One of several runs cannot come back to the others, so its second attempt is not waited for.
        crashed = 0.0 if self._machines > 1 else patience.crashed
        return (state.word == "crashed" and lasting >= crashed) or (
            state.word == "running" and silent > patience.silent
        )

    def _end_of_team(self, end: dict[str, Any], job: Job) -> dict[str, Any]:
        """Return the error of the worker that the others lost, if it still tells one; else *end*, which says so.

        Raises:
            PoolFailed: One of the runs was cancelled in Prefect.
        """
        began = self._clock.monotonic()
        while self._machines > 1 and self._clock.monotonic() - began < self._patience.cause:
            if (told := told_by_member(self._exchange, end["run"], self._machines)) is not None:
                return told
            with prefect_errors(self._runs.pool):
                self._is_lost(self._runs.state(end["run"]), 0, 0, job)
            self._clock.sleep(min(1.0, self._patience.poll))
        return end

    def _forward(self, news: dict[str, Any], last: dict[str, Any], work: Path, report: Listen) -> None:
        if news["lists"] != last.get("lists"):
            with suppress(RemoteError):  # the next list is on its way
                self._exchange.receive_folder(WORK, work, only=(JOURNAL, SYSTEM_JOURNAL))
        if news["news"]:
            report(news["news"])
