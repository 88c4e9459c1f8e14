"""Define the requests to the engine and its results, and stream the pieces of a text to its reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from threading import Condition, Lock
from time import perf_counter
from typing import Literal, NamedTuple

from reviewlm.core.config.section import MAX_TOKENS
from reviewlm.models.bundles.bundle import require_stars
from reviewlm.models.options import DrawSeed, WholeOrZero
from reviewlm.models.sampling import Sampling
from reviewlm.models.sampling_options import given_stop, require_allowed

Finish = Literal["stop", "length"]
Reason = Literal["cancelled", "deadline", "slow reader", "closed", "failed"]


@dataclass(frozen=True)
class Generation:
    """One text to generate. Checked when it is made, so that a bad one never reaches the queue.

    Args:
        prompt: The beginning of the text.
        stars: Rating 0 (unknown) to 5; None draws one from the shares of the training reviews.
        number: The text's number i of n. The text depends only on (seed, number), rating and prompt.
        max_tokens: Maximum number of tokens after the prompt; with 0 nothing is generated, only echoed.
        sampling: How tokens are drawn.
        seed: Seed of the random stream.
        stop: Strings that end the text; the text ends before the first of them.
        logprobs: Report each token's log-probability, and this number of the most probable tokens beside it; None
            reports none.
        echo: Give the prompt back as the first piece (with its tokens' log-probabilities, if `logprobs` is set).
        seconds: Deadline, counted from `Engine.submit`; None: none.
        ids: The prompt's tokens, if it was given as tokens: they are read as they are, and *prompt* is their text.
        given: Special tokens that stood before these (`<bos>`, maybe a rating); they are only given back.

    Raises:
        ModelError: kind "input": a value is out of its range.
    """

    prompt: str = ""
    stars: int | None = None
    number: int = 0
    max_tokens: int = MAX_TOKENS
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    echo: bool = False
    seconds: float | None = None
    ids: tuple[int, ...] = ()
    given: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require_stars(self.stars)
        require_allowed("max_tokens", self.max_tokens, WholeOrZero)
        require_allowed("seed", self.seed, DrawSeed)
        require_allowed("number", self.number, WholeOrZero)
        if self.logprobs is not None:
            require_allowed("logprobs", self.logprobs, WholeOrZero)
        object.__setattr__(self, "stop", given_stop(self.stop))


@dataclass(frozen=True)
class TokenLogprob:
    """One token of the answer, with the model's own log-probability, before the sampling options.

    Args:
        id: The token.
        text: Its part of the answer; empty for a part of a character that a later token completes. All parts together
            are the answer. The end of the review adds nothing and is called `<eos>`.
        logprob: Natural logarithm; None for a special token at the beginning of an echoed prompt: nothing predicts it.
        offset: Where `text` begins in the answer, in characters.
        top: Log-probabilities of this token, by its text, and of the most probable ones, by what each would add to the
            text; by `token_id:N` where that is nothing, or what another token adds.
    """

    id: int
    text: str
    logprob: float | None
    offset: int
    top: Mapping[str, float] = field(default_factory=dict)


class Piece(NamedTuple):
    """Part of an answer; all pieces' `text` together are the answer.

    Args:
        text: Text since the piece before; may be empty, for a token may still change what it adds.
        tokens: The tokens since the piece before, if log-probabilities were asked for.
        finish: On the last piece: "stop" (the model's end of text, or a stop string) or "length"; None before.
        prompt_tokens: Tokens of the prompt; on the last piece, else 0.
        completion_tokens: Tokens that were generated, the end of text included; on the last piece, else 0.
    """

    text: str
    tokens: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @classmethod
    def joined(cls, pieces: Sequence[Piece]) -> Piece:
        """Return pieces that follow one another as one."""
        last = pieces[-1]
        if len(pieces) == 1:
            return last
        texts = [piece.text for piece in pieces]
        tokens = chain.from_iterable(piece.tokens for piece in pieces)
        return last._replace(text="".join(texts), tokens=tuple(tokens))


@dataclass(frozen=True)
class EngineLimits:
    """How much an engine takes on.

    Args:
        live: Texts that are generated at the same time.
        queue: Texts that wait for a place; more are refused (`Busy`).
        prefill_tokens: Tokens of each new prompt that are read between two steps; more stalls the live texts for
            longer.
        cache_megabytes: Largest size of the saved states of prefixes; a quarter as much again for searches for words
            (half while several are in progress), and while it is searched how the last words of prompts go on.
        buffer_tokens: Tokens that may wait for a slow reader; then the text is given up ("slow reader").
        threads: Threads of matrix products, one less while several requests wait.
    """

    live: int = 64
    queue: int = 256
    prefill_tokens: int = 8
    cache_megabytes: float = 64.0
    buffer_tokens: int = 4_096
    threads: int = 1


@dataclass(frozen=True)
class EngineFigures:
    """Load and counts of an engine, for metrics. Counts go up from its start.

    Args:
        alive: Whether its thread runs.
        live: Texts that are generated now.
        queued: Texts that wait.
        steps: Steps of the model, each one token for every live text of a group.
        tokens: Tokens generated.
        prefill_tokens: Prompt tokens read by the model.
        cached_tokens: Prompt tokens that a saved state already covered.
        finished: Ended texts by finish reason, or by reason of `StreamEnded`.
        jobs: Jobs done (suggestions, scores).
        step_seconds: Seconds spent in steps.
        busy_seconds: Seconds not spent waiting for work.
        cache_bytes: Size of the saved states.
        cache_entries: Number of saved states.
    """

    alive: bool
    live: int = 0
    queued: int = 0
    steps: int = 0
    tokens: int = 0
    prefill_tokens: int = 0
    cached_tokens: int = 0
    finished: Mapping[str, int] = field(default_factory=dict)
    jobs: int = 0
    step_seconds: float = 0.0
    busy_seconds: float = 0.0
    cache_bytes: int = 0
    cache_entries: int = 0


class Busy(Exception):
    """The queue is full. `retry_after`: estimated seconds until there is a place, however many they are."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the queue is full; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class StreamEnded(Exception):
    """A text ended without a finish reason; *reason* says why, the message explains it."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


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
        readers = self._readers
        self._readers = {}
        for loop, events in readers.items():
            with suppress(RuntimeError):  # the readers' loop was closed: nobody waits any more
                loop.call_soon_threadsafe(_set_all, events)


class Ticket:
    """The reader's end of one text: iterate over it (`async for`), take the whole, or cancel it. Thread-safe.

    Pieces that wait are given out as one, so a reader that comes late catches up at once. Iteration raises
    `StreamEnded` where the text ended without a finish reason.

    Args:
        wakes: Wakes the readers of pieces; None: each is woken at once.

    Attributes:
        first: When the first piece was written (`time.perf_counter`).
    """

    def __init__(self, wakes: Wakes | None = None) -> None:
        self._lock = Lock()
        self._ended = Condition(self._lock)
        self._wakes = wakes
        self.first: float | None = None
        self._waiting: list[Piece] = []
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
        with self._lock:
            if self._done:
                return
            self.first = self.first or perf_counter()
            self._waiting.append(piece)
            self._done = piece.finish is not None
            if self._done or not self._at_end:
                self._unread += 1
                self._notify(self._wakes)

    def end(self, failure: StreamEnded) -> None:
        """End without a finish reason; what was written before can still be read. Called by the engine."""
        with self._lock:
            if not self._done:
                self._done = True
                self._failure = failure
                self._notify()

    def _notify(self, wakes: Wakes | None = None) -> None:
        if self._done:
            self._ended.notify_all()
        if self._reader is not None:
            now = wakes or Wakes()
            now.add(*self._reader)
            self._reader = None
            if wakes is None:
                now.call()

    def _take(self) -> tuple[Piece | None, bool]:
        """Return the waiting text, and whether more can come; raise the failure once all is read. Needs the lock."""
        piece = None
        if self._waiting:
            piece = Piece.joined(self._waiting)
            self._waiting = []
        elif self._failure is not None:
            raise self._failure

        self._unread = 0
        return piece, not (self._done and self._failure is None)

    async def __aiter__(self) -> AsyncIterator[Piece]:
        loop = asyncio.get_running_loop()
        more = True
        while more:
            arrived = asyncio.Event()
            with self._lock:
                waits = not self._waiting and not self._done
                if waits:
                    self._reader = loop, arrived
                else:
                    piece, more = self._take()
            if waits:
                await arrived.wait()
            elif piece is not None:
                yield piece

    async def whole(self) -> Piece:
        """Wait for the whole answer and return it as one piece; the reader is woken once."""
        arrived = asyncio.Event()
        with self._lock:
            self._at_end = True
            if self._done:
                arrived.set()
            else:
                self._reader = asyncio.get_running_loop(), arrived
        await arrived.wait()
        return self.result()

    def result(self) -> Piece:
        """Wait for the whole answer and return it as one piece."""
        with self._lock:
            self._at_end = True
            self._ended.wait_for(lambda: self._done)
            piece, _ = self._take()
            if piece is not None and self._failure is not None:
                raise self._failure
        return piece or Piece("")


def _set_all(events: Iterable[asyncio.Event]) -> None:
    for event in events:
        event.set()
