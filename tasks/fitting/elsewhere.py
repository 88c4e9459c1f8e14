"""Let a worker of another machine fit a network, and take over what it made.

`run_job` runs a job in processes of this machine. `HandedOver` does the same with a run of a Prefect work pool: it puts
the job into the remote store, waits, forwards progress and journal, and returns when the work folder here holds what
the worker made. The worker uploads its checkpoints. If it is lost, another one goes on from the last of them; so does
this machine, once the pool is no longer named.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from core.config.run_config import RunConfig
from core.errors import Diverged, FitError, RankFailed, ReviewLMError
from core.processes import interrupts
from core.store import Store
from core.storing.job_exchange import JobExchange
from core.storing.objects import RemoteError
from tasks.fitting.fit_process import interrupted
from tasks.fitting.handed_over import END, JOB, PROGRESS, WORK, described, error_of, remote_errors, remote_of
from tasks.fitting.job import FitJob
from tasks.fitting.pool_runs import PoolRuns, Runs, RunState
from tasks.fitting.resources import SYSTEM_JOURNAL
from tasks.tracking.track import JOURNAL

ATTEMPTS = 3
"""Runs that may be lost before the fit is given up."""
Listen = Callable[[dict[str, Any]], None]
log = logging.getLogger(__name__)


class Clock(Protocol):
    """Where the seconds of a wait come from; a test has its own."""

    def monotonic(self) -> float:
        """Return seconds."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds.

    Args:
        poll: Between two looks.
        untaken: Until a warning says that no worker has taken the fit.
        crashed: For Prefect's own second attempt of a run that crashed, before another run is asked for.
        silent: Without a sign of life of a running fit, or without an answer of the remote store or Prefect.
    """

    poll: float = 3.0
    untaken: float = 60.0
    crashed: float = 60.0
    silent: float = 300.0


PATIENCE = Patience()


class HandedOver:
    """A fit on another machine.

    Args:
        config: Names the pool and the stores.
        digest: Digest of the fit.
        code: Version of the code that fits; the worker refuses a job of another one.
        runs: Runs of the pool; None: those of Prefect.
        clock: Seconds.
        patience: How long to wait for what.
    """

    def __init__(
        self, config: RunConfig, digest: str, code: str, runs: Runs | None = None, clock: Clock = time,
        patience: Patience = PATIENCE,
    ) -> None:
        self._config, self._code, self._clock, self._patience = config, code, clock, patience
        self._store = Store.of(config)
        remote = remote_of(self._store)
        self._address, self._exchange = remote.address, JobExchange(remote.objects, f"fit-{digest}")
        self._runs: Runs = runs or PoolRuns(config.execution.fit_pool)

    def __call__(self, job: FitJob, report: Listen) -> dict[str, float]:
        """Fit the model of a job elsewhere; its work folder here then holds what `run_job` would leave.

        Raises:
            ArtifactError: The remote store does not work.
            FitError, InputError, OutOfMemory, …: The error of the fit there.
            RankFailed: The workers were lost, or this process was interrupted.
        """
        with remote_errors(self._address):
            if "fit" in self._config.execution.rebuild:
                self._exchange.remove()
            if not self._is_finished(end := self._exchange.read(END)):
                end = self._fitted(job, report)
            elif end is not None:
                log.info("%s: was fitted on %s meanwhile", job.spec.name, end["machine"])
            assert end is not None
            self._exchange.receive_folder(WORK, job.work)
            self._exchange.remove()
        summary: dict[str, float] = end["summary"]
        return summary

    def _is_finished(self, end: dict[str, Any] | None) -> bool:
        return end is not None and "summary" in end and end["code"] == self._code

    def _fitted(self, job: FitJob, report: Listen) -> dict[str, Any]:
        """Submit runs until one has ended well; return what it said at its end."""
        name = job.spec.name
        if any(job.work.iterdir()) and self._exchange.read(WORK) is None:  # fitted here so far
            self._exchange.send_folder(WORK, job.work, job.work.with_name(f"once-{job.work.name}-copies"))
        ranks = self._config.execution.ranks
        self._exchange.write(JOB, described(job, self._store, self._exchange, self._code, ranks))
        run = self._runs.unfinished(self._exchange.name) or self._submit(name)
        interrupts.at_interrupt(lambda: self._cancel(run))
        try:
            for attempt in range(ATTEMPTS):
                if (end := self._wait(run, job, report)) is not None:
                    if "error" in end:
                        raise error_of(end["error"], end["machine"])
                    return end
                self._cancel(run)
                if attempt + 1 < ATTEMPTS:
                    log.warning("%s: its worker is lost; another one goes on from the last checkpoint", name)
                    run = self._submit(name)
            with suppress(RemoteError):
                self._exchange.receive_folder(WORK, job.work)
            raise RankFailed(
                f"The fit of '{name}' has lost {ATTEMPTS} workers", where=f"pool {self._runs.pool}",
                remedy="see the worker's machine and its log; with --set execution.fit_pool= the fit goes on here",
            )
        except BaseException as error:
            self._cancel(run)
            if isinstance(error, Diverged) or not isinstance(error, ReviewLMError):  # resuming would end the same way
                with suppress(RemoteError):
                    self._exchange.remove()
            raise

    def _submit(self, name: str) -> str:
        run = self._runs.submit(self._exchange.name, name, self._address)
        log.info("%s: handed over to the workers of %s", name, self._runs.pool)
        return run

    def _cancel(self, run: str) -> None:
        with suppress(Exception):  # the error that ended the wait is the one to show
            if self._runs.state(run).word in ("waiting", "running"):
                self._runs.cancel(run)

    def _wait(self, run: str, job: FitJob, report: Listen) -> dict[str, Any] | None:
        """Forward progress until a run has ended; return what it said at its end, None if its worker is lost.

        Raises:
            FitError: The run failed before its fit began, or was cancelled.
            RankFailed: This process was interrupted.
        """
        name, began = job.spec.name, self._clock.monotonic()
        answered = alive = since = began
        word, last, warned = "waiting", dict[str, Any](), False
        while True:
            self._clock.sleep(self._patience.poll)
            if interrupted():
                raise RankFailed(f"The fit of '{name}' was interrupted; its worker is stopped, too")
            now = self._clock.monotonic()
            try:
                end, state = self._exchange.read(END), self._runs.state(run)
                news = self._exchange.read(PROGRESS) or {}
                answered = now
            except Exception as error:  # of the remote store, or of any layer of Prefect's client
                if now - answered > self._patience.silent:
                    raise
                log.debug("%s: %s", name, error)
                continue
            if end is not None and end["run"] == run:
                return end
            if news.get("run") == run and news != last:
                self._forward(news, last, job.work, report)
                alive, last = now, news
            if state.word != word:
                since, alive, word = now, now, state.word
            if self._is_lost(state, now - since, now - alive, name):
                return None
            if word == "waiting" and now - since > self._patience.untaken and not warned:
                warned = True
                log.warning(
                    "%s: no worker of %s has taken the fit yet. On the machine that is to fit: reviewlm worker start "
                    "--pool %s", name, self._runs.pool, self._runs.pool,
                )

    def _is_lost(self, state: RunState, lasting: float, silent: float, name: str) -> bool:
        """Return whether the worker of a run is lost, by the seconds that its state lasts and that it is silent.

        Raises:
            FitError: The run has ended in another way, without a word about the fit.
        """
        where, patience = f"pool {self._runs.pool}", self._patience
        if state.word == "cancelled":
            raise FitError(f"The fit of '{name}' was cancelled in Prefect", where=where)
        if state.word in ("failed", "completed") and lasting > patience.poll:  # the remote store would have said why
            raise FitError(
                f"The worker could not begin to fit '{name}'", where=where, cause=state.message,
                remedy="see the run in Prefect and the worker's log",
            )
        return (state.word == "crashed" and lasting > patience.crashed) or (
            state.word == "running" and silent > patience.silent
        )

    def _forward(self, news: dict[str, Any], last: dict[str, Any], work: Path, report: Listen) -> None:
        if news["lists"] != last.get("lists"):
            with suppress(RemoteError):  # the next list is on its way
                self._exchange.receive_folder(WORK, work, only=(JOURNAL, SYSTEM_JOURNAL))
        if news["news"]:
            report(news["news"])
