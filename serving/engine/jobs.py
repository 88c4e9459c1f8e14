"""Run jobs between decoding steps; long ones in pieces, or in another thread.

Searches (words to suggest, beams) take turns, so that a short one never waits for a long one. Scores are answered first
in, first out: with turns, all of many would be answered late.
"""

from __future__ import annotations

import logging
from bisect import insort
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from itertools import count
from threading import Condition, local
from time import perf_counter
from typing import Any, Generic, TypeVar, cast

import torch

from models.base import LanguageModel
from models.bundles.bundle import Bundle
from models.completion.reading import Readers, Steps
from models.tokens.vocabulary import Vocabulary
from serving.engine.contexts import ContextReading, Turn
from serving.engine.requests import EngineLimits, StreamEnded
from serving.engine.scheduler import Scheduler

JOB_SECONDS = 0.01
"""Jobs that begin within this time run between the same two steps; at least one does."""
SEARCHED = 0.25
"""Memory for what searches for words have read, as a share of that for the states of texts."""
LONG = 2_048
"""Characters of a text that is made into tokens in another thread than the engine's: all up to a review of usual length
take less time there than changing the thread."""
_HERE = local()
T = TypeVar("T")
log = logging.getLogger(__name__)


class Later(Exception):
    """A job has to wait for something that takes long. It is run again when that is done."""


class Aside(Later):
    """A job has to wait for work that needs no model; *work* is called in another thread."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__()
        self.work = work


class UnreadContext(Later):
    """A job has to wait until a long context is read, in pieces between the steps of the live texts."""

    def __init__(self, reading: ContextReading) -> None:
        super().__init__()
        self.reading = reading


class NotDone(Later):
    """A job has more to do; it is run again after the next step of the live texts."""


@dataclass(eq=False)
class EngineJob:
    """A function to be run in the engine's thread, and what it has waited for.

    Args:
        work: The function.
        in_order: Whether it is to be done before the jobs in order that come later; else it takes turns with others.
    """

    work: Callable[[EngineContext], Any]
    in_order: bool = False
    number: int = 0
    future: Future[Any] = field(default_factory=Future)
    readings: list[ContextReading] = field(default_factory=list)
    tokens: dict[tuple[str, str], Any] = field(default_factory=dict)

    def finish(self, result: Any = None, error: Exception | None = None) -> None:
        """Tell the result or the error, unless nobody waits any more."""
        if self.future.set_running_or_notify_cancel():
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)


@dataclass(frozen=True)
class EngineContext:
    """What a job may use, in the engine's thread only: the bundle, and what was read before.

    A job that needs a long text as tokens, or a long context, is interrupted by `Later` and run again, so it must have
    changed nothing until then.

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
    """The jobs of one engine.

    Args:
        bundle: Model and vocabulary.
        scheduler: Has the saved states, and gives long contexts their turns.
        limits: Largest number of jobs, and of bytes.
        aside: Runs what needs no model.
        changed: Guards all that other threads change; notified when a job can go on.
        clock: Gives the time in seconds.

    Attributes:
        done: Jobs that have ended.
    """

    def __init__(
        self, bundle: Bundle, scheduler: Scheduler, limits: EngineLimits, aside: Executor, changed: Condition,
        clock: Callable[[], float] = perf_counter,
    ) -> None:  # fmt: skip
        self._scheduler, self._aside, self._changed, self._clock = scheduler, aside, changed, clock
        self._numbers = count()
        self._turns: list[EngineJob] = []
        self._in_order: list[EngineJob] = []
        self._waiting: set[EngineJob] = set()
        self.done = 0
        megabytes = limits.cache_megabytes * SEARCHED
        vocabulary = cast(Vocabulary, _JobVocabulary(bundle.vocabulary))
        bundle = replace(bundle, vocabulary=vocabulary)
        readers = Readers(bundle, self._read, megabytes)
        self._context = EngineContext(bundle, readers, self._read)

    @property
    def ready(self) -> int:
        """Number of jobs that can run."""
        return len(self._turns) + len(self._in_order)

    @property
    def bytes(self) -> int:
        """Size of what searches for words have read."""
        return self._context.readers.bytes

    def __len__(self) -> int:
        return self.ready + len(self._waiting)

    def add(self, job: EngineJob) -> None:
        """Add a job; needs the lock."""
        job.number = next(self._numbers)
        self._place(job)

    def _place(self, job: EngineJob) -> None:
        """Let a job be run by its number; needs the lock."""
        insort(self._in_order if job.in_order else self._turns, job, key=lambda one: one.number)

    def run(self) -> None:
        """Run those that wait now, for `JOB_SECONDS`, but at least one of each kind."""
        began = self._clock()
        for jobs in (self._turns, self._in_order):
            for _ in range(len(jobs)):
                with self._changed:
                    job = jobs.pop(0)
                self._run(job)
                if self._clock() - began >= JOB_SECONDS:
                    break

    def _run(self, job: EngineJob) -> None:
        if job.future.cancelled():
            return
        _HERE.job = job
        try:
            result = job.work(self._context)
        except NotDone:
            with self._changed:
                job.number = job.number if job.in_order else next(self._numbers)
                self._place(job)
        except Later as later:
            self._wait(job, later)
        except Exception as error:
            self._finish(job, error=error)
        else:
            self._finish(job, result)
        finally:
            _HERE.job = None

    def _finish(self, job: EngineJob, result: Any = None, error: Exception | None = None) -> None:
        with self._changed:
            self._waiting.discard(job)
            self.done += 1
        job.finish(result, error)

    def _wait(self, job: EngineJob, later: Later) -> None:
        """Let a job wait for something, then run it again, before those that came after it."""
        with self._changed:
            self._waiting.add(job)

        def again() -> None:
            with self._changed:
                if job in self._waiting:  # else it was told that the engine ends
                    self._waiting.remove(job)
                    self._place(job)
                    self._changed.notify()

        def failed(error: Exception) -> None:
            with self._changed:
                waits = job in self._waiting
                self._waiting.discard(job)
            if waits:  # else it was told that the engine ends
                self._finish(job, error=error)

        def wanted() -> bool:
            if job.future.cancelled():
                with self._changed:
                    self._waiting.discard(job)
                    self._changed.notify()
            return job in self._waiting

        if isinstance(later, UnreadContext):
            reading = later.reading
            job.readings.append(reading)
            contexts = self._scheduler.contexts
            self._scheduler.turns.add(Turn(lambda width: contexts.read(reading, width), again, failed, wanted))
        elif isinstance(later, Aside):
            self._aside.submit(_called, later.work, again, failed, wanted)

    def _read(self, ids: Sequence[int], model: LanguageModel | None = None) -> tuple[torch.Tensor, Any]:
        """Return the distribution after a prefix and the state there; see `EngineContext`."""
        contexts = self._scheduler.contexts
        reading = contexts.reading(ids, model, _HERE.job.readings)
        if reading.left > self._scheduler.width:
            raise UnreadContext(reading)
        return contexts.whole(reading)

    def end(self, ended: StreamEnded) -> None:
        """Tell everybody who waits that nothing comes any more."""
        with self._changed:
            jobs = [*self._turns, *self._in_order, *self._waiting]
            self._turns.clear()
            self._in_order.clear()
            self._waiting.clear()
        for job in jobs:
            job.finish(error=ended)


