"""Run one opened bundle in its own thread: accept texts and jobs from any thread, and return results there."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from threading import Condition, RLock, Thread
from time import monotonic, perf_counter
from typing import NamedTuple, TypeVar

import torch

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.serving.engine.jobs import EngineContext, EngineJob, Jobs
from reviewlm.serving.engine.live_text import LiveText
from reviewlm.serving.engine.requests import (
    Busy,
    EngineFigures,
    EngineLimits,
    Generation,
    Reason,
    StreamEnded,
    Ticket,
    Wakes,
)
from reviewlm.serving.engine.scheduler import Scheduler
from reviewlm.serving.engine.waiting_times import Appointments, Mean

T = TypeVar("T")
log = logging.getLogger(__name__)
LONG = 2_048
"""Characters of prompts after which no other text begins before the next step: tokens of 20,000 take about 12 ms."""
DRAINED_SECONDS = 5.0
"""Time that the thread gets to end, beyond that for the texts in progress."""


class _Arrival(NamedTuple):
    """A text that waits for a place."""

    generation: Generation
    ticket: Ticket
    begun: float


class Engine:
    """One opened bundle and the thread that generates with it.

    A text waits in a queue until a place is free, its prompt is read in chunks between the steps of the live texts,
    then it shares their steps. What goes wrong ends the texts concerned, never the thread.

    Args:
        bundle: Any kind of model; only the engine's thread may use its model from now on.
        limits: How much it takes on.

    """

    def __init__(self, bundle: Bundle, limits: EngineLimits | None = None) -> None:
        self.bundle = bundle
        self.limits = limits or EngineLimits()
        self._wakes = Wakes()
        self._scheduler = Scheduler(bundle, self.limits, self._wakes)
        self._changed = Condition(RLock())
        self._jobs = Jobs(bundle, self._scheduler, self.limits)
        self._waiting: deque[_Arrival] = deque()
        self._end: float | None = None
        self._busy_seconds = 0.0
        self._cycle_seconds = Mean(0.01)
        self._appointments = Appointments()
        self._thread = Thread(
            target=self._run,
            name=f"engine {bundle.digest[:12]}",
            daemon=True,
        )
        self._thread.start()

    def submit(self, generation: Generation) -> Ticket:
        """Queue a text and return its ticket; see `submit_all`."""
        return self.submit_all([generation])[0]

    def submit_all(self, generations: Sequence[Generation]) -> list[Ticket]:
        """Queue the texts of a request and return their tickets. From any thread.

        Raises:
            Busy: The queue has no room for all of them, so none is queued.
            StreamEnded: The engine is closed.
        """
        with self._changed:
            self._require_open()
            texts = len(self._waiting) + self._scheduler.live
            if texts + len(generations) > self.limits.queue + self.limits.live:
                waiting = self._seconds_of(arrival.generation for arrival in self._waiting)
                raise Busy(self._appointments.seconds(waiting, self._seconds_of(generations)))
            tickets = [Ticket(self._wakes) for _ in generations]
            now = monotonic()
            for generation, ticket in zip(generations, tickets, strict=True):
                self._waiting.append(_Arrival(generation, ticket, now))
            self._changed.notify()

        return tickets

    def _seconds_of(self, generations: Iterable[Generation]) -> float:
        """Return the seconds in which texts are written, as many at a time as there are places."""
        usual = self._scheduler.text_tokens.value
        tokens = sum(max(1.0, min(one.max_tokens, usual)) for one in generations)
        return tokens * self._cycle_seconds.value / max(1, self.limits.live)

    def too_many_jobs(self) -> Busy:
        """Return the refusal of a job, with the time when those that wait now will be done. From any thread."""
        with self._changed:
            each = self._jobs.seconds.value
            return Busy(self._appointments.seconds(len(self._jobs) * each, each))

    def run(self, job: Callable[[EngineContext], T], in_order: bool = False) -> Future[T]:
        """Run a short function in the engine's thread, between two steps (see `EngineContext`). From any thread.

        Args:
            job: The function.
            in_order: Do it before the jobs in order that come later; else it takes turns with others.

        Raises:
            Busy: Too many jobs wait.
            StreamEnded: The engine is closed.
        """
        with self._changed:
            self._require_open()
            if len(self._jobs) >= max(1, self.limits.queue):
                raise self.too_many_jobs()
            self._jobs.add(added := EngineJob(job, in_order))
            self._changed.notify()
        return added.future

    def close(self, drain_seconds: float = 0.0) -> None:
        """Take no new work, let the accepted texts end for this long, then end the others and the thread."""
        with self._changed:
            end = monotonic() + drain_seconds
            if self._end is None:
                self._end = end
            else:
                self._end = min(self._end, end)

            self._changed.notify()
        self._thread.join(drain_seconds + DRAINED_SECONDS)

    def figures(self) -> EngineFigures:
        """Return the engine's load and counts. From any thread."""
        scheduler = self._scheduler
        return EngineFigures(
            alive=self._thread.is_alive(),
            live=scheduler.live,
            queued=len(self._waiting),
            jobs=self._jobs.done,
            **{
                name: scheduler.counts[name]
                for name in ("steps", "tokens", "prefill_tokens", "cached_tokens")
            },
            finished=dict(scheduler.finished),
            step_seconds=scheduler.step_seconds,
            busy_seconds=self._busy_seconds,
            cache_bytes=scheduler.cache.bytes + self._jobs.bytes,
            cache_entries=len(scheduler.cache),
        )

    def _require_open(self) -> None:
        if self._end is not None or not self._thread.is_alive():
            raise StreamEnded("closed", "the engine takes no new work")

    def _run(self) -> None:
        threads = 0
        try:
            while self._wait():
                began = perf_counter()
                if threads != (threads := self._threads()):
                    torch.set_num_threads(threads)
                self._jobs.run()
                self._admit()
                self._scheduler.cycle()
                self._wakes.call()
                seconds = perf_counter() - began
                self._busy_seconds += seconds
                if self._scheduler.batch.texts:
                    self._cycle_seconds.add(seconds)
        except BaseException:
            log.exception("the engine has failed")
            self._give_up("failed", "the engine has failed")
            raise

        self._give_up("closed", "the server ends")

    def _threads(self) -> int:
        """Return the number of threads of products: a core is left to the event loop where several requests wait."""
        requests = len(self._waiting) + len(self._jobs) + self._scheduler.live
        return max(1, self.limits.threads - (requests > 1))

    def _wait(self) -> bool:
        """Wait for work; return False where the thread is to end."""
        with self._changed:
            while not (self._waiting or self._jobs or self._scheduler.live):
                if self._end is not None:
                    return False
                self._changed.wait()
            return self._end is None or monotonic() < self._end

    def _admit(self) -> None:
        """Give free places to waiting texts, in the order in which they came; drop those nobody waits for."""
        now = monotonic()
        free = self.limits.live - self._scheduler.live
        begin: list[_Arrival] = []
        characters = 0
        with self._changed:
            waiting = self._waiting
            self._waiting = deque()
            for one in waiting:
                seconds = one.generation.seconds
                if one.ticket.cancelled:
                    self._scheduler.finished["cancelled"] += 1
                elif seconds is not None and now >= one.begun + seconds:
                    self._refuse(one, "deadline", "no place became free within the text's time")
                elif len(begin) < free and characters < LONG:
                    begin.append(one)
                    characters += len(one.generation.prompt)
                else:
                    self._waiting.append(one)

        for one in begin:
            self._begin(one)

    def _begin(self, arrival: _Arrival) -> None:
        """Make the text of an arrival and begin with it, or tell its reader why it cannot begin."""
        try:
            text = LiveText.of(self.bundle, *arrival)
        except Exception as error:
            self._refuse(arrival, "failed", str(error))
        else:
            self._scheduler.admit(text)

    def _refuse(
        self,
        arrival: _Arrival,
        reason: Reason,
        message: str,
    ) -> None:
        arrival.ticket.end(StreamEnded(reason, message))
        self._scheduler.finished[reason] += 1

    def _give_up(self, reason: Reason, message: str) -> None:
        """Tell everybody who still waits that nothing comes any more."""
        self._wakes.call()
        with self._changed:
            if self._end is None:
                self._end = monotonic()
            else:
                self._end = self._end

            self._scheduler.end_all(reason, message)
            for arrival in self._waiting:
                arrival.ticket.end(StreamEnded(reason, message))
            self._waiting.clear()
        self._jobs.end(StreamEnded(reason, message))
