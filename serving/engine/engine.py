"""Run one opened bundle in one thread of its own: texts and jobs come from any thread, their results go back there."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from time import monotonic, perf_counter
from typing import Any, TypeVar

import torch

from models.base import LanguageModel
from models.bundles.bundle import Bundle
from models.completion.reading import Readers
from serving.engine.live_text import LiveText
from serving.engine.requests import Busy, EngineFigures, EngineLimits, Generation, Reason, StreamEnded
from serving.engine.scheduler import Scheduler
from serving.engine.ticket import Ticket, Wakes

T = TypeVar("T")
Job = tuple[Callable[["EngineContext"], Any], "Future[Any]"]
log = logging.getLogger(__name__)
MOST_LOSS = 0.005
"""Largest share by which int8 may raise the bits per byte."""
JOB_SECONDS = 0.01
"""Jobs that begin within this time run between the same two steps; at least one does."""
SEARCHED = 0.25
"""Memory for what searches for words have read, as a share of that for the states of texts."""
DRAINED_SECONDS = 5.0
"""Time that the thread gets to end, beyond that for the texts in progress."""


@dataclass(frozen=True)
class EngineContext:
    """What a job may use, in the engine's thread only: the bundle, and what was read before.

    Args:
        bundle: Model and vocabulary.
        scheduler: Has the saved states of prefixes.
        readers: What searches for words have read.
    """

    bundle: Bundle
    scheduler: Scheduler
    readers: Readers

    def read(self, ids: Sequence[int], model: LanguageModel | None = None) -> tuple[torch.Tensor, Any]:
        """Return the distribution after a prefix (1, V), and the model's state there.

        Only tokens after the longest prefix that was read before are read. Neither result may be written to.

        Args:
            ids: The tokens, those of `vocabulary.prefix(stars)` included.
            model: The model that reads; None: the bundle's. At most one other model may be used per engine, the one of
                all ratings (`models/bundles/any_rating.py`).
        """
        return self.scheduler.read(ids, model)


class Engine:
    """One opened bundle and the thread that generates with it.

    A text waits in a queue until a place is free, its prompt is read in chunks between the steps of the live texts,
    then it shares their steps. What goes wrong ends the texts concerned, never the thread.

    Args:
        bundle: Any kind of model; only the engine's thread may use its model from now on.
        limits: How much it takes on.

    Attributes:
        numbers: Number format of texts that need not be exact.
        loss: Share by which int8 raises the bits per byte of the model's texts; None: not measured.
    """

    def __init__(self, bundle: Bundle, limits: EngineLimits | None = None) -> None:
        self.bundle, self.limits = bundle, limits or EngineLimits()
        fast, self.loss = fast_model(bundle) if self.limits.numbers == "int8" else (None, None)
        self.numbers = "float32" if fast is None else "int8"
        self._wakes = Wakes()
        self._scheduler = Scheduler(bundle, self.limits, self._wakes, fast)
        limit = self.limits.cache_megabytes * SEARCHED
        readers = Readers(bundle, self._scheduler.read, limit, self.limits.cache_seconds)
        self._context = EngineContext(bundle, self._scheduler, readers)
        self._changed = Condition()
        self._waiting: deque[tuple[Generation, Ticket, float]] = deque()
        self._jobs: deque[Job] = deque()
        self._end: float | None = None
        self._done, self._busy_seconds = 0, 0.0
        self._thread = Thread(target=self._run, name=f"engine {bundle.digest[:12]}", daemon=True)
        self._thread.start()

    def submit(self, generation: Generation) -> Ticket:
        """Queue a text and return its ticket. From any thread.

        Raises:
            Busy: The queue is full.
            StreamEnded: The engine is closed.
        """
        with self._changed:
            self._require_open()
            if len(self._waiting) + self._scheduler.live >= self.limits.queue + self.limits.live:
                raise Busy(self._retry_after())
            self._waiting.append((generation, ticket := Ticket(self._wakes), monotonic()))
            self._changed.notify()
        return ticket

    def run(self, job: Callable[[EngineContext], T]) -> Future[T]:
        """Run a short function in the engine's thread, between two steps. From any thread.

        Raises:
            Busy: Too many jobs wait.
            StreamEnded: The engine is closed.
        """
        future: Future[T] = Future()
        with self._changed:
            self._require_open()
            if len(self._jobs) >= max(1, self.limits.queue):
                raise Busy(1.0)
            self._jobs.append((job, future))
            self._changed.notify()
        return future

    def close(self, drain_seconds: float = 0.0) -> None:
        """Take no new work, let the accepted texts end for this long, then end the others and the thread."""
        with self._changed:
            end = monotonic() + drain_seconds
            self._end = end if self._end is None else min(self._end, end)
            self._changed.notify()
        self._thread.join(drain_seconds + DRAINED_SECONDS)

    def figures(self) -> EngineFigures:
        """Return what the engine does now and has done. From any thread."""
        scheduler = self._scheduler
        return EngineFigures(
            alive=self._thread.is_alive(), live=scheduler.live, queued=len(self._waiting), jobs=self._done,
            **{name: scheduler.counts[name] for name in ("steps", "tokens", "prefill_tokens", "cached_tokens")},
            finished=dict(scheduler.finished), step_seconds=scheduler.step_seconds, busy_seconds=self._busy_seconds,
            cache_bytes=scheduler.cache.bytes + self._context.readers.bytes, cache_entries=len(scheduler.cache),
            numbers=self.numbers,
        )  # fmt: skip

    def _require_open(self) -> None:
        if self._end is not None or not self._thread.is_alive():
            raise StreamEnded("closed", "the engine takes no new work")

    def _retry_after(self) -> float:
        """Estimate when a place in the queue is free: texts end at the rate of the last ones."""
        return max(1.0, self._scheduler.text_seconds / max(1, self.limits.live))

    def _run(self) -> None:
        torch.set_num_threads(max(1, self.limits.threads))
        try:
            while self._wait():
                began = perf_counter()
                self._do_jobs()
                self._admit()
                self._scheduler.cycle()
                self._wakes.call()
                self._busy_seconds += perf_counter() - began
        except BaseException:
            log.exception("the engine has failed")
            self._give_up("failed", "the engine has failed")
            raise
        self._give_up("closed", "the server ends")

    def _wait(self) -> bool:
        """Wait for work; return False where the thread is to end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._waiting or self._jobs or self._scheduler.live or self._end is not None
            )
            if self._end is None:
                return True
            work = self._waiting or self._jobs or self._scheduler.live
            return bool(work) and monotonic() < self._end

    def _do_jobs(self) -> None:
        began = perf_counter()
        while self._jobs and (perf_counter() - began < JOB_SECONDS):
            job, future = self._jobs.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job(self._context))
                except Exception as error:
                    future.set_exception(error)
            self._done += 1

    def _admit(self) -> None:
        """Give free places to waiting texts, in the order in which they came; drop those nobody waits for."""
        now, free = monotonic(), self.limits.live - self._scheduler.live
        begin: list[tuple[Generation, Ticket, float]] = []
        with self._changed:
            waiting, self._waiting = self._waiting, deque()
            for generation, ticket, begun in waiting:
                if ticket.cancelled:
                    self._scheduler.finished["cancelled"] += 1
                elif generation.seconds is not None and now >= begun + generation.seconds:
                    ticket.end(StreamEnded("deadline", "no place became free within the text's time"))
                    self._scheduler.finished["deadline"] += 1
                elif len(begin) < free:
                    begin.append((generation, ticket, begun))
                else:
                    self._waiting.append((generation, ticket, begun))
        for generation, ticket, begun in begin:
            self._begin(generation, ticket, begun)

    def _begin(self, generation: Generation, ticket: Ticket, begun: float) -> None:
        try:
            text = LiveText.of(self.bundle, generation, ticket, begun)
        except Exception as error:
            ticket.end(StreamEnded("failed", str(error)))
            self._scheduler.finished["failed"] += 1
        else:
            self._scheduler.admit(text)

    def _give_up(self, reason: Reason, message: str) -> None:
        """Tell everybody who still waits that nothing comes any more."""
        self._wakes.call()
        with self._changed:
            self._end = monotonic() if self._end is None else self._end
            self._scheduler.end_all(reason, message)
            while self._waiting:
                self._waiting.popleft()[1].end(StreamEnded(reason, message))
            while self._jobs:
                future = self._jobs.popleft()[1]
                if future.set_running_or_notify_cancel():
                    future.set_exception(StreamEnded(reason, message))


def fast_model(bundle: Bundle) -> tuple[LanguageModel | None, float | None]:
    """Return a model for texts that need not be exact, or None if none is good enough; and what it loses.

    int8 is used where this processor computes it exactly, and where it raises the bits per byte of texts of the model
    by at most `MOST_LOSS`. That is measured here, in about a second.
    """
    try:
        from models.neural.inference.int8 import in_int8, loss_of_int8
    except ImportError as error:  # numba is not installed
        log.info("int8 is not used: %s", error)
        return None, None
    quick = in_int8(bundle.model)
    if quick is None:
        return None, None
    loss = loss_of_int8(bundle, quick)
    log.info("int8 raises the bits per byte of this model's texts by %.3f %%", 100 * loss)
    return (quick if loss <= MOST_LOSS else None), loss
