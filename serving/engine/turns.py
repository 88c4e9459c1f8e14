"""Read long prompts in chunks, in turn, between decoding steps (chunked prefill), so that no running text stalls."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.base import LanguageModel, read_on
from models.bundles.bundle import Bundle
from serving.engine.prefix_cache import PrefixCache

OTHER_MODEL = -1
"""Stands before the tokens that another model than the bundle's has read: its states are saved apart."""
Read = tuple[torch.Tensor, Any]


@dataclass(eq=False)
class Turn:
    """Something that is read in pieces.

    Args:
        advance: Reads at most so many tokens; returns whether there are more.
        then: Called when all is read.
        failed: Called with the error if reading fails.
        is_awaited: Whether somebody still waits for it.
    """

    advance: Callable[[int], bool]
    then: Callable[[], None]
    failed: Callable[[Exception], None]
    is_awaited: Callable[[], bool]


class Turns:
    """What is read in pieces; each time, the one that has waited longest is advanced by one piece."""

    def __init__(self) -> None:
        self._turns: deque[Turn] = deque()

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, turn: Turn) -> None:
        """Add one; it comes after the others."""
        self._turns.append(turn)

    def take(self, width: int) -> None:
        """Read the next piece, of at most *width* tokens."""
        if not self._turns:
            return
        turn = self._turns.popleft()
        try:
            more = turn.advance(width)
        except Exception as error:
            turn.failed(error)
        else:
            if more:
                self._turns.append(turn)
            else:
                turn.then()

    def drop_unwanted(self) -> None:
        """Drop those that nobody waits for."""
        if self._turns:
            self._turns = deque(turn for turn in self._turns if turn.is_awaited())


class ContextReading:
    """The context of a job: the distribution after some tokens, and the model's state there.

    Args:
        model: The model that reads.
        ids: The tokens.
        done: Number of tokens that were read before.
        state: The state after them.
        result: What was read, if nothing is left to read.
    """

    def __init__(
        self, model: LanguageModel, ids: Sequence[int], done: int, state: Any, result: Read | None = None
    ) -> None:
        self.model, self.ids, self.done, self.state, self.result = model, tuple(ids), done, state, result

    @property
    def left(self) -> int:
        """Number of tokens to read."""
        return 0 if self.result else len(self.ids) - self.done

    def advance(self, width: int) -> bool:
        """Read at most *width* tokens and the last one; return whether there are more."""
        end = min(len(self.ids) - 1, self.done + width)
        if end > self.done:
            self.state = read_on(self.model, np.array([self.ids[self.done : end]], np.int64), self.state)
            self.done = end
        if end == len(self.ids) - 1:
            self.result = self.model.step(np.array(self.ids[-1:], np.int64), self.state)
        return self.result is None


class Contexts:
    """Begin to read contexts where a saved state ends, and save the states of those that were read.

    Args:
        bundle: Its model reads, or another one (see `reading`).
        cache: The saved states.
        counts: Figures that only grow.
    """

    def __init__(self, bundle: Bundle, cache: PrefixCache, counts: Counter[str]) -> None:
        self._model, self._cache, self._counts = bundle.model, cache, counts

    def reading(
        self, ids: Sequence[int], model: LanguageModel | None = None, readings: Sequence[ContextReading] = ()
    ) -> ContextReading:
        """Return a reading that begins after the longest prefix that was read before.

        Args:
            ids: The tokens, at least one.
            model: The model that reads; None: the bundle's. At most one other model may be used.
            readings: Finished readings of the same rating, beside the saved states.
        """
        model, prefix = model or self._model, tuple(ids)
        mark = self._mark(model)
        best = max(
            (one for one in readings if self._mark(one.model) == mark and prefix[: len(one.ids)] == one.ids),
            key=lambda one: len(one.ids), default=None,
        )  # fmt: skip
        saved = self._cache.longest([*mark, *prefix])
        done = 0 if saved is None else len(saved.ids) - len(mark)
        if best is not None and best.result and len(best.ids) >= done:
            whole = best.result if best.ids == prefix else None
            return ContextReading(model, prefix, len(best.ids), best.result[1], whole)
        self._counts["cached_tokens"] += done
        if saved is None:
            return ContextReading(model, prefix, 0, model.start(1))
        known_whole = saved.logp_1V is not None and done == len(prefix)
        read = (saved.logp_1V, saved.state) if known_whole else None
        return ContextReading(model, prefix, done, saved.state, read)  # type: ignore[arg-type]

    def read(self, reading: ContextReading, width: int) -> bool:
        """Advance a reading; return whether there is more to read. The states at its end are saved."""
        before = reading.done
        more = reading.advance(width)
        mark, near_end = self._mark(reading.model), reading.done == len(reading.ids) - 1
        if near_end and reading.done > before:
            self._cache.store([*mark, *reading.ids[:-1]], reading.state)
        if reading.result is not None:
            self._cache.store([*mark, *reading.ids], reading.result[1], reading.result[0])
        self._counts["prefill_tokens"] += reading.done - before + (not more)
        return more

    def whole(self, reading: ContextReading) -> Read:
        """Read all that is left, and return the result."""
        while reading.result is None:
            self.read(reading, reading.left)
        return reading.result

    def _mark(self, model: LanguageModel) -> tuple[int, ...]:
        return () if model is self._model else (OTHER_MODEL,)
