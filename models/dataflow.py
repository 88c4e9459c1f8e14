"""Declare the executor of data work whose results stay with its workers, on one machine or many."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np


class FilePiece(NamedTuple):
    """A stretch of a file, between other bytes; it is read where it is needed.

    Args:
        path: The file.
        start: Where the stretch begins.
        size: Its bytes; None: up to the end of the file.
        head: Bytes before it.
        tail: Bytes after it.
    """

    path: Path
    start: int = 0
    size: int | None = None
    head: bytes = b""
    tail: bytes = b""

    def read(self) -> np.ndarray:
        """Return all bytes (uint8).

        Raises:
            OSError: The file ends before the stretch, or cannot be read.
        """
        with self.path.open("rb", buffering=0) as file:
            size = self.size
            if size is None:
                size = file.seek(0, io.SEEK_END) - self.start

            content = np.empty(len(self.head) + size + len(self.tail), np.uint8)
            end = len(self.head) + size
            content[: len(self.head)] = np.frombuffer(self.head, np.uint8)
            content[end:] = np.frombuffer(self.tail, np.uint8)
            file.seek(self.start)
            place = len(self.head)
            while place < end:
                read = file.readinto(content[place:end].data)
                if not read:
                    raise OSError(f"{self.path} ends too early")
                place += read
        return content


Writer = Callable[[Path, Iterator[Any]], Any]
"""Writes files into a folder from values that come one after another, and returns facts about them."""


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

    def put_file(self, piece: FilePiece) -> Any:
        """Return a reference to the bytes of a file, for the arguments of a step; workers read what they see."""
        ...

    def sees(self, path: Path) -> bool:
        """Return whether all workers see a file or folder of this machine."""
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

    def gather(self, function: Callable[[Iterator[Any]], Any], parts: Iterable[Any]) -> Any:
        """Call a function with the values of references, which it takes one after another, and return its result.

        A worker calls it if it can take values one by one too, so that none passes this process.

        Args:
            function: Picklable.
            parts: References to the values, in their order.
        """
        ...

    def write(
        self,
        folder: Path,
        writer: Writer,
        parts: Iterable[Any],
    ) -> Any:
        """Write files of a folder of this run from the values of references; return what the writer returns.

        A worker writes if all workers see the folder, so that no value passes this process.

        Args:
            folder: An existing folder.
            writer: Picklable; it may be called more than once, in another folder whose files are moved to this one.
            parts: References to the values, in their order.
        """
        ...
