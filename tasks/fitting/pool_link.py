"""Report a pool worker's state through the remote store (claim, progress, checkpoints), and read if the job is wanted.

`tasks/fitting/pool_protocol.py` lists the objects in the remote store through which they speak.
"""

from __future__ import annotations

import logging
import platform
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from core.errors import ConfigError, PoolFailed, ReviewLMError
from core.processes.side_thread import side_thread
from core.storing.job_exchange import JobExchange
from core.storing.objects import RemoteError
from tasks.fitting.meeting import Meeting, interface_of, listening_at, own_address, require_reachable
from tasks.fitting.pool_protocol import CLAIM, END, JOB, MEETING, PROGRESS, WANTED, WORK
from tasks.fitting.pool_runs import members_of

BEAT_SECONDS, LIST_SECONDS = 5.0, 30.0
"""Seconds between two heartbeats, and between two uploads of checkpoints and journals."""
WANTED_SECONDS, LOOK_SECONDS = 30.0, 0.5
"""Time for whoever asks to say which run is wanted, after it has asked for the run; and between two looks."""
MEET_SECONDS = 900.0
"""Time in which all workers that are to train one network must have come, at least; at most twice as long."""
LAST_TRIES, LAST_PAUSE = 60, 30.0
"""Attempts to give back a result, and seconds between two."""
log = logging.getLogger(__name__)


