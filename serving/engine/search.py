"""Run a search (e.g. beam search) as a job of the engine: one search step between two decoding steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from models.completion.reading import Steps
from serving.engine.jobs import EngineContext, Later, NotDone

T = TypeVar("T")


class Search(Generic[T]):
    """A search of many steps: a job for `Engine.run`.

    It is begun again where it has to wait for something long, so what it finds until then must be quick to find, or
    remembered.

    Args:
        begin: Returns the search.
        then: Returns what is worth doing after the answer while the engine is idle; nobody waits for it.
    """

    def __init__(
        self, begin: Callable[[EngineContext], Steps[T]], then: Callable[[EngineContext], Steps[None]] | None = None
    ) -> None:
        self._begin, self._then = begin, then
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
            if self._then:
                context.when_idle(Search(self._then))
            return result
        except Later:
            self._steps = None
            raise
        raise NotDone
