"""Run jobs between decoding steps, long ones in pieces.

Searches (words to suggest, beams) take turns, so that a short one never waits for a long one; what those of one turn
want to read, the model reads in one batch. Scores are answered first in, first out: with turns, all of many would be
answered late.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Any, Generic, TypeVar

import torch

from reviewlm.models.base import LanguageModel
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.reading import (
    MOST_READ,
    Ids,
    PrefixReader,
    Readers,
    Steps,
    Wanted,
)
from reviewlm.serving.engine.contexts import ContextReading
from reviewlm.serving.engine.requests import EngineLimits, StreamEnded
from reviewlm.serving.engine.scheduler import Scheduler
from reviewlm.serving.engine.waiting_times import Mean

JOB_SECONDS = 0.01
"""Jobs that begin within this time run between the same two steps; at least one does."""
SEARCHED = 0.25
"""Memory for what searches for words have read, as a share of that for the states of texts."""
T = TypeVar("T")
log = logging.getLogger(__name__)


class NotDone(Exception):
    """A job has more to do; it is run again after the next step of the live texts.

    Args:
        wanted: What it reads next; None: not known.
    """

    def __init__(self, wanted: Wanted | None = None) -> None:
        super().__init__()
        self.wanted = wanted


class UnreadContext(NotDone):
    """A job has to wait until a long context is read, in pieces between the steps of the live texts."""


@dataclass(eq=False)
class EngineJob:
    """A function to be run in the engine's thread.

    Args:
        work: The function.
        in_order: Whether it is to be done before the jobs in order that come later; else it takes turns with others.
        readings: The contexts that it has asked for; as long as one is not read to its end, the job waits.
        wanted: What it reads next, as far as that is known.
    """

    work: Callable[[EngineContext], Any]
    in_order: bool = False
    future: Future[Any] = field(default_factory=Future)
    readings: list[ContextReading] = field(default_factory=list)
    wanted: Wanted | None = None

    @property
    def unread(self) -> list[ContextReading]:
        """The contexts that it waits for."""
        return [reading for reading in self.readings if reading.result is None]

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
        self._context.readers.searches = len(self._turns)
        searches = self._next_turn()
        waiting = [*searches, *islice(self._in_order, 1)]
        self._read_wanted(searches)
        for jobs, most in ((self._turns, len(searches)), (self._in_order, len(self._in_order))):
            for _ in range(most):
                job = jobs.popleft()
                if self._goes_on(job):
                    (jobs.appendleft if job.in_order else jobs.append)(job)
                if self._clock() - began >= JOB_SECONDS:
                    break

        self._read_contexts([job for job in waiting if not job.future.done()])

    def _next_turn(self) -> list[EngineJob]:
        """Return the searches whose turn it is: the first ones, as many as may read in one batch."""
        turn: list[EngineJob] = []
        rows = 0
        for job in self._turns:
            rows += len(job.wanted.prefixes) if job.wanted else 1
            if turn and rows > MOST_READ:
                break
            turn.append(job)
        return turn

    def _read_contexts(self, jobs: Sequence[EngineJob]) -> None:
        """Read on in the contexts that jobs wait for, those of one model together; a job whose context fails ends."""
        waiting: dict[int, list[tuple[EngineJob, ContextReading]]] = {}
        for job in jobs:
            for reading in job.unread:
                waiting.setdefault(id(reading.model), []).append((job, reading))

        for together in waiting.values():
            try:
                self._read_on([reading for _, reading in together])
            except Exception as error:
                log.warning("reading contexts together failed (%s); each is read alone", error)
                self._read_alone(together)

    def _read_alone(self, waiting: Sequence[tuple[EngineJob, ContextReading]]) -> None:
        """Read on in each of some contexts by itself, so that only the jobs of a bad one fail."""
        for job, reading in waiting:
            try:
                self._read_on([reading])
            except Exception as error:
                self._end(job, error=error)

    def _read_on(self, readings: Sequence[ContextReading]) -> None:
        self._scheduler.contexts.read(readings, self._scheduler.width)

    def _read_wanted(self, searches: Sequence[EngineJob]) -> None:
        """Read the prefixes that searches want next in one batch; a search that lacks a context waits on."""
        prefixes: dict[PrefixReader, list[Ids]] = {}
        for job in searches:
            if job.wanted is None or job.unread:
                continue
            reader = job.wanted.reader
            for reading in job.readings:
                if reading.model is reader.model and reading.result is not None:
                    reader.keep(reading.ids, *reading.result)
            prefixes.setdefault(reader, []).extend(job.wanted.prefixes)

        for reader, every in prefixes.items():
            try:
                reader(every)
            except Exception as error:
                log.warning("reading for searches together failed (%s); each reads alone", error)

    def _goes_on(self, job: EngineJob) -> bool:
        """Do the next piece of a job; return whether there is more to do."""
        if job.future.done():
            return False
        if job.unread:
            return True

        self._readings = job.readings
        job.wanted = None
        try:
            result = job.work(self._context)
        except NotDone as more:
            self._note_wanted(job, more.wanted)
            return True
        except Exception as error:
            self._end(job, error=error)
        else:
            self._end(job, result)

        return False

    def _note_wanted(self, job: EngineJob, wanted: Wanted | None) -> None:
        """Note what a job reads next, and begin to read the contexts in it."""
        job.wanted = wanted
        if wanted is None:
            return
        model = wanted.reader.model
        for ids in wanted.reader.unread_contexts(wanted.prefixes):
            reading = self._scheduler.contexts.reading(ids, model, job.readings)
            job.readings.append(reading)

    def _end(
        self,
        job: EngineJob,
        result: Any = None,
        error: Exception | None = None,
    ) -> None:
        """Tell the result or the error of a job."""
        job.finish(result, error)
        self.done += 1
        self._note_end()

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
            wanted = next(self._steps)
        except StopIteration as done:
            result: T = done.value
            return result
        except UnreadContext:
            self._steps = None
            raise

        raise NotDone(wanted)