class JobLink:
    """What a worker tells about its job, and whether it is still wanted.

    Args:
        exchange: The job's objects.
        run: Id of the worker's run.
        home: Home of the worker; two workers of one home share its GPUs, and cannot fit a job together.
        place: Place of this worker among those that fit the job together; 0 leads: only it gives anything back.

    Attributes:
        worker: Name of this attempt; a second attempt of the same run has another one.
        team: The runs that fit the job together, as `WANTED` names them.
    """

    def __init__(self, exchange: JobExchange, run: str, home: Path, place: int = 0) -> None:
        self.worker, self.team = f"{platform.node()}-{secrets.token_hex(4)}", run
        self._exchange, self._run, self._place = exchange, run, place
        self._where = f"{platform.node()}:{home.absolute()}"
        self._news, self._said = dict[str, Any](), dict[str, Any]()
        self._lists, self._unwanted = 0, False

    def tell(self, news: dict[str, Any]) -> None:
        """Keep the latest progress message for the next heartbeat.

        Raises:
            PoolFailed: Another worker has taken over, or the job is no longer wanted.
        """
        self.require_wanted()
        self._news = news

    def give(self, work: Path, copies: Path, end: Mapping[str, Any]) -> None:
        """Give back the result. Raise PoolFailed as `tell` does, and RemoteError."""
        self._look()
        self.require_wanted()
        self._exchange.send_folder(END, work, copies, **end)

    def fail(self, about: Mapping[str, Any], error: ReviewLMError) -> None:
        """Give back an error, unless the job is no longer wanted. Raise RemoteError."""
        self._look()
        if not self._unwanted:
            end = {**self._about(), **about, "error": error.to_dict()}
            self._exchange.write(self._claim if self._place else END, end)

    def require_others(self, device: str, machines: int) -> None:
        """Wait until the other workers have taken their places; say on which device this one fits.

        Raises:
            ConfigError: Not all have come, or two are one machine, or their devices differ.
            PoolFailed: As in `tell`.
        """
        self._said["device"] = device
        self._say()
        if not self._place:
            self._awaited(lambda: self._come(machines, device, "device"), machines)

    def meeting(self, ranks: int, machines: int) -> Meeting:
        """Return where the ranks of this worker meet those of the others.

        Args:
            ranks: Number of processes of this worker.
            machines: Number of workers that train the network together.

        Raises:
            ConfigError: Not all workers have come, or they cannot reach each other.
            PoolFailed: As in `tell`.
        """
        interface = interface_of(address := own_address())
        self._said["ranks"] = ranks
        self._say()
        if self._place:
            said = self._awaited(self._called, machines)
            require_reachable(said["host"], said["port"])
            self._said["reached"] = said["port"]
            self._say()
        else:
            device = self._said["device"]
            others = self._awaited(lambda: self._come(machines, device, "ranks"), machines)
            with listening_at(address) as port:  # until all have reached it; then the leading rank listens there
                said = {"host": address, "port": port, "ranks": [ranks, *(one["ranks"] for one in others)],
                        "workers": [self.worker, *(one["worker"] for one in others)]}  # fmt: skip
                insist(lambda: self._exchange.write(MEETING, said))
                self._awaited(lambda: self._come(machines, device, "reached", port), machines)
        first, all_ranks = sum(said["ranks"][: self._place]), sum(said["ranks"])
        log.info("ranks %d to %d of %d run on this machine", first, first + ranks - 1, all_ranks)
        return Meeting(said["host"], said["port"], first, all_ranks, interface)

    def _awaited(self, look: Callable[[], Any], machines: int) -> Any:
        """Return what is found by looking again and again."""
        seconds = MEET_SECONDS * (1 + random.random())  # of two runs that wait for each other, one goes on
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.require_wanted()
            with suppress(RemoteError):
                if (found := look()) is not None:
                    return found
            time.sleep(LOOK_SECONDS)
        raise ConfigError(
            f"{machines} workers are needed to train one network, and not all of them joined within {seconds:.0f} s",
            where="execution.fit_machines", value=machines,
            remedy="start as many workers of the pool, each with free GPUs; runs that need the same ones go in turn",
        )

    def _come(self, machines: int, device: str, word: str, value: Any = None) -> list[dict[str, Any]] | None:
        """Return what the other workers have said; None before all have said a word, and this value if there is one."""
        others = [self._exchange.read(f"{CLAIM}-{place}") or {} for place in range(1, machines)]
        others = [one for one in others if one.get("team") == self.team]
        for one in others:
            if one["where"] == self._where:
                raise ConfigError(
                    "Two of the workers that should train one network together are on one machine", where=one["where"],
                    remedy="start the worker of each machine with --places 1",
                )
            if one.get("device", device) != device:
                raise ConfigError(
                    "The workers that should train one network together have different devices", where=one["where"],
                    value=one["device"], cause=f"{self._where} has {device}", remedy="see `reviewlm doctor` on both",
                )
        here = [one for one in others if word in one and value in (None, one[word])]
        return here if len(here) == machines - 1 else None

    def _called(self) -> dict[str, Any] | None:
        """Return the meeting to which the leading worker has called this one."""
        said = self._exchange.read(MEETING) or {}
        return said if self.worker in said.get("workers", ()) else None

    def _say(self) -> None:
        insist(lambda: self._exchange.write(self._claim, {**self._about(), **self._said}))

    @contextmanager
    def heartbeats(self) -> Iterator[dict[str, Any]]:
        """Claim the job and yield its description; within the block, tell that this worker lives, and how far it is.

        Raises:
            PoolFailed: The job has ended, or another run is wanted for it.
            RemoteError: The remote store fails.
        """
        until = time.monotonic() + WANTED_SECONDS
        while not self._is_wanted():  # whoever asks may not have written it yet
            if time.monotonic() > until:
                raise PoolFailed("This run is no longer needed: its job has ended, or another run was given the job")
            time.sleep(LOOK_SECONDS)
        if (description := self._exchange.read(JOB)) is None:
            raise PoolFailed("This run is no longer needed: its job has ended")
        self._say()
        with _repeated(self._beat, BEAT_SECONDS):
            yield description

    def _is_wanted(self) -> bool:
        """Return whether this run is wanted in its place; a remote store that fails is asked again later."""
        with suppress(RemoteError):
            self.team = (self._exchange.read(WANTED) or {}).get("run", "")
            return members_of(self.team)[self._place : self._place + 1] == (self._run,)
        return False

    @property
    def _claim(self) -> str:
        """Name of the object by which this worker claims its place."""
        return f"{CLAIM}-{self._place}" if self._place else CLAIM

    def _about(self) -> dict[str, Any]:
        return {"worker": self.worker, "run": self._run, "team": self.team, "where": self._where}

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
        news = {"run": self.team, "worker": self.worker, "time": time.time(), "lists": self._lists, "news": self._news}
        if not (self._unwanted or self._place):
            self._exchange.write(PROGRESS, news)

    def _look(self) -> None:
        claim, wanted = (self._exchange.read(name) or {} for name in (self._claim, WANTED))  # none: it was removed
        self._unwanted = self._unwanted or claim.get("worker") != self.worker or wanted.get("run") != self.team

    def require_wanted(self) -> None:
        """Raise PoolFailed if another worker has taken over, or the job is no longer wanted."""
        if self._unwanted:
            raise PoolFailed("This job is no longer needed here: another worker has taken it over, or it was cancelled")


def _repeated(work: Callable[[], object], seconds: float) -> AbstractContextManager[None]:
    """Call *work* in a thread of its own, every so many seconds; a failure is logged, and the next call follows."""

    def repeat(ended: threading.Event) -> None:
        while not ended.wait(seconds):
            try:
                work()
            except Exception as error:  # whatever it is, the next one must follow
                log.warning("progress or checkpoints could not be uploaded: %s: %s", type(error).__name__, error)

    return side_thread(repeat)


def insist(write: Callable[[], object]) -> None:
    """Write to the remote store; try again for half an hour, because hours of work depend on it."""
    for left in range(LAST_TRIES, 0, -1):
        try:
            write()
            return
        except (RemoteError, OSError) as error:
            if left == 1:
                raise
            log.warning("the result of the job could not be uploaded: %s; next attempt in %g s", error, LAST_PAUSE)
            time.sleep(LAST_PAUSE)