class Search(Generic[T]):
    """A search of many steps: a job for `Engine.run`.

    It is begun again where it has to wait for something long, so what it finds until then must be quick to find, or
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
        except Later:
            self._steps = None
            raise
        raise NotDone


def _called(
    work: Callable[[], object], then: Callable[[], None], failed: Callable[[Exception], None],
    is_awaited: Callable[[], bool],
) -> None:  # fmt: skip
    if not is_awaited():
        return
    try:
        work()
    except Exception as error:
        failed(error)
    else:
        then()


class _JobVocabulary:
    """A vocabulary as jobs see it: long texts become tokens in another thread. Anywhere else it is the vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vocabulary, name)

    @property
    def normal_form(self) -> Any:
        return _JobNormalForm(self._vocabulary.normal_form)

    def encode(self, text: str) -> Any:
        return _made("encode", text, self._vocabulary.encode)


class _JobNormalForm:
    def __init__(self, form: Any) -> None:
        self._form = form

    def __getattr__(self, name: str) -> Any:
        return getattr(self._form, name)

    def apply(self, text: str) -> Any:
        return _made("apply", text, self._form.apply)


def _made(what: str, text: str, make: Callable[[str], Any]) -> Any:
    """Return what is made of a text; of a long one, what was made for this job in another thread."""
    job: EngineJob | None = getattr(_HERE, "job", None)
    if job is None or len(text) <= LONG:
        return make(text)
    key = (what, text)
    if key not in job.tokens:
        raise Aside(lambda: job.tokens.__setitem__(key, make(text)))
    return job.tokens[key]
