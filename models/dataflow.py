"""Declare the executor of data work whose results stay with its workers, on one machine or many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol


class Dataflow(Protocol):
    """An executor whose results stay with its workers: this process has references to them only.

    Steps do the same work wherever they run: they may only sort, compare, count, add, multiply and divide.
    """

    def workers(self) -> int:
        """Return how many steps can run at the same time."""
        ...

    def put(self, value: Any) -> Any:
        """Return a reference to a value, for the arguments of several steps."""
        ...

    def submit(self, function: Any, *arguments: Any, results: int = 1) -> list[Any]:
        """Have `function(*arguments)` computed, and return references to the values in the sequence that it returns.

        It depends on nothing but its arguments: it may run anywhere and more than once.

        Args:
            function: A function of a module or a `functools.partial`; or a reference to it.
            arguments: Values, or references to values.
            results: Number of values that the function returns.
        """
        ...

    def fetch(self, references: Iterable[Any]) -> Iterator[Any]:
        """Yield the values of references, in their order.

        Raises:
            ModelError: The engine failed. Errors of the functions are raised as they are.
        """
        ...
