"""Run jobs between decoding steps, long ones in pieces.

Searches (words to suggest, beams) take turns, so that a short one never waits for a long one. Scores are answered first
in, first out: with turns, all of many would be answered late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Generic, TypeVar

import torch

from reviewlm.models.base import LanguageModel
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.reading import Readers, Steps
from reviewlm.serving.engine.contexts import ContextReading
from reviewlm.serving.engine.requests import EngineLimits, StreamEnded
from reviewlm.serving.engine.scheduler import Scheduler
from reviewlm.serving.engine.waiting_times import Mean

JOB_SECONDS = 0.01
"""Jobs that begin within this time run between the same two steps; at least one does."""
SEARCHED = 0.25
"""Memory for what searches for words have read, as a share of that for the states of texts."""
T = TypeVar("T")


class NotDone(Exception):
    """A job has more to do; it is run again after the next step of the live texts."""


class UnreadContext(NotDone):
    """A job has to wait until a long context is read, in pieces between the steps of the live texts."""


@dataclass(eq=False)
class EngineJob:
    """A function to be run in the engine's thread.

    Args:
        work: The function.
        in_order: Whether it is to be done before the jobs in order that come later; else it takes turns with others.
        readings: The contexts that it has asked for; the last one may not be read to its end.
    """

    work: Callable[[EngineContext], Any]
    in_order: bool = False
    future: Future[Any] = field(default_factory=Future)
    readings: list[ContextReading] = field(default_factory=list)

    def finish(self, result: Any = None, error: Exception | None = None) -> None:
        """Tell the result or the error, unless nobody waits any more."""
        if self.future.set_running_or_notify_cancel():
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)


@dataclass(frozen=True)
class EngineContext:
    """Resources of a job, in the engine's thread only: the bundle, and contexts that were read before.

    A job that needs a long context is interrupted by `UnreadContext` and run again, so it must have changed nothing
    until then.

    Args:
        bundle: Model and vocabulary.
        readers: What searches for words have read.
        read: Returns the distribution after a prefix (1, V), and the model's state there; neither may be written to.
            Takes the tokens, those of `vocabulary.prefix(stars)` included, and the model that reads, by default the
            bundle's. At most one other model may be used per engine, the one of all ratings
            (`models/bundles/any_rating.py`).
    """

    bundle: Bundle
    readers: Readers
    read: Callable[..., tuple[torch.Tensor, Any]]


class Jobs:
    """The jobs of one engine. Only `add` and `len` may be used outside the engine's thread.

    Args:
        bundle: Model and vocabulary.
        scheduler: Has the saved states.
        limits: Largest number of bytes.
        clock: Gives the time in seconds.

    Attributes:
        done: Jobs that have ended.
        seconds: Mean seconds between the ends of the last jobs while others waited.
    """

    def __init__(
        self,
        bundle: Bundle,
        scheduler: Scheduler,
        limits: EngineLimits,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self.done = 0
        self.seconds = Mean(JOB_SECONDS)
        self._ended = 0.0
        self._turns: deque[EngineJob] = deque()
        self._in_order: deque[EngineJob] = deque()
        self._readings: list[ContextReading] = []
        readers = Readers(bundle, self._read, limits.cache_megabytes * SEARCHED)
        self._context = EngineContext(bundle, readers, self._read)

    @property
    def bytes(self) -> int:
        """Size of what searches for words have read."""
        return self._context.readers.bytes

    def __len__(self) -> int:
        return len(self._turns) + len(self._in_order)

    def add(self, job: EngineJob) -> None:
        """Add a job."""
        (self._in_order if job.in_order else self._turns).append(job)

    def run(self) -> None:
        """Run those that wait now, for `JOB_SECONDS`, but at least one of each kind."""
        began = self._clock()
        for jobs in (self._turns, self._in_order):
            for _ in range(len(jobs)):
                job = jobs.popleft()
                if self._goes_on(job):
                    (jobs.appendleft if job.in_order else jobs.append)(job)
                if self._clock() - began >= JOB_SECONDS:
                    break

    def _goes_on(self, job: EngineJob) -> bool:
        """Do the next piece of a job; return whether there is more to do."""
        if job.future.cancelled():
            return False

        self._readings = job.readings
        try:
            if job.readings and job.readings[-1].result is None:
                self._scheduler.contexts.read(job.readings[-1:], self._scheduler.width)
                return True
            result = job.work(self._context)
        except NotDone:
            return True
        except Exception as error:
            job.finish(error=error)
        else:
            job.finish(result)

        self.done += 1
        self._note_end()
        return False

    def _note_end(self) -> None:
        """Measure the time since the job before ended, if this one has waited for it."""
        now = self._clock()
        if self._ended:
            self.seconds.add(now - self._ended)
        self._ended = now if len(self) else 0.0

    def _read(
        self, ids: Sequence[int], model: LanguageModel | None = None
    ) -> tuple[torch.Tensor, Any]:
        """Return the distribution after a prefix and the state there; see `EngineContext`."""
        contexts = self._scheduler.contexts
        reading = contexts.reading(ids, model, self._readings)
        if reading.left > self._scheduler.width:
            self._readings.append(reading)
            raise UnreadContext
        return contexts.whole(reading)

    def end(self, ended: StreamEnded) -> None:
        """Tell everybody who waits that nothing comes any more."""
        for jobs in (self._turns, self._in_order):
            while jobs:
                jobs.popleft().finish(error=ended)


class Search(Generic[T]):
    """A search of many steps: a job for `Engine.run`.

    It is begun again where it has to wait for a long context, so what it finds until then must be quick to find, or
    remembered.

    Args:
        begin: Returns the search.
    """

    def __init__(self, begin: Callable[[EngineContext], Steps[T]]) -> None:
        self._begin = begin
        self._steps: Steps[T] | None = None

    def __call__(self, context: EngineContext) -> T:
        """Do the next step; return the result after the last one.

        Raises:
            NotDone: There is more to do.
        """
        self._steps = self._steps or self._begin(context)
        try:
            next(self._steps)
        except StopIteration as done:
            result: T = done.value
            return result
        except UnreadContext:
            self._steps = None
            raise

        raise NotDone
