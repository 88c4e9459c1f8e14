"""Run a search of many steps as jobs of an engine, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from serving.engine.jobs import EngineContext, Later

T = TypeVar("T")


class Search(Generic[T]):
    """A search of many steps, by repeated calls of `advance` in the engine's thread.

    It is begun again where it has to wait for something long, so what it finds until then must be quick to find, or
    remembered.

    Args:
        begin: Returns the search.

    Attributes:
        found: The result, once `advance` has returned False.
    """

    found: T

    def __init__(self, begin: Callable[[EngineContext], Generator[None, None, T]]) -> None:
        self._begin = begin
        self._steps: Generator[None, None, T] | None = None

    def advance(self, context: EngineContext) -> bool:
        """Do the next step; return whether there is more to do."""
        self._steps = self._steps or self._begin(context)
        try:
            next(self._steps)
        except StopIteration as done:
            self.found = done.value
            return False
        except Later:
            self._steps = None
            raise
        return True
