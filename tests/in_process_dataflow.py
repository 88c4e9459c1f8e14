"""A dataflow whose only worker is this process, which sees what a worker elsewhere would see."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from reviewlm.models.dataflow import FilePiece


class InProcess:
    """An executor that computes each step at once; values travel as pickles.

    Args:
        workers: As many workers as it pretends to have.

    Attributes:
        seconds: Processor seconds of this process within steps.
    """

    def __init__(self, workers: int = 2) -> None:
        self.seconds = 0.0
        self._workers = workers

    def workers(self) -> int:
        return self._workers

    def put(self, value: Any) -> Any:
        return _Stored(value)

    def put_file(self, piece: FilePiece) -> Any:
        return _Seen(piece)

    def sees(self, path: Path) -> bool:
        return True

    def submit(self, function: Any, *arguments: Any, results: int = 1) -> list[Any]:
        began = time.process_time()
        call, *values = map(_opened, (function, *arguments))
        made = list(call(*values))
        assert len(made) == results
        stored = list(map(_Stored, made))
        self.seconds += time.process_time() - began
        return stored

    def fetch(self, references: Iterable[Any]) -> Iterator[Any]:
        yield from map(_opened, references)

    def gather(self, function: Any, parts: Iterable[Any]) -> Any:
        return next(self.fetch(self.submit(partial(_gathered, function), *parts)))

    def write(
        self,
        folder: Path,
        writer: Any,
        parts: Iterable[Any],
    ) -> Any:
        return self.gather(partial(writer, folder), parts)

    def ordered(self, function: Any, items: Iterable[Any], /) -> Iterator[Any]:
        """Yield `function(item)` for every item: a `FanOut`."""
        there = self.put(function)
        for item in items:
            yield from self.fetch(self.submit(partial(_one, item), there))


def _gathered(function: Any, *parts: Any) -> list[Any]:
    return [function(iter(parts))]


def _one(item: Any, function: Any) -> list[Any]:
    return [function(item)]


class _Stored:
    def __init__(self, value: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        self._content = pickle.dumps(value, 5, buffer_callback=buffers.append)
        self._buffers = [bytes(buffer) for buffer in buffers]

    def value(self) -> Any:
        return pickle.loads(self._content, buffers=self._buffers)


class _Seen:
    def __init__(self, piece: FilePiece) -> None:
        self._piece = piece

    def value(self) -> Any:
        return self._piece.read()


def _opened(value: Any) -> Any:
    if isinstance(value, _Stored | _Seen):
        return value.value()
    return value
