"""Generate many texts at once in one thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, TypeVar

import numpy as np
import torch

from models.bundles.bundle import Bundle
from models.sampling import stream
from serving.engine.requests import Busy, EngineFigures, EngineLimits, Generation, Piece, StreamEnded
from serving.engine.ticket import Ticket

T = TypeVar("T")


@dataclass(frozen=True)
class EngineContext:
    """What a job may use, in the engine's thread only: the bundle, and the saved states of prefixes."""

    bundle: Bundle

    def read(self, ids: list[int]) -> tuple[torch.Tensor, Any]:
        """Return the distribution after a prefix (1, V), `vocabulary.prefix(stars)` included, and the state there."""
        read_1T = np.array([ids], np.int64)
        state = self.bundle.model.score(read_1T[:, :-1], self.bundle.model.start(1))[1]
        return self.bundle.model.step(read_1T[:, -1], state)


class Engine:
    """One opened bundle and the thread that generates with it.

    Args:
        bundle: Any kind of model.
        limits: How much it takes on.
    """

    def __init__(self, bundle: Bundle, limits: EngineLimits | None = None) -> None:
        self.bundle, self.limits = bundle, limits or EngineLimits()
        self._changed = Condition()
        self._waiting: deque[tuple[Generation, Ticket]] = deque()
        self._jobs: deque[tuple[Callable[[EngineContext], Any], Future[Any]]] = deque()
        self._closing = False
        self._thread = Thread(target=self._loop, name=f"engine {bundle.digest[:12]}", daemon=True)
        self._thread.start()

    def submit(self, generation: Generation) -> Ticket:
        """Queue a text and return its ticket.

        Raises:
            Busy: The queue is full.
            StreamEnded: The engine is closed.
        """
        with self._changed:
            if self._closing:
                raise StreamEnded("closed", "the engine takes no new work")
            if len(self._waiting) >= self.limits.queue:
                raise Busy(1.0)
            self._waiting.append((generation, ticket := Ticket()))
            self._changed.notify()
        return ticket

    def run(self, job: Callable[[EngineContext], T]) -> Future[T]:
        """Run a short function in the engine's thread, between two steps."""
        future: Future[T] = Future()
        with self._changed:
            if self._closing:
                raise StreamEnded("closed", "the engine takes no new work")
            self._jobs.append((job, future))
            self._changed.notify()
        return future

    def close(self, drain_seconds: float = 0.0) -> None:
        """Take no new work, let the texts in progress end for this long, then end the others and the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(drain_seconds)

    def figures(self) -> EngineFigures:
        """Return what the engine does now and has done."""
        return EngineFigures(self._thread.is_alive(), queued=len(self._waiting))

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._jobs or self._closing)
                if not self._waiting and not self._jobs:
                    return
                job = self._jobs.popleft() if self._jobs else None
                text = self._waiting.popleft() if job is None else None
            if job is not None:
                self._do(*job)
            elif text is not None:
                self._write(*text)

    def _do(self, job: Callable[[EngineContext], Any], future: Future[Any]) -> None:
        try:
            future.set_result(job(EngineContext(self.bundle)))
        except Exception as error:
            future.set_exception(error)

    def _write(self, asked: Generation, ticket: Ticket) -> None:
        chosen = asked.sampling
        pieces = stream(
            self.bundle, asked.stars, asked.prompt, chosen.temperature, chosen.top_k, chosen.top_p,
            asked.max_tokens, asked.seed,
        )  # fmt: skip
        before = "" if asked.echo else asked.prompt
        for text in pieces:
            cut, before = text.removeprefix(before), ""
            ticket.write(Piece(cut))
        ticket.write(Piece("", finish="stop"))
