"""Stream generated pieces of one text from the engine's thread to its reader, in any thread or event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from threading import Condition
from time import perf_counter

from serving.engine.requests import Piece, StreamEnded


class Wakes:
    """Readers that wait in an event loop and have something to read: one call wakes all of a loop.

    A call for each token of each text would cost as much as writing the text. Only the engine's thread uses it.
    """

    def __init__(self) -> None:
        self._readers: dict[asyncio.AbstractEventLoop, list[asyncio.Event]] = {}

    def add(self, loop: asyncio.AbstractEventLoop, reader: asyncio.Event) -> None:
        """Wake a reader at the next call."""
        self._readers.setdefault(loop, []).append(reader)

    def call(self) -> None:
        """Wake all."""
        readers, self._readers = self._readers, {}
        for loop, events in readers.items():
            with suppress(RuntimeError):  # the readers' loop was closed: nobody waits any more
                loop.call_soon_threadsafe(_set_all, events)


class Ticket:
    """The reader's end of one text: iterate over it (`for` or `async for`), or cancel it. Thread-safe.

    Pieces that wait are given out as one, so a reader that comes late catches up at once. Iteration raises
    `StreamEnded` where the text ended without a finish reason.

    Args:
        wakes: Wakes the readers of pieces; None: each is woken at once.

    Attributes:
        first: When the first piece was written (`time.perf_counter`).
    """

    def __init__(self, wakes: Wakes | None = None) -> None:
        self._ready, self._wakes = Condition(), wakes
        self.first: float | None = None
        self._waiting: Piece | None = None
        self._unread = 0
        self._done = False
        self._failure: StreamEnded | None = None
        self._reader: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._cancelled = self._at_end = False

    @property
    def cancelled(self) -> bool:
        """Whether the reader has left."""
        return self._cancelled

    @property
    def unread(self) -> int:
        """Number of pieces (one per token) that were written and not yet read."""
        return self._unread

    def cancel(self) -> None:
        """Leave: the engine frees the text's place before its next step. Has no effect on a finished text."""
        self._cancelled = True
        self.end(StreamEnded("cancelled", "the reader left"))

    def write(self, piece: Piece) -> None:
        """Add a piece; called by the engine."""
        with self._ready:
            if self._done:
                return
            self.first = self.first or perf_counter()
            self._waiting = piece if self._waiting is None else self._waiting.and_then(piece)
            self._done = piece.finish is not None
            if self._done or not self._at_end:
                self._unread += 1
                self._notify(self._wakes)

    def end(self, failure: StreamEnded) -> None:
        """End without a finish reason; what was written before can still be read. Called by the engine."""
        with self._ready:
            if not self._done:
                self._done, self._failure = True, failure
                self._notify()

    def _notify(self, wakes: Wakes | None = None) -> None:
        self._ready.notify_all()
        if self._reader is not None:
            now = wakes or Wakes()
            now.add(*self._reader)
            self._reader = None
            if wakes is None:
                now.call()

    def _taken(self) -> tuple[Piece | None, bool]:
        """Return what waits, and whether more can come; raise the failure once all is read. Needs the lock."""
        piece, self._waiting, self._unread = self._waiting, None, 0
        if piece is None and self._failure is not None:
            raise self._failure
        return piece, not (self._done and self._failure is None)

    def __iter__(self) -> Iterator[Piece]:
        more = True
        while more:
            with self._ready:
                self._ready.wait_for(lambda: self._waiting is not None or self._done)
                piece, more = self._taken()
            if piece is not None:
                yield piece

    async def __aiter__(self) -> AsyncIterator[Piece]:
        loop, more = asyncio.get_running_loop(), True
        while more:
            arrived = asyncio.Event()
            with self._ready:
                waits = self._waiting is None and not self._done
                if waits:
                    self._reader = loop, arrived
                else:
                    piece, more = self._taken()
            if waits:
                await arrived.wait()
            elif piece is not None:
                yield piece

    async def whole(self) -> Piece:
        """Wait for the whole answer and return it as one piece; the reader is woken once."""
        arrived = asyncio.Event()
        with self._ready:
            self._at_end = True
            if self._done:
                arrived.set()
            else:
                self._reader = asyncio.get_running_loop(), arrived
        await arrived.wait()
        with self._ready:
            piece, _ = self._taken()
            if piece is not None and self._failure is not None:
                raise self._failure
        return piece or Piece("")

    def result(self) -> Piece:
        """Wait for the whole answer and return it as one piece."""
        whole = Piece("")
        for piece in self:
            whole = whole.and_then(piece)
        return whole


def _set_all(events: Iterable[asyncio.Event]) -> None:
    for event in events:
        event.set()
